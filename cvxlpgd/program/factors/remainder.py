"""What a division leaves of systems: the matrices of their cores, gathered and factored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cvxlpgd.program.factors.cores import Core, Dense, Entries, Places, Sparse, Square
from cvxlpgd.program.factors.division import Division
from cvxlpgd.program.factors.entries import Layout
from cvxlpgd.program.pattern import Pattern

LARGE = 300  # columns and rows: a larger core is sparse, unless H is a full matrix


class Remainder(NamedTuple):
    """Kept columns and left rows of each sample's [H G'; G -C].

    Parameters
    ----------
    division : Division
    layout : Layout
        Where G's entries stand.
    values : array (batch, entries)
        Of G.
    H : array (batch or 1, n, n) or None
        None where it is 0 or sparse: then it is P.
    P, P_values : Pattern, array (batch or 1, entries)
    rigid : bool array (batch, m)
        Rows where C is 1.
    full, linear : bool
        Whether H is a full matrix; whether no column has curvature, whatever the values are.
    """

    division: Division
    layout: Layout
    values: np.ndarray
    H: np.ndarray | None
    P: Pattern
    P_values: np.ndarray
    rigid: np.ndarray
    full: bool
    linear: bool

    def cores(self) -> Iterator[Core]:
        """The samples' cores: together where they are full and of equal sizes."""
        kept, left = self.division.kept, self.division.left
        sizes = np.stack([kept.sum(axis=1), left.sum(axis=1)], axis=1)
        full = np.full(len(sizes), self.H is not None) | (sizes.sum(axis=1) <= LARGE)
        full &= self.full
        sparse = np.flatnonzero(~full & (sizes.sum(axis=1) > 0))
        if len(sparse):
            yield self._sparse(sparse)
        _, group = np.unique(sizes, axis=0, return_inverse=True)
        group = np.where(full & (sizes.sum(axis=1) > 0), group.reshape(-1), -1)
        for number in np.unique(group[group >= 0]):
            samples = np.flatnonzero(group == number)
            places = Places(samples, _at(kept[samples]), _at(left[samples]))
            if self.linear and places.cols.shape == places.rows.shape:
                square = Square(places, self._across(places))
                if square.regular.all():
                    yield square
                    continue
                singular = np.flatnonzero(square.faulty)
                if len(singular) < len(samples):
                    good = places.take(np.flatnonzero(square.regular))
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
        return G

    def _whole(self, places: Places) -> np.ndarray:
        """The samples' cores as full matrices."""
        (count, k), size = places.cols.shape, places.rows.shape[1]
        M = np.zeros((count, k + size, k + size))
        if self.H is not None:
            H = self.H if len(self.H) == 1 else self.H[places.samples]
            M[:, :k, :k] = H if k == H.shape[1] else _block(H, places.cols)
        sample, row, col, values = self._inside(places.samples)
        M[sample, k + row, col] = M[sample, col, k + row] = values
        diagonal = k + np.arange(size)
        M[:, diagonal, diagonal] = -self.rigid[places.samples[:, None], places.rows].astype(float)
        return M

    def _sparse(self, samples: np.ndarray) -> Sparse:
        """The samples' cores as sparse matrices."""
        P = self.P
        kept, left = self.division.kept[samples], self.division.left[samples]
        chosen = kept[:, P.rows] & kept[:, P.cols]
        sample, entry = np.nonzero(chosen)
        places = np.cumsum(kept, axis=1) - 1
        values = np.broadcast_to(self.P_values, (len(self.values), P.size))[samples]
        H = Entries(
            sample, places[sample, P.rows[entry]], places[sample, P.cols[entry]],
            values[sample, entry],
        )  # fmt: skip
        cols, rows = ([np.flatnonzero(own) for own in mask] for mask in (kept, left))
        rigid = self.rigid[samples][left]
        return Sparse(samples, cols, rows, H, self._inside(samples), rigid, self.linear)


def _at(mask: np.ndarray) -> np.ndarray:
    """Where each sample's mask (samples, size) holds, equally often: (samples, times)."""
    return np.nonzero(mask)[1].reshape(len(mask), -1)


def _block(M: np.ndarray, places: np.ndarray) -> np.ndarray:
    """These rows and columns (samples, size) of each sample's M (samples or 1, n, n)."""
    first = np.arange(len(places))[:, None] * (len(M) > 1)
    flat = ((first * M.shape[1] + places) * M.shape[2])[:, :, None] + places[:, None]
    return np.take(M, flat)
