"""What is left of systems after their division, factored.

    [H G'; G -C] (x, u) = (f, g)

A core serves some samples: stacks f (samples, columns, k) and g (samples, columns, l). `scale`
(samples, k + l) is E such that EKE has entries of about 1; `faulty` says where there are no
factors, `regular` where K is known to have no null space, both bool (samples,).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from scipy.linalg import lapack

from cvxlpgd.program.factors.scaling import DELTA, pair_scales_of, scales_of, sparse_scale_of
from cvxlpgd.threads import shared

WORTH = 2e7  # multiplications from which a second thread pays
SAFE = 1e-6  # of a square core's scaled pivots: it is regular if none is smaller
ORDER = "MMD_AT_PLUS_A"  # of elimination


class Core(Protocol):
    """Factors of some samples' cores."""

    samples: np.ndarray
    scale: np.ndarray
    faulty: np.ndarray
    regular: np.ndarray

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u)."""


class Dense:
    """Of full matrices M (samples, k + l, k + l), which are overwritten."""

    def __init__(self, samples: np.ndarray, k: int, M: np.ndarray) -> None:
        self.samples, self.regular = samples, np.zeros(len(samples), dtype=bool)
        self.scale, diagonal = scales_of(M), np.arange(M.shape[1])
        M *= self.scale[:, :, None] * self.scale[:, None]
        M[:, diagonal, diagonal] += np.where(diagonal < k, DELTA, -DELTA)
        self.factors = _each(len(M), M.shape[1], lambda i: lapack.dgetrf(M[i].T, overwrite_a=True))
        self.faulty = np.array([fault != 0 for *_, fault in self.factors], dtype=bool)

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) by LU factors."""
        right = np.concatenate([f, g], axis=2) * self.scale[:, None]
        for part, (matrix, order, _) in zip(right, self.factors, strict=True):
            part[:] = lapack.dgetrs(matrix, order, part.T)[0].T
        right *= self.scale[:, None]
        return right[:, :, : f.shape[2]], right[:, :, f.shape[2] :]


class Square:
    """A linear program's: [0 G'; G 0], G (samples, k, k), where that is regular.

        G x = g,    G'u = f
    """

    def __init__(self, samples: np.ndarray, G: np.ndarray) -> None:
        self.samples, k = samples, G.shape[1]
        rows, cols = pair_scales_of(G)
        self.scale = np.concatenate([cols, rows], axis=1)
        G = G * rows[:, :, None] * cols[:, None]
        self.factors = _each(len(G), k, lambda i: lapack.dgetrf(G[i].T, overwrite_a=True))
        pivots = np.array([np.abs(matrix.diagonal()).min() for matrix, *_ in self.factors])
        self.regular = pivots > SAFE
        self.faulty = ~self.regular

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u), each by the factors of G'."""
        k = f.shape[2]
        f, g = f * self.scale[:, None, :k], g * self.scale[:, None, k:]
        x, u = np.empty_like(g), np.empty_like(f)
        for i, (matrix, order, _) in enumerate(self.factors):
            x[i] = lapack.dgetrs(matrix, order, g[i].T, trans=1)[0].T
            u[i] = lapack.dgetrs(matrix, order, f[i].T)[0].T
        return x * self.scale[:, None, :k], u * self.scale[:, None, k:]


class Sparse:
    """Of one sample's sparse matrix, k + l rows."""

    def __init__(self, samples: np.ndarray, k: int, K: sp.csc_array) -> None:
        self.samples, self.regular = samples, np.zeros(1, dtype=bool)
        scale = sparse_scale_of(K)
        self.scale = scale[None]
        K.data = K.data * scale[K.indices] * np.repeat(scale, np.diff(K.indptr))
        shift = np.where(np.arange(len(scale)) < k, DELTA, -DELTA)
        self.factors: Any = None
        try:
            self.factors = sla.splu(
                sp.csc_array(K + sp.diags_array(shift, format="csc")), permc_spec=ORDER
            )
        except RuntimeError:  # it is singular even so
            pass
        self.faulty = np.array([self.factors is None])

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) by sparse LU factors."""
        if self.factors is None:
            return f * np.nan, g * np.nan
        right = np.concatenate([f[0], g[0]], axis=1) * self.scale
        found = (self.factors.solve(right.T).T * self.scale)[None]
        return found[:, :, : f.shape[2]], found[:, :, f.shape[2] :]


def _each(count: int, size: int, factor: Callable[[int], Any]) -> list[Any]:
    """The factors of `count` matrices of this size, in threads where that pays."""
    factors: list[Any] = [None] * count

    def one(i: int) -> None:
        factors[i] = factor(i)

    work = deque(range(count))
    if count * size**3 > WORTH:
        shared(work, one)
    else:
        for i in work:
            one(i)
    return factors
