"""The cone of positive semidefinite matrices, as scaled vectors. It is its own dual.

A symmetric matrix of order k is the vector of its lower triangle, column by column, off-diagonal
entries times sqrt(2), so that inner products of vectors and of matrices agree.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.cones.linearization import Linearization, ratio


@lru_cache(maxsize=64)
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
        # at a NaN eigh raises for the whole batch: it is kept out and put back
        values, vectors = xp.linalg.eigh(xp.where(xp.isfinite(matrix), matrix, 0.0))
        kept = vectors * (values * (values > 0))[..., None, :]
        return xp.matmul(kept, xp.matrix_transpose(vectors))[..., rows, cols] / scale + v * 0.0

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The projection's, with v = Q diag(w) Q': H -> Q (G ∘ Q'HQ) Q', where G_ij is
        (max(w_i, 0) - max(w_j, 0)) / (w_i - w_j).

        Malick, Sendov, "Clarke generalized Jacobian of the projection onto the cone of positive
        semidefinite matrices", 2006.
        """
        w, Q = self._spectrum(v)
        rows, cols = triangle(self.order)
        a, b = w[..., rows], w[..., cols]
        apart = np.where(a == b, 1.0, a - b)
        share = np.where(a == b, a > 0, (np.maximum(a, 0) - np.maximum(b, 0)) / apart)
        basis = self._basis(Q)
        # contiguous: the bits of NumPy's products depend on strides, and these on the batch
        left, right = np.ascontiguousarray(basis * share[..., None, :]), np.swapaxes(basis, -1, -2)
        return left @ np.ascontiguousarray(right)

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """With y - s = Q diag(w) Q', in the direction of q_i q_j' + q_j q_i': compliance 0 where
        w_i and w_j are positive, infinite where both are negative, else |negative| / positive.
        """
        v = y - s
        w, Q = self._spectrum(v)
        rows, cols = triangle(self.order)
        a, b = w[..., rows], w[..., cols]
        compliance = np.where(
            (a > 0) & (b > 0), 0.0, ratio(-np.minimum(a, b), np.maximum(np.maximum(a, b), 0.0))
        )
        basis = self._basis(Q)
        # contiguous, as above
        turned = np.ascontiguousarray(np.swapaxes(basis, -1, -2))
        directions = turned * np.isfinite(compliance)[..., None]
        diagonal = np.ascontiguousarray(basis[..., rows == cols])  # of q_i q_i'
        y_new = (diagonal @ np.maximum(w, 0.0)[..., None])[..., 0]
        s_new = (diagonal @ np.maximum(-w, 0.0)[..., None])[..., 0]
        return Linearization(y_new, s_new, directions, compliance)

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """The least of sqrt|w_i w_j| / |q_i'V_dot q_j|, with V = y - s = Q diag(w) Q'."""
        w, Q = self._spectrum(y - s)
        rows, cols = triangle(self.order)
        turned = np.ascontiguousarray(np.swapaxes(self._basis(Q), -1, -2))
        moved = turned @ (y_dot - s_dot)[..., None]
        speed = np.abs(moved[..., 0]) * np.where(rows == cols, 1.0, np.sqrt(0.5))
        return ratio(np.sqrt(np.abs(w[..., rows] * w[..., cols])), speed).min(axis=-1)

    def _spectrum(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (..., order) and eigenvectors of the matrices of vectors (..., rows)."""
        rows, cols = triangle(self.order)
        scale = np.where(rows == cols, 1.0, np.sqrt(0.5))
        matrix = np.zeros((*v.shape[:-1], self.order, self.order))
        matrix[..., rows, cols] = matrix[..., cols, rows] = v * scale
        # at a NaN eigh raises for the whole batch: it is kept out and put back
        finite = np.asarray(np.isfinite(matrix).all(axis=(-1, -2)))
        w, Q = np.linalg.eigh(np.where(finite[..., None, None], matrix, 0.0))
        return np.where(finite[..., None], w, np.nan), Q

    def _basis(self, Q: np.ndarray) -> np.ndarray:
        """The vectors of q_i q_j' + q_j q_i', orthonormal, one column for each pair."""
        rows, cols = triangle(self.order)
        scale = np.where(rows == cols, 1.0, np.sqrt(0.5))
        first = Q[..., rows, :][..., rows] * Q[..., cols, :][..., cols]
        second = Q[..., rows, :][..., cols] * Q[..., cols, :][..., rows]
        return (first + second) * scale / scale[:, None] / np.where(rows == cols, 2.0, 1.0)
