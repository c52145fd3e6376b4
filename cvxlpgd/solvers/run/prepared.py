"""Solvers that are set up for matrices once and then solve for many vectors.

    prepare(P, A) -> setup;   setup.solve(q, b, start) -> Answer

A setup knows nothing of q and b but what the newest call gave it: a sample's result is the same
from one that solved others before and from a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import isfinite
from typing import Any, NamedTuple, Protocol

import numpy as np

from cvxlpgd.program import USABLE, ConeProgram, Point, Solution, Structure
from cvxlpgd.solvers.run.each import Answer, groups_of, of_sample, solve_each
from cvxlpgd.solvers.run.stock import Slot, Stock, new_stock


class Start(NamedTuple):
    """A sample's earlier solution, and the state that its Answer left (None: from elsewhere)."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    state: Any


class Setup(Protocol):
    """One pair of matrices, set up in a solver."""

    def solve(self, *vectors: Any) -> Answer:
        """Solve for q (n,) and b (m,), or the vectors of a form, from a Start or None, the last."""


class Form(Protocol):
    """A batch's vectors as a solver reads them, and its answers as points: all samples at once."""

    def vectors(self, i: int, setup: Any) -> tuple[np.ndarray, ...]:
        """The i-th sample's, which its set-up's `solve` gets."""

    def point(self, answers: Sequence[Answer]) -> Point:
        """The points (batch, ...) that the samples' answers stand for, NaN where there is none."""


Prepare = Callable[[np.ndarray, np.ndarray], Setup]


def solve_prepared(
    solver: Hashable,
    program: ConeProgram,
    start: Solution | None,
    prepare: Prepare,
    parallel: bool = True,
    lasting: bool = True,
    form: Form | None = None,
) -> Solution:
    """Solve each sample with its matrices' set-up, one kept from `start` where it fits.

    Parameters
    ----------
    solver : the solver's value
        Set-ups are kept for this solver with these options only.
    prepare : (P's values, A's values) -> Setup
        In the order of the structure's patterns (entries,), P's with both triangles.
    parallel : bool
        Whether `solve` releases the GIL.
    lasting : bool
        If False, set-ups are discarded after this call, are not shared with other threads' calls,
        and set their matrices up while they solve: their Answers say how often.
    form : Form, optional
        How a batch's vectors enter the solver, and its answers leave, for all samples at once.
    """
    w, structure, batch = program.data, program.structure, program.batch
    slots = _slots(start, batch)
    stocks = _stocks(solver, program, slots, lasting)
    states: list[Any] = [None] * batch
    setups = [0.0] * batch
    usable = [False] * batch if start is None else start.ok.tolist()
    sizes = (structure.n, structure.m)

    def one(i: int) -> Answer:
        own_start = None
        if start is not None and usable[i]:
            z = start.point
            own_start = Start(z.x[i], z.y[i], z.s[i], _state(slots[i], solver, structure))
        stock = stocks[i]
        setup = stock.take()
        if setup is None:
            setups[i] = float(lasting)
            setup = prepare(stock.P, stock.A)
        vectors = form.vectors(i, setup) if form else (of_sample(w.q, i), of_sample(w.b, i))
        answer = setup.solve(*vectors, own_start)
        setups[i] += answer.setups
        # what failed keeps nothing, and is given no other sample
        if _is_sound(answer, None if form else sizes):
            states[i] = answer.state
            stock.free.append(setup)
        return answer

    groups, gather = groups_of(start, batch), form.point if form else None
    solution = solve_each(program, one, parallel, groups, gather)
    if not lasting:
        for stock in stocks:
            stock.free.clear()
    workspace = np.empty(batch, dtype=object)
    workspace[:] = [Slot(stock, state) for stock, state in zip(stocks, states, strict=True)]
    return solution.change(workspace=workspace, setups=np.array(setups))


def _is_sound(answer: Answer, sizes: tuple[int, int] | None) -> bool:
    """Whether there is a point of numbers, of the right sizes (n, m) where these are known."""
    status, x, y, s = answer[:4]
    if x is None or status not in USABLE:
        return False
    if sizes and (
        x.shape != (sizes[0],) or any(v is not None and v.shape != (sizes[1],) for v in (y, s))
    ):
        return False
    # sums with less around them than v.sum() has
    return all(map(isfinite, [np.add.reduce(v, axis=None) for v in (x, y, s) if v is not None]))


def _state(slot: Slot | None, solver: Hashable, structure: Structure) -> Any:
    """What this solver left in a slot for programs of this structure."""
    if slot is None or slot.stock.structure is not structure or slot.stock.use != solver:
        return None
    return slot.state


def _slots(start: Solution | None, batch: int) -> Sequence[Slot | None]:
    if start is None or start.workspace is None:
        return [None] * batch
    return [slot if isinstance(slot, Slot) else None for slot in start.workspace]


def _stocks(
    solver: Hashable, program: ConeProgram, slots: Sequence[Slot | None], lasting: bool
) -> list[Stock[Setup]]:
    """Each sample's stock: one for all that share matrices, a lasting one where it fits."""
    w, structure = program.data, program.structure
    shared = len(w.P) == len(w.A) == 1
    if shared and slots:
        old, P, A = slots[0] and slots[0].stock, w.P[0], w.A[0]
        fits = lasting and old is not None and old.fits(solver, structure, P, A)
        stock = old if old and fits else new_stock(solver, structure, P, A, lasting)
        return [stock] * len(slots)
    by_key: dict[int, Stock[Setup]] = {}  # by the solution that samples start from
    stocks = []
    for i, slot in enumerate(slots):
        P, A = of_sample(w.P, i), of_sample(w.A, i)
        old = slot and slot.stock
        key = id(slot) if slot else -1 - i
        if key not in by_key or not by_key[key].fits(solver, structure, P, A):
            fits = lasting and old is not None and old.fits(solver, structure, P, A)
            by_key[key] = old if old and fits else new_stock(solver, structure, P, A, lasting)
        stocks.append(by_key[key])
    return stocks
