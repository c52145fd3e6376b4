"""The one way in which the library calls a solver, and how residuals become a status.

A status is judged by the same residuals for every solver, whatever it says itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT, Solver
from cvxlpgd.solvers.run.arrays import array_in, array_like, point_in, program_in
from cvxlpgd.solvers.run.certify import certify
from cvxlpgd.solvers.run.guard import failure, solve_guarded

OWN = 100.0  # times that in the data's own units: there solvers do not measure


def solve(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """Solve a batch with any solver, measure the result and judge its status by the residuals.

    Parameters
    ----------
    solver : Solver
        One that takes the program; see `cvxlpgd.solvers.protocol.require`.
    program : ConeProgram
        In arrays of any kind.
    start : Solution, optional
        Of a batch of the same length: where each sample starts, and what its solver kept.

    Returns
    -------
    Solution
        With its residuals, in the program's kind of arrays. A sample that the solver raises at has
        failed, and its message says why.

    Raises
    ------
    CvxlpgdError
        What the solver raises of `cvxlpgd.errors`, such as InvalidOption.
    """
    if program.batch == 0:
        nothing = program_in(program, solver.arrays)
        return judge(failure(nothing, ""), nothing, solver.accuracy)
    solution = ask(solver, program, start)
    if solution.residuals is not None:  # judged by the one that solved it
        return solution
    return judge(solution, program, solver.accuracy)


def ask(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """What a solver makes of a batch, in the program's kind of arrays.

    "Infeasible" and "unbounded" need a certificate: without one the sample has failed.
    """
    own = program_in(program, solver.arrays)
    if start is not None:
        start = replace(start, point=point_in(start.point, solver.arrays))
    solution = solve_guarded(solver, own, start)
    if solution.residuals is None:
        solution = certify(solution, own)
    points = (array_like(v, program.data.q) for _, v in solution.point.items())
    return replace(solution, point=Point(*points))


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
