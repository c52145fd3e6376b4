"""Strictly convex programs of linear rows: one inverse, and each sample's active rows of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack

from cvxlpgd.program.data import Structure
from cvxlpgd.sparse import Pattern

if TYPE_CHECKING:
    from cvxlpgd.program.kkt import Systems

PIVOT = 1e-10  # of a row's own size: one that is smaller may be the others' combination


@dataclass(frozen=True, eq=False)
class Elimination:
    """Columns F that one equation each defines (rows R), in no other row; the others are C.

    CVXPY writes |Sx|² as |t|² with rows t - Sx = 0: no program is strictly convex in all columns.
    """

    structure: Structure
    kept: np.ndarray
    defined: np.ndarray
    defining: np.ndarray
    pivots: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, structure: Structure) -> Elimination:
        """What can be eliminated: columns that canonicalization added, whose entry is constant."""
        A = structure.A
        equalities = np.zeros(structure.m, dtype=bool)
        for cone, first, count in structure.blocks:
            if cone.interior is None:
                equalities[first : first + cone.rows * count] = True
        once = np.bincount(A.cols, minlength=structure.n) == 1
        constant = np.ones(A.size, dtype=bool)
        constant[structure.varying.A] = False
        able = equalities[A.rows] & once[A.cols] & (structure.user[A.cols] == 0) & constant
        able = np.flatnonzero(able)
        pivots = able[np.unique(A.rows[able], return_index=True)[1]]
        kept = np.setdiff1d(np.arange(structure.n), A.cols[pivots])
        rows = np.setdiff1d(np.arange(structure.m), A.rows[pivots])
        return cls(structure, kept, A.cols[pivots], A.rows[pivots], pivots, rows)

    @cached_property
    def parts(self) -> dict[str, tuple[np.ndarray, np.ndarray, tuple[int, int]]]:
        """Which entries of P and A are in each part, where, and its shape."""
        P, A = self.structure.P, self.structure.A
        return {
            "P_CC": _places(P, self.kept, self.kept),
            "P_FC": _places(P, self.defined, self.kept),
            "P_FF": _places(P, self.defined, self.defined),
            "A_C": _places(A, self.rows, self.kept),
            "A_R": _places(A, self.defining, self.kept),
        }


def _places(
    pattern: Pattern, rows: np.ndarray, cols: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    row_places, col_places = np.full(pattern.shape[0], -1), np.full(pattern.shape[1], -1)
    row_places[rows], col_places[cols] = np.arange(len(rows)), np.arange(len(cols))
    inside = np.flatnonzero((row_places[pattern.rows] >= 0) & (col_places[pattern.cols] >= 0))
    flat = row_places[pattern.rows[inside]] * len(cols) + col_places[pattern.cols[inside]]
    return inside, flat, (len(rows), len(cols))


class Condensed:
    """H⁻¹ and G H⁻¹G', once where all samples share P and A, and each sample's active rows of it.

        H = P_CC - P_CF T - T'P_FC + T'P_FF T,   T = D⁻¹A_RC,   D = A_RF, diagonal
        (G H⁻¹G')_aa u_a = G_a H⁻¹ h - g_a,    H x_C = h - G_a'u_a
        h = f_C - P_CF x0 - T'(f_F - P_FF x0),   x0 = D⁻¹g_R

    `ok`, bool (batch,), is False where H is not safely definite, or active rows are dependent.
    """

    def __init__(self, systems: Systems, elimination: Elimination) -> None:
        structure, w, e = systems.program.structure, systems.program.data, elimination
        self.e, self.t = e, systems.pairs.weights
        batch, count = len(self.t), max(len(w.P), len(w.A))
        cores = [self._core(w.P[k % len(w.P)], w.A[k % len(w.A)]) for k in range(count)]
        sound = np.array([core is not None for core in cores])
        known = next((core for core in cores if core is not None), None)
        self.ok = np.broadcast_to(sound, (batch,)).copy()
        self.regular = self.ok
        self.factors: list[np.ndarray | None] = [None] * batch
        self.scale_x, self.scale_u = np.ones((batch, structure.n)), np.ones((batch, structure.m))
        if known is None:
            return
        filled = [known if core is None else core for core in cores]
        self.D, self.T, self.P_FC, self.P_FF, self.W, self.G, self.GW, S, self.height, scale = (
            np.stack(parts) for parts in zip(*filled, strict=True)
        )
        self.active = [np.flatnonzero(row) for row in systems.held[:, e.rows]]
        for i, active in enumerate(self.active):
            part = S[i % count][active[:, None], active]
            factor, fault = lapack.dpotrf(part) if len(active) else (part, 0)
            self.ok[i] &= not fault and not (factor.diagonal() ** 2 < PIVOT).any()
            self.factors[i] = factor
        self.scale_x[:, e.kept] = scale
        curvature = np.abs(np.diagonal(self.P_FF, axis1=1, axis2=2))
        self.scale_x[:, e.defined] = 1 / np.sqrt(np.where(curvature > 0, curvature, 1.0))
        self.scale_u[:, e.rows] = self.height / self.t[:, e.rows]
        height = np.abs(self.D) * self.scale_x[:, e.defined]
        self.scale_u[:, e.defining] = 1 / (self.t[:, e.defining] * height)

    def _core(self, P: np.ndarray, A: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """(D, T, P_FC, P_FF, H⁻¹, G, G H⁻¹, G H⁻¹G' of unit diagonal, its scale, H's scale)."""
        values, e = {"P": P, "A": A}, self.e

        def part(name: str) -> np.ndarray:
            inside, flat, shape = e.parts[name]
            out = np.zeros(shape[0] * shape[1])
            out[flat] = values[name[0]][inside]
            return out.reshape(shape)

        D, P_FC, P_FF, G = A[e.pivots], part("P_FC"), part("P_FF"), part("A_C")
        T = part("A_R") / D[:, None]
        cross = T.T @ P_FC
        H = part("P_CC") - cross - cross.T + T.T @ P_FF @ T
        diagonal = H.diagonal()
        if not (diagonal > 0).all():
            return None
        scale = 1 / np.sqrt(diagonal)
        factor, fault = lapack.dpotrf(scale[:, None] * H * scale)
        if fault or (factor.diagonal() ** 2 < PIVOT).any():
            return None
        inverse = np.triu(lapack.dpotri(factor)[0])
        W = scale[:, None] * (inverse + np.triu(inverse, 1).T) * scale
        GW = G @ W
        S = GW @ G.T
        own = S.diagonal()
        height = 1 / np.sqrt(np.where(own > 0, own, 1.0))
        return D, T, P_FC, P_FF, W, G, GW, height[:, None] * (S + S.T) / 2 * height, height, scale

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) for stacks (batch, columns, n or m); u and g are of rows times t."""
        e, x, u, t = self.e, np.zeros_like(f), np.zeros_like(g), self.t[:, None]
        g, h = g / t, f
        if len(e.defined):
            x0, f_F = g[:, :, e.defining] / self.D[:, None], f[:, :, e.defined]
            h = f[:, :, e.kept] - x0 @ self.P_FC - (f_F - x0 @ self.P_FF) @ self.T
            g = g[:, :, e.rows]
        right = (h @ self.GW.swapaxes(1, 2) - g) * self.height[:, None]
        y = np.zeros_like(right)
        for i, (active, factor) in enumerate(zip(self.active, self.factors, strict=True)):
            if len(active) and self.ok[i]:
                y[i][:, active] = lapack.dpotrs(factor, right[i][:, active].T)[0].T
        y *= self.height[:, None]
        x_C = h @ self.W - y @ self.GW
        if not len(e.defined):
            return x_C, y / t
        x_F = x0 - x_C @ self.T.swapaxes(1, 2)
        x[:, :, e.kept], x[:, :, e.defined] = x_C, x_F
        y_R = (f_F - x_C @ self.P_FC.swapaxes(1, 2) - x_F @ self.P_FF) / self.D[:, None]
        u[:, :, e.rows], u[:, :, e.defining] = y, y_R
        return x, u / t
