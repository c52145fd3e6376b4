"""A solver whose solutions are refined by Newton's method, to rounding where that is possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Self

import numpy as np

from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers._around import Around
from cvxlpgd.solvers._protocol import Solver, answered, is_solver, solve
from cvxlpgd.solvers._refine import Kept, is_refinable, refine


@dataclass(frozen=True)
class Refined(Around):
    """`solver`, whose solutions are refined: its name, its options, its cones.

    A re-solve is Newton's method from the solution that it starts from. Another solve is Newton's
    method from the point of `rough`, if there is one. What that does not bring to rounding, such as
    a degenerate sample, is solved by `solver`, and refined from there where that succeeds.
    Programs of more than a few hundred variables, and integer ones, are left to `solver`.

    Parameters
    ----------
    solver : Solver
    rough : Solver, optional
        A faster one, or the same with a loose tolerance.

    Raises
    ------
    InvalidOption
        For anything but solvers.
    """

    solver: Solver
    rough: Solver | None = None

    def __post_init__(self) -> None:
        for name, solver in (("solver", self.solver), ("rough", self.rough)):
            if not is_solver(solver) and (name == "solver" or solver is not None):
                raise InvalidOption(f"{name} must be a solver such as Clarabel(), not {solver!r}")

    @property
    def requires(self) -> tuple[str, ...]:
        """What both require."""
        both = self.solver.requires + (self.rough.requires if self.rough else ())
        return tuple(dict.fromkeys(both))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options for the solver; the rough one takes part of them.

        Those of no rough solver, such as a number of iterations, are to be obeyed: without it.
        """
        passed = {k: v for k, v in options.items() if k in ("verbose", "time_limit")}
        rough = self.rough if options.keys() <= {*passed, "eps"} else None
        return replace(
            self,
            solver=self.solver.with_options(options),
            rough=rough and rough.with_options(passed),
        )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Newton's method from `start`, then from the rough solver's points, then the solver's."""
        if not is_refinable(program.structure):
            return solve(self.solver, program, start)
        found = None if start is None else _newton(program, start, spent=False)
        start = start and _unwrapped(start)
        for solver in (self.rough, self.solver):
            left = np.arange(program.batch) if found is None else np.flatnonzero(~found.ok)
            if solver is None or not len(left):
                continue
            some = program if len(left) == program.batch else program.take(left)
            answer = _wrapped(answered(solver, some, start and start.take(left)))
            again = _newton(some, answer, spent=True)
            if solver is self.solver:  # its own points where they cannot be refined
                again = answer.replaced(np.arange(len(left)), again, again.ok)
            everything = np.ones(len(left), dtype=bool)
            found = again if found is None else found.replaced(left, again, everything)
        assert found is not None
        return replace(found, residuals=None)


def _newton(program: ConeProgram, start: Solution, spent: bool) -> Solution:
    """Newton's method from a solution; what it does not refine has failed.

    `spent` says whether that solution's own seconds and iterations are a part of this solve.
    """
    begin = perf_counter()
    wrapped = _wrapped(start).workspace
    assert wrapped is not None
    kept = np.array([None, *(entry.kept for entry in wrapped)], dtype=object)[1:]
    found = refine(program, start.point, kept)
    workspace = np.full(program.batch, None)
    workspace[:] = [
        replace(entry, kept=newest or entry.kept)
        for entry, newest in zip(wrapped, found.kept, strict=True)
    ]
    status = np.where(found.ok, Status.SOLVED, Status.FAILED).astype(object)
    setups = found.factored.astype(float)
    return replace(
        start,
        point=found.point,
        status=status,
        iterations=found.steps + start.iterations * spent,
        seconds=(perf_counter() - begin) / program.batch + start.seconds * spent,
        messages=("",) * program.batch,
        residuals=None,
        workspace=workspace,
        setups=setups + (0.0 if start.setups is None or not spent else start.setups),
        solvers=None,
    )


@dataclass(frozen=True, eq=False)
class _Entry:
    """What a solution keeps of a sample: what its solver does, and an inverse."""

    slot: Any = None
    kept: Kept | None = None


def _wrapped(solution: Solution) -> Solution:
    """The solution with such entries."""
    entries = [None] * len(solution.status) if solution.workspace is None else solution.workspace
    workspace = np.full(len(entries), None)
    workspace[:] = [entry if isinstance(entry, _Entry) else _Entry(entry) for entry in entries]
    return replace(solution, workspace=workspace)


def _unwrapped(solution: Solution) -> Solution:
    """The solution as its solver left it."""
    entries = _wrapped(solution).workspace
    assert entries is not None
    workspace = np.full(len(entries), None)
    workspace[:] = [entry.slot for entry in entries]
    return replace(solution, workspace=workspace)
