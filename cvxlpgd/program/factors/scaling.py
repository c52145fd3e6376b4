"""The scaling of systems to entries of about 1, and the small diagonal that makes them regular."""

import numpy as np
import scipy.sparse as sp

DELTA = 1e-11  # added to a scaled system's diagonal, makes it regular
PASSES = 8  # over the matrix, at most
FAR = 1e4  # entries of a column further apart: the smallest may be all that makes it regular
BALANCES = 4  # passes that bring them to the same distance from 1
EVEN = 4.0  # columns whose largest entry is within this factor of 1 are scaled enough
NOTHING = 8 * np.finfo(float).eps  # an entry below this share of its terms is 0, not a curvature


def scales_of(M: np.ndarray) -> np.ndarray:
    """E (batch, size), such that the largest entry of each column of EME is about 1 (Ruiz 2001)."""
    size, scale = np.abs(M), np.ones(M.shape[:2])
    going = np.arange(len(M))
    for _ in range(PASSES):
        largest = size.max(axis=1, initial=0.0)
        largest = np.where(largest > 0, largest, 1.0)
        uneven = (largest.max(axis=1, initial=1.0) >= EVEN) | (
            largest.min(axis=1, initial=1.0) <= 1 / EVEN
        )
        if not uneven.all():
            going, size, largest = going[uneven], size[uneven], largest[uneven]
        if not len(going):
            break
        step = 1 / np.sqrt(largest)
        scale[going] *= step
        size *= step[:, :, None] * step[:, None]
    return scale


def balance(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which matrices have columns whose entries are far apart, int (k,), and scales for them:
    the largest entry of each column of EME is about 1, the smallest as near to 1 as that allows.
    """
    size = np.abs(M)
    largest, smallest = _ends(size)
    far = np.flatnonzero((largest > FAR * smallest).any(axis=1))
    size, scale = size[far], np.ones((len(far), M.shape[1]))
    for _ in range(BALANCES if len(far) else 0):
        largest, smallest = _ends(size)
        step = (largest * smallest) ** -0.25
        scale *= step
        size *= step[:, :, None] * step[:, None]
    return far, scale * scales_of(size)


def _ends(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest entry of each column, and the smallest that is more than rounding beside it."""
    largest = size.max(axis=1, initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    smallest = np.where(size > NOTHING * largest[:, None], size, np.inf).min(axis=1, initial=np.inf)
    return largest, np.minimum(smallest, largest)


def pair_scales_of(G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R and C, such that the largest entry of each row and column of RGC is about 1; (batch, rows)
    and (batch, columns).
    """
    size = np.abs(G)
    rows, cols = np.ones(G.shape[:2]), np.ones((len(G), G.shape[2]))
    for _ in range(PASSES):
        by_row, by_col = (size.max(axis=axis, initial=0.0) for axis in (2, 1))
        row, col = (1 / np.sqrt(np.where(v > 0, v, 1.0)) for v in (by_row, by_col))
        rows, cols = rows * row, cols * col
        size *= row[:, :, None] * col[:, None]
    return rows, cols


def sparse_scale_of(K: sp.csc_array) -> np.ndarray:
    """E (size,) of one sparse matrix, as `scales_of` makes it of full ones."""
    columns, rows = np.repeat(np.arange(K.shape[0]), np.diff(K.indptr)), K.indices
    size, scale = np.abs(K.data), np.ones(K.shape[0])
    filled = np.flatnonzero(np.diff(K.indptr))
    for _ in range(PASSES):
        largest = np.zeros(K.shape[0])
        largest[filled] = np.maximum.reduceat(size, K.indptr[filled])
        step = 1 / np.sqrt(np.where(largest > 0, largest, 1.0))
        scale *= step
        size *= step[rows] * step[columns]
    return scale
