"""The inputs of a cone program: vectors, dense matrices, and stored entries of sparse ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import InvalidInput, InvalidProblem


class Entries(NamedTuple):
    """Where a sparse matrix stores its entries, in the order of its `data`."""

    rows: np.ndarray
    cols: np.ndarray


@dataclass(frozen=True, eq=False)
class Input:
    """A vector, a dense matrix, or the stored entries of a sparse one.

    Parameters
    ----------
    name : str
    size : (rows, columns), or (entries,) of a vector
    value : array of `shape`, or None
        What it was made with.
    entries : Entries or None
        Those of a sparse matrix; then its shape is (stored entries,).
    absent : bool array of `shape`, or None
        Which entries are bounds that there are not: nobody reads them.
    mirror : int array (entries,), or None
        For a symmetric matrix with both triangles: where the entry across the diagonal stands.
    """

    name: str
    size: tuple[int, ...]
    value: np.ndarray | None
    entries: Entries | None = None
    absent: np.ndarray | None = None
    mirror: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a value, without batch axes."""
        return self.size if self.entries is None else (len(self.entries.rows),)

    @property
    def positions(self) -> Entries:
        """Row and column of each entry of a matrix, in the order of a flattened value."""
        if self.entries is not None:
            return self.entries
        rows, cols = np.indices(self.size)
        return Entries(rows.ravel(), cols.ravel())

    @property
    def hint(self) -> str:
        """What to hand over instead, for who hands over another shape."""
        if self.entries is None:
            return ""
        return (
            f": {self.name} was made from a sparse matrix, so pass its {self.shape[0]} stored "
            "entries in the order of its data, or a SciPy matrix"
        )

    def read(self, value: Any) -> Any:
        """A SciPy matrix, or a list of them, as the values of this input; all else as it is.

        Raises
        ------
        InvalidInput
            For another size, or an entry that this input does not store.
        """
        if sp.issparse(value):
            return self._read(value)
        if isinstance(value, list | tuple) and value and all(sp.issparse(v) for v in value):
            return np.stack([self._read(v) for v in value])
        return value

    def write(self, gradient: np.ndarray, like: Any) -> Any:
        """A gradient of such values in the form of the value that it is of."""
        if sp.issparse(like):
            return self._write(gradient)
        if isinstance(like, list | tuple) and like and sp.issparse(like[0]):
            return [self._write(each) for each in gradient]
        return gradient

    def _read(self, matrix: Any) -> np.ndarray:
        if len(self.size) != 2 or matrix.shape != self.size:
            raise InvalidInput(
                f"{self.name} is a sparse matrix of shape {matrix.shape}, expected {self.size}"
            )
        if self.entries is None:
            return np.asarray(matrix.toarray(), dtype=float)
        coo = sp.coo_array(matrix)
        rows, cols = self.entries
        if np.array_equal(coo.row, rows) and np.array_equal(coo.col, cols):
            return np.asarray(coo.data, dtype=float)
        flat = coo.col.astype(np.int64) * self.size[0] + coo.row
        order, sorted_flat = self._lookup
        places = np.searchsorted(sorted_flat, flat)
        places = np.minimum(places, max(len(sorted_flat) - 1, 0))
        known = sorted_flat[places] == flat if len(sorted_flat) else np.zeros(len(flat), dtype=bool)
        strange = ~known & (coo.data != 0)
        if strange.any():
            i, j = int(coo.row[strange][0]), int(coo.col[strange][0])
            raise InvalidInput(
                f"{self.name} has an entry at ({i}, {j}), which the matrix that the layer was made "
                "from does not store: store a 0 there when you make the layer"
            )
        out = np.zeros(len(rows))
        np.add.at(out, order[places[known]], coo.data[known])
        return out

    def _write(self, gradient: np.ndarray) -> Any:
        if self.entries is None:
            return sp.csc_matrix(gradient)
        return sp.csc_matrix((gradient, (self.entries.rows, self.entries.cols)), shape=self.size)

    @cached_property
    def _lookup(self) -> tuple[np.ndarray, np.ndarray]:
        """The entries by column, and their flat positions in that order."""
        assert self.entries is not None
        flat = self.entries.cols.astype(np.int64) * self.size[0] + self.entries.rows
        order = np.argsort(flat, kind="stable")
        return order, flat[order]


