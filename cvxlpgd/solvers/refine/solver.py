"""A solver whose solutions are refined by Newton's method, to rounding where that is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Self

import numpy as np

from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT, Solver, is_solver
from cvxlpgd.solvers.refine.kept import SampleFactors
from cvxlpgd.solvers.refine.newton import is_refinable, refine
from cvxlpgd.solvers.run.ladder import Around, Attempt, solve_in_turn
from cvxlpgd.solvers.run.solve import ask, solve


@dataclass(frozen=True, init=False)
class Refined(Around):
    """A solver whose solutions are refined to rounding by Newton's method.

    Newton's method starts from the solution that a re-solve is given, else from a point of the
    solvers in `rough`, one after the other, and last from a point of `solver`. If none of them
    leads to rounding, as in a degenerate program, the point with the least residual is returned.
    Programs with more than a few hundred variables, and integer programs, are left to `solver`.
    Name, options and cones are those of `solver`.

    Parameters
    ----------
    solver : Solver
    rough : Solver or sequence of Solver, optional
        Faster ones, or the same with a loose tolerance.

    Raises
    ------
    InvalidOption
        For anything but solvers.
    """

    solver: Solver
    rough: tuple[Solver, ...]

    def __init__(self, solver: Solver, rough: Solver | Sequence[Solver] | None = None) -> None:
        rough = () if rough is None else rough
        several = tuple(rough) if isinstance(rough, list | tuple) else (rough,)
        for name, one in (("solver", solver), *(("rough", one) for one in several)):
            if not is_solver(one):
                raise InvalidOption(f"{name} must be a solver such as Clarabel(), not {one!r}")
        object.__setattr__(self, "solver", solver)
        object.__setattr__(self, "rough", several)

    @property
    def requires(self) -> tuple[str, ...]:
        """What all of them require."""
        all_of_them = (name for s in (self.solver, *self.rough) for name in s.requires)
        return tuple(dict.fromkeys(all_of_them))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The solver with more options; the rough ones take part of them.

        Those of no rough solver, such as a number of iterations, are to be obeyed: without it.
        """
        passed = {k: v for k, v in options.items() if k in ("verbose", "time_limit")}
        rough = self.rough if options.keys() <= {*passed, "eps"} else ()
        return replace(
            self,
            solver=self.solver.with_options(options),
            rough=tuple(one.with_options(passed) for one in rough),
        )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Newton's method from `start`, then from the rough solvers' points, then the solver's."""
        if not is_refinable(program.structure):
            return solve(self.solver, program, start)
        newton = [] if start is None else [self._from_start]
        ways = newton + [partial(self._attempt, solver) for solver in (*self.rough, self.solver)]
        solution = solve_in_turn(program, start, ways, lambda new, old: new.doubt <= old.doubt)
        return replace(solution, residuals=None)

    def _from_start(self, program: ConeProgram, start: Solution | None) -> Attempt:
        """Newton's method from an earlier solution."""
        assert start is not None
        solution = _refine(program, start, spent=False)
        return Attempt(solution, np.where(solution.ok, 0.0, np.inf), solution.ok)

    def _attempt(self, solver: Solver, program: ConeProgram, start: Solution | None) -> Attempt:
        """Newton's method from a solver's points; the points where it does not lead to rounding."""
        answer = _wrap(ask(solver, program, start and _unwrap(start)))
        refined = _refine(program, answer, spent=True)
        doubt = self._doubt(answer, program, refined.ok)
        solution = answer.replace_samples(np.arange(program.batch), refined, refined.ok)
        return Attempt(solution, doubt, doubt <= self.accuracy)

    def _doubt(self, answer: Solution, program: ConeProgram, refined: np.ndarray) -> np.ndarray:
        """How much to doubt an answer: nothing that is refined, a point as much as its residual.

        That there is no point is an answer too, preferred to a point that would be inaccurate.
        """
        if refined.all():
            return np.zeros(program.batch)
        with np.errstate(all="ignore"):
            residual = np.nan_to_num(program.residuals(answer.point).largest, nan=np.inf)
        inaccurate = JUDGED_AT * max(self.accuracy, FINEST)
        none = np.where(answer.status == Status.FAILED, np.inf, inaccurate)
        return np.where(refined, 0.0, np.where(answer.ok, residual, none))


def _refine(program: ConeProgram, start: Solution, spent: bool) -> Solution:
    """Newton's method from a solution; what it does not refine has failed.

    `spent` says whether that solution's own seconds and iterations are a part of this solve.
    """
    begin = perf_counter()
    entries = _entries(start)
    refinement = refine(program, start.point, _objects([entry.factors for entry in entries]))
    newest = zip(entries, refinement.factors, strict=True)
    workspace = _objects([replace(entry, factors=new or entry.factors) for entry, new in newest])
    # beside a point that ran away to infinity everything is rounding, but not beside the data
    with np.errstate(all="ignore"):
        residual = program.residuals(refinement.point).largest
    ok = refinement.ok & (residual <= JUDGED_AT * FINEST)
    status = np.where(ok, Status.SOLVED, Status.FAILED).astype(object)
    setups = refinement.factored.astype(float)
    return replace(
        start,
        point=refinement.point,
        status=status,
        iterations=refinement.steps + start.iterations * spent,
        seconds=(perf_counter() - begin) / program.batch + start.seconds * spent,
        messages=("",) * program.batch,
        residuals=None,
        workspace=workspace,
        setups=setups + (0.0 if start.setups is None or not spent else start.setups),
        solvers=None,
    )


@dataclass(frozen=True, eq=False)
class _Entry:
    """What a solution keeps of a sample: what its solver does, and factors."""

    slot: Any = None
    factors: SampleFactors | None = None


def _objects(entries: list[Any]) -> np.ndarray:
    """An object array (entries,), whatever they are."""
    array = np.full(len(entries), None)
    array[:] = entries
    return array


def _entries(solution: Solution) -> list[_Entry]:
    """What a solution keeps of each sample; what another solver left there is that one's."""
    slots = [None] * len(solution.status) if solution.workspace is None else solution.workspace
    return [slot if isinstance(slot, _Entry) else _Entry(slot) for slot in slots]


def _wrap(solution: Solution) -> Solution:
    """The solution with such entries."""
    return replace(solution, workspace=_objects(_entries(solution)))


def _unwrap(solution: Solution) -> Solution:
    """The solution as its solver left it."""
    return replace(solution, workspace=_objects([entry.slot for entry in _entries(solution)]))
