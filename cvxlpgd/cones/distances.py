"""How far vectors are from a cone and from its dual, by projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from cvxlpgd.cones.exp import Exp
from cvxlpgd.cones.nonneg import NonNeg
from cvxlpgd.cones.protocol import Cone

NEARLY = 1e-13  # of a point's size: a bound of the distance that is below this takes its place


def distance(cone: Cone, s: Any) -> Any:
    """Largest entry of |s - Π_K(s)|, arrays (..., rows) -> (...)."""
    if isinstance(cone, NonNeg) and is_numpy_array(s):
        return np.abs(s.min(axis=-1, initial=0.0))
    if isinstance(cone, Exp) and is_numpy_array(s):
        return _bound_or_distance(cone.excess(s), s, lambda s: _largest(s - cone.project(s)))
    return _largest(s - cone.project(s))


def dual_distance(cone: Cone, y: Any) -> Any:
    """Largest entry of |y - Π_K*(y)| = |Π_K(-y)|, by Moreau: v = Π_K*(v) - Π_K(-v)."""
    if isinstance(cone, NonNeg) and is_numpy_array(y):
        return np.abs(y.min(axis=-1, initial=0.0))
    if isinstance(cone, Exp) and is_numpy_array(y):
        return _bound_or_distance(cone.dual_excess(y), y, lambda y: _largest(cone.project(-y)))
    return _largest(cone.project(-y))


def _largest(v: Any) -> Any:
    xp = array_namespace(v)
    return xp.max(xp.abs(v), axis=-1)


def _bound_or_distance(bound: np.ndarray, v: np.ndarray, exact: Callable[[Any], Any]) -> np.ndarray:
    """The bound where it is next to nothing, elsewhere the distance: projections take time."""
    far = ~(bound <= NEARLY * np.abs(v).max(axis=-1))
    if not far.any():
        return bound
    distances = bound.copy()
    distances[far] = exact(v[far])
    return distances


def is_weakly_active(cone: Cone, s: Any, y: Any, tolerance: float) -> Any:
    """Whether strict complementarity fails, arrays (..., rows) -> bool (...).

    It fails for a symmetric cone where s + y is not inside of it; for others where neither s nor y
    is inside of its cone, and one of them is 0: up to `tolerance`, a number.
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
