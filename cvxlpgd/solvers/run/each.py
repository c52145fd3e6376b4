"""Solvers that take one program at a time, over a batch: the only loop over samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import USABLE, ConeProgram, Point, Solution, Status, Structure
from cvxlpgd.program.threads import share_out, workers
from cvxlpgd.solvers.run.guard import is_failure, is_status, one_line, shape_fault

# A second thread pays for its waking, and for the interpreter's lock, from these seconds on.
WORTH = 1e-3  # of all that is left to do
WORTH_EACH = 2e-4  # of one sample


class Answer(NamedTuple):
    """One sample's result; arrays are None where there is no point."""

    status: Status
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    s: np.ndarray | None = None
    iterations: int = 0
    message: str = ""
    state: Any = None  # what the solver may start this sample's next solve from, such as a basis
    setups: int = 0  # how often it set matrices up again for this solve
    gap: float = float("nan")  # of a mixed-integer program, see `Solution`


class Sample(NamedTuple):
    """One sample's program."""

    P: sp.csc_matrix
    q: np.ndarray
    A: sp.csc_matrix
    b: np.ndarray


def sample(program: ConeProgram, i: int) -> Sample:
    """The i-th program of a batch, P with both triangles; nothing is copied."""
    w, structure = program.data, program.structure
    P, A = structure.P.matrix(of_sample(w.P, i)), structure.A.matrix(of_sample(w.A, i))
    return Sample(P, of_sample(w.q, i), A, of_sample(w.b, i))


def of_sample(values: np.ndarray, i: int) -> np.ndarray:
    """The i-th sample's values of a batch's, also where all samples share them."""
    return values[i if len(values) > 1 else 0]


def groups_of(start: Solution | None, batch: int) -> list[list[int]]:
    """The samples, those that start from the same solution in one group, one after the other."""
    workspace = None if start is None else start.workspace
    if workspace is None:
        return [[i] for i in range(batch)]
    groups: dict[int, list[int]] = {}
    for i, entry in enumerate(workspace):
        groups.setdefault(-1 - i if entry is None else id(entry), []).append(i)
    return list(groups.values())


def solve_each(
    program: ConeProgram,
    one: Callable[[int], Answer],
    parallel: bool = True,
    groups: Sequence[Sequence[int]] | None = None,
) -> Solution:
    """Call `one` for each sample, in threads where `parallel` says that it releases the GIL.

    A sample that raises, or whose answer has wrong shapes, is a failed sample; the others are not
    touched. Samples of one of the `groups`, if given, one thread solves one after the other.
    """
    batch, structure = program.batch, program.structure
    answers: list[Answer] = [Answer(Status.FAILED)] * batch
    seconds = np.zeros(batch)

    def run_group(group: Sequence[int]) -> None:
        for i in group:
            begin = perf_counter()
            try:
                answers[i] = check(one(i), structure)
            except BaseException as error:
                if not is_failure(error):
                    raise
                answers[i] = Answer(Status.FAILED, message=one_line(error))
            seconds[i] = perf_counter() - begin

    work = deque([(i,) for i in range(batch)] if groups is None else groups)
    if parallel and len(work) > 1 and workers() > 1:
        run_group(work.popleft())
        first = work.popleft()
        begin = perf_counter()
        run_group(first)  # the very first one sets up
        each = (perf_counter() - begin) / len(first)
        if each > WORTH_EACH and each * len(work) > WORTH:
            share_out(work, run_group)
    for group in work:
        run_group(group)

    def stack(vectors: list[np.ndarray | None], size: int) -> np.ndarray:
        out = np.full((batch, size), np.nan)
        for i, vector in enumerate(vectors):
            if vector is not None:
                out[i] = vector
        return out

    return Solution(
        point=Point(
            x=stack([a.x for a in answers], structure.n),
            y=stack([a.y for a in answers], structure.m),
            s=stack([a.s for a in answers], structure.m),
        ),
        status=np.array([a.status for a in answers], dtype=object),
        iterations=np.array([float(a.iterations) for a in answers]),
        seconds=seconds,
        messages=tuple(a.message for a in answers),
        gap=np.array([a.gap for a in answers]) if structure.mixed_integer else None,
    )


def check(answer: Answer, structure: Structure) -> Answer:
    """The answer, or a failure that says what is wrong with it."""
    n, m = (structure.n,), (structure.m,)
    arrays = (("x", answer.x, n), ("y", answer.y, m), ("s", answer.s, m))
    faults = [shape_fault(k, v, wanted) for k, v, wanted in arrays if v is not None]
    if not is_status(answer.status):
        faults.append(f"the solver returned the status {answer.status!r}")
    elif answer.status in USABLE and answer.x is None:
        faults.append(f"the solver returned the status {answer.status} without a point")
    fault = next(filter(None, faults), "")
    return Answer(Status.FAILED, message=fault) if fault else answer
