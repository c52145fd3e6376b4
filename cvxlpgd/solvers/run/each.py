"""Solvers that take one program at a time, over a batch: the only loop over samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import USABLE, ConeProgram, Point, Solution, Status
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


Gather = Callable[[Sequence[Answer]], Point]


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
    gather: Gather | None = None,
) -> Solution:
    """Call `one` for each sample, in threads where `parallel` says that it releases the GIL.

    A sample that raises, or whose answer has wrong shapes, is a failed sample; the others are not
    touched. Samples of one of the `groups`, if given, one thread solves one after the other.
    With `gather` answers hold vectors of the solver's own form, of which it makes the points of all
    samples at once.
    """
    batch, structure = program.batch, program.structure
    answers: list[Answer] = [Answer(Status.FAILED)] * batch
    seconds = [0.0] * batch
    sizes = None if gather else (structure.n, structure.m)

    def run_group(group: Sequence[int]) -> None:
        for i in group:
            begin = perf_counter()
            try:
                answers[i] = check(one(i), sizes)
            except BaseException as error:
                if not is_failure(error):
                    raise
                answers[i] = Answer(Status.FAILED, message=one_line(error))
            seconds[i] = perf_counter() - begin

    work = deque([(i,) for i in range(batch)] if groups is None else groups)
    if parallel and len(work) > 1:
        run_group(work.popleft())
        first = work.popleft()
        begin = perf_counter()
        run_group(first)  # the very first one sets up
        each = (perf_counter() - begin) / len(first)
        if each > WORTH_EACH and each * len(work) > WORTH and workers() > 1:
            share_out(work, run_group)
    for group in work:
        run_group(group)
    status, x, y, s, iterations, messages, _, _, gap = zip(*answers, strict=True)
    return Solution(
        point=gather(answers) if gather else Point(
            stack(x, structure.n), stack(y, structure.m), stack(s, structure.m)
        ),
        status=np.array(status, dtype=object),
        iterations=np.array(iterations, dtype=float),
        seconds=np.array(seconds),
        messages=messages,
        gap=np.array(gap) if structure.mixed_integer else None,
    )  # fmt: skip


def stack(vectors: Sequence[np.ndarray | None], size: int) -> np.ndarray:
    """Vectors (size,) as rows, NaN where there is none."""
    if all(v is not None for v in vectors):
        return np.array(vectors, dtype=float).reshape(len(vectors), size)
    out = np.full((len(vectors), size), np.nan)
    for i, vector in enumerate(vectors):
        if vector is not None:
            out[i] = vector
    return out


def check(answer: Answer, sizes: tuple[int, int] | None) -> Answer:
    """The answer, or a failure that says what is wrong with it; `sizes` are (n, m), if known."""
    status, x, y, s = answer[:4]
    if not is_status(status):
        fault = f"the solver returned the status {status!r}"
    elif status in USABLE and x is None:
        fault = f"the solver returned the status {status} without a point"
    elif sizes is None:
        return answer
    else:
        n, m = (sizes[0],), (sizes[1],)
        arrays = (("x", x, n), ("y", y, m), ("s", s, m))
        wrong = [shape_fault(k, v, w) for k, v, w in arrays if v is not None and v.shape != w]
        if not wrong:
            return answer
        fault = wrong[0]
    return Answer(Status.FAILED, message=fault)
