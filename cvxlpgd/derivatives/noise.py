"""What a solver's accuracy hides: differences that are noise, and how far a path bends."""

from __future__ import annotations

import numpy as np

from cvxlpgd.derivatives.samples import host
from cvxlpgd.program import Data, Point, norm
from cvxlpgd.solvers.protocol import FINEST

RESOLVED = 1e4  # times the accuracy: differences that are right to a few digits
NOISE = 100.0  # differences up to this multiple of the solver's accuracy say nothing
ROUNDING = 1e-12  # no point counts as more accurate, whatever its residual


def is_noise(high: Data, low: Data, accuracy: float) -> np.ndarray:
    """Whether no field of high - low rises above the solver's accuracy, bool (batch,).

    Relative to the field's size.
    """
    noise = np.ones(len(high.q), dtype=bool)
    for name in ("q", "b", "P", "A"):  # the small fields first: they mostly settle it
        value, other = getattr(high, name), getattr(low, name)
        if value.shape[1] and noise.any():
            size = np.maximum(host(norm(value)), host(norm(other)))
            noise &= host(norm(value - other)) <= NOISE * max(accuracy, FINEST) * size
    return noise


def bend(
    high: Point, low: Point, center: Point, accuracy: float, residual: np.ndarray
) -> np.ndarray:
    """How far the center is from the middle of both ends, (batch,).

    |v+ + v- - 2 v| / |v+ - v-|, the larger one of x and y, which are the gradients of q and b. One
    that moves by less than 10,000 times the accuracy says nothing: NaN where neither does. That is
    the solver's, or what the ends' residual shows it to be where it is better.
    """
    ratios = []
    accuracy = np.fmin(np.maximum(residual, ROUNDING), accuracy)
    for name in ("x", "y"):
        hi, lo, at = (host(getattr(z, name)) for z in (high, low, center))
        moved, seen = norm(hi - lo), RESOLVED * accuracy * (1 + norm(at))
        ratio = norm(hi + lo - 2 * at) / np.where(moved > 0, moved, 1.0)
        ratios.append(np.where(moved > seen, ratio, np.nan))
    return np.asarray(np.fmax(*ratios))
