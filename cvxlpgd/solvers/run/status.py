"""How residuals become a status: the same for every solver, whatever it says itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT
from cvxlpgd.solvers.run.arrays import array_in

OWN = 100.0  # times that in the data's own units: there solvers do not measure


def judge(solution: Solution, program: ConeProgram, accuracy: float) -> Solution:
    """The solution with its residuals, and each usable point called solved or inaccurate by them.

    A mixed-integer program has no duals: its primal residual counts, and that its solver was not
    stopped before it had proved the point to be the best.
    """
    with np.errstate(all="ignore"):
        residuals = program.residuals(solution.point)
    worst = residuals.largest
    if program.structure.mixed_integer:
        worst, none = residuals.primal, residuals.primal * np.nan
        gap = none if solution.gap is None else array_namespace(none).asarray(solution.gap)
        residuals = replace(residuals, dual=none, gap=gap)
    worst = array_in(worst, "numpy")
    status = solution.status.copy()
    usable = solution.ok
    status[usable] = Status.INACCURATE
    stopped = program.structure.mixed_integer & (solution.status == Status.INACCURATE)
    least, own = JUDGED_AT * max(accuracy, FINEST), array_in(residuals.own, "numpy")
    if program.structure.mixed_integer:
        own = own * 0.0
    status[usable & (worst <= least) & (own <= OWN * least) & ~stopped] = Status.SOLVED
    broken = usable & ~np.isfinite(worst)
    status[broken] = Status.FAILED
    messages = list(solution.messages)
    for i in np.flatnonzero(broken):
        messages[i] = "the solver returned NaN or infinite values"
    solution = replace(solution, status=status, residuals=residuals, messages=tuple(messages))
    return replace(solution, point=_points(solution))


def _points(solution: Solution) -> Point:
    """The points, NaN for samples that have none, whatever the solver left there."""
    if solution.ok.all():
        return solution.point
    xp = array_namespace(solution.point.x)
    ok = xp.asarray(solution.ok, device=solution.point.x.device)[:, None]
    return Point(*(xp.where(ok, v, xp.nan) for _, v in solution.point.items()))
