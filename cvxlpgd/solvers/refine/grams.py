"""A'MA, M block diagonal, for a run of equal cones, into Newton's full matrices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import Pattern

TEMPORARY = 20_000  # numbers of one that stays in a cache, and is not the system's at each call
DIVISIONS = 16  # into columns of many entries and others, that are compared
SECOND = 30_000  # multiplications that take as long as calls for both: measured
PAIR = 100  # multiplications of full matrices that take as long as a pair of entries: measured


class Pairs(NamedTuple):
    """A'MA, M block diagonal, for a run of equal cones: by products of pairs of A's entries.

    Entries `left` and `right` of A meet in entry `between` of M and add up to the entries `places`
    of A'MA by the matrix `sums`, which is None where each is an entry of its own.
    """

    left: np.ndarray
    right: np.ndarray
    between: np.ndarray
    places: np.ndarray
    sums: sp.csr_array | None

    @property
    def cost(self) -> int:
        """In multiplications of full matrices."""
        return PAIR * len(self.left)

    def add(self, A: np.ndarray, M: np.ndarray, squares: np.ndarray, H: np.ndarray) -> None:
        """Add A'(t² M)A to H (k, n, n), of A's (k or 1, entries), M (k, count, r, r) and
        t² (k, count).
        """
        pairs = A[:, self.left] * A[:, self.right]
        scaled = (M * squares[:, :, None, None]).reshape(len(M), -1)
        if self.sums is None:
            H.reshape(len(H), -1)[:, self.places] += pairs * scaled[:, self.between]
            return
        products = pairs.T * scaled.T[self.between]
        H.reshape(len(H), -1)[:, self.places] += (self.sums @ products).T


class Full(NamedTuple):
    """A'MA by dense products, for the columns and rows of cones that many of A's entries are in."""

    here: np.ndarray  # entries of A, and where they stand in a matrix of this shape
    rows: np.ndarray
    cols: np.ndarray
    shape: tuple[int, int]
    cones: np.ndarray  # whose rows these are, of the run's
    positions: np.ndarray  # and which rows of each
    places: tuple[Any, Any]  # of the columns in H, twice

    @property
    def cost(self) -> int:
        """Multiplications."""
        height, columns = self.shape
        return height * columns * (columns + len(self.positions))

    def add(self, A: np.ndarray, M: np.ndarray, squares: np.ndarray, H: np.ndarray) -> None:
        """Add A'(t² M)A to H (k, n, n), of A's (k or 1, entries), M (k, count, r, r) and
        t² (k, count).
        """
        whole = (len(self.cones), len(self.positions)) == M.shape[1:3]
        if not whole:
            i, j = self.positions[:, None], self.positions
            M, squares = M[:, self.cones[:, None, None], i, j], squares[:, self.cones]
        (k, count, r, _), (height, n) = M.shape, self.shape
        full = np.zeros((len(A), height, n))
        full[:, self.rows, self.cols] = A[:, self.here]
        several = max(1, TEMPORARY // (height * n))
        for first in range(0, k, several):
            part = slice(first, first + several)
            own = full if len(full) == 1 else full[part]
            scaled, parts = M[part] * squares[part, :, None, None], own.reshape(-1, count, r, n)
            moved = scaled * parts if r == 1 else scaled @ parts
            H[part, *self.places] += own.swapaxes(1, 2) @ moved.reshape(-1, height, n)


Gram = Pairs | Full


def grams_of(A: Pattern, new: np.ndarray, n: int, rows: slice, r: int) -> list[Gram]:
    """How A'MA is made, in n columns numbered `new`, for cones of r rows each.

    Products of columns of many entries are dense ones, all others are of pairs of entries.
    """
    here = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop) & (new[A.cols] >= 0))
    here = here[np.argsort((A.rows[here] - rows.start) // r, kind="stable")]
    row, col = A.rows[here] - rows.start, new[A.cols[here]]
    filled = np.bincount(col, minlength=n)
    counts = np.unique(filled[filled > 0])
    tried = [*counts[:: -(-len(counts) // DIVISIONS) or 1], np.inf]
    least = min(tried, key=lambda count: _multiplications(row, filled >= count, col, r))
    wide = (filled >= least)[col]
    grams: list[Gram] = []
    if wide.any():
        grams.append(_full(here[wide], row[wide], col[wide], r))
    if not wide.all():
        grams.append(_pairs(here, row, col, wide, n, r))
    return grams


def _multiplications(row: np.ndarray, wide: np.ndarray, col: np.ndarray, r: int) -> int:
    """About how many multiplications it takes if these columns, bool (n,), are the dense ones."""
    inside, cone = wide[col], row // r
    each, dense = np.bincount(cone), np.bincount(cone[inside])
    columns, positions = int(wide.sum()), len(np.unique(row[inside] % r))
    pairs = (each**2).sum() - (dense**2).sum()
    if wide.any() and not _are_together(np.flatnonzero(wide)):
        pairs += columns**2  # they are added one by one as well
    both = SECOND * (inside.any() and not inside.all())
    height = np.count_nonzero(dense) * positions
    return int(PAIR * pairs + both + height * columns * (columns + positions))


def _are_together(columns: np.ndarray) -> bool:
    return bool(columns[-1] - columns[0] + 1 == len(columns))


def _full(here: np.ndarray, row: np.ndarray, col: np.ndarray, r: int) -> Full:
    """The dense products of these entries with one another."""
    cones, cone = np.unique(row // r, return_inverse=True)
    positions, position = np.unique(row % r, return_inverse=True)
    columns, column = np.unique(col, return_inverse=True)
    shape = len(cones) * len(positions), len(columns)
    span: Any = slice(columns[0], columns[-1] + 1)
    twice = (span, span) if _are_together(columns) else (columns[:, None], columns)
    rows = cone * len(positions) + position
    return Full(here, rows, column, shape, cones, positions, twice)


def _pairs(
    here: np.ndarray, row: np.ndarray, col: np.ndarray, wide: np.ndarray, n: int, r: int
) -> Pairs:
    """The products of all pairs of entries in one cone, but for those that are both wide."""
    narrow, every = np.flatnonzero(~wide), np.arange(len(here))
    first, second = np.concatenate(
        [_beside(narrow, every, row // r), _beside(np.flatnonzero(wide), narrow, row // r)], axis=1
    )
    i, j = row[first], row[second]
    between = i // r * r * r + i % r * r + j % r
    flat = col[first] * n + col[second]
    places, position = np.unique(flat, return_inverse=True)
    if len(places) == len(flat):
        return Pairs(here[first], here[second], between, flat, None)
    ones, pairs = np.ones(len(first)), np.arange(len(first))
    sums = sp.csr_array((ones, (position, pairs)), shape=(len(places), len(first)))
    return Pairs(here[first], here[second], between, places, sums)


def _beside(one: np.ndarray, other: np.ndarray, cone: np.ndarray) -> np.ndarray:
    """Every one of some entries beside every other of the same cone, (2, pairs); both in order."""
    each = np.bincount(cone[other], minlength=cone.max() + 1)
    times = each[cone[one]]
    begin = np.repeat((np.cumsum(each) - each)[cone[one]], times)
    within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return np.stack([np.repeat(one, times), other[begin + within]])
