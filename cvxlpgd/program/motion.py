"""The data's cotangent as the pull-back of a motion of the solutions.

    w_bar = d/dt ∇L(z + t z_dot) = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot)

Differences of the Lagrangian's gradient are such, too, at the point in the middle:

    y1 x1' - y2 x2' = (y1 - y2) (x1 + x2)'/2 + (y1 + y2)/2 (x1 - x2)'
"""

from __future__ import annotations

from collections.abc import ItemsView
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.program.data import Data, Point, is_dense
from cvxlpgd.program.pattern import Array, Pattern, namespace_of, pick_columns
from cvxlpgd.program.structure import Structure
from cvxlpgd.program.threads import one_thread_each

FULL = 8.0  # cells of a full product for each entry wanted, up to which it is formed


@dataclass(frozen=True, eq=False)
class Motion:
    """How a batch's solutions move, and where they are: arrays (batch, n), (batch, m); no slack."""

    x_dot: Array
    y_dot: Array
    x: Array
    y: Array

    @classmethod
    def of(cls, dot: Point, at: Point, factor: Array = 1.0) -> Motion:
        """The motion `factor` dot, (batch, 1), at these points."""
        return cls(factor * dot.x, factor * dot.y, at.x, at.y)

    def items(self) -> ItemsView[str, Any]:
        """(name, array) of each field, in order."""
        return vars(self).items()

    def take(self, samples: np.ndarray) -> Motion:
        """The motions of these samples."""
        return Motion(*(v[samples] for _, v in self.items()))

    def pull_back(self, structure: Structure, entries: Data) -> Data:
        """w_bar at these entries of the data, each (batch, entries)."""
        x, y, x_dot, y_dot = self._fields
        return Data(
            P=_crossed((x / 2, x_dot / 2), (x_dot, x), structure.P, entries.P),
            q=pick_columns(x_dot, entries.q),
            A=_crossed((y, y_dot), (x_dot, x), structure.A, entries.A),
            b=-pick_columns(y_dot, entries.b),
        )

    def total(self, structure: Structure, entries: Data) -> Data:
        """The sums of w_bar over the batch at these entries, each (1, entries): one product."""
        x, y, x_dot, y_dot = self._fields
        stack = namespace_of(x).concat
        right, left = stack([x, x_dot]), stack([x_dot, x])
        return Data(
            P=_sum_of_products(left, right, structure.P, entries.P) / 2,
            q=pick_columns(x_dot, entries.q).sum(axis=0)[None],
            A=_sum_of_products(stack([y_dot, y]), right, structure.A, entries.A),
            b=-pick_columns(y_dot, entries.b).sum(axis=0)[None],
        )

    @property
    def _fields(self) -> tuple[Array, ...]:
        return self.x, self.y, self.x_dot, self.y_dot


def _crossed(
    left: tuple[Array, Array],
    right: tuple[Array, Array],
    pattern: Pattern,
    entries: np.ndarray,
) -> Array:
    """The entries of left_0 right_0' + left_1 right_1', (batch, entries)."""
    rows, cols = pattern.rows[entries], pattern.cols[entries]
    pairs = list(zip(left, right, strict=True))
    if not isinstance(left[0], np.ndarray):
        one, other = (pick_columns(a, rows) * pick_columns(b, cols) for a, b in pairs)
        return one + other
    height = int(np.searchsorted(cols, cols[0], side="right")) if len(cols) else 0
    if height > 1 and is_dense(rows, cols, height):
        # a dense block, column by column: the product lies in memory as its entries do
        down = np.stack([pick_columns(v, rows[:height]) for v in left], axis=1)
        across = np.stack([pick_columns(v, cols[::height]) for v in right], axis=2)
        return np.asarray(across @ down).reshape(len(down), len(rows))
    one, other = (pick_columns(a, rows) * pick_columns(b, cols) for a, b in pairs)
    one += other
    return one


def _sum_of_products(left: Array, right: Array, pattern: Pattern, entries: np.ndarray) -> Array:
    """Σ left right' over the samples at a pattern's entries, (1, entries)."""
    rows, cols = pattern.rows[entries], pattern.cols[entries]
    cells = left.shape[1] * right.shape[1]
    if cells <= FULL * len(entries) or not isinstance(left, np.ndarray):
        with one_thread_each():
            whole = left.T @ right
        return pick_columns(whole.reshape(1, cells), rows * right.shape[1] + cols)
    total = np.zeros((1, len(entries)))
    for one, other in zip(left, right, strict=True):
        total += one[rows] * other[cols]
    return total
