"""A solver whose batches are cut in pieces for the workers of an executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np

from cvxlpgd.program import ConeProgram, Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.each import groups_of
from cvxlpgd.solvers.run.guard import failure, one_line, solve_guarded
from cvxlpgd.solvers.run.ladder import Around, inner
from cvxlpgd.solvers.run.processes import Processes

AT_ONCE = 16  # samples that a process which may be lost gets at most
LOST = (BrokenExecutor, OSError)  # TimeoutError, and pebble's ProcessExpired, are of the latter


@dataclass(frozen=True)
class OnExecutor(Around):
    """`solver`, run by the caller's executor: threads or processes. Declares what `solver` does.

    A concurrent.futures executor is the caller's: it is never started or closed here, and it is not
    pickled. `time_limit` is that of a sample, in seconds.
    """

    solver: Solver
    executor: Executor | Processes
    time_limit: float | None = None
    arrays = inner("arrays")  # pieces are handed over as they are

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The solver with more options, on this executor."""
        return replace(self, solver=self.solver.with_options(options))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve the pieces at once and put them together in order.

        Where a worker is lost, its samples are tried once more, each alone; then they have failed.
        """
        pieces = self._pieces(groups_of(start, program.batch))
        outcomes = self._outcomes(program, start, pieces)
        solutions = [(piece, out) for piece, out in outcomes if isinstance(out, Solution)]
        lost = [piece for piece, out in outcomes if not isinstance(out, Solution)]
        alone = [piece[k : k + 1] for piece in lost for k in range(len(piece))]
        for piece, outcome in self._outcomes(program, start, alone):
            if not isinstance(outcome, Solution):
                outcome = failure(program.take(piece), self._message(outcome))
            solutions.append((piece, outcome))
        order = np.argsort(np.concatenate([piece for piece, _ in solutions]))
        return Solution.join([solution for _, solution in solutions]).take(order)

    def _pieces(self, groups: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """One for each worker; smaller ones where a worker may be lost with its piece."""
        count = getattr(self.executor, "_max_workers", 1)
        if isinstance(self.executor, Processes):
            count = max(self.executor.count, -(-len(groups) // AT_ONCE))
        cuts = [round(len(groups) * k / count) for k in range(count + 1)]
        return [np.concatenate(groups[i:j]) for i, j in pairwise(cuts) if j > i]

    def _outcomes(
        self, program: ConeProgram, start: Solution | None, pieces: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, Solution | Exception]]:
        """Each piece with its solution, or with how its worker was lost."""
        futures: list[Future[Solution]] = []
        outcomes: list[Solution | Exception] = []
        try:
            for piece in pieces:
                futures.append(self._submit(program.take(piece), start and start.take(piece)))
            for future in futures:
                try:
                    outcomes.append(future.result())
                except LOST as error:
                    outcomes.append(error)
        finally:
            for future in futures:  # after Ctrl-C, or an error of the call, the others stop too
                future.cancel()
        return list(zip(pieces, outcomes, strict=True))

    def _submit(self, program: ConeProgram, start: Solution | None) -> Future[Solution]:
        arguments = self.solver, program, start
        if isinstance(self.executor, Processes):
            limit = self.time_limit and self.time_limit * program.batch + self.executor.grace
            return self.executor.submit(limit, solve_guarded, *arguments)
        try:
            return self.executor.submit(solve_guarded, *arguments)
        except BrokenExecutor as error:
            broken: Future[Solution] = Future()
            broken.set_exception(error)
            return broken

    def _message(self, error: Exception) -> str:
        """What is said of a sample whose worker was lost again when it was alone."""
        if isinstance(error, TimeoutError):
            return "hung: twice its worker was ended, some time beyond the time limit"
        if isinstance(self.executor, Processes):
            code = getattr(error, "exitcode", None)
            return f"crashed: twice its worker process died, with exit code {code}"
        return (
            f"the executor lost a worker ({one_line(error)}); give it a new one, or "
            "executor=Processes(), which replaces its workers"
        )
