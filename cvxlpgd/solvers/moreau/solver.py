"""Moreau: a batched interior-point solver for all cones, and an active-set one for small QPs.

https://moreau.so
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.errors import CvxlpgdError, InvalidOption
from cvxlpgd.program import USABLE, ConeProgram, Point, Solution, Status, Structure
from cvxlpgd.solvers.clarabel import STATUS  # Moreau has Clarabel's words
from cvxlpgd.solvers.moreau.batched import ACTIVE_SET, IPM, SETTINGS, Batched
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT, is_installed
from cvxlpgd.solvers.run.guard import failure
from cvxlpgd.solvers.run.ladder import Attempt, solve_in_turn
from cvxlpgd.solvers.run.stock import Stock

_SURE = ("PrimalInfeasible", "DualInfeasible")
_LIMITS = ("MaxIterations", "MaxTime")
_LADDER = 1e-8  # a solve that breaks off far from its tolerances is made again at these
_EXACT = 1e-9  # what an active set leaves of a strictly convex program; of others, 1e-6
_ROUGH = 1e-2  # whatever Moreau calls it, no point counts beyond this residual
_MOST = 500  # variables that the active-set method takes


class _Stage(NamedTuple):
    """One way to solve: options, whether from the start, and the residual that settles a sample."""

    options: Mapping[str, Any]
    warm: bool
    close: float
    last_word: bool  # whether its "infeasible" and "unbounded" are believed


@dataclass(frozen=True, init=False)
class Moreau(Configured):
    """Moreau with its own options, such as `Moreau(tol_feas=1e-8, solver="ipm")`.

    Options are the fields of Moreau's Settings, IPMSettings and ActiveSetSettings but those of its
    own derivatives and batches (`help(moreau.Settings)`), and `eps` for tol_gap_abs, tol_gap_rel,
    tol_feas and primal_tol together. By default these are 1e-12, 1e-12, 1e-10 and 1e-10, and the
    device is "cpu". With solver="auto" the active-set method takes quadratic programs in up to 500
    variables that each have a square in the objective; the interior-point method takes the rest,
    and samples that the active-set method leaves short of 1e-9. Reference: https://moreau.so.
    """

    name = "MOREAU"
    requires = ("moreau",)
    quadratic = True
    known = Options(
        f"{SETTINGS} {IPM} {ACTIVE_SET}",
        # An interior point's distance from the solution is about the square root of its gap. At
        # Moreau's own tol_infeas_rel of 1e-8 feasible programs with entries of 1e5 count as
        # infeasible.
        defaults={
            "solver": "auto",
            "device": "cpu",
            "tol_gap_abs": 1e-12,
            "tol_gap_rel": 1e-12,
            "tol_feas": 1e-10,
            "primal_tol": 1e-10,
            "tol_infeas_rel": 1e-12,
        },
        tolerances=("tol_gap_abs", "tol_gap_rel", "tol_feas", "primal_tol"),
        time_limit="time_limit",
    )

    @property
    def cones(self) -> frozenset[type]:
        """All; semidefinite ones from Moreau 0.4 on."""
        old = is_installed(self) and _version() < (0, 4)
        return frozenset({Zero, NonNeg, SOC, Exp, Pow} | (set() if old else {PSD}))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve the batch at once, warm-started from `start`; what fails is solved again alone."""
        stages = self._stages(program.structure, start is not None)
        ways = [partial(_attempt, stage) for stage in stages]
        close = stages[-1].close

        def is_better(new: Attempt, old: Attempt) -> np.ndarray:
            # a verdict holds against a point that is far from optimal
            verdict = new.settled & np.isin(new.solution.messages, _SURE) & (old.doubt > close)
            less = new.doubt < old.doubt
            return np.where(new.solution.ok, less, verdict | ~old.solution.ok)

        return solve_in_turn(program, start, ways, is_better, total_costs=True)

    def _stages(self, structure: Structure, warm: bool) -> list[_Stage]:
        """The ways to solve, in the order in which they are tried on what is not settled yet."""
        options = self.settings
        accuracy, method = self.accuracy, options["solver"]
        method = str(getattr(method, "value", method)).lower()  # Moreau has an enum of these too
        flat = structure.polyhedral
        exact, close = max(_EXACT, accuracy), JUDGED_AT * max(FINEST, accuracy)
        active, interior = options | {"solver": "active_set"}, options | {"solver": "ipm"}
        if method == "active_set":
            if not flat:
                raise InvalidOption(f"{self.name}: solver='active_set' takes no curved cones")
            return [_Stage(active, warm, close, True)]
        if method not in ("auto", "ipm"):
            raise InvalidOption(
                f"{self.name}: solver must be 'auto', 'ipm' or 'active_set', not {method!r}"
            )
        stages = []
        if method == "auto" and flat and _suits_active_set(structure):
            stages.append(_Stage(active, warm, exact, False))
        if warm:
            # nearer, a cold start is no better: second-order cones end at 1e-9 to 1e-7 either way
            stages.append(_Stage(interior, True, close / 10, False))
        # again without equilibration first, as in clarabel.py
        loose = {name: max(options[name], _LADDER) for name in self.known.tolerances}
        rungs: Sequence[dict[str, Any]] = ({}, loose | {"equilibrate_enable": False}, loose)
        return stages + [_Stage(interior | rung, False, close, True) for rung in rungs]


