"""Perturbed programs, solved by what a solver kept of the solution at the middle where it can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, Solver, WithEnds
from cvxlpgd.solvers.run.arrays import array_in, array_like, point_in, program_in
from cvxlpgd.solvers.run.guard import is_failure
from cvxlpgd.solvers.run.solve import OWN, judge, solve


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
    followed = judge(followed, perturbed, solver.accuracy)
    left = np.flatnonzero(~_is_certain(followed))
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
    own = replace(solution, point=point_in(solution.point, solver.arrays))
    along = point_in(direction, solver.arrays)
    try:
        followed = solver.ends(program_in(program, solver.arrays), own, along, taus)
    except Exception as error:
        if not is_failure(error):
            raise
        return None
    if followed is None or not followed.ok.any():
        return None
    points = (array_like(v, program.data.q) for _, v in followed.point.items())
    return replace(followed, point=Point(*points))


def _is_certain(solution: Solution) -> np.ndarray:
    """Which samples' residuals are at rounding, bool (batch,)."""
    assert solution.residuals is not None
    worst, own = (
        array_in(v, "numpy") for v in (solution.residuals.largest, solution.residuals.own)
    )
    return (solution.status == Status.SOLVED) & (worst <= FINEST) & (own <= OWN * FINEST)
