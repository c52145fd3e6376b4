"""Solvers that take one program at a time, over a batch: the only loop over samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.solution import Solution, Status


class Answer(NamedTuple):
    """One sample's result; arrays are None where there is no point."""

    status: Status
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    s: np.ndarray | None = None
    iterations: int = 0
    message: str = ""


class Sample(NamedTuple):
    """One sample's program."""

    P: sp.csc_matrix
    q: np.ndarray
    A: sp.csc_matrix
    b: np.ndarray


def sample(program: ConeProgram, i: int) -> Sample:
    """The i-th program of a batch, P with both triangles; nothing is copied."""
    return sampler(program)(i)


def sampler(program: ConeProgram, upper: bool = False) -> Callable[[int], Sample]:
    """A function i -> the i-th program; matrices that the batch shares are made once.

    Parameters
    ----------
    upper : bool
        Whether P is to have its upper triangle only.
    """
    w, A = program.data, program.structure.A
    everything = (slice(None), program.structure.P)
    chosen, P = program.structure.P.upper if upper else everything
    shared_P = P.matrix(w.P[0, chosen]) if len(w.P) == 1 else None
    shared_A = A.matrix(w.A[0]) if len(w.A) == 1 else None

    def of(i: int) -> Sample:
        return Sample(
            P.matrix(w.P[i, chosen]) if shared_P is None else shared_P,
            _row(w.q, i),
            A.matrix(w.A[i]) if shared_A is None else shared_A,
            _row(w.b, i),
        )

    return of


def _row(values: np.ndarray, i: int) -> np.ndarray:
    return values[i if len(values) > 1 else 0]


def solve_each(
    program: ConeProgram, one: Callable[[int], Answer], parallel: bool = True
) -> Solution:
    """Call `one` for each sample, in threads where `parallel` says that it releases the GIL.

    A sample that raises is a failed sample; the others are not touched.
    """
    batch, structure = program.batch, program.structure

    def timed(i: int) -> tuple[Answer, float]:
        begin = perf_counter()
        try:
            answer = one(i)
        except Exception as error:
            answer = Answer(Status.FAILED, message=f"{type(error).__name__}: {error}")
        return answer, perf_counter() - begin

    if parallel and batch > 1 and _workers() > 1:
        results = list(_pool().map(timed, range(batch)))
    else:
        results = [timed(i) for i in range(batch)]
    answers = [answer for answer, _ in results]

    def stacked(vectors: list[np.ndarray | None], size: int) -> np.ndarray:
        nothing = np.full(size, np.nan)
        return np.stack([nothing if v is None else np.asarray(v, dtype=float) for v in vectors])

    return Solution(
        point=Point(
            x=stacked([a.x for a in answers], structure.n),
            y=stacked([a.y for a in answers], structure.m),
            s=stacked([a.s for a in answers], structure.m),
        ),
        status=np.array([a.status for a in answers], dtype=object),
        iterations=np.array([float(a.iterations) for a in answers]),
        seconds=np.array([seconds for _, seconds in results]),
        messages=tuple(a.message for a in answers),
    )


def _workers() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_the_pool: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    """One pool for the process, made when first needed, joined by Python at exit."""
    global _the_pool
    if _the_pool is None:
        _the_pool = ThreadPoolExecutor(_workers(), thread_name_prefix="cvxlpgd")
    return _the_pool


def _forget_pool() -> None:
    """A forked child has the pool object but none of its threads."""
    global _the_pool
    _the_pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
