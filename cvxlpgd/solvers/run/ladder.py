"""Several solvers in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from array_api_compat import to_device

from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.protocol import FINEST, Solver, missing_cones
from cvxlpgd.solvers.run.solve import solve
from cvxlpgd.solvers.run.wrapper import Around


@dataclass(frozen=True)
class FirstOf:
    """Each sample is solved by the first of these solvers that solves it.

    A sample that one leaves inaccurate or failed, or that counts as solved with a residual above
    1e-8 where more was asked for, goes to the next one that takes the program, and stays as it was
    where that does no better. "infeasible" and "unbounded" are answers.
    """

    solvers: tuple[Solver, ...]

    @property
    def name(self) -> str:
        """The first one's name."""
        return self.solvers[0].name

    @property
    def requires(self) -> tuple[str, ...]:
        """What the first one requires."""
        return self.solvers[0].requires

    @property
    def cones(self) -> frozenset[type]:
        """What any of them takes."""
        return frozenset().union(*(solver.cones for solver in self.solvers))

    @property
    def quadratic(self) -> bool:
        """Whether any of them takes a P."""
        return any(solver.quadratic for solver in self.solvers)

    @property
    def integer(self) -> bool | str:
        """Whether any of them takes integers; "linear" if all that do take them without a P."""
        taken = [solver.integer for solver in self.solvers if solver.integer]
        return taken[0] if len(set(taken)) == 1 else bool(taken)

    @property
    def arrays(self) -> str:
        """The first one's."""
        return self.solvers[0].arrays

    @property
    def accuracy(self) -> float:
        """The first one's."""
        return self.solvers[0].accuracy

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Those of them that have the options, with them.

        Raises
        ------
        InvalidOption
            The first one's, where none has them.
        """
        have, refusals = [], []
        for solver in self.solvers:
            try:
                have.append(solver.with_options(options))
            except InvalidOption as error:
                refusals.append(error)
        if not have:
            raise refusals[0]
        return replace(self, solvers=tuple(have))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve with the first one that takes the program, and what it leaves with the next."""
        able = [s for s in self.solvers if not missing_cones(s, program.structure)]
        solution = _named(solve(able[0], program, start), able[0])
        doubt = _doubt(solution, able[0])
        for solver in able[1:]:
            left = np.flatnonzero(doubt)
            if not len(left):
                break
            some = program if len(left) == program.batch else program.take(left)
            again = _named(solve(solver, some, start and start.take(left)), solver)
            doubts = _doubt(again, solver)
            better = doubts < doubt[left]
            solution = solution.replaced(left, again, better)
            doubt[left] = np.minimum(doubt[left], doubts)
        return solution


def _doubt(solution: Solution, solver: Solver) -> np.ndarray:
    """How much to doubt a solver's answers, (batch,): failed 3, inaccurate 2, otherwise mostly 0.

    A solved point as much as its residual, where that is no match for what the solver was asked.
    """
    assert solution.residuals is not None
    residual = np.asarray(to_device(solution.residuals.largest, "cpu"))  # NaN with integers
    unsure = (residual > FINEST) & (solver.accuracy <= FINEST)
    doubt = np.where((solution.status == Status.SOLVED) & unsure, np.minimum(residual, 1.0), 0.0)
    doubt[solution.status == Status.INACCURATE] = 2.0
    doubt[solution.status == Status.FAILED] = 3.0
    return doubt


def first_of(*solvers: Solver) -> FirstOf:
    """These solvers in turn; those that are several themselves one by one."""
    flat = [s.solvers if isinstance(s, FirstOf) else (s,) for s in solvers]
    return FirstOf(tuple(one for several in flat for one in several))


def is_plain(solver: Solver) -> bool:
    """Whether it is one solver, not several in turn, and not one around another."""
    return not isinstance(solver, FirstOf | Around)


def _named(solution: Solution, solver: Solver) -> Solution:
    names = np.full(len(solution.status), solver.name, dtype=object)
    return replace(solution, solvers=names)
