"""Strictly convex programs of linear rows: columns eliminated, then each sample's active rows."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from cvxlpgd.program.elimination import Elimination
from cvxlpgd.program.matrices import Matrices

PIVOT = 1e-10  # of a row's own size: a row with a smaller pivot may be the others' combination


class Condensed:
    """What equations define eliminated, and a core of the other columns and rows.

        H = P_CC - P_CF T - T'P_FC + T'P_FF T,   T = D⁻¹A_RC,   D = A_RF, diagonal
        H x_C + G'u = h = f_C - P_CF x0 - T'(f_F - P_FF x0),   x0 = D⁻¹g_R

    `ok`, bool (batch,), is False where the core is not safe.
    """

    def __init__(self, K: Matrices, elimination: Elimination) -> None:
        structure, w, e = K.program.structure, K.program.data, elimination
        self.e, self.t, parts = e, K.pairs.weights, e.parts
        batch = len(self.t)
        H, G = parts["P_CC"].full(w.P), parts["A_C"].full(w.A)
        self.scale_x, self.scale_u = np.ones((batch, structure.n)), np.ones((batch, structure.m))
        if len(e.defined):
            self.D, self.T = w.A[:, e.pivots], parts["A_R"].full(w.A)
            self.T = self.T / self.D[:, :, None]
            self.P_FC, self.P_FF = parts["P_FC"].full(w.P), parts["P_FF"].full(w.P)
            cross = self.T.swapaxes(1, 2) @ self.P_FC
            H = H - cross - cross.swapaxes(1, 2) + self.T.swapaxes(1, 2) @ self.P_FF @ self.T
            curvature = np.abs(np.diagonal(self.P_FF, axis1=1, axis2=2))
            scale = 1 / np.sqrt(np.where(curvature > 0, curvature, 1.0))
            self.scale_x[:, e.defined] = scale
            height = self.t[:, e.defining] * np.abs(self.D) * scale
            self.scale_u[:, e.defining] = 1 / height
        active = [np.flatnonzero(row) for row in K.held[:, e.rows]]
        self.core = _Core(H, G, active)
        self.regular = self.ok = self.core.ok
        self.scale_x[:, e.kept] = self.core.scale
        self.scale_u[:, e.rows] = self.core.height / self.t[:, e.rows]

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) for stacks (batch, columns, n or m); u and g are of rows times t."""
        e, t = self.e, self.t[:, None]
        g = g / t
        if not len(e.defined):
            x, y = self.core.apply(f, g)
            return x, y / t
        x, u = np.empty_like(f), np.empty_like(g)
        D, T, P_FC = self.D[:, None], self.T, self.P_FC
        x0, f_F = g[:, :, e.defining] / D, f[:, :, e.defined]
        h = f[:, :, e.kept] - x0 @ P_FC - (f_F - x0 @ self.P_FF) @ T
        x_C, u[:, :, e.rows] = self.core.apply(h, g[:, :, e.rows])
        x_F = x0 - x_C @ T.swapaxes(1, 2)
        x[:, :, e.kept], x[:, :, e.defined] = x_C, x_F
        u[:, :, e.defining] = (f_F - x_C @ P_FC.swapaxes(1, 2) - x_F @ self.P_FF) / D
        return x, u / t


class _Core:
    """[H G_a'; G_a 0] (x, y) = (h, g) for each sample's active rows a.

        (G H⁻¹G')_aa y_a = G_a H⁻¹h - g_a,    x = H⁻¹(h - G'y)

    H⁻¹ and G H⁻¹G' are of all rows, whether samples share them or not: a sample's bits are
    the same either way. `ok`, bool (batch,), is False where H is not safely definite, or active
    rows are dependent; `height` (batch or 1, rows) and `scale` (batch or 1, columns) are units.
    """

    def __init__(self, H: np.ndarray, G: np.ndarray, active: list[np.ndarray]) -> None:
        count, batch, n = max(len(H), len(G)), len(active), H.shape[1]
        self.G, self.active, self.ok = G, active, np.zeros(batch, dtype=bool)
        self.W, self.factors = np.zeros((count, n, n)), [np.zeros((0, 0))] * batch
        self.scale, self.height = np.ones((count, n)), np.ones((count, G.shape[1]))
        for k in range(count):
            S = self._invert(k, H[k % len(H)], G[k % len(G)])
            if S is None:
                continue
            for i in range(batch) if count == 1 else (k,):
                rows, fault = active[i], 0
                part = S[rows[:, None], rows]
                if len(rows):
                    part, fault = lapack.dpotrf(part)
                self.ok[i] = not fault and not (part.diagonal() ** 2 < PIVOT).any()
                self.factors[i] = part

    def _invert(self, k: int, H: np.ndarray, G: np.ndarray) -> np.ndarray | None:
        """Put the k-th W = H⁻¹ in its place; G W G' of unit diagonal, its upper half."""
        diagonal = H.diagonal()
        if not (diagonal > 0).all():
            return None
        scale = 1 / np.sqrt(diagonal)
        L, fault = lapack.dpotrf(scale[:, None] * H * scale, lower=True)
        if fault or (L.diagonal() ** 2 < PIVOT).any():
            return None
        inverse = np.tril(lapack.dpotri(L, lower=True)[0])
        self.W[k] = scale[:, None] * (inverse + np.tril(inverse, -1).T) * scale
        V = lapack.dtrtrs(L, (G * scale).T, lower=True)[0] if len(G) else np.zeros((len(H), 0))
        S = blas.dsyrk(1.0, V, trans=True) if len(G) else np.zeros((0, 0))
        own = S.diagonal()
        height = 1 / np.sqrt(np.where(own > 0, own, 1.0))
        self.scale[k], self.height[k] = scale, height
        return height[:, None] * S * height

    def apply(self, h: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) for stacks; y is 0 on other rows."""
        x = h @ self.W
        right = (x @ self.G.swapaxes(1, 2) - g) * self.height[:, None]
        y = np.zeros_like(right)
        for i, (rows, factor) in enumerate(zip(self.active, self.factors, strict=True)):
            if len(rows) and self.ok[i]:
                y[i][:, rows] = lapack.dpotrs(factor, right[i][:, rows].T)[0].T
        y *= self.height[:, None]
        return x - (y @ self.G) @ self.W, y
