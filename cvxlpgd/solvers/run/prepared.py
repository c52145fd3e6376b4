"""Solvers that are set up for matrices once and then solve for many vectors.

    prepare(P, A) -> setup;   setup.solve(q, b, start) -> Answer

A setup knows nothing of q and b but what the newest call gave it: a sample's result is the same
from one that solved others before and from a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from cvxlpgd.program import USABLE, ConeProgram, Solution, Structure
from cvxlpgd.solvers.run.each import Answer, groups_of, of_sample, solve_each


class Start(NamedTuple):
    """A sample's earlier solution, and the state that its Answer left (None: from elsewhere)."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    state: Any


class Setup(Protocol):
    """One pair of matrices, set up in a solver."""

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        """Solve for these vectors (n,) and (m,)."""


Prepare = Callable[[np.ndarray, np.ndarray], Setup]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Stock(Generic[T]):
    """The set-ups of one pair of matrices that nobody is using at the moment."""

    use: Hashable  # the solver's value, or more: with other options it sets up something else
    structure: Structure
    P: np.ndarray  # (entries,), or of all samples of a batch; A too
    A: np.ndarray
    # taking from its end and putting back are atomic: a set-up is never in two hands
    free: list[T] = field(default_factory=list)

    def fits(self, use: Hashable, structure: Structure, P: np.ndarray, A: np.ndarray) -> bool:
        """Whether the set-ups are for this use and these very matrices' values, (entries,)."""
        if self.structure is not structure or self.use != use:
            return False
        pairs = ((self.P, P), (self.A, A))
        return all(one is other or np.array_equal(one, other) for one, other in pairs)

    def take(self) -> T | None:
        """A free set-up, no longer here; None where all are in use."""
        try:
            return self.free.pop()
        except IndexError:
            return None


class Slot(NamedTuple):
    """What a solution keeps of one sample."""

    stock: Stock[Setup]
    state: Any


def solve_prepared(
    solver: Hashable,
    program: ConeProgram,
    start: Solution | None,
    prepare: Prepare,
    parallel: bool = True,
    lasting: bool = True,
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
    """
    w, structure, batch = program.data, program.structure, program.batch
    slots = _slots(start, batch)
    stocks = _stocks(solver, program, slots, lasting)
    states: list[Any] = [None] * batch
    setups = np.zeros(batch)
    usable = np.zeros(batch, dtype=bool) if start is None else start.ok

    def one(i: int) -> Answer:
        own_start = None
        if start is not None and usable[i]:
            z, slot = start.point, slots[i]
            own_start = Start(z.x[i], z.y[i], z.s[i], _state(slot, solver, structure))
        stock = stocks[i]
        setup = stock.take()
        if setup is None:
            setups[i] = lasting
            setup = prepare(stock.P, stock.A)
        answer = setup.solve(of_sample(w.q, i), of_sample(w.b, i), own_start)
        setups[i] += answer.setups
        if _is_sound(answer, structure):  # what failed keeps nothing, and is given no other sample
            states[i] = answer.state
            stock.free.append(setup)
        return answer

    solution = solve_each(program, one, parallel, groups_of(start, batch))
    if not lasting:
        for stock in stocks:
            stock.free.clear()
    workspace = np.empty(batch, dtype=object)
    workspace[:] = [Slot(stock, state) for stock, state in zip(stocks, states, strict=True)]
    return replace(solution, workspace=workspace, setups=setups)


def _is_sound(answer: Answer, structure: Structure) -> bool:
    """Whether there is a point of the right size, of numbers."""
    sizes = ((answer.x, structure.n), (answer.y, structure.m), (answer.s, structure.m))
    return (
        answer.x is not None
        and answer.status in USABLE
        and all(v is None or (v.shape == (n,) and isfinite(v.sum())) for v, n in sizes)
    )


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
    by_key: dict[int, Stock[Setup]] = {}  # for all, or by the solution that samples start from
    stocks = []
    for i, slot in enumerate(slots):
        P, A = of_sample(w.P, i), of_sample(w.A, i)
        old = slot and slot.stock
        key = 0 if shared else (id(slot) if slot else -1 - i)
        if key not in by_key or not (shared or by_key[key].fits(solver, structure, P, A)):
            fits = lasting and old is not None and old.fits(solver, structure, P, A)
            by_key[key] = old if old and fits else Stock(solver, structure, P, A)
        stocks.append(by_key[key])
    return stocks
