"""The sparse products that array namespaces lack, for NumPy and torch alike.

A sample's result never depends on its batch mates: NumPy products add each row's terms in the
pattern's order, whether the values are shared by the batch or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace, is_numpy_array

Array = Any  # an array of any namespace that array-api-compat knows


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where a sparse matrix stores its entries, in compressed-column order.

    Parameters
    ----------
    shape : (rows, columns)
    rows, cols : int arrays (entries,)
        Position of each entry, sorted by column, then by row; no position twice.
    """

    shape: tuple[int, int]
    rows: np.ndarray
    cols: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, int], rows: Iterable[int], cols: Iterable[int]) -> Pattern:
        """The pattern of these positions, sorted, each once."""
        flat = np.unique(
            np.asarray(cols, dtype=np.int64) * shape[0] + np.asarray(rows, dtype=np.int64)
        )
        return cls(shape, flat % max(shape[0], 1), flat // max(shape[0], 1))

    @property
    def size(self) -> int:
        """Number of stored entries."""
        return len(self.rows)

    @cached_property
    def indptr(self) -> np.ndarray:
        """Where each column begins among the entries, (columns + 1,)."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.cols, minlength=self.shape[1]))])

    @cached_property
    def by_row(self) -> tuple[np.ndarray, np.ndarray]:
        """(order, indptr): the entries' order row by row, and where each row begins."""
        order = np.lexsort((self.cols, self.rows))
        counts = np.bincount(self.rows, minlength=self.shape[0])
        return order, np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def flat(self) -> np.ndarray:
        """Position of each entry in the column-major flattened matrix; increasing."""
        return self.cols * self.shape[0] + self.rows

    @cached_property
    def mirrored(self) -> np.ndarray:
        """For a symmetric pattern, where the entry across the diagonal stands."""
        return np.searchsorted(self.flat, self.rows * self.shape[0] + self.cols)

    @cached_property
    def upper(self) -> tuple[np.ndarray, Pattern]:
        """The entries on and above the diagonal: where they stand here, and their pattern."""
        chosen = np.flatnonzero(self.rows <= self.cols)
        return chosen, Pattern(self.shape, self.rows[chosen], self.cols[chosen])

    def index(self, other: Pattern) -> np.ndarray:
        """Where each entry of `other`, whose positions are all stored here, stands here."""
        return np.searchsorted(self.flat, other.flat)

    def matrix(self, values: np.ndarray) -> sp.csc_matrix:
        """A SciPy matrix of one sample's values (entries,); the values are not copied."""
        matrix = copy(self._template)  # a constructor would check the indices each time
        matrix.data = values
        return matrix

    @cached_property
    def _template(self) -> sp.csc_matrix:
        """A matrix of this pattern."""
        return sp.csc_matrix((np.ones(self.size), self.rows, self.indptr), shape=self.shape)


def product(pattern: Pattern, values: Array, x: Array) -> Array:
    """Ax per sample: values (batch or 1, entries), x (batch, columns) -> (batch, rows)."""
    if not is_numpy_array(x):
        return _scattered(x, values * x[:, pattern.cols], pattern.rows, pattern.shape[0])
    order, indptr = pattern.by_row
    return _compressed(values[:, order], pattern.cols[order], indptr, x)


def transposed_product(pattern: Pattern, values: Array, y: Array) -> Array:
    """A'y per sample: values (batch or 1, entries), y (batch, rows) -> (batch, columns)."""
    if not is_numpy_array(y):
        return _scattered(y, values * y[:, pattern.rows], pattern.cols, pattern.shape[1])
    return _compressed(values, pattern.rows, pattern.indptr, y)


def _scattered(like: Array, terms: Array, positions: np.ndarray, size: int) -> Array:
    xp = array_namespace(like)
    out = xp.zeros((terms.shape[0], size), dtype=like.dtype, device=like.device)
    return out.index_add(1, xp.asarray(positions, device=like.device), terms)


def _compressed(
    values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, x: np.ndarray
) -> np.ndarray:
    batch, rows = len(x), len(indptr) - 1
    if len(values) == 1:
        shared = sp.csr_array((values[0], indices, indptr), shape=(rows, x.shape[1]))
        return np.ascontiguousarray((shared @ x.T).T)
    # one block-diagonal product instead of one small product for each sample
    samples = np.arange(batch)[:, None]
    columns = (indices + samples * x.shape[1]).ravel()
    starts = np.append((indptr[:-1] + samples * len(indices)).ravel(), batch * len(indices))
    blocks = sp.csr_array((values.ravel(), columns, starts), shape=(batch * rows, x.size))
    return (blocks @ x.ravel()).reshape(batch, rows)


def apply(matrix: sp.sparray, vectors: Array) -> Array:
    """Mv for each row v of `vectors` (batch, columns) -> (batch, rows); M' is `matrix.T`."""
    if is_numpy_array(vectors):
        return np.ascontiguousarray((matrix @ vectors.T).T)
    entries = matrix.tocoo()
    weights = array_namespace(vectors).asarray(
        entries.data, dtype=vectors.dtype, device=vectors.device
    )
    return _scattered(vectors, weights * vectors[:, entries.col], entries.row, matrix.shape[0])
