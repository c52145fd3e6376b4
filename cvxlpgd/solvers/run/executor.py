"""A solver whose batches are cut in pieces for the workers of an executor."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.program import ConeProgram, Point, Residuals, Solution, Structure
from cvxlpgd.program.solution import RESIDUALS
from cvxlpgd.program.threads import workers
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.each import groups_of
from cvxlpgd.solvers.run.guard import failure
from cvxlpgd.solvers.run.ladder import Around, inner
from cvxlpgd.solvers.run.losses import is_loss, message_of
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.solvers.run.solve import judge, solve
from cvxlpgd.solvers.run.worker import Outcome, Piece, Way, follow, run_piece

AT_ONCE = 16  # samples that a process which may be lost gets at most

_sent: weakref.WeakSet[Structure] = weakref.WeakSet()  # structures that a worker has been sent


class Task(NamedTuple):
    """A way to solve some samples of a batch."""

    way: Way
    samples: np.ndarray
    program: ConeProgram
    start: Solution | None
    arguments: tuple[Any, ...] = ()


Result = Solution | Exception | None  # an exception says how a task's worker was lost


@dataclass(frozen=True)
class OnExecutor(Around):
    """`solver`, run by the caller's executor: threads or processes. Declares what `solver` does.

    A concurrent.futures executor is the caller's: it is never started or closed here, and it is not
    pickled. `time_limit` is that of a sample, in seconds. A batch is cut in so many `pieces`; as
    many as there are CPUs to run on, if not given.
    """

    solver: Solver
    executor: Executor | Processes
    time_limit: float | None = None
    pieces: int | None = None
    arrays = inner("arrays")  # pieces are handed over as they are

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The solver with more options, on this executor."""
        return replace(self, solver=self.solver.with_options(options))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve the pieces at once and put them together in order.

        Where a worker is lost, its samples are tried once more, each alone; then they have failed.
        """

        def task(samples: np.ndarray) -> Task:
            return Task(solve, samples, program.take(samples), start and start.take(samples))

        tasks = [task(piece) for piece in self._pieces(groups_of(start, program.batch))]
        results = self._run(tasks)
        lost = [own.samples for own, result in zip(tasks, results, strict=True) if is_loss(result)]
        alone = [task(piece[k : k + 1]) for piece in lost for k in range(len(piece))]
        pairs = list(zip(tasks + alone, results + self._run_alone(alone), strict=True))
        kept = [pair for k, pair in enumerate(pairs) if k >= len(tasks) or not is_loss(pair[1])]
        solutions = [self._solution(own.program, result) for own, result in kept]
        return _gather([own.samples for own, _ in kept], solutions)

    def ends(
        self, program: ConeProgram, solution: Solution, direction: Point, taus: np.ndarray
    ) -> Solution | None:
        """What `solver` follows of its own solutions; see `protocol.WithEnds`."""
        tasks = []
        for piece in self._pieces(groups_of(solution, program.batch)):
            arguments = direction.pick(piece), taus[:, piece]
            own = program.take(piece), solution.take(piece)
            tasks.append(Task(follow, piece, *own, arguments))
        results = self._run(tasks)
        if not any(isinstance(result, Solution) for result in results):
            return None
        ends = np.arange(len(taus))[:, None]
        places = [(ends * program.batch + own.samples).ravel() for own in tasks]
        parts = [
            result
            if isinstance(result, Solution)
            else failure(own.program.take(np.tile(np.arange(own.program.batch), len(taus))), "")
            for own, result in zip(tasks, results, strict=True)
        ]
        return _gather(places, parts)

    def _pieces(self, groups: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As many as are wanted, or as there are CPUs; of Processes at least one for each worker,
        and smaller ones, since a worker may be lost with its piece.
        """
        count = self.pieces or workers()
        if isinstance(self.executor, Processes):
            count = max(self.pieces or 0, self.executor.count, -(-len(groups) // AT_ONCE))
        cuts = [round(len(groups) * k / count) for k in range(count + 1)]
        return [np.concatenate(groups[i:j]) for i, j in pairwise(cuts) if j > i]

    def _run_alone(self, tasks: Sequence[Task]) -> list[Result]:
        """What becomes of tasks one of which may end its worker.

        A pool that is not ours would blame those that are in its hands at the same time.
        """
        if isinstance(self.executor, Processes):
            return self._run(tasks)
        return [result for own in tasks for result in self._run([own])]

    def _run(self, tasks: Sequence[Task]) -> list[Result]:
        """What becomes of each task, all at once. Threads have all that other workers are sent."""
        if isinstance(self.executor, ThreadPoolExecutor):
            return self._wait([
                (own, own.way, (self.solver, own.program, own.start, *own.arguments))
                for own in tasks
            ])  # fmt: skip
        pieces = [Piece.of(self.solver, own.program, own.start) for own in tasks]
        known = [own.program.structure in _sent for own in tasks]
        outcomes = self._send(tasks, pieces, known)
        lacking = [
            k for k, each in enumerate(outcomes) if isinstance(each, Outcome) and each.lacking
        ]
        rest = [tasks[k] for k in lacking], [pieces[k] for k in lacking], [False] * len(lacking)
        for k, outcome in zip(lacking, self._send(*rest), strict=True):
            outcomes[k] = outcome
        return [each.whole if isinstance(each, Outcome) else each for each in outcomes]

    def _send(
        self, tasks: Sequence[Task], pieces: Sequence[Piece], known: Sequence[bool]
    ) -> list[Any]:
        """The outcomes of pieces; those whose structure is not known to workers travel with it."""
        calls = []
        for own, piece, there in zip(tasks, pieces, known, strict=True):
            structure = own.program.structure
            whole = piece if there else piece.with_structure(structure)
            calls.append((own, run_piece, (own.way, whole, *own.arguments)))
            _sent.add(structure)
        return self._wait(calls)

    def _wait(self, calls: Sequence[tuple[Task, Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
        """What these calls return, or how their workers were lost."""
        futures: list[Future[Any]] = []
        try:
            for own, call, arguments in calls:
                futures.append(self._submit(own.program.batch, call, *arguments))
            return [self._result(future) for future in futures]
        finally:
            for future in futures:  # after Ctrl-C, or an error of the call, the others stop too
                future.cancel()

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except CvxlpgdError:  # of the call
            raise
        except Exception as error:
            return error

    def _submit(self, batch: int, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            if isinstance(self.executor, Processes):
                limit = self.time_limit and self.time_limit * batch + self.executor.grace
                return self.executor.submit(limit, call, *arguments)
            return self.executor.submit(call, *arguments)
        except Exception as error:  # it is shut down, broken, or refuses what it is given
            refused: Future[Any] = Future()
            refused.set_exception(error)
            return refused

    def _solution(self, program: ConeProgram, result: Result) -> Solution:
        """A task's solution, judged where it was solved, or its failure."""
        if isinstance(result, Solution):
            return result
        message = message_of(result, self.solver, isinstance(self.executor, Processes))
        return judge(failure(program, message), program, self.accuracy)


def _gather(places: Sequence[np.ndarray], parts: Sequence[Solution]) -> Solution:
    """The solution of a batch whose samples at these places are those of the parts."""
    joined, order = Solution.join(parts), np.argsort(np.concatenate(places))
    solution, residuals = joined.take(order), joined.residuals
    if residuals is None:
        return solution
    picked = (getattr(residuals, name)[order] for name in RESIDUALS)
    return solution.change(residuals=Residuals(*picked))
