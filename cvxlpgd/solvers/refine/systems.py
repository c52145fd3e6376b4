"""Where the parts of Newton's systems stand: what a structure says of them, worked out once."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import Pattern, Structure
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.structure import per_structure

FLAT = 10.0  # d, relative to the diagonal, of e²
DENSE = 300  # columns up to which matrices are inverted: measured
TEMPORARY = 20_000  # numbers of one that stays in a cache, and is not the system's at each call
PAIR = 100  # multiplications of full matrices that take as long as a pair of entries: measured


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


class Local(NamedTuple):
    """Columns of a run of cones that lie in one of these cones alone, without curvature.

    One of a cone at most. Canonicalization's epigraph columns are such, as t of exp(x) <= t: they
    are eliminated before anything full is inverted.
    """

    columns: np.ndarray  # (c,)
    cones: np.ndarray  # whose they are, of the run's
    entries: np.ndarray  # of A, all that these columns have
    places: np.ndarray  # where those stand in vectors (c, rows of a cone), flat

    def vectors(self, A: np.ndarray, rows: int) -> np.ndarray:
        """The columns (k, c, rows) as vectors of their cones, from A's values (k, entries)."""
        out = np.zeros((len(A), len(self.columns) * rows))
        out[:, self.places] = A[:, self.entries]
        return out.reshape(len(A), len(self.columns), rows)


class Run(NamedTuple):
    """A run of equal curved cones, or all rows that are cones of their own (`cone` is None)."""

    cone: Any
    rows: slice
    size: int  # rows of one cone
    local: Local
    gram: _Gram | _DenseGram

    def split(self, v: np.ndarray) -> np.ndarray:
        """These rows of vectors (k, m): (k, count, size)."""
        return v[:, self.rows].reshape(len(v), -1, self.size)


class Dense(NamedTuple):
    """How a structure's full matrices are made: in the columns `kept`, the others are local."""

    kept: np.ndarray
    P: tuple[np.ndarray, np.ndarray]  # where P's entries stand
    runs: list[Run]


@per_structure
def dense(structure: Structure) -> Dense:
    """The runs of a structure's cones, and which columns are kept."""
    P, A, n = structure.P, structure.A, structure.n
    spans: list[tuple[Any, slice, int]] = []
    for alone, blocks in groupby(structure.blocks, lambda block: is_diagonal(block[0])):
        run = [(cone, slice(first, first + cone.rows * count)) for cone, first, count in blocks]
        if alone:
            spans.append((None, slice(run[0][1].start, run[-1][1].stop), 1))
        else:
            spans.extend((cone, rows, cone.rows) for cone, rows in run)
    free = np.ones(n, dtype=bool)
    free[P.cols] = False
    locals_ = [_local(A, free, rows, 0 if cone is None else size) for cone, rows, size in spans]
    kept = np.setdiff1d(np.arange(n), np.concatenate([local.columns for local in locals_]))
    new = np.full(n, -1)
    new[kept] = np.arange(len(kept))
    runs = [
        Run(cone, rows, size, local, _gram(A, new, len(kept), rows, size))
        for (cone, rows, size), local in zip(spans, locals_, strict=True)
    ]
    return Dense(kept, (new[P.rows], new[P.cols]), runs)


def _local(A: Pattern, free: np.ndarray, rows: slice, size: int) -> Local:
    """The local columns of the cones of `size` rows each in these rows; of single rows none."""
    cone = (A.rows - rows.start) // max(size, 1)
    inside = (A.rows >= rows.start) & (A.rows < rows.stop) & (size > 0)
    lowest, highest = np.full(A.shape[1], len(A.rows)), np.full(A.shape[1], -1)
    np.minimum.at(lowest, A.cols, np.where(inside, cone, -1))
    np.maximum.at(highest, A.cols, np.where(inside, cone, -1))
    able = np.flatnonzero(free & (lowest == highest) & (lowest >= 0))
    cones, first = np.unique(lowest[able], return_index=True)
    columns = able[first]
    position = np.full(A.shape[1], -1)
    position[columns] = np.arange(len(columns))
    entries = np.flatnonzero(position[A.cols] >= 0)
    places = position[A.cols[entries]] * size + (A.rows[entries] - rows.start) % max(size, 1)
    return Local(columns, cones, entries, places)


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

    def add(self, A: np.ndarray, M: np.ndarray, squares: np.ndarray, H: np.ndarray) -> None:
        """Add A'(t² M)A to H (k, n, n), of A's (k or 1, entries), M (k, count, r, r) and
        t² (k, count).
        """
        pairs = A[:, self.left] * A[:, self.right]
        scaled = (M * squares[:, :, None, None]).reshape(len(M), -1)
        products = pairs.T * scaled.T[self.between]
        H.reshape(len(H), -1)[:, self.places] += (self.sums @ products).T


class _DenseGram(NamedTuple):
    """A'MA by dense products, for cones that many of A's entries meet in."""

    here: np.ndarray  # entries of A, and where they stand in a matrix of this shape
    rows: np.ndarray
    cols: np.ndarray
    shape: tuple[int, int]

    def add(self, A: np.ndarray, M: np.ndarray, squares: np.ndarray, H: np.ndarray) -> None:
        """Add A'(t² M)A to H (k, n, n), of A's (k or 1, entries), M (k, count, r, r) and
        t² (k, count).
        """
        (k, count, r, _), (height, n) = M.shape, self.shape
        full = np.zeros((len(A), height, n))
        full[:, self.rows, self.cols] = A[:, self.here]
        several = max(1, TEMPORARY // (height * n))
        for first in range(0, k, several):
            part = slice(first, first + several)
            own = full if len(full) == 1 else full[part]
            scaled, parts = M[part] * squares[part, :, None, None], own.reshape(-1, count, r, n)
            moved = scaled * parts if r == 1 else scaled @ parts
            H[part] += own.swapaxes(1, 2) @ moved.reshape(-1, height, n)


def _gram(A: Pattern, new: np.ndarray, n: int, rows: slice, r: int) -> _Gram | _DenseGram:
    """How A'MA is made, in n columns numbered `new`, for cones of r rows each."""
    here = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop) & (new[A.cols] >= 0))
    row = A.rows - rows.start
    here = here[np.argsort(row[here] // r, kind="stable")]
    each = np.bincount(row[here] // r, minlength=(rows.stop - rows.start) // r)
    shape = rows.stop - rows.start, n
    if PAIR * (each**2).sum() > shape[0] * n * (n + r):
        return _DenseGram(here, row[here], new[A.cols[here]], shape)
    # every entry beside every one of its cone's
    times = np.repeat(each, each)
    left = np.repeat(here, times)
    begin = np.repeat(np.repeat(np.cumsum(each) - each, each), times)
    within = np.arange(len(left)) - np.repeat(np.cumsum(times) - times, times)
    right = here[begin + within]
    i, j = row[left], row[right]
    between = i // r * r * r + i % r * r + j % r
    flat = new[A.cols[left]] * n + new[A.cols[right]]
    places, position = np.unique(flat, return_inverse=True)
    ones, pairs = np.ones(len(left)), np.arange(len(left))
    sums = sp.csr_array((ones, (position, pairs)), shape=(len(places), len(left)))
    return _Gram(left, right, between, places, sums)
