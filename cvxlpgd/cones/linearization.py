"""How a complementary pair of a cone can move: s in K, y in K*, s'y = 0.

    y_dot = B'u,    -B s_dot = C u,    C = diag(compliance)

Rows of B are directions. A compliance of 0 is a direction in which s cannot move, as at an active
inequality; an infinite one belongs to a direction in which y cannot move (its row of B is 0); one
between them to a curved boundary, along which both move. With D = DΠ_K*(y - s) the directions are
D's eigenvectors, and a compliance is (1 - d) / d of the eigenvalue d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

SETTLED = 1e-14  # an eigenvalue this near to 0 or 1 differs from it by rounding only


class Linearization(NamedTuple):
    """Pairs (..., rows) made complementary, directions (..., rows, rows), compliances (..., rows).

    Of a cone of single rows the directions are (..., rows): the diagonal.
    """

    y: np.ndarray
    s: np.ndarray
    directions: np.ndarray
    compliance: np.ndarray


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Over / under for numbers >= 0, infinite where `under` is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(under > 0, over / under, np.inf)


def by_projection(cone: Any, y: np.ndarray, s: np.ndarray) -> Linearization:
    """Any cone's linearization, from its projection's derivative; y and s of about one size."""
    v = y - s
    kept = cone.project(-v)
    D_K = cone.derivative(-v)
    finite = np.isfinite(D_K).all(axis=(-1, -2))[..., None, None]
    share, vectors = np.linalg.eigh(np.where(finite, D_K, 0.0))  # of DΠ_K(-v) = 1 - D
    vectors = np.where(finite, vectors, np.nan)
    share = np.where(share < SETTLED, 0.0, np.where(share > 1 - SETTLED, 1.0, share))
    compliance = ratio(share, 1 - share)
    directions = np.swapaxes(vectors, -1, -2) * (share < 1)[..., None]
    return Linearization(v + kept, kept, directions, compliance)


def of_diagonal(cone: Any, y: np.ndarray, s: np.ndarray) -> Linearization:
    """The linearization of a cone of single rows, each either active or free."""
    v = y - s
    kept = cone.project(-v)
    free = cone.derivative(-v)
    return Linearization(v + kept, kept, 1.0 - free, ratio(free, 1.0 - free))


def reach_by_size(y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray) -> np.ndarray:
    """|y - s| / |y_dot - s_dot|, (...): how long until a pair (..., rows) has moved by its size."""
    size, speed = (np.sqrt(np.sum(v * v, axis=-1)) for v in (y - s, y_dot - s_dot))
    return ratio(size, speed)