def matrix(name: str, value: Any, size: tuple[int | None, int | None]) -> Input:
    """A matrix as an input: a SciPy one by its stored entries, another array by all of its entries.

    Raises
    ------
    InvalidProblem
        For something else, another size, or a number that is not finite.
    """
    if sp.issparse(value):
        coo = sp.coo_array(value)
        shape, entries = value.shape, Entries(coo.row.astype(np.int64), coo.col.astype(np.int64))
        flat = entries.cols * shape[0] + entries.rows
        if len(np.unique(flat)) < len(flat):
            raise InvalidProblem(f"{name} stores an entry twice; call its sum_duplicates()")
        numbers = _numbers(name, coo.data)
    else:
        numbers, entries = _numbers(name, value), None
        shape = numbers.shape
    wanted = tuple("any" if k is None else str(k) for k in size)
    if len(shape) != 2 or any(k not in (None, have) for k, have in zip(size, shape, strict=True)):
        raise InvalidProblem(f"{name} has shape {shape}, expected ({', '.join(wanted)})")
    _require_finite(name, numbers)
    return Input(name, shape, numbers, entries)


def vector(name: str, value: Any, length: int, unbounded: float = np.nan) -> Input:
    """A vector as an input; None is one that each call must be handed.

    Entries that are `unbounded`, an infinity, are absent.
    """
    if value is None:
        return Input(name, (length,), None)
    numbers = _numbers(name, value.toarray() if sp.issparse(value) else value)
    if numbers.shape in ((length, 1), (1, length)):
        numbers = numbers.reshape(length)
    if numbers.shape != (length,):
        raise InvalidProblem(f"{name} has shape {numbers.shape}, expected ({length},)")
    absent = numbers == unbounded
    _require_finite(name, numbers[~absent])
    return Input(name, (length,), numbers, absent=absent if absent.any() else None)


def symmetric(name: str, value: Any, n: int) -> Input:
    """A symmetric matrix as an input: both triangles, or the entries of one.

    Raises
    ------
    InvalidProblem
        For a matrix with both triangles that is not symmetric.
    """
    own = matrix(name, value, (n, n))
    rows, cols = own.positions
    one_triangle = bool((rows <= cols).all() or (rows >= cols).all())
    if own.entries is not None and one_triangle:
        return own
    flat, across = cols * n + rows, rows * n + cols
    order = np.argsort(flat)
    places = np.minimum(np.searchsorted(flat[order], across), len(flat) - 1)
    missing = flat[order][places] != across
    if missing.any():
        i, j = int(rows[missing][0]), int(cols[missing][0])
        raise InvalidProblem(
            f"{name} stores an entry at ({i}, {j}) but none at ({j}, {i}): store one triangle, or "
            "both with the same entries"
        )
    mirror = order[places]
    assert own.value is not None
    numbers = own.value.ravel()
    if np.abs(numbers - numbers[mirror]).max(initial=0.0) > 1e-5 * np.abs(numbers).max(initial=0.0):
        raise InvalidProblem(
            f"{name} is not symmetric; pass (P + P.T)/2, or the upper triangle of a symmetric "
            "matrix, as scipy.sparse.triu(P)"
        )
    return Input(name, own.size, own.value, own.entries, mirror=mirror)


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:  # torch raises the first two
        raise InvalidProblem(f"{name} cannot be made into an array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InvalidProblem(f"{name} has dtype {array.dtype}; real numbers are needed")
    return np.array(array, dtype=float)


def _require_finite(name: str, numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        raise InvalidProblem(
            f"{name} has NaN or infinite entries; leave out the rows of bounds that there are not"
        )
