"""Where the parts of Newton's systems stand: what a structure says of them, worked out once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import Pattern, Structure
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.structure import per_structure

FLAT = 10.0  # d, relative to the diagonal, of e²
DENSE = 300  # columns up to which matrices are inverted: measured
PAIRS = 2.0  # pairs of entries, for each of the n² sums, up to which pairs are formed


class _Layout(NamedTuple):
    """Where the parts of a sparse Newton system stand in its pattern.

    `curved`, bool (m,), are the rows of curved cones; `P` and `diagonal` share entries, which add
    up; `places` are those of A'D, S A, the diagonal of dv, dy in its two rows, and each -D_c.
    """

    pattern: Pattern
    curved: np.ndarray
    P: np.ndarray
    diagonal: np.ndarray
    places: list[np.ndarray]


@per_structure
def layout(structure: Structure) -> _Layout:
    """The layout of a structure's systems."""
    n, m, P, A = structure.n, structure.m, structure.P, structure.A
    curved = np.zeros(m, dtype=bool)
    blocks = []
    for cone, rows in structure.split():
        if not is_diagonal(cone):
            curved[rows] = True
            blocks.append(np.arange(rows.start, rows.stop).reshape(-1, cone.rows))
    dy = n + m + np.cumsum(curved) - 1  # of the curved rows
    x, v, y = np.arange(n), n + np.arange(m), dy[curved]
    multiplied = np.where(curved, dy, v)
    parts = [(A.cols, multiplied[A.rows]), (v[A.rows], A.cols), (v, v), (v[curved], y), (y, y)]
    for block in blocks:
        left, right = np.broadcast_arrays(dy[block][:, :, None], v[block][:, None, :])
        parts.append((left.ravel(), right.ravel()))
    everything = [(P.rows, P.cols), (x, x), *parts]
    size = n + m + len(y)
    pattern = Pattern.of(
        (size, size), *(np.concatenate([p[k] for p in everything]) for k in (0, 1))
    )
    places = [np.searchsorted(pattern.flat, cols * size + rows) for rows, cols in everything]
    return _Layout(pattern, curved, places[0], places[1], places[2:])


class _Gram(NamedTuple):
    """A'MA, M block diagonal, for a run of equal cones: by products of pairs of A's entries.

    Entries `left` and `right` of A meet in entry `between` of M and add up to the entries `places`
    of A'MA by the matrix `sums`.
    """

    left: np.ndarray
    right: np.ndarray
    between: np.ndarray
    places: np.ndarray
    sums: sp.csr_array

    def entries(self, A: np.ndarray, M: np.ndarray) -> tuple[Any, np.ndarray]:
        """A'MA, flat: its places and values, of A's (k or 1, entries) and of M (k, count, r, r)."""
        products = A[:, self.left] * A[:, self.right] * M.reshape(len(M), -1)[:, self.between]
        return self.places, (self.sums @ products.T).T


class _DenseGram(NamedTuple):
    """A'MA by dense products, for cones that many of A's entries meet in."""

    first: int
    here: np.ndarray
    pattern: Pattern

    def entries(self, A: np.ndarray, M: np.ndarray) -> tuple[Any, np.ndarray]:
        """A'MA, flat: all places, and the values."""
        (k, count, r, _), n = M.shape, self.pattern.shape[1]
        rows, cols = self.pattern.rows[self.here] - self.first, self.pattern.cols[self.here]
        full = np.zeros((len(A), count * r, n))
        full[:, rows, cols] = A[:, self.here]
        moved = (M @ full.reshape(-1, count, r, n)).reshape(k, count * r, n)
        return slice(None), (full.swapaxes(1, 2) @ moved).reshape(k, -1)


@per_structure
def grams(structure: Structure) -> list[_Gram | _DenseGram]:
    """How A'MA is made for each run of equal cones."""
    runs: list[_Gram | _DenseGram] = []
    A, n = structure.A, structure.n
    for cone, rows in structure.split():
        r, first = 1 if is_diagonal(cone) else cone.rows, rows.start
        here = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop))
        here = here[np.argsort((A.rows[here] - first) // r, kind="stable")]
        each = np.bincount((A.rows[here] - first) // r, minlength=(rows.stop - first) // r)
        if (each**2).sum() > PAIRS * n * n:
            runs.append(_DenseGram(first, here, A))
            continue
        # every entry beside every one of its cone's
        times = np.repeat(each, each)
        left = np.repeat(here, times)
        begin = np.repeat(np.repeat(np.cumsum(each) - each, each), times)
        within = np.arange(len(left)) - np.repeat(np.cumsum(times) - times, times)
        right = here[begin + within]
        i, j = A.rows[left] - first, A.rows[right] - first
        between = i // r * r * r + i % r * r + j % r
        places, position = np.unique(A.cols[left] * n + A.cols[right], return_inverse=True)
        ones, pairs = np.ones(len(left)), np.arange(len(left))
        sums = sp.csr_array((ones, (position, pairs)), shape=(len(places), len(left)))
        runs.append(_Gram(left, right, between, places, sums))
    return runs
