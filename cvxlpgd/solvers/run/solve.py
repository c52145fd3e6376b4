"""The one way in which the library calls a solver."""

from __future__ import annotations

from dataclasses import replace

from cvxlpgd.program import ConeProgram, Point, Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.arrays import array_like, point_in, program_in
from cvxlpgd.solvers.run.certify import certify
from cvxlpgd.solvers.run.guard import failure, solve_guarded
from cvxlpgd.solvers.run.status import judge


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
