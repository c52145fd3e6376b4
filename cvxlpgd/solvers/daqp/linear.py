"""Linear programs in DAQP, by proximal iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Status
from cvxlpgd.solvers.daqp.flags import EQUALITY, MESSAGES, SOLVED
from cvxlpgd.solvers.run.each import Answer, of_sample, stack
from cvxlpgd.solvers.run.prepared import Start
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import power_of_two


class LinearForm:
    """A batch's vectors as DAQP reads them, of size 1, and points of its answers: all at once.

    Costs are divided by a power of 2, which rounds nothing.
    """

    def __init__(self, program: ConeProgram, bounds: Bounds) -> None:
        w = program.data
        self.bounds, self.b, self.shared = bounds, w.b, len(w.A) == 1
        self.scale = 2.0 ** np.frexp(np.abs(w.q).max(axis=1, keepdims=True))[1]
        self.q = w.q / self.scale
        self.limits: tuple[np.ndarray, ...] | None = None  # of samples that share A

    def vectors(self, i: int, setup: Linear) -> tuple[np.ndarray, ...]:
        """(q, upper, lower) of the i-th sample."""
        q = of_sample(self.q, i)
        if not self.shared:
            return q, *setup.limits(of_sample(self.b, i))
        if self.limits is None:  # two threads may do the same
            self.limits = setup.limits(self.b)
        return q, *(of_sample(v, i) for v in self.limits)

    def point(self, answers: Sequence[Answer]) -> Point:
        """(x, y); no slack."""
        n = self.q.shape[1]
        x = stack([answer.x for answer in answers], n)
        multipliers = stack([answer.y for answer in answers], n + len(self.bounds.rows))
        multipliers *= self.scale
        of_bounds, of_rows = multipliers[:, :n], multipliers[:, n:]
        y = self.bounds.duals(of_rows, np.maximum(-of_bounds, 0.0), np.maximum(of_bounds, 0.0))
        return Point(x, y, np.zeros_like(y))


class Linear:
    """One linear program's A as DAQP reads it.

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
        heights = power_of_two(np.abs(rows).max(axis=1, initial=0.0))
        self.rows = rows / heights[:, None]
        self.heights = np.append(np.ones(bounds.n), heights)  # of the variables, too

    def solve(
        self, q: np.ndarray, upper: np.ndarray, lower: np.ndarray, start: Start | None
    ) -> Answer:
        """The solution for q (n,) and limits (n + rows,), with their multipliers; a start is of no
        use.
        """
        import daqp

        x, _, flag, info = daqp.solve(
            None, q, self.rows, upper, lower, self.sense.copy(), **self.settings
        )
        if flag != SOLVED:
            # its proximal iterations call bounded programs unbounded at times: no verdict
            message = MESSAGES.get(flag) or "no solution was found"
            return Answer(Status.FAILED, iterations=info["iterations"], message=message)
        y = info["lam"] / self.heights
        return Answer(Status.SOLVED, x, y, None, info["iterations"], setups=1)

    def limits(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(r, l) at b (..., m): those of the variables, then those of the rows."""
        bounds = self.bounds
        lower, upper = bounds.limits(b)
        right = b[..., bounds.rows] / self.heights[bounds.n :]
        left = np.full(right.shape, -np.inf)
        left[..., : bounds.equalities] = right[..., : bounds.equalities]
        return np.concatenate([upper, right], axis=-1), np.concatenate([lower, left], axis=-1)
