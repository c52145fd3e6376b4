"""DAQP for linear programs: its proximal-point iterations, dense and from nothing each time.

    minimize q'x   subject to  l <= [x; Ax] <= r

For some tens of variables that is faster than a simplex method that begins at a basis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from cvxlpgd.program import ConeProgram, Solution, Status
from cvxlpgd.solvers.daqp.flags import EQUALITY, SOLVED, WORDS
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import power_of_two

PROXIMAL = 1.0  # weight of the proximal term, with q and rows of size 1


def solve_linear(
    solver: Any, settings: Mapping[str, Any], program: ConeProgram, start: Solution | None
) -> Solution:
    """Solve each sample with DAQP's settings."""
    bounds = Bounds.of(program)
    options = dict(settings) | {"eps_prox": PROXIMAL, "eq_reduction": 0}
    prepare = partial(_Setup, bounds, options)
    solution = solve_prepared(solver, program, start, prepare, lasting=False)
    return bounds.with_slack(solution, program)


class _Setup:
    """One pair of matrices as DAQP reads them, which remembers the limits of its newest b."""

    def __init__(
        self, bounds: Bounds, settings: dict[str, Any], P: np.ndarray, A: np.ndarray
    ) -> None:
        self.bounds, self.settings = bounds, settings
        self.sense = np.zeros(bounds.n + len(bounds.rows), dtype=np.intc)
        self.sense[bounds.n : bounds.n + bounds.equalities] = EQUALITY
        rows = np.ascontiguousarray(bounds.pattern.matrix(A[bounds.entries]).toarray())
        # rows far from size 1 would be taken for empty ones
        self.heights = power_of_two(np.abs(rows).max(axis=1, initial=0.0))
        self.rows = rows / self.heights[:, None]
        self.b: np.ndarray | None = None
        self.limits: tuple[np.ndarray, np.ndarray]

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        import daqp

        if self.b is None or not np.array_equal(self.b, b):
            self.b, self.limits = b.copy(), self._limits(b)
        scale = 2.0 ** math.frexp(max(q.max(), -q.min()))[1]  # rounds nothing
        x, _, flag, info = daqp.solve(
            None, q / scale, self.rows, *self.limits, self.sense.copy(), **self.settings
        )
        if flag != SOLVED:
            # its proximal iterations call bounded programs unbounded at times: no verdict
            message = WORDS.get(flag) or "no solution was found"
            return Answer(Status.FAILED, iterations=info["iterations"], message=message)
        multipliers, n = info["lam"] * scale, len(q)
        of_bounds, of_rows = multipliers[:n], multipliers[n:] / self.heights
        y = self.bounds.duals(of_rows, np.maximum(-of_bounds, 0.0), np.maximum(of_bounds, 0.0))
        return Answer(Status.SOLVED, x, y, None, info["iterations"], setups=1)

    def _limits(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(r, l): those of the variables, then those of the rows."""
        bounds = self.bounds
        lower, upper = bounds.limits(b)
        right = b[bounds.rows] / self.heights
        left = np.full(len(right), -np.inf)
        left[: bounds.equalities] = right[: bounds.equalities]
        return np.concatenate([upper, right]), np.concatenate([lower, left])
