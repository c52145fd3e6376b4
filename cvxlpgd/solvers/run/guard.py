"""What a solver returns is checked before it is used: a fault is a failed sample of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import Solver

_STATUSES = frozenset(Status)


def solve_guarded(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """solver.solve; where that raises, or returns no Solution of the batch, each sample alone.

    A sample that does so alone is a failed sample. What this library raises on purpose, such as
    InvalidOption, is of the call and not of a sample, and is passed on.
    """
    try:
        return _check(solver.solve(program, start), program)
    except CvxlpgdError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        if program.batch == 1:
            return failure(program, one_line(error))
    samples = (np.array([i]) for i in range(program.batch))
    parts = [solve_guarded(solver, program.take(i), start and start.take(i)) for i in samples]
    return Solution.join(parts)


def failure(program: ConeProgram, message: str) -> Solution:
    """The solution of a batch in which every sample failed."""
    batch, q, xp = program.batch, program.data.q, array_namespace(program.data.q)
    sizes = program.structure.n, program.structure.m, program.structure.m
    kind = {"dtype": q.dtype, "device": q.device}
    point = Point(*(xp.full((batch, size), xp.nan, **kind) for size in sizes))
    status = np.full(batch, Status.FAILED, dtype=object)
    return Solution(point, status, np.zeros(batch), np.zeros(batch), (message,) * batch)


def is_failure(error: BaseException) -> bool:
    """Whether it is the solver's, and not Ctrl-C: a panic in Rust is no Exception in Python."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def one_line(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def shape_fault(name: str, array: Any, wanted: tuple[int, ...]) -> str:
    """What is wrong with the shape of an array, nothing if it is as wanted."""
    shape = tuple(array.shape)
    return "" if shape == wanted else f"the solver returned {name} of shape {shape}, not {wanted}"


def is_status(status: Any) -> bool:
    """Whether it is one of ours; a solver may write it as text."""
    return isinstance(status, str) and status in _STATUSES


def _check(solution: Solution, program: ConeProgram) -> Solution:
    """The solution itself; ValueError unless it is one of this batch."""
    batch, n, m = program.batch, program.structure.n, program.structure.m
    point, columns = solution.point, ("status", "iterations", "seconds")
    arrays: list[tuple[str, Any, tuple[int, ...]]] = [
        (k, v, (batch, n if k == "x" else m)) for k, v in point.items()
    ]
    arrays += [(name, getattr(solution, name), (batch,)) for name in columns]
    if any(v.shape != shape for _, v, shape in arrays):
        raise ValueError(next(filter(None, (shape_fault(*array) for array in arrays))))
    for k, v in point.items():
        if v.device != program.data.q.device:
            raise ValueError(
                f"the solver returned {k} on {v.device}, not on {program.data.q.device}"
            )
    if len(solution.messages) != batch:
        raise ValueError(f"the solver returned {len(solution.messages)} messages, not {batch}")
    for status in solution.status.tolist():
        if not is_status(status):
            raise ValueError(f"the solver returned the status {status!r}")
    return solution
