"""The nearest pairs of exponential cones, compiled; see exp.py.

The bits of a pair depend on the pair alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

_numbers = types.Array(types.float64, 2, "C", readonly=True)
_out, _out_flags = types.Array(types.float64, 2, "C"), types.Array(types.boolean, 1, "C")


def near_pairs(
    y: np.ndarray, s: np.ndarray, reached: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs nearest to pairs (k, 3) by coordinates, and which are not within `reached`."""
    y, s = (np.ascontiguousarray(v, dtype=float) for v in (y, s))
    y_new, s_new, rest = np.empty(y.shape), np.empty(s.shape), np.empty(len(y), dtype=bool)
    _near_pairs(y, s, reached, y_new, s_new, rest)
    return y_new, s_new, rest


@njit(
    types.void(_numbers, _numbers, types.float64, _out, _out, _out_flags),
    cache=True, nogil=True, error_model="numpy",
)  # fmt: skip
def _near_pairs(all_y, all_s, reached, y_new, s_new, rest):
    for k in range(len(all_y)):
        y, s = all_y[k], all_s[k]
        y_size = max(abs(y[0]), abs(y[1]), abs(y[2]))
        s_size = max(abs(s[0]), abs(s[1]), abs(s[2]))
        # r from the one of s and y that knows it better
        r = s[0] / s[1] if s[1] * -y_size <= y[0] * s_size else 1 - y[1] / y[0]
        small = np.exp(-abs(r))
        up, down = (small, 1.0) if r > 0 else (1.0, small)
        a, c = (r * up, up, down), (-down, (r - 1) * down, up)
        p = (s[0] * a[0] + s[1] * a[1] + s[2] * a[2]) / (a[0] * a[0] + a[1] * a[1] + a[2] * a[2])
        d = (y[0] * c[0] + y[1] * c[1] + y[2] * c[2]) / (c[0] * c[0] + c[1] * c[1] + c[2] * c[2])
        near = reached * min(y_size, s_size)
        holds = p > 0 and d > 0 and np.isfinite(r)
        for i in range(3):
            y_new[k, i], s_new[k, i] = d * c[i], p * a[i]
            holds = holds and abs(y[i] - y_new[k, i]) <= near
            holds = holds and abs(s[i] - s_new[k, i]) <= near
        rest[k] = not holds
