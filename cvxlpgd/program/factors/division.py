"""What stands alone in a system and need not be factored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LITTLE = 0.1  # of all columns and rows: peeling off less does not pay


@dataclass(frozen=True, eq=False)
class Division:
    """What is peeled off each sample's [H G'; G -C], C 1 on rigid rows and 0 on active ones.

    A row with one entry, such as a bound's, fixes its column, whose equation then gives the row's
    multiplier. A column without curvature that stands in one active row alone, such as an
    epigraph's, gives that row's multiplier, and the row gives the column.

    Parameters
    ----------
    bounds, owners, left : bool arrays (batch, m)
        Rows that fix a column, rows that own one, and the others that are solved.
    fixed, peeled, kept : bool arrays (batch, n)
        The columns that are fixed, those that are owned, and the others.
    bound_entry, owner_entry : int arrays (batch, m)
        Which of G's entries a bound, and an owner, has in its column.
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
        """The division of systems whose G has entries at some places.

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

        Samples in which little would be peeled off stay whole.
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
