"""Strictly convex programs of linear rows: columns eliminated, then each sample's active rows."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from cvxlpgd.program.elimination import Elimination
from cvxlpgd.program.matrices import Matrices, Stack
from cvxlpgd.program.structure import Structure, latest_per_structure
from cvxlpgd.program.threads import share_out

WORTH = 2e7  # multiplications from which a second thread pays
PIVOT = 1e-5  # roots of pivots of unit rows: where one is smaller, rows may be dependent
KEPT = 2_000_000  # numbers that are kept from call to call at most


class Condensed:
    """What equations define eliminated, and a core of the other columns and each sample's rows.

        H x_C + G'u = h = f_C - P_CF x0 - T'(f_F - P_FF x0),   x0 = D⁻¹g_R
        (G H⁻¹G')_aa y_a = G_a H⁻¹h - g_a,    x_C = H⁻¹(h - G'y),    a the active rows

    `ok`, bool (batch,), is False where H is not safely definite, or active rows are dependent. The
    `inverses` may be known from systems with other active rows.
    """

    def __init__(
        self, K: Matrices, elimination: Elimination, inverses: Inverses | None = None
    ) -> None:
        structure, w, e = K.program.structure, K.program.data, elimination
        self.e, self.n, self.t = e, structure.n, K.pairs.weights
        batch = len(self.t)
        inverses = _inverses(structure, e, w.P, w.A) if inverses is None else inverses
        self.inverses = inverses
        self.scale_x, self.scale_u = np.empty((batch, self.n)), np.empty((batch, structure.m))
        self.scale_x[:, e.kept], self.scale_x[:, e.defined] = inverses.scale, inverses.defined_scale
        self.scale_u[:, e.rows] = inverses.height / self.t[:, e.rows]
        self.scale_u[:, e.defining] = inverses.defining_height / self.t[:, e.defining]
        active = K.held if len(e.rows) == structure.m else K.held[:, e.rows]
        self.places = np.flatnonzero(active)  # among all samples' rows
        ends = np.cumsum(active.sum(axis=1)).tolist()
        self.spans = [slice(*span) for span in zip([0, *ends], ends, strict=False)]
        self.factors, self.ok = self._factor()
        self.regular = self.ok

    def _factor(self) -> tuple[list[np.ndarray | None], np.ndarray]:
        """Each sample's Cholesky factor of (G H⁻¹G')_aa, and which are safe."""
        definite, V = self.inverses.definite.tolist(), self.inverses.V
        places = self.places % max(1, V.shape[1])
        ok = np.zeros(len(self.spans), dtype=bool)
        factors: list[np.ndarray | None] = [None] * len(ok)
        for i, span in enumerate(self.spans):
            k = i % len(V)
            if span.stop == span.start or not definite[k]:
                ok[i] = definite[k]
                continue
            own = V[k][places[span]]
            factor, fault = lapack.dpotrf(
                (own @ own.T).T, lower=True, clean=False, overwrite_a=True
            )
            if not fault and factor.diagonal().min() > PIVOT:
                factors[i], ok[i] = factor, True
        return factors, ok

    def apply(self, right: Stack) -> Stack:
        """(x, u) for stacks of (f, g); u and g are of rows times t."""
        e, inverses, t = self.e, self.inverses, self.t[:, None]
        f, g, out = right[..., : self.n], right[..., self.n :] / t, np.empty(right.shape)
        x, u = out[..., : self.n], out[..., self.n :]
        if len(e.defined):
            D, T, P_FC, P_FF = inverses.D[:, None], inverses.T, inverses.P_FC, inverses.P_FF
            x0, f_F = g[..., e.defining] / D, f[..., e.defined]
            h = f[..., e.kept] - x0 @ P_FC - (f_F - x0 @ P_FF) @ T
            x_C, y = self._solve(h, g[..., e.rows])
            x_F = x0 - x_C @ T.swapaxes(1, 2)
            x[..., e.kept], x[..., e.defined], u[..., e.rows] = x_C, x_F, y
            u[..., e.defining] = (f_F - x_C @ P_FC.swapaxes(1, 2) - x_F @ P_FF) / D
        else:
            x[:], u[:] = self._solve(f, g)
        u /= t
        return out

    def _solve(self, h: Stack, g: Stack) -> tuple[Stack, Stack]:
        """(x_C, y); y is 0 on rows that are not active."""
        L, V, height = self.inverses.L, self.inverses.V, self.inverses.height[:, None]
        half = h @ L.swapaxes(1, 2)
        flat = (half @ V.swapaxes(1, 2) - g * height).swapaxes(1, 2)
        flat = np.ascontiguousarray(flat).reshape(-1, g.shape[1])  # of all samples' rows
        rest = np.take(flat, self.places, axis=0)
        for span, factor in zip(self.spans, self.factors, strict=True):
            rest[span] = 0.0 if factor is None else lapack.dpotrs(factor, rest[span], lower=True)[0]
        flat[:] = 0.0
        flat[self.places] = rest
        y = flat.reshape(len(g), g.shape[2], g.shape[1]).swapaxes(1, 2)
        return (half - y @ V) @ L, y * height


class Inverses(NamedTuple):
    """What follows from matrices alone, `count` of them: 1 if the samples share them.

    H = P_CC - P_CF T - T'P_FC + T'P_FF T,    T = D⁻¹A_RC,    D = A_RF, diagonal
    H⁻¹ = L'L,    V = G L' of rows of unit length
    """

    definite: np.ndarray  # bool (count,): where H is safely definite
    L: np.ndarray  # (count, n, n)
    V: np.ndarray  # (count, rows, n)
    scale: np.ndarray  # units of the kept columns
    height: np.ndarray  # of the rows
    D: np.ndarray
    T: np.ndarray
    P_FC: np.ndarray
    P_FF: np.ndarray
    defined_scale: np.ndarray  # units of the defined columns
    defining_height: np.ndarray  # and of their rows

    def take(self, samples: np.ndarray) -> Inverses:
        """Those of some samples."""
        return Inverses(*(v if len(v) == 1 else v[samples] for v in self))


def _inverses(structure: Structure, e: Elimination, P: np.ndarray, A: np.ndarray) -> Inverses:
    """The inverses of these values; the last shared ones are kept, unless they are large."""
    numbers = structure.n * (structure.n + structure.m)
    if len(P) > 1 or len(A) > 1 or numbers > KEPT:
        return _invert(e, P, A)
    return _latest_inverses(structure, (P.copy(), A.copy()))


@latest_per_structure(lambda one, other: all(map(np.array_equal, one, other)))
def _latest_inverses(structure: Structure, values: tuple[np.ndarray, np.ndarray]) -> Inverses:
    """The inverses of values (P, A) that a batch shares."""
    return _invert(Elimination.of(structure), *values)


def _invert(e: Elimination, P: np.ndarray, A: np.ndarray) -> Inverses:
    """The inverses of values (1 or count, entries)."""
    parts = e.parts
    H, G = parts["P_CC"].full(P), parts["A_C"].full(A)
    D, T = A[:, e.pivots], parts["A_R"].full(A)
    P_FC, P_FF = parts["P_FC"].full(P), parts["P_FF"].full(P)
    if len(e.defined):
        T = T / D[:, :, None]
        cross = T.swapaxes(1, 2) @ P_FC
        H = H - cross - cross.swapaxes(1, 2) + T.swapaxes(1, 2) @ P_FF @ T
    curvature = np.abs(np.diagonal(P_FF, axis1=1, axis2=2))
    defined_scale = 1 / np.sqrt(np.where(curvature > 0, curvature, 1.0))
    count, n, rows = max(len(H), len(G)), H.shape[1], G.shape[1]
    definite, scale, height = (
        np.zeros(count, dtype=bool),
        np.ones((count, n)),
        np.ones((count, rows)),
    )
    L, V = np.zeros((count, n, n)), np.zeros((count, rows, n))

    def invert(k: int) -> None:
        root = _inverse_root(H[k % len(H)])
        if root is None:
            return
        definite[k], (scale[k], L[k]) = True, root
        np.matmul(G[k % len(G)], L[k].T, out=V[k])
        own = np.sqrt(np.einsum("ij,ij->i", V[k], V[k]))
        height[k] = 1 / np.where(own > 0, own, 1.0)
        V[k] *= height[k][:, None]

    if count > 1 and count * n**2 * (n + rows) > WORTH:
        share_out(deque(range(count)), invert)
    else:
        for k in range(count):
            invert(k)
    defining_height = 1 / (np.abs(D) * defined_scale)
    return Inverses(definite, L, V, scale, height, D, T, P_FC, P_FF, defined_scale, defining_height)


def _inverse_root(H: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(units, L) with H⁻¹ = L'L, None where H is not safely definite."""
    diagonal = H.diagonal()
    if not (diagonal > 0).all():
        return None
    scale = 1 / np.sqrt(diagonal)
    root, fault = lapack.dpotrf((H * (scale[:, None] * scale)).T, lower=True, overwrite_a=True)
    if fault or not root.diagonal().min() > PIVOT:
        return None
    return scale, lapack.dtrtri(root, lower=True, overwrite_c=True)[0] * scale
