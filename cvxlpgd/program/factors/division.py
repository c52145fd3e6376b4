"""What stands alone in a system and need not be factored; the matrices of the rest, its core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cvxlpgd.program.factors.cores import STEP, Core, Dense, Entries, Places, Sparse, Square
from cvxlpgd.program.factors.entries import Layout
from cvxlpgd.program.pattern import Pattern

LARGE = 300  # columns and rows: a larger core is sparse, unless H is a full matrix
LITTLE = 0.1  # of all columns and rows: peeling off less does not pay


@dataclass(frozen=True, eq=False)
class Division:
    """What is peeled off each sample's [H G'; G -C], C 1 on rigid rows and 0 on active ones.

    A row with one entry, such as a bound's, fixes its column, whose equation then gives the row's
    multiplier. A column without curvature that stands in one active row alone, such as an
    epigraph's, gives that row's multiplier, and the row gives the column.

    Rows, bool (batch, m), are `bounds` that fix a column, `owners` of one, or `left` to be solved;
    columns, bool (batch, n), are accordingly `fixed`, `peeled` or `kept`. Of its column a bound, or
    an owner, has that entry of G, int (batch, m).
    """

    bounds: np.ndarray
    owners: np.ndarray
    left: np.ndarray
    fixed: np.ndarray
    peeled: np.ndarray
    kept: np.ndarray
    bound_entry: np.ndarray
    owner_entry: np.ndarray

    @classmethod
    def of(
        cls,
        places: tuple[np.ndarray, np.ndarray],
        stored: np.ndarray,
        rows: np.ndarray,
        rigid: np.ndarray,
        curved: np.ndarray,
    ) -> Division:
        """The division of systems; samples in which little would be peeled off stay whole.

        Parameters
        ----------
        places : int arrays (entries,), (entries,)
            The rows and the columns of G's entries.
        stored : bool array (batch, entries)
            Entries that are not 0 and in one of the rows.
        rows, rigid : bool arrays (batch, m)
            Rows to be solved, and those of them where C is 1.
        curved : bool array (batch, n)
            Columns with curvature.
        """
        (row_of, col_of), (batch, m), n = places, rows.shape, curved.shape[1]

        def count(chosen: np.ndarray, of: np.ndarray, size: int) -> np.ndarray:
            sample, entry = np.nonzero(chosen)
            return np.bincount(sample * size + of[entry], minlength=batch * size).reshape(batch, -1)

        entries, active = count(stored, row_of, m), rows & ~rigid
        single, once = (entries == 1) & active, (count(stored, col_of, n) == 1) & ~curved
        worth = LITTLE * (n + rows.sum(axis=1))
        if (single.sum(axis=1) + once.sum(axis=1) < worth).all():
            return cls._whole(rows & (rigid | (entries > 0)), n)
        bound = stored & single[:, row_of]
        # several bounds of one column are left to refinement
        bound &= (count(bound, col_of, n) == 1)[:, col_of]
        bounds, fixed = count(bound, row_of, m) > 0, count(bound, col_of, n) > 0
        owner = stored & (once & ~fixed)[:, col_of]
        owner &= ((count(owner, row_of, m) == 1) & active & ~bounds)[:, row_of]
        whole = bound.sum(axis=1) + owner.sum(axis=1) < worth
        bound &= ~whole[:, None]
        owner &= ~whole[:, None]
        parts = []
        for chosen in (bound, owner):
            entry_of = np.zeros((batch, m), dtype=int)
            sample, entry = np.nonzero(chosen)
            entry_of[sample, row_of[entry]] = entry
            of_rows, of_columns = np.zeros((batch, m), dtype=bool), np.zeros((batch, n), dtype=bool)
            of_rows[sample, row_of[entry]] = of_columns[sample, col_of[entry]] = True
            parts.append((of_rows, of_columns, entry_of))
        (bounds, fixed, bound_entry), (owners, peeled, owner_entry) = parts
        left = rows & ~bounds & ~owners & (rigid | (entries > 0))  # rows of zeros say nothing
        return cls(bounds, owners, left, fixed, peeled, ~fixed & ~peeled, bound_entry, owner_entry)

    @classmethod
    def _whole(cls, rows: np.ndarray, n: int) -> Division:
        """Nothing is peeled off."""
        batch, m = rows.shape
        none, columns = np.zeros((batch, m), dtype=bool), np.zeros((batch, n), dtype=bool)
        entry = np.zeros((batch, m), dtype=int)
        return cls(none, none, rows, columns, columns, ~columns, entry, entry)


class Remainder(NamedTuple):
    """Kept columns and left rows of each sample's [H G'; G -C]."""

    division: Division
    layout: Layout  # where G's entries stand
    values: np.ndarray  # G's (batch, entries)
    H: np.ndarray | None  # (batch or 1, n, n), None where it is 0 or sparse: then it is P
    P: Pattern
    P_values: np.ndarray  # (batch or 1, entries)
    rigid: np.ndarray  # rows where C is 1, bool (batch, m)
    full: bool  # whether H is a full matrix
    linear: bool  # whether no column has curvature, whatever the values are

    def cores(self) -> Iterator[Core]:
        """The samples' cores: together where they are full and of equal sizes."""
        kept, left = self.division.kept, self.division.left
        sizes = np.stack([kept.sum(axis=1), left.sum(axis=1)], axis=1)
        full = np.full(len(sizes), self.H is not None) | (sizes.sum(axis=1) <= LARGE)
        full &= self.full
        sparse = np.flatnonzero(~full & (sizes.sum(axis=1) > 0))
        if len(sparse):
            yield self._sparse(sparse)
        whole = np.array([kept.shape[1], left.shape[1]])
        square = self.linear & (sizes[:, 0] == sizes[:, 1])
        exact = (sizes == whole) & ~square[:, None]
        sizes = np.where(exact, whole, -(-sizes // STEP) * STEP)
        together = 2 * (sizes[:, 0] * (whole.sum() + STEP) + sizes[:, 1]) + square
        together = np.where(full & (sizes.sum(axis=1) > 0), together, 0)
        for group in np.unique(together[together > 0]):
            samples = np.flatnonzero(together == group)
            k, size = sizes[samples[0]].tolist()
            at = _at(kept[samples], k), _at(left[samples], size)
            places = Places(samples, *at, (left.shape[1], kept.shape[1]))
            if square[samples[0]]:
                exact = Square(places, self._across(places))
                if exact.regular.all():
                    yield exact
                    continue
                singular = np.flatnonzero(exact.faulty)
                if len(singular) < len(samples):
                    good = places.take(np.flatnonzero(exact.regular))
                    yield Square(good, self._across(good))
                places = places.take(singular)
            yield Dense(places, self._whole(places))

    def _inside(self, samples: np.ndarray) -> Entries:
        """G's entries in the samples' left rows and kept columns."""
        kept, left = self.division.kept[samples], self.division.left[samples]
        layout, values = self.layout, self.values[samples]
        chosen = left[:, layout.rows] & kept[:, layout.cols] & (values != 0)
        sample, entry = np.nonzero(chosen)
        row = np.cumsum(left, axis=1)[sample, layout.rows[entry]] - 1
        col = np.cumsum(kept, axis=1)[sample, layout.cols[entry]] - 1
        return Entries(sample, row, col, values[sample, entry])

    def _across(self, places: Places) -> np.ndarray:
        """The samples' G of left rows and kept columns, (samples, l, k)."""
        G = np.zeros((len(places.samples), places.rows.shape[1], places.cols.shape[1]))
        inside = self._inside(places.samples)
        G[inside.sample, inside.row, inside.col] = inside.value
        cols, rows = (~real for real in places.real)
        filled = cols.any(axis=1)
        if filled.any():  # what stands for nothing: a part of the identity
            diagonal = np.arange(G.shape[1])
            G[:, diagonal, diagonal] += (cols & rows).astype(float)
        return G

    def _whole(self, places: Places) -> np.ndarray:
        """The samples' cores as full matrices."""
        (count, k), size = places.cols.shape, places.rows.shape[1]
        M = np.zeros((count, k + size, k + size))
        cols, rows = places.real
        if self.H is not None:
            H = self.H if len(self.H) == 1 else self.H[places.samples]
            whole = k == H.shape[1] and cols.all()
            M[:, :k, :k] = H if whole else _block(H, places.cols, cols)
        sample, row, col, values = self._inside(places.samples)
        M[sample, k + row, col] = M[sample, col, k + row] = values
        diagonal = np.arange(k + size)
        own = places.rows if rows.all() else np.where(rows, places.rows, 0)
        rigid = self.rigid[places.samples[:, None], own] | ~rows
        M[:, diagonal, diagonal] += np.concatenate([~cols, rigid * -1.0], axis=1)
        return M

    def _sparse(self, samples: np.ndarray) -> Sparse:
        """The samples' cores as sparse matrices."""
        P = self.P
        kept, left = self.division.kept[samples], self.division.left[samples]
        chosen = kept[:, P.rows] & kept[:, P.cols]
        sample, entry = np.nonzero(chosen)
        places = np.cumsum(kept, axis=1) - 1
        values = np.broadcast_to(self.P_values, (len(self.values), P.size))[samples]
        row, col = places[sample, P.rows[entry]], places[sample, P.cols[entry]]
        H = Entries(sample, row, col, values[sample, entry])
        cols, rows = ([np.flatnonzero(own) for own in mask] for mask in (kept, left))
        rigid = self.rigid[samples][left]
        n = kept.shape[1]
        return Sparse(samples, cols, rows, H, self._inside(samples), rigid, self.linear, n)


def _at(mask: np.ndarray, times: int) -> np.ndarray:
    """Where each sample's mask (samples, size) holds, filled up by `size`: (samples, times)."""
    at = np.full((len(mask), times), mask.shape[1])
    sample, place = np.nonzero(mask)
    at[sample, (np.cumsum(mask, axis=1) - 1)[sample, place]] = place
    return at


def _block(M: np.ndarray, places: np.ndarray, real: np.ndarray) -> np.ndarray:
    """These rows and columns (samples, size) of each sample's M (samples or 1, n, n), where they
    are real, 0 elsewhere.
    """
    first = np.arange(len(places))[:, None] * (len(M) > 1)
    places = np.where(real, places, 0)
    flat = ((first * M.shape[1] + places) * M.shape[2])[:, :, None] + places[:, None]
    return np.where(real[:, :, None] & real[:, None], np.take(M, flat), 0.0)
