"""The data w = (P, q, A, b) and the points z = (x, y, s) of programs, as vector spaces.

Every array has a leading batch axis. Data of length 1 along it are shared by the whole batch and
never copied. P and A are held as the values of their patterns' entries, P with both triangles.
"""

from __future__ import annotations

from collections.abc import ItemsView
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.program.pattern import Array, Pattern, pick_columns

SMALL = 20_000  # numbers of an array whose absolute values are cheap to write down


class _Vector:
    """Sums, differences and multiples, field by field."""

    def __add__(self, other: Any) -> Any:
        return type(self)(*(v + getattr(other, k) for k, v in self.items()))

    def __sub__(self, other: Any) -> Any:
        return type(self)(*(v - getattr(other, k) for k, v in self.items()))

    def __mul__(self, factor: Any) -> Any:
        return type(self)(*(v * factor for _, v in self.items()))

    __rmul__ = __mul__

    def take(self, index: Array) -> Any:
        """The samples at these positions; fields shared by the batch stay as they are."""
        return type(self)(*(v if v.shape[0] == 1 else v[index] for _, v in self.items()))

    def items(self) -> ItemsView[str, Any]:
        """(name, array) of each field, in order."""
        return vars(self).items()


@dataclass(frozen=True, eq=False)
class Data(_Vector):
    """w = (P, q, A, b): arrays (batch or 1, entries). Also tangents and cotangents of some entries.

    In a tangent or cotangent each field holds only the entries that it is said to hold; a field
    without any is an array (batch, 0).
    """

    P: Array
    q: Array
    A: Array
    b: Array


@dataclass(frozen=True, eq=False)
class Point(_Vector):
    """z = (x, y, s): arrays (batch, n), (batch, m), (batch, m)."""

    x: Array
    y: Array
    s: Array

    def pick(self, index: np.ndarray) -> Point:
        """The samples at these positions, also of a batch of one."""
        return Point(self.x[index], self.y[index], self.s[index])

    def any(self) -> np.ndarray:
        """Which samples have an entry that is not 0, bool (batch,)."""
        return np.asarray(
            to_device((self.x != 0).any(-1) | (self.y != 0).any(-1) | (self.s != 0).any(-1), "cpu")
        )


def outer(left: Array, right: Array, pattern: Pattern, entries: np.ndarray) -> Array:
    """The entries of (left right') per sample, (batch, entries): left (batch, rows of the pattern),
    right (batch, its columns), and which of its entries, ints (entries,).
    """
    rows, cols = pattern.rows[entries], pattern.cols[entries]
    block = np.flatnonzero(cols == cols[0]) if len(cols) else cols
    height = len(block)
    if height > 1 and is_dense(rows, cols, height):
        # a dense block, column by column: the outer product lies in memory as its entries do
        across = pick_columns(right, cols[::height])
        grid = across[:, :, None] * pick_columns(left, rows[:height])[:, None, :]
        return array_namespace(grid).reshape(grid, (len(left), len(rows)))
    return pick_columns(left, rows) * pick_columns(right, cols)


def is_dense(rows: np.ndarray, cols: np.ndarray, height: int) -> bool:
    """Whether entries are a dense block of this height, column by column."""
    if len(rows) % height:
        return False
    rows, cols = rows.reshape(-1, height), cols.reshape(-1, height)
    return bool((rows == rows[0]).all() and (cols == cols[:, :1]).all())


def norm(v: Array) -> Array:
    """The largest absolute value along the last axis, 0 where that is empty."""
    if isinstance(v, np.ndarray):
        if v.size < SMALL:  # fewer calls; in larger arrays one pass less over the memory
            return np.abs(v).max(axis=-1, initial=0.0)
        return np.abs(np.maximum(v.max(axis=-1), -v.min(axis=-1)))
    xp = array_namespace(v)
    if v.shape[-1] == 0:
        return xp.zeros(v.shape[:-1], dtype=v.dtype, device=v.device)
    return xp.abs(xp.maximum(xp.max(v, axis=-1), -xp.min(v, axis=-1)))  # -0.0 is 0.0
