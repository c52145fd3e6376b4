"""A solver whose batches are cut in pieces for the workers of an executor."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np

from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution
from cvxlpgd.solvers._each import together
from cvxlpgd.solvers._protocol import Solver


@dataclass(frozen=True)
class OnExecutor:
    """`solver`, run by the caller's executor: threads or processes. Declares what `solver` does.

    The executor is the caller's: it is never started or closed here, and it is not pickled.
    """

    solver: Solver
    executor: Executor

    @property
    def name(self) -> str:
        """The solver's name."""
        return self.solver.name

    @property
    def requires(self) -> tuple[str, ...]:
        """What the solver requires."""
        return self.solver.requires

    @property
    def cones(self) -> frozenset[type]:
        """The cones that the solver takes."""
        return self.solver.cones

    @property
    def quadratic(self) -> bool:
        """Whether the solver takes a P."""
        return self.solver.quadratic

    @property
    def integer(self) -> bool:
        """Whether the solver takes integers."""
        return self.solver.integer

    @property
    def arrays(self) -> str:
        """Pieces travel as NumPy arrays."""
        return "numpy"

    @property
    def accuracy(self) -> float:
        """The solver's accuracy."""
        return self.solver.accuracy

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options for the solver."""
        return replace(self, solver=self.solver.with_options(options))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve the pieces at once and put them together in order."""
        workers = getattr(self.executor, "_max_workers", 1)
        groups = together(start, program.batch)
        cuts = [round(len(groups) * k / workers) for k in range(workers + 1)]
        pieces = [np.concatenate(groups[i:j]) for i, j in pairwise(cuts) if j > i]
        futures = [
            self.executor.submit(
                self.solver.solve,
                program.take(piece),
                start and start.take(piece),
            )
            for piece in pieces
        ]
        whole = Solution.joined([future.result() for future in futures])
        return whole.take(np.argsort(np.concatenate(pieces)))
