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

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """Of the projection, with v = Q diag(w) Q': H -> Q (G ∘ Q'HQ) Q', where G_ij is
        (max(w_i, 0) - max(w_j, 0)) / (w_i - w_j).

        Malick, Sendov, "Clarke generalized Jacobian of the projection onto the cone of positive
        semidefinite matrices", 2006.
        """
        rows, cols = triangle(self.order)
        scale = np.where(rows == cols, 1.0, np.sqrt(0.5))
        matrix = np.zeros((*v.shape[:-1], self.order, self.order))
        matrix[..., rows, cols] = matrix[..., cols, rows] = v * scale
        w, Q = np.linalg.eigh(matrix)
        a, b = w[..., rows], w[..., cols]
        apart = np.where(a == b, 1.0, a - b)
        share = np.where(a == b, a > 0, (np.maximum(a, 0) - np.maximum(b, 0)) / apart)
        # the basis of svec(q_i q_j' + q_j q_i'), one column for each pair
        first = Q[..., rows, :][..., rows] * Q[..., cols, :][..., cols]
        second = Q[..., rows, :][..., cols] * Q[..., cols, :][..., rows]
        basis = (first + second) * scale / scale[:, None] / np.where(rows == cols, 2.0, 1.0)
        # rows in order: how NumPy multiplies depends on strides, and these on the batch
        left, right = np.ascontiguousarray(basis * share[..., None, :]), np.swapaxes(basis, -1, -2)
        return left @ np.ascontiguousarray(right)
