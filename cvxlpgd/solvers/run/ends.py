"""Perturbed programs, solved by what a solver kept of the solution at the middle where it can."""

from __future__ import annotations

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, Solver, WithEnds
from cvxlpgd.solvers.run.arrays import point_in, point_like, program_in
from cvxlpgd.solvers.run.guard import is_failure
from cvxlpgd.solvers.run.solve import judge, solve


def follow_ends(
    solver: Solver,
    program: ConeProgram,
    solution: Solution,
    direction: Point,
    taus: np.ndarray,
    perturbed: ConeProgram,
) -> Solution:
    """The solutions of `perturbed`: the programs along a direction at each of `taus` (ends, batch),
    one end after the other.

    What the solver follows from the `solution` of `program` counts where its residuals are at
    rounding. Everything else is solved, starting from the solution.
    """
    both = np.tile(np.arange(taus.shape[1]), len(taus))
    followed = _follow(solver, program, solution, direction, taus)
    if followed is None:
        return solve(solver, perturbed, start=solution.take(both))
    followed = judge(followed, perturbed, solver.accuracy, most=FINEST)
    left = np.flatnonzero(followed.status != Status.SOLVED)
    if not len(left):
        return followed
    solved = solve(solver, perturbed.take(left), start=solution.take(both[left]))
    return followed.replace_samples(left, solved, np.ones(len(left), dtype=bool))


def _follow(
    solver: Solver, program: ConeProgram, solution: Solution, direction: Point, taus: np.ndarray
) -> Solution | None:
    """What the solver makes of the ends, in the program's kind of arrays; None if nothing."""
    if not isinstance(solver, WithEnds):
        return None
    own = solution.change(point=point_in(solution.point, solver.arrays))
    along = point_in(direction, solver.arrays)
    try:
        followed = solver.ends(program_in(program, solver.arrays), own, along, taus)
    except Exception as error:
        if not is_failure(error):
            raise
        return None
    if followed is None or not followed.ok.any():
        return None
    return followed.change(point=point_like(followed.point, program.data.q))
