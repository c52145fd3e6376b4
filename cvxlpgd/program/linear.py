"""Linear maps of vectors, for NumPy and torch alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace, is_numpy_array

from cvxlpgd.program.pattern import Array, pick_columns, scatter

GATHERED = 4  # numbers for each entry of the matrix, up to which gathers pay


@dataclass(frozen=True, eq=False)
class Linear:
    """v -> Mv for each row v of a batch of vectors.

    Maps between parameters, data and variables mostly pick, scale and add a few entries: then each
    row of the batch is gathered as it lies in memory, instead of multiplied by a sparse matrix.
    """

    matrix: sp.csr_array

    def __call__(self, vectors: Array) -> Array:
        """Mv: vectors (batch, columns) -> (batch, rows)."""
        if not is_numpy_array(vectors):
            return self._elsewhere(vectors)
        if self._gathers is None:
            return np.ascontiguousarray((self.matrix @ vectors.T).T)
        out = None
        for columns, weights in self._gathers:
            term = vectors if columns is None else pick_columns(vectors, columns)
            term = term if weights is None else term * weights
            out = term if out is None else out + term
        if out is None:
            return np.zeros((len(vectors), self.matrix.shape[0]))
        return out.copy() if out is vectors else out

    @cached_property
    def magnitudes(self) -> Linear:
        """The map v -> |M|v."""
        return Linear(abs(self.matrix))

    @cached_property
    def adjoint(self) -> Linear:
        """The map v -> M'v."""
        return Linear(sp.csr_array(self.matrix.T))

    @cached_property
    def _gathers(self) -> tuple[tuple[np.ndarray | None, np.ndarray | None], ...] | None:
        """(columns, weights) whose gathers add up to Mv; None where they would be many.

        The k-th gather takes the k-th entry of each row, weight 0 where there is none; None stands
        for all columns in order, and for weights that are 1.
        """
        counts, (rows, n) = np.diff(self.matrix.indptr), self.matrix.shape
        width = int(counts.max(initial=0))
        if width > 1 and width * rows > GATHERED * self.matrix.nnz:
            return None
        gathers = []
        for k in range(width):
            has = counts > k
            places = self.matrix.indptr[:-1][has] + k
            columns, weights = np.zeros(rows, dtype=np.intp), np.zeros(rows)
            columns[has], weights[has] = self.matrix.indices[places], self.matrix.data[places]
            in_order = rows == n and np.array_equal(columns, np.arange(n))
            ones = (weights == 1).all()
            gathers.append((None if in_order else columns, None if ones else weights))
        return tuple(gathers)

    def _elsewhere(self, vectors: Array) -> Array:
        """Mv in another namespace than NumPy's."""
        entries, xp = self.matrix.tocoo(), array_namespace(vectors)
        weights = xp.asarray(entries.data, dtype=vectors.dtype, device=vectors.device)
        terms = weights * vectors[:, entries.col]
        return scatter(vectors, terms, entries.row, self.matrix.shape[0])
