"""Perturbed programs, solved by what a solver kept of the solution at the middle where it can."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Solution
from cvxlpgd.solvers.protocol import FINEST, Solver, WithEnds
from cvxlpgd.solvers.run.arrays import point_in, point_like, program_in
from cvxlpgd.solvers.run.guard import is_failure
from cvxlpgd.solvers.run.solve import judge


def follow_ends(
    solver: Solver,
    program: ConeProgram,
    solution: Solution,
    direction: Point,
    taus: np.ndarray,
    perturbed: Callable[[], ConeProgram],
) -> Solution | None:
    """The solutions of `perturbed`, the programs along a direction at each of `taus` (ends, batch),
    one end after the other, where the solver can follow them from the `solution` of `program`.

    What has residuals at rounding is solved, everything else is not; None where nothing is.
    """
    followed = _follow(solver, program, solution, direction, taus)
    return followed and judge(followed, perturbed(), solver.accuracy, most=FINEST)


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
