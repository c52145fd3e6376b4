"""The one way in which the library calls a solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, to_device

from cvxlpgd.program import ConeProgram, Data, Point
from cvxlpgd.program.pattern import Array
from cvxlpgd.program.solution import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.certify import certified
from cvxlpgd.solvers.run.guard import guarded
from cvxlpgd.solvers.run.status import judged


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
        return _none(_moved(program, solver.arrays))
    solution = answered(solver, program, start)
    if solution.residuals is not None:  # judged by the one that solved it
        return solution
    return judged(solution, program, solver.accuracy)


def answered(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """What a solver makes of a batch, in the program's kind of arrays.

    They are moved to the kind that the solver takes and back here, and nowhere else. "Infeasible"
    and "unbounded" need a certificate: without one the sample has failed.
    """
    moved = _moved(program, solver.arrays)
    solution = guarded(solver, moved, start and _moved_start(start, solver.arrays))
    if solution.residuals is None:
        solution = certified(solution, moved)
    points = (_to(v, program.data.q) for _, v in solution.point._items())
    return replace(solution, point=Point(*points))


def _none(program: ConeProgram) -> Solution:
    """The solution of no samples."""
    n, m = program.structure.n, program.structure.m
    point = Point(np.zeros((0, n)), np.zeros((0, m)), np.zeros((0, m)))
    nothing = np.zeros(0)
    return judged(Solution(point, nothing.astype(object), nothing, nothing, ()), program, 1.0)


def _moved(program: ConeProgram, arrays: str) -> ConeProgram:
    return replace(program, data=Data(*(_kind(v, arrays) for _, v in program.data._items())))


def _moved_start(start: Solution, arrays: str) -> Solution:
    return replace(start, point=Point(*(_kind(v, arrays) for _, v in start.point._items())))


def _kind(v: Array, arrays: str) -> Array:
    if arrays == "numpy" and not is_numpy_array(v):
        return np.asarray(to_device(v, "cpu"))
    if arrays == "torch" and is_numpy_array(v):
        import torch

        return torch.from_numpy(v)
    return v


def _to(v: Array, like: Array) -> Array:
    if is_numpy_array(v) and is_numpy_array(like):
        return v
    if is_numpy_array(like):
        return np.asarray(to_device(v, "cpu"))
    return array_namespace(like).asarray(v, dtype=like.dtype, device=like.device)
