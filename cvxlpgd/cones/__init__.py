"""The cones that rows of a program can lie in, one file each.

A cone is a frozen value with `rows` (how many rows it takes), `project(v)`, the Euclidean
projection of arrays (..., rows), and that projection's derivative. Everything else follows from
them, as below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from cvxlpgd.cones._linearization import Linearization, by_projection, reach_by_size
from cvxlpgd.cones.exp import Exp
from cvxlpgd.cones.nonneg import NonNeg
from cvxlpgd.cones.pow import Pow
from cvxlpgd.cones.psd import PSD
from cvxlpgd.cones.soc import SOC
from cvxlpgd.cones.zero import Zero

__all__ = [
    "PSD", "SOC", "Cone", "Exp", "Linearization", "NonNeg", "Pow", "Zero", "by_projection",
    "distance", "dual_distance", "is_weakly_active", "reach_by_size",
]  # fmt: skip


class Cone(Protocol):
    """What a cone declares and does."""

    @property
    def rows(self) -> int:
        """Rows of the program that it takes."""

    @property
    def interior(self) -> Any:
        """A point inside of both the cone and its dual, its distance from their boundaries about 1;
        None where the cone has no inside.
        """

    @property
    def symmetric(self) -> bool:
        """Whether it is its own dual, and homogeneous."""

    def project(self, v: Any) -> Any:
        """The nearest point of the cone, for arrays (..., rows)."""

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The derivative of the projection where it has one, else one of its neighbours'.

        Symmetric matrices (..., rows, rows) with eigenvalues in [0, 1], or (..., rows): the
        diagonal where nothing else is stored.
        """

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """How a pair (..., rows), s in the cone and y in its dual, moves and stays complementary.

        A cone that knows nothing better returns `by_projection(self, y, s)`.
        """

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """How long a pair can move before it has moved by its own size, (...). On cones of single
        rows: until y - s is 0, per row. One that knows nothing better: `reach_by_size(...)`.
        """


NEARLY = 1e-13  # of a point's size: where a bound of its distance is less than that, it will do


def distance(cone: Cone, s: Any) -> Any:
    """Largest entry of |s - Π_K(s)|, arrays (..., rows) -> (...)."""
    if isinstance(cone, Exp) and is_numpy_array(s):
        return _bounded(cone.excess(s), s, lambda s: _largest(s - cone.project(s)))
    return _largest(s - cone.project(s))


def dual_distance(cone: Cone, y: Any) -> Any:
    """Largest entry of |y - Π_K*(y)| = |Π_K(-y)|, by Moreau: v = Π_K*(v) - Π_K(-v)."""
    if isinstance(cone, Exp) and is_numpy_array(y):
        return _bounded(cone.dual_excess(y), y, lambda y: _largest(cone.project(-y)))
    return _largest(cone.project(-y))


def _largest(v: Any) -> Any:
    xp = array_namespace(v)
    return xp.max(xp.abs(v), axis=-1)


def _bounded(bound: np.ndarray, v: np.ndarray, exact: Callable[[Any], Any]) -> np.ndarray:
    """The bound where it is next to nothing, elsewhere the distance: projections take time."""
    far = ~(bound <= NEARLY * np.abs(v).max(axis=-1))
    if far.any():
        bound[far] = exact(v[far])
    return bound


def is_weakly_active(cone: Cone, s: Any, y: Any, tolerance: float) -> Any:
    """Whether strict complementarity fails, arrays (..., rows) -> bool (...).

    For a symmetric cone: s + y is not inside of it. For the others: neither s nor y is inside of
    its cone, and one of them is 0.
    """
    xp = array_namespace(s)
    if cone.interior is None:
        return xp.zeros(s.shape[:-1], dtype=bool)
    inward = tolerance * xp.asarray(cone.interior, dtype=s.dtype)
    rounding = NEARLY * (_largest(s) + _largest(y))  # of the projections
    if cone.symmetric:
        return distance(cone, s + y - inward) > rounding
    size = xp.minimum(xp.max(xp.abs(s), axis=-1), xp.max(xp.abs(y), axis=-1))
    outside = distance(cone, s - inward) > rounding
    outside = outside & (dual_distance(cone, y - inward) > rounding)
    return outside & (size <= tolerance)
