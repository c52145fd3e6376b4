"""The one way in which the library calls a solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, to_device

from cvxlpgd.program import ConeProgram, Data, Point
from cvxlpgd.program.pattern import Array
from cvxlpgd.program.solution import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.certify import certify
from cvxlpgd.solvers.run.guard import solve_guarded
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
        return _no_samples(_program_in(program, solver.arrays))
    solution = ask(solver, program, start)
    if solution.residuals is not None:  # judged by the one that solved it
        return solution
    return judge(solution, program, solver.accuracy)


def ask(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """What a solver makes of a batch, in the program's kind of arrays.

    They are moved to the kind that the solver takes and back here, and nowhere else. "Infeasible"
    and "unbounded" need a certificate: without one the sample has failed.
    """
    moved = _program_in(program, solver.arrays)
    solution = solve_guarded(solver, moved, start and _start_in(start, solver.arrays))
    if solution.residuals is None:
        solution = certify(solution, moved)
    points = (_array_like(v, program.data.q) for _, v in solution.point._items())
    return replace(solution, point=Point(*points))


def _no_samples(program: ConeProgram) -> Solution:
    """The solution of no samples."""
    n, m = program.structure.n, program.structure.m
    point = Point(np.zeros((0, n)), np.zeros((0, m)), np.zeros((0, m)))
    nothing = np.zeros(0)
    return judge(Solution(point, nothing.astype(object), nothing, nothing, ()), program, 1.0)


def _program_in(program: ConeProgram, arrays: str) -> ConeProgram:
    return replace(program, data=Data(*(_array_in(v, arrays) for _, v in program.data._items())))


def _start_in(start: Solution, arrays: str) -> Solution:
    return replace(start, point=Point(*(_array_in(v, arrays) for _, v in start.point._items())))


def _array_in(v: Array, arrays: str) -> Array:
    if arrays == "numpy" and not is_numpy_array(v):
        return np.asarray(to_device(v, "cpu"))
    if arrays == "torch" and is_numpy_array(v):
        import torch

        return torch.from_numpy(v)
    return v


def _array_like(v: Array, like: Array) -> Array:
    if is_numpy_array(v) and is_numpy_array(like):
        return v
    if is_numpy_array(like):
        return np.asarray(to_device(v, "cpu"))
    return array_namespace(like).asarray(v, dtype=like.dtype, device=like.device)
