"""The one way in which the library calls a solver, and how residuals become a status.

A status is judged by the same residuals for every solver, whatever it says itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.program import ConeProgram, Point, Residuals, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT, Solver
from cvxlpgd.solvers.run.arrays import array_in, point_like, program_in
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
        In arrays of any kind; the solution's points are in arrays of the same kind, on the same
        device. What is known of each sample, such as residuals, is in NumPy arrays.
    start : Solution, optional
        Of a batch of the same length: where each sample starts, and what its solver kept.

    A sample that the solver raises at has failed, and its message says why; what it raises of
    `cvxlpgd.errors`, such as InvalidOption, is passed on.
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
        point = point_like(start.point, own.data.q)
        start = start if point is start.point else start.change(point=point)
    solution = solve_guarded(solver, own, start)
    if solution.residuals is None:
        solution = certify(solution, own)
    point = point_like(solution.point, program.data.q)
    return solution if point is solution.point else solution.change(point=point)


def judge(
    solution: Solution, program: ConeProgram, accuracy: float, most: float | None = None
) -> Solution:
    """The solution with its residuals, and each usable point called solved or inaccurate by them.

    A point is solved up to a residual `most`, if given, else up to what solvers of this accuracy
    may leave.

    A mixed-integer program has no duals: its primal residual counts, and that its solver was not
    stopped before it had proved the point to be the best.
    """
    most, usable = most or JUDGED_AT * max(accuracy, FINEST), solution.ok
    with np.errstate(all="ignore"):
        residuals, terms = program.measure(solution.point)
        residuals = Residuals(*(array_in(v, "numpy") for v in vars(residuals).values()))
        if program.structure.mixed_integer:
            worst, none = residuals.primal, residuals.primal * np.nan
            gap = none if solution.gap is None else solution.gap
            residuals = replace(residuals, dual=none, gap=gap)
            small = solution.status != Status.INACCURATE
        else:
            worst = residuals.largest
            small = program.is_small_in_own_units(solution.point, terms, OWN * most)
    solved = (worst <= most) & array_in(small, "numpy")
    if solved.all() and usable.all():
        status = np.full(len(solved), Status.SOLVED, dtype=object)
        return solution.change(status=status, residuals=residuals)
    broken = usable & ~np.isfinite(worst)
    status, messages = solution.status.copy(), list(solution.messages)
    status[usable], status[usable & solved] = Status.INACCURATE, Status.SOLVED
    status[broken] = Status.FAILED
    for i in np.flatnonzero(broken):
        messages[i] = "the solver returned NaN or infinite values"
    solution = solution.change(status=status, residuals=residuals, messages=tuple(messages))
    return solution.change(point=_points(solution))


def _points(solution: Solution) -> Point:
    """The points, NaN for samples that have none, whatever the solver left there."""
    if solution.ok.all():
        return solution.point
    xp = array_namespace(solution.point.x)
    ok = xp.asarray(solution.ok, device=solution.point.x.device)[:, None]
    return Point(*(xp.where(ok, v, xp.nan) for _, v in solution.point.items()))
