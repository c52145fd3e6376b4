"""The gradient w_bar = d/dt ∇L(z + t z_dot) of a velocity, at some entries of the data."""

from __future__ import annotations

import numpy as np

from cvxlpgd.program import Data, Pattern, Point, Structure
from cvxlpgd.program.pattern import pick_columns


def pull_back(velocity: Point, at: Point, structure: Structure, entries: Data) -> Data:
    """w_bar = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot) at these entries, each
    (batch, entries).
    """
    return Data(
        P=_crossed((at.x / 2, velocity.x / 2), (velocity.x, at.x), structure.P, entries.P),
        q=pick_columns(velocity.x, entries.q),
        A=_crossed((at.y, velocity.y), (velocity.x, at.x), structure.A, entries.A),
        b=-pick_columns(velocity.y, entries.b),
    )


def _crossed(
    left: tuple[np.ndarray, np.ndarray],
    right: tuple[np.ndarray, np.ndarray],
    pattern: Pattern,
    entries: np.ndarray,
) -> np.ndarray:
    """The entries of left_0 right_0' + left_1 right_1', (batch, entries)."""
    rows, cols = pattern.rows[entries], pattern.cols[entries]
    height = int(np.searchsorted(cols, cols[0], side="right")) if len(cols) else 0
    if height > 1 and _is_dense(rows, cols, height):
        # a dense block, column by column: the product lies in memory as its entries do
        down = np.stack([pick_columns(v, rows[:height]) for v in left], axis=1)
        across = np.stack([pick_columns(v, cols[::height]) for v in right], axis=2)
        return np.asarray(across @ down).reshape(len(down), len(rows))
    one, other = (
        pick_columns(a, rows) * pick_columns(b, cols) for a, b in zip(left, right, strict=True)
    )
    one += other
    return np.asarray(one)


def _is_dense(rows: np.ndarray, cols: np.ndarray, height: int) -> bool:
    """Whether entries are a dense block of this height, column by column."""
    if len(rows) % height:
        return False
    rows, cols = rows.reshape(-1, height), cols.reshape(-1, height)
    return bool((rows == rows[0]).all() and (cols == cols[:, :1]).all())
