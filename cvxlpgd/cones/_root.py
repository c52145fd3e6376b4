"""Roots of increasing functions, many at once, for the projections that have no formula."""

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def increasing_root(function: Function, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The root of an increasing elementwise function in each interval (low, high), by bisection.

    One end of each interval may be infinite. A hundred halvings leave no floating-point number
    between the ends, unless the root is as good as 0.
    """
    low, high = _finite_ends(function, low, high)
    for _ in range(100):
        middle = low + (high - low) / 2
        if not ((middle > low) & (middle < high)).any():
            break
        above = function(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return low + (high - low) / 2


def _finite_ends(
    function: Function, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    step = 1.0
    while (np.isinf(low) | np.isinf(high)).any() and step < 1e300:
        left, right = high - step, low + step
        low, high = (
            np.where(np.isinf(low) & (function(left) <= 0), left, low),
            np.where(np.isinf(high) & (function(right) >= 0), right, high),
        )
        step *= 2.0
    return low, high
