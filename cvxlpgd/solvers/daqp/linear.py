"""Linear programs in DAQP, by proximal iterations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cvxlpgd.program import Status
from cvxlpgd.solvers.daqp.flags import EQUALITY, MESSAGES, SOLVED
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import power_of_two


class Linear:
    """One linear program's A as DAQP reads it; remembers the limits of its newest b.

        minimize q'x   subject to  l <= [x; Ax] <= r

    DAQP's proximal-point iterations begin from nothing each time: for some tens of variables that
    is faster than a simplex method that begins at a basis.
    """

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
        """The solution for q (n,) and b (m,); a start is of no use."""
        import daqp

        if self.b is None or not np.array_equal(self.b, b):
            self.b, self.limits = b.copy(), self._limits(b)
        scale = 2.0 ** math.frexp(max(q.max(), -q.min()))[1]  # rounds nothing
        x, _, flag, info = daqp.solve(
            None, q / scale, self.rows, *self.limits, self.sense.copy(), **self.settings
        )
        if flag != SOLVED:
            # its proximal iterations call bounded programs unbounded at times: no verdict
            message = MESSAGES.get(flag) or "no solution was found"
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
