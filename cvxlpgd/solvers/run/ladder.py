"""Several solvers, or ways to solve, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, Self

import numpy as np

from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, Solver, WithEnds, missing_cones
from cvxlpgd.solvers.run.arrays import array_in
from cvxlpgd.solvers.run.solve import solve


class Attempt(NamedTuple):
    """A batch solved one way: how much to doubt each sample (batch,), and which need no other way.

    `settled` is a bool array (batch,).
    """

    solution: Solution
    doubt: np.ndarray
    settled: np.ndarray

    def take(self, index: np.ndarray) -> Attempt:
        """These samples' part."""
        return Attempt(self.solution.take(index), self.doubt[index], self.settled[index])


Way = Callable[[ConeProgram, Solution | None], Attempt]


def is_less_doubtful(new: Attempt, old: Attempt) -> np.ndarray:
    """Which samples the newer attempt leaves with less doubt, bool (batch,)."""
    return new.doubt < old.doubt


def solve_in_turn(
    program: ConeProgram,
    start: Solution | None,
    ways: Iterable[Way],
    is_better: Callable[[Attempt, Attempt], np.ndarray] = is_less_doubtful,
    total_costs: bool = False,
) -> Solution:
    """Solve a batch the first way, and what no way has settled yet the next way.

    Parameters
    ----------
    ways : functions (program, start) -> Attempt
    is_better : function (new attempt, old attempt) -> bool array (batch,)
        Whose solution replaces the earlier one.
    total_costs : bool
        If True, a sample's seconds and set-ups are those of all its attempts, otherwise those of
        the attempt that its solution is from.
    """
    each = iter(ways)
    best = next(each)(program, start)
    while not best.settled.all():
        way = next(each, None)
        if way is None:
            break
        left = np.flatnonzero(~best.settled)
        rest = program if len(left) == program.batch else program.take(left)
        new = way(rest, start and start.take(left))
        better = is_better(new, best.take(left))
        solution = best.solution.replace_samples(left, new.solution, better)
        if total_costs:
            seconds, setups = np.array(best.solution.seconds), np.array(best.solution.setups)
            seconds[left] += new.solution.seconds
            setups[left] += np.asarray(new.solution.setups)
            solution = solution.change(seconds=seconds, setups=setups)
        doubt, settled = best.doubt.copy(), best.settled.copy()
        doubt[left[better]], settled[left] = new.doubt[better], new.settled
        best = Attempt(solution, doubt, settled)
    return best.solution


def inner(name: str) -> Any:
    """A property that is the inner solver's."""
    return property(attrgetter(f"solver.{name}"))


class Around:
    """Declares what its `solver` does, and works on NumPy arrays."""

    name, requires, cones = inner("name"), inner("requires"), inner("cones")
    quadratic, integer, accuracy = inner("quadratic"), inner("integer"), inner("accuracy")
    arrays = "numpy"


@dataclass(frozen=True)
class FirstOf(Around):
    """Each sample is solved by the first of these solvers that solves it.

    A sample that one leaves inaccurate or failed, or that counts as solved with a residual above
    1e-8 where more was asked for, goes to the next one that takes the program, and stays as it was
    where that does no better. "infeasible" and "unbounded" are answers. Together they take what any
    of them takes; the rest is declared as by the first one.
    """

    solvers: tuple[Solver, ...]
    solver = property(lambda self: self.solvers[0])
    arrays = inner("arrays")

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
        kinds = [solver.integer for solver in self.solvers if solver.integer]
        return kinds[0] if len(set(kinds)) == 1 else bool(kinds)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The solvers that have the options, with them; if none has, the first one's error."""
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
        return solve_in_turn(program, start, (partial(_attempt, s) for s in self._able(program)))

    def ends(
        self, program: ConeProgram, solution: Solution, direction: Point, taus: np.ndarray
    ) -> Solution | None:
        """What the first one that takes the program follows of its own solutions."""
        first = next(self._able(program))
        if not isinstance(first, WithEnds):
            return None
        return first.ends(program, solution, direction, taus)

    def _able(self, program: ConeProgram) -> Iterator[Solver]:
        """The solvers that take the program."""
        return (s for s in self.solvers if not missing_cones(s, program.structure))


def _attempt(solver: Solver, program: ConeProgram, start: Solution | None) -> Attempt:
    solution = solve(solver, program, start)
    names = np.full(len(solution.status), solver.name, dtype=object)
    doubt = _doubt(solution, solver)
    return Attempt(solution.change(solvers=names), doubt, doubt == 0)


def _doubt(solution: Solution, solver: Solver) -> np.ndarray:
    """How much to doubt a solver's answers, (batch,): failed 3, inaccurate 2, otherwise mostly 0.

    A solved point as much as its residual, where that is no match for what the solver was asked.
    """
    assert solution.residuals is not None
    residual = array_in(solution.residuals.largest, "numpy")  # NaN with integers
    unsure = (residual > FINEST) & (solver.accuracy <= FINEST)
    solved = solution.status == Status.SOLVED
    if not unsure.any() and solved.all():
        return np.zeros(len(solved))
    doubt = np.where(solved & unsure, np.minimum(residual, 1.0), 0.0)
    doubt[solution.status == Status.INACCURATE] = 2.0
    doubt[solution.status == Status.FAILED] = 3.0
    return doubt


def first_of(*solvers: Solver) -> FirstOf:
    """These solvers in turn; those that are several themselves one by one."""
    flat = [s.solvers if isinstance(s, FirstOf) else (s,) for s in solvers]
    return FirstOf(tuple(one for several in flat for one in several))


def is_plain(solver: Solver) -> bool:
    """Whether it is one solver, not several in turn, and not one around another."""
    return not isinstance(solver, Around)
