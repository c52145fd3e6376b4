"""One sample's full system, without what stands alone in it."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from cvxlpgd.program.factors.scaling import DELTA, scale_of


class Peeled:
    """One sample's [H G'; G -C], H = P + G_c'G_c and G of other rows, in two steps.

    C is 1 on curved rows that are too rigid to be eliminated, 0 on active ones.

    A row with one entry, such as a bound's, fixes its column, whose equation then gives the row's
    multiplier. A column without curvature that stands in one active row alone, such as an
    epigraph's, gives that row's multiplier, and the row gives the column. Both are peeled off.
    """

    def __init__(self, H: np.ndarray, G: np.ndarray, corner: np.ndarray, rows: np.ndarray) -> None:
        n, stored, self.rows = len(H), G != 0, rows
        active = corner == 0
        free, others = np.ones(n, dtype=bool), np.ones(len(G), dtype=bool)
        single = np.flatnonzero((stored.sum(axis=1) == 1) & active)
        columns = stored[single].argmax(axis=1)
        once = np.bincount(columns, minlength=n)[columns] == 1  # several are left to refinement
        self.bounds, self.fixed = single[once], columns[once]
        others[self.bounds], free[self.fixed] = False, False
        alone = np.flatnonzero((stored[others].sum(axis=0) == 1) & free & ~H.any(axis=0))
        owners = (stored[:, alone] & others[:, None]).argmax(axis=0) if len(G) else alone[:0]
        alone, owners = alone[: len(owners)], owners
        once = active[owners] & (np.bincount(owners, minlength=len(G))[owners] == 1)
        self.owners, self.peeled = owners[once], alone[once]
        self.free = np.flatnonzero(free)
        others[self.owners], free[self.peeled] = False, False
        self.kept, self.left = np.flatnonzero(free), np.flatnonzero(others)
        self.bound_pivots = G[self.bounds, self.fixed]
        self.pivots = G[self.owners, self.peeled]
        self.across = G[self.owners[:, None], self.kept]
        self.H_fixed, self.G_fixed = H[:, self.fixed], G[:, self.fixed]
        k, size = len(self.kept), len(self.kept) + len(self.left)
        M = np.zeros((size, size), order="F")
        M[:k, :k] = H[self.kept[:, None], self.kept]
        M[k:, :k] = G[self.left[:, None], self.kept]
        M[:k, k:] = M[k:, :k].T
        diagonal = np.arange(size)
        M[diagonal[k:], diagonal[k:]] = -corner[self.left]
        self.scale = scale_of(M)
        M *= self.scale[:, None] * self.scale
        M[diagonal, diagonal] += np.where(diagonal < k, DELTA, -DELTA)
        self.factors, self.order, self.fault = M, diagonal, 0
        if size:
            self.factors, self.order, self.fault = lapack.dgetrf(M, overwrite_a=True)
        self.scale_x, self.scale_u = np.ones(n), np.ones(len(G))
        self.scale_x[self.kept], self.scale_u[self.left] = self.scale[:k], self.scale[k:]
        height = np.abs(self.across * self.scale[:k]).max(axis=1, initial=0.0)
        height = np.where(height > 0, height, np.abs(self.pivots))
        self.scale_u[self.owners] = 1 / height
        self.scale_x[self.peeled] = height / np.abs(self.pivots)
        self.scale_x[self.fixed], self.scale_u[self.bounds] = self._of_bounds(H, G)

    def _of_bounds(self, H: np.ndarray, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scales of fixed columns, whose largest other entry is about 1, and of their rows."""
        if not len(self.fixed):
            return np.zeros(0), np.zeros(0)
        others = np.delete(np.arange(len(G)), self.bounds)
        reached = np.abs(G[others[:, None], self.fixed]) * self.scale_u[others, None]
        curved = np.abs(H[self.free[:, None], self.fixed]) * self.scale_x[self.free, None]
        largest = np.maximum(reached.max(axis=0, initial=0.0), curved.max(axis=0, initial=0.0))
        largest = np.maximum(largest, np.sqrt(np.abs(H[self.fixed, self.fixed])))
        scale = 1 / np.where(largest > 0, largest, 1.0)
        return scale, 1 / (np.abs(self.bound_pivots) * scale)

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) of f (n,) and g (active rows,)."""
        x, u = np.empty_like(f), np.empty_like(g)
        top, low = f, g
        if len(self.fixed):
            x[self.fixed] = known = g[self.bounds] / self.bound_pivots
            top, low = f - self.H_fixed @ known, g - self.G_fixed @ known
        k, right = len(self.kept), top[self.kept]
        if len(self.peeled):
            u[self.owners] = known = top[self.peeled] / self.pivots
            right = right - known @ self.across
        rhs = np.concatenate([right, low[self.left]]) * self.scale
        if len(rhs):
            rhs = lapack.dgetrs(self.factors, self.order, rhs)[0] * self.scale
        x[self.kept], u[self.left] = rhs[:k], rhs[k:]
        if len(self.peeled):
            x[self.peeled] = (low[self.owners] - self.across @ rhs[:k]) / self.pivots
        if len(self.fixed):
            u[self.bounds] = 0.0
            rest = f[self.fixed] - x @ self.H_fixed - u @ self.G_fixed
            u[self.bounds] = rest / self.bound_pivots
        return (x * np.nan, u) if self.fault else (x, u)
