"""For projections without a formula: roots of increasing functions, and a surface's derivative."""

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device

Function = Callable[[np.ndarray], np.ndarray]
WithSlope = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
CLOSE = 1e-11  # a Newton step this small is the last one: its error is about the square of that
ROUNDING = 1e-18  # a step of bisection this small is the last one


def of_triples(function: Function, v: Any) -> Any:
    """A function of triples (k, 3), of arrays (..., 3) of any library: in doubles on the host."""
    xp = array_namespace(v)
    triples = np.asarray(to_device(v, "cpu"), dtype=np.float64).reshape(-1, 3)
    return xp.asarray(function(triples).reshape(v.shape), dtype=v.dtype, device=v.device)


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


def newton_root(function: WithSlope, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The roots by Newton's method, of function(r, which of all) -> (value, slope).

    A step that leaves the interval, or is not half as long as the one before it, is replaced by
    one to the interval's middle.
    """
    everything = np.arange(len(low))
    ends = _finite_ends(lambda r: function(r, everything)[0], low, high)
    low, high = (end.copy() for end in ends)  # written to below
    root, moved, left = low + (high - low) / 2, high - low, everything
    for _ in range(150):
        r, a, b = root[left], low[left], high[left]
        value, slope = function(r, left)
        low[left] = a = np.where(value <= 0, r, a)
        high[left] = b = np.where(value >= 0, r, b)
        with np.errstate(all="ignore"):
            step = value / slope
            newton = (np.abs(step) < moved[left] / 2) & (r - step >= a) & (r - step <= b)
        root[left] = np.where(newton, r - step, a + (b - a) / 2)
        moved[left] = np.abs(root[left] - r)
        more = moved[left] > np.where(newton, CLOSE, ROUNDING) * (1 + np.abs(r))  # not NaN
        left = left[more]
        if not len(left):
            break
    return root


def _finite_ends(
    function: Function, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The intervals with finite ends around the same roots."""
    step = 1.0
    while step < 1e300:
        open_low, open_high = np.isinf(low), np.isinf(high)
        if not (open_low.any() or open_high.any()):
            break
        left, right = high - step, low + step
        if open_low.any():
            low = np.where(open_low & (function(left) <= 0), left, low)
        if open_high.any():
            high = np.where(open_high & (function(right) >= 0), right, high)
        step *= 2.0
    return low, high


def surface_derivative(normal: np.ndarray, h: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """dp/dv for p + mu ∇g(p) = v, g(p) = 0, where mu ∇²g(p) = weight hh': arrays (k, 3), (k,).

    With n = ∇g / |∇g| and t = h - nn'h it is I - nn' - (weight / (1 + weight |t|²)) tt'.
    """
    n = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    t = h - n * np.sum(n * h, axis=1, keepdims=True)
    length = np.linalg.norm(t, axis=1)
    t = t / np.where(length > 0, length, 1.0)[:, None]
    share = 1 / (1 + 1 / (weight * length**2))
    return np.asarray(
        np.eye(3)
        - n[:, :, None] * n[:, None, :]
        - share[:, None, None] * t[:, :, None] * t[:, None, :]
    )
