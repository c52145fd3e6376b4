"""Moreau: a batched interior-point solver for all cones, and an active-set one for small QPs.

https://moreau.so
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Point, Structure
from cvxlpgd.program.solution import USABLE, Solution, Status
from cvxlpgd.solvers.moreau.kept import ACTIVE_SET, IPM, SETTINGS, Batched, Kept
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT, checked_options, is_installed

_STATUS = {
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.INACCURATE,
    "InsufficientProgress": Status.INACCURATE,
    "PrimalInfeasible": Status.INFEASIBLE,
    "AlmostPrimalInfeasible": Status.INFEASIBLE,
    "DualInfeasible": Status.UNBOUNDED,
    "AlmostDualInfeasible": Status.UNBOUNDED,
}
_SURE = ("PrimalInfeasible", "DualInfeasible")
_LIMITS = ("MaxIterations", "MaxTime")
_TOLERANCES = ("tol_gap_abs", "tol_gap_rel", "tol_feas", "primal_tol")
# An interior point's distance from the solution is about the square root of its gap. At Moreau's
# own tol_infeas_rel of 1e-8 feasible programs with entries of 1e5 count as infeasible.
_DEFAULTS: dict[str, Any] = {
    "solver": "auto",
    "device": "cpu",
    "tol_gap_abs": 1e-12,
    "tol_gap_rel": 1e-12,
    "tol_feas": 1e-10,
    "primal_tol": 1e-10,
    "tol_infeas_rel": 1e-12,
}
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
class Moreau:
    """Moreau with its own options, such as `Moreau(tol_feas=1e-8, solver="ipm")`.

    Options are the fields of Moreau's Settings, IPMSettings and ActiveSetSettings but those of its
    own derivatives and batches (`help(moreau.Settings)`), and `eps` for tol_gap_abs, tol_gap_rel,
    tol_feas and primal_tol together. By default these are 1e-12, 1e-12, 1e-10 and 1e-10, and the
    device is "cpu". With solver="auto" the active-set method takes quadratic programs in up to 500
    variables that each have a square in the objective; the interior-point method takes the rest,
    and samples that the active-set method leaves short of 1e-9. Reference: https://moreau.so.
    """

    options: tuple[tuple[str, Any], ...]
    name = "MOREAU"
    requires = ("moreau",)
    quadratic = True
    integer = False
    arrays = "numpy"
    option_names = SETTINGS | IPM | ACTIVE_SET

    def __init__(self, **options: Any) -> None:
        own = checked_options(self.name, options, self.option_names, _TOLERANCES, "time_limit")
        object.__setattr__(self, "options", tuple(sorted(own.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options."""
        return type(self)(**(dict(self.options) | dict(options)))

    @property
    def cones(self) -> frozenset[type]:
        """All; semidefinite ones from Moreau 0.4 on."""
        old = is_installed(self) and _version() < (0, 4)
        return frozenset({Zero, NonNeg, SOC, Exp, Pow} | (set() if old else {PSD}))

    @property
    def accuracy(self) -> float:
        """The largest of the four tolerances."""
        settings = _DEFAULTS | dict(self.options)
        return float(max(settings[name] for name in _TOLERANCES))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve the batch at once, warm-started from `start`; what fails is solved again alone."""
        first, *others = self._stages(program.structure, start is not None)
        best, worst = _solved(program, start, first)
        settled = _settled(best, worst, first)
        for stage in others:
            index = np.flatnonzero(~settled)
            if not len(index):
                break
            again, residual = _solved(program.take(index), start and start.take(index), stage)
            settled[index] = _settled(again, residual, stage)
            # a verdict holds against a point that is far from optimal
            verdict = _is_sure(again, stage) & (worst[index] > stage.close) | ~best.ok[index]
            better = np.where(again.ok, residual < worst[index], verdict)
            worst[index[better]] = residual[better]
            best = _merged(best, index, again, better)
        return best

    def _stages(self, structure: Structure, warm: bool) -> list[_Stage]:
        """The ways to solve, in the order in which they are tried on what is not settled yet."""
        options = _DEFAULTS | dict(self.options)
        accuracy, given = self.accuracy, options["solver"]
        method = str(getattr(given, "value", given)).lower()  # Moreau has an enum of these as well
        flat = structure.polyhedral
        exact, judged = max(_EXACT, accuracy), JUDGED_AT * max(FINEST, accuracy)
        active, interior = options | {"solver": "active_set"}, options | {"solver": "ipm"}
        if method == "active_set":
            if not flat:
                raise InvalidOption(f"{self.name}: solver='active_set' takes no curved cones")
            return [_Stage(active, warm, judged, True)]
        if method not in ("auto", "ipm"):
            raise InvalidOption(
                f"{self.name}: solver must be 'auto', 'ipm' or 'active_set', not {method!r}"
            )
        stages = []
        if method == "auto" and flat and _suits_active_set(structure):
            stages.append(_Stage(active, warm, exact, False))
        if warm:
            # nearer, a cold start is no better: second-order cones end at 1e-9 to 1e-7 either way
            stages.append(_Stage(interior, True, judged / 10, False))
        # again without equilibration first, as in clarabel.py
        loose = {name: max(options[name], _LADDER) for name in _TOLERANCES}
        rungs: Sequence[dict[str, Any]] = ({}, loose | {"equilibrate_enable": False}, loose)
        return stages + [_Stage(interior | rung, False, judged, True) for rung in rungs]


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


def _settled(solution: Solution, worst: np.ndarray, stage: _Stage) -> np.ndarray:
    """Which samples need no other way."""
    limits = _LIMITS if stage.last_word else ("MaxTime",)
    stopped = np.isin(solution.messages, limits)
    return stopped | _is_sure(solution, stage) | (solution.ok & (worst <= stage.close))


def _is_sure(solution: Solution, stage: _Stage) -> np.ndarray:
    """Which samples are infeasible or unbounded without a doubt."""
    return np.isin(solution.messages, _SURE) & stage.last_word


def _solved(
    program: ConeProgram, start: Solution | None, stage: _Stage
) -> tuple[Solution, np.ndarray]:
    """A batch solved one way, with its residuals; sample by sample where the batch raises."""
    begin, size = perf_counter(), program.batch
    kept = _kept(program, start, stage.options)
    q, b = (np.broadcast_to(v, (size, v.shape[1])) for v in (program.data.q, program.data.b))
    batched = kept.taken()
    setups = np.full(size, float(batched is None))
    try:
        batched = batched or Batched(kept)
        raw = batched.solve(q, b, start.point if start is not None and stage.warm else None)
    except InvalidOption:
        raise
    except Exception as error:
        if size == 1:
            return _failed(program, f"{type(error).__name__}: {error}")
        alone = [np.array([i]) for i in range(size)]
        parts = [_solved(program.take(i), start and start.take(i), stage) for i in alone]
        return Solution.joined([part for part, _ in parts]), np.concatenate([w for _, w in parts])
    kept.free.append(batched)
    with np.errstate(all="ignore"):
        worst = program.residuals(raw.point).largest
    worst = np.where(np.isfinite(worst), worst, np.inf)
    status = np.array([_STATUS.get(w, Status.INACCURATE) for w in raw.words], dtype=object)
    usable = np.isin(status, USABLE)
    status[usable & (worst > max(_ROUGH, stage.close))] = Status.FAILED
    usable = np.isin(status, USABLE)[:, None]
    solution = Solution(
        Point(*(np.where(usable, v, np.nan) for _, v in raw.point.items())),
        status,
        raw.iterations,
        np.full(size, (perf_counter() - begin) / size),
        raw.words,
        workspace=np.full(size, kept, dtype=object),
        setups=setups,
    )
    return solution, worst


def _failed(program: ConeProgram, message: str) -> tuple[Solution, np.ndarray]:
    n, m = program.structure.n, program.structure.m
    point = Point(*(np.full((1, k), np.nan) for k in (n, m, m)))
    none, status = np.zeros(1), np.array([Status.FAILED], dtype=object)
    workspace = np.array([None], dtype=object)
    solution = Solution(point, status, none, none, (message,), workspace=workspace, setups=none)
    return solution, np.full(1, np.inf)


def _kept(program: ConeProgram, start: Solution | None, options: Mapping[str, Any]) -> Kept:
    """A home that the start brings and that fits, or a new one."""
    if start is not None and start.workspace is not None:
        homes = {id(home): home for home in start.workspace if isinstance(home, Kept)}
        for home in homes.values():
            if home.fits(options, program):
                return home
    return Kept(options, program.structure, program.data.P, program.data.A, program.batch)


def _merged(best: Solution, index: np.ndarray, again: Solution, better: np.ndarray) -> Solution:
    """`best` with the samples at `index` from `again` where that is better, and all its costs."""
    seconds, setups, workspace = (
        np.array(getattr(best, k)) for k in ("seconds", "setups", "workspace")
    )
    seconds[index] += again.seconds
    setups[index] += np.asarray(again.setups)
    workspace[index[better]] = np.asarray(again.workspace)[better]
    merged = best.replaced(index, again, better)
    return replace(merged, seconds=seconds, setups=setups, workspace=workspace)
