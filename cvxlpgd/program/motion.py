"""The data's cotangent as the pull-back of a motion of the solutions.

    w_bar = d/dt ∇L(z + t z_dot) = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot)

Differences of the Lagrangian's gradient are such, too, at the point in the middle:

    y1 x1' - y2 x2' = (y1 - y2) (x1 + x2)'/2 + (y1 + y2)/2 (x1 - x2)'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxlpgd.program.data import Data, Point, outer
from cvxlpgd.program.pattern import Array, Pattern, pick_columns
from cvxlpgd.program.structure import Structure
from cvxlpgd.program.threads import one_thread_each

FULL = 8.0  # cells of a full product for each entry wanted, up to which it is formed


@dataclass(frozen=True, eq=False)
class Motion:
    """How a batch's solutions move, (x_dot, y_dot), and where they are; slacks do not count."""

    dot: Point
    at: Point

    def pick(self, samples: np.ndarray) -> Motion:
        """The motions of these samples."""
        return Motion(self.dot.pick(samples), self.at.pick(samples))

    def pull_back(self, structure: Structure, entries: Data) -> Data:
        """w_bar at these entries of the data, each (batch, entries)."""
        dot, at, P, A = self.dot, self.at, structure.P, structure.A
        across = outer(dot.x, at.x, P, entries.P) + outer(at.x, dot.x, P, entries.P)
        return Data(
            P=across / 2,
            q=pick_columns(dot.x, entries.q),
            A=outer(dot.y, at.x, A, entries.A) + outer(at.y, dot.x, A, entries.A),
            b=-pick_columns(dot.y, entries.b),
        )

    def total(self, structure: Structure, entries: Data) -> Data:
        """The sums of w_bar over the batch at these entries, each (1, entries): one product."""
        dot, at = self.dot, self.at
        x, x_dot = np.concatenate([at.x, dot.x]), np.concatenate([dot.x, at.x])
        y = np.concatenate([dot.y, at.y])
        return Data(
            P=_sum_of_products(x_dot, x, structure.P, entries.P) / 2,
            q=pick_columns(dot.x, entries.q).sum(axis=0)[None],
            A=_sum_of_products(y, x, structure.A, entries.A),
            b=-pick_columns(dot.y, entries.b).sum(axis=0)[None],
        )


def _sum_of_products(left: Array, right: Array, pattern: Pattern, entries: np.ndarray) -> Array:
    """Σ left right' over the samples at a pattern's entries, (1, entries)."""
    rows, cols = pattern.rows[entries], pattern.cols[entries]
    if left.shape[1] * right.shape[1] <= FULL * len(entries):
        with one_thread_each():
            whole = left.T @ right
        return np.take(whole.ravel(), rows * right.shape[1] + cols)[None]
    total = np.zeros((1, len(entries)))
    for one, other in zip(left, right, strict=True):
        total += one[rows] * other[cols]
    return total