@cache
def _version() -> tuple[int, ...]:
    return tuple(int(number) for number in version("moreau").split(".")[:2])


def _suits_active_set(structure: Structure) -> bool:
    """Whether Moreau would take it, and the program may be strictly convex.

    Other programs are regularized by it, which leaves residuals of 1e-6, and takes longer where
    there are many equalities (a portfolio with 10 factors and 100 assets: 60 ms against 3 ms).
    """
    P, n, m = structure.P, structure.n, structure.m
    squares = np.count_nonzero(P.rows == P.cols)
    return squares == n and n <= _MOST and 0 < m <= max(_MOST, 2 * n)


def _attempt(stage: _Stage, program: ConeProgram, start: Solution | None) -> Attempt:
    """A batch solved one way, in doubt as much as its residuals."""
    solution, worst = _solve(program, start, stage)
    stopped = np.isin(solution.messages, _LIMITS if stage.last_word else ("MaxTime",))
    sure = np.isin(solution.messages, _SURE) & stage.last_word  # infeasible or unbounded
    return Attempt(solution, worst, stopped | sure | (solution.ok & (worst <= stage.close)))


def _solve(
    program: ConeProgram, start: Solution | None, stage: _Stage
) -> tuple[Solution, np.ndarray]:
    """A batch solved one way, with its residuals; sample by sample where the batch raises."""
    begin, size = perf_counter(), program.batch
    stock, at_once = _stock(program, start, stage.options)
    q, b = (np.broadcast_to(v, (size, v.shape[1])) for v in (program.data.q, program.data.b))
    batched = stock.take()
    setups = np.full(size, float(batched is None))
    try:
        matrices = stock.P, stock.A
        batched = batched or Batched(program.structure, matrices, stage.options, at_once)
        raw = batched.solve(q, b, start.point if start is not None and stage.warm else None)
    except CvxlpgdError:  # of the call
        raise
    except Exception as error:
        if size == 1:
            nothing, message = np.full(1, None), f"{type(error).__name__}: {error}"
            solution = failure(program, message)
            return replace(solution, workspace=nothing, setups=np.zeros(1)), np.full(1, np.inf)
        alone = [np.array([i]) for i in range(size)]
        parts = [_solve(program.take(i), start and start.take(i), stage) for i in alone]
        return Solution.join([part for part, _ in parts]), np.concatenate([w for _, w in parts])
    stock.free.append(batched)
    with np.errstate(all="ignore"):
        worst = program.residuals(raw.point).largest
    worst = np.where(np.isfinite(worst), worst, np.inf)
    status = np.array([STATUS.get(w, Status.INACCURATE) for w in raw.messages], dtype=object)
    usable = np.isin(status, USABLE)
    status[usable & (worst > max(_ROUGH, stage.close))] = Status.FAILED
    usable = np.isin(status, USABLE)[:, None]
    solution = Solution(
        Point(*(np.where(usable, v, np.nan) for _, v in raw.point.items())),
        status,
        raw.iterations,
        np.full(size, (perf_counter() - begin) / size),
        raw.messages,
        workspace=np.full(size, stock, dtype=object),
        setups=setups,
    )
    return solution, worst


class _Use(NamedTuple):
    """What a stock's set-ups are for, besides their matrices.

    They solve whole multiples of `size` samples, as the re-solves of a batch from above and from
    below. A forked child, another process, has the objects but none of their threads.
    """

    options: tuple[tuple[str, Any], ...]
    size: int
    process: int


def _stock(
    program: ConeProgram, start: Solution | None, options: Mapping[str, Any]
) -> tuple[Stock[Batched], int]:
    """A stock that the start brings and that fits, or a new one; and its set-ups' size."""
    w, structure, batch = program.data, program.structure, program.batch
    use = _Use(tuple(sorted(options.items())), batch, os.getpid())
    brought = () if start is None or start.workspace is None else start.workspace
    for stock in {id(stock): stock for stock in brought if isinstance(stock, Stock)}.values():
        size = stock.use.size if isinstance(stock.use, _Use) else batch + 1
        wanted, pieces = use._replace(size=size), range(0, max(len(w.P), len(w.A)), size)
        if batch % size == 0 and all(
            stock.fits(wanted, structure, _piece(w.P, k, size), _piece(w.A, k, size))
            for k in pieces
        ):
            return stock, size
    return Stock(use, structure, w.P, w.A), batch


def _piece(values: np.ndarray, first: int, size: int) -> np.ndarray:
    """The values of `size` samples; all of them where those are the whole batch or share them."""
    return values if len(values) in (1, size) else values[first : first + size]
