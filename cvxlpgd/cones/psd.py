"""The cone of positive semidefinite matrices, as scaled vectors. It is its own dual.

A symmetric matrix of order k is the vector of its lower triangle, column by column, off-diagonal
entries times sqrt(2), so that inner products of vectors and of matrices agree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace


def triangle(order: int) -> tuple[np.ndarray, np.ndarray]:
    """(i, j) with i >= j of each vector entry: the lower triangle, column by column."""
    cols, rows = np.triu_indices(order)
    return rows, cols


@dataclass(frozen=True)
class PSD:
    """Symmetric positive semidefinite matrices of order `order`."""

    order: int

    symmetric = True

    @property
    def rows(self) -> int:
        """Entries of one triangle."""
        return self.order * (self.order + 1) // 2

    @property
    def interior(self) -> np.ndarray:
        """The identity."""
        return np.equal(*triangle(self.order)).astype(float)

    def project(self, v: Any) -> Any:
        """Nearest point: the same eigenvectors, the eigenvalues cut off at 0."""
        xp = array_namespace(v)
        rows, cols = triangle(self.order)
        scale = xp.asarray(
            np.where(rows == cols, 1.0, np.sqrt(0.5)), dtype=v.dtype, device=v.device
        )
        matrix = xp.zeros((*v.shape[:-1], self.order, self.order), dtype=v.dtype, device=v.device)
        matrix[..., rows, cols] = v * scale
        matrix[..., cols, rows] = v * scale
        # eigh raises at NaN, for the whole batch: keep it out and put it back
        values, vectors = xp.linalg.eigh(xp.where(xp.isfinite(matrix), matrix, 0.0))
        kept = vectors * (values * (values > 0))[..., None, :]
        return xp.matmul(kept, xp.matrix_transpose(vectors))[..., rows, cols] / scale + v * 0.0
