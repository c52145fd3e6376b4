"""The sparse products that array namespaces lack, for NumPy and torch alike.

A sample's result never depends on its batch mates: NumPy products add each row's terms in the
columns' order, whether the values are shared by the batch or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace, is_numpy_array

from cvxlpgd.program.threads import one_thread_for

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
        row, col = (np.asarray(v, dtype=np.int64) for v in (rows, cols))
        flat, height = np.sort(col * shape[0] + row), max(shape[0], 1)
        flat = flat[np.diff(flat, prepend=-1) > 0]  # np.unique hashes them before it sorts them
        return cls(shape, flat % height, flat // height)

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
    def mirror(self) -> np.ndarray:
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
        return _fill(self._template, values)

    def transpose(self, values: np.ndarray) -> sp.csr_matrix:
        """The transposed matrix of one sample's values; the values are not copied."""
        return _fill(self._transposed_template, values)

    @cached_property
    def is_full(self) -> bool:
        """Whether every position is stored."""
        return self.size == self.shape[0] * self.shape[1] > 0

    @cached_property
    def is_diagonal(self) -> bool:
        """Whether all entries are on the diagonal."""
        return bool((self.rows == self.cols).all())

    @cached_property
    def blocks(self) -> Callable[[int], tuple[sp.csc_matrix, sp.csr_matrix]]:
        """Batch -> a block-diagonal matrix of so many samples, and its transpose, to be filled.

        The last two are remembered: a batch's, and its re-solves'.
        """
        shape, rows, starts, size = self.shape, self.rows, self.indptr[:-1], self.size

        @lru_cache(maxsize=2)
        def templates_of(batch: int) -> tuple[sp.csc_matrix, sp.csr_matrix]:
            samples = np.arange(batch)[:, None]
            largest = batch * max(size, *shape)
            kind = np.int32 if largest < np.iinfo(np.int32).max else np.int64
            indices = (rows + samples * shape[0]).ravel().astype(kind)
            indptr = np.append((starts + samples * size).ravel(), batch * size).astype(kind)
            values, sizes = np.zeros(batch * size), (batch * shape[0], batch * shape[1])
            whole = sp.csc_matrix((values, indices, indptr), shape=sizes)
            return whole, whole.T

        return templates_of

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without what follows from them."""
        return {"shape": self.shape, "rows": self.rows, "cols": self.cols}

    @cached_property
    def _template(self) -> sp.csc_matrix:
        """A matrix of this pattern."""
        return sp.csc_matrix((np.ones(self.size), self.rows, self.indptr), shape=self.shape)

    @cached_property
    def _transposed_template(self) -> sp.csr_matrix:
        """The transpose of one."""
        return self._template.T


def _fill(template: Any, values: np.ndarray) -> Any:
    """A copy of a SciPy matrix with other values; a constructor would check the indices again."""
    matrix = template.__class__.__new__(template.__class__)
    matrix.__dict__.update(template.__dict__)
    matrix.data = values
    return matrix


def namespace_of(v: Array) -> Any:
    """The namespace of an array; NumPy's own, without the detour of a compatible one."""
    return np if isinstance(v, np.ndarray) else array_namespace(v)


def pick_columns(v: Array, columns: np.ndarray) -> Array:
    """These columns of (batch, size), each row contiguous; NumPy's own indexing transposes."""
    return np.take(v, columns, axis=1) if is_numpy_array(v) else v[:, columns]


def product(pattern: Pattern, values: Array, x: Array) -> Array:
    """Ax per sample: values (batch or 1, entries), x (batch, columns) -> (batch, rows)."""
    if not is_numpy_array(x):
        return scatter(x, values * x[:, pattern.cols], pattern.rows, pattern.shape[0])
    with one_thread_for(pattern.shape[0] * pattern.shape[1] if pattern.is_full else 0):
        return products(pattern, values, x[:, None])[:, 0]


def transposed_product(pattern: Pattern, values: Array, y: Array) -> Array:
    """A'y per sample: values (batch or 1, entries), y (batch, rows) -> (batch, columns)."""
    if not is_numpy_array(y):
        return scatter(y, values * y[:, pattern.rows], pattern.cols, pattern.shape[1])
    with one_thread_for(pattern.shape[0] * pattern.shape[1] if pattern.is_full else 0):
        return products(pattern, values, y[:, None], transposed=True)[:, 0]


def products(
    pattern: Pattern, values: np.ndarray, v: np.ndarray, transposed: bool = False
) -> np.ndarray:
    """Av, or A'v, for stacks of vectors v (batch, columns, size), values (batch or 1, entries)."""
    batch, columns, _ = v.shape
    rows, cols = pattern.shape
    size = cols if transposed else rows
    if pattern.is_full:  # each sample's values are a full matrix, by columns
        stack = values.reshape(len(values), cols, rows)
        return np.asarray(v @ (stack.swapaxes(1, 2) if transposed else stack))
    if pattern.is_diagonal:
        places = pattern.rows
        if len(places) == size:
            return np.asarray(v[..., :size] * values[:, None])
        out = np.zeros((batch, columns, size))
        out[..., places] = v[..., places] * values[:, None]
        return out
    if len(values) == 1:
        flat, of = v.reshape(batch * columns, v.shape[2]), values[0]
        matrix = pattern.transpose(of) if transposed else pattern.matrix(of)
        return np.ascontiguousarray((matrix @ flat.T).T).reshape(batch, columns, size)
    whole = _fill(pattern.blocks(len(values))[int(transposed)], values.ravel())
    if columns == 1:
        return np.asarray(whole @ v.ravel()).reshape(batch, 1, size)
    vectors = v.swapaxes(1, 2).reshape(-1, columns)
    out = (whole @ vectors).reshape(batch, size, columns)
    return np.ascontiguousarray(out.swapaxes(1, 2))


def scatter(like: Array, terms: Array, positions: np.ndarray, size: int) -> Array:
    """Sums of the terms (batch, entries) that share a position: (batch, size), in the namespace of
    `like`, which is not NumPy's.
    """
    xp = array_namespace(like)
    out = xp.zeros((terms.shape[0], size), dtype=like.dtype, device=like.device)
    return out.index_add(1, xp.asarray(positions, device=like.device, copy=True), terms)
