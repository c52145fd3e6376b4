"""Ways to solve a batch's optimality systems, nearly: refinement does the rest.

    K (x, u) = (f, g):    P x + G'u = f,    G x - C u = g,    C = 1 on curved rows, 0 on active ones

- `Condensed`: strictly convex programs of linear rows. Columns that equations define are
  eliminated, H⁻¹ and G H⁻¹G' made once where the samples share their matrices, and each sample
  factors its active rows' part.
- `Full`: curved rows eliminated but rigid ones, H = P + G_c'G_c; each sample factors [H G'; G -C]
  of the others.
- `Sparse`: each sample factors the whole K.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from scipy.linalg import lapack

from cvxlpgd.program.data import Structure
from cvxlpgd.sparse import Pattern

if TYPE_CHECKING:
    from cvxlpgd.program.kkt import Systems

DELTA = 1e-11  # of a scaled system's diagonal, that makes it regular
PASSES = 8  # of the scaling, at most
EVEN = 4.0  # times 1, at which columns are scaled enough
SMALL = 150  # columns up to which systems are full matrices
DENSE, FILLED = 400, 0.01  # the same where at least this share of the entries is stored
NOTHING = 8 * np.finfo(float).eps  # of the terms that add up to an entry: it is 0, not a curvature
PIVOT = 1e-10  # of a row's own size: one that is smaller may be the others' combination
ORDER = "MMD_AT_PLUS_A"  # of sparse elimination


class Factors(Protocol):
    """What solves systems nearly.

    `scale_x` (batch, n) and `scale_u` (batch, m) are E such that EKE has entries of about 1;
    `regular`, bool (batch,), says where K is known to have no null space.
    """

    scale_x: np.ndarray
    scale_u: np.ndarray
    regular: np.ndarray

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u), (batch, n) and (batch, m)."""


def factored(systems: Systems) -> Factors:
    """The way that fits each sample, whatever the others are."""
    structure = systems.program.structure
    if not (structure.polyhedral and structure.P.size):
        return _general(systems)
    memory = structure.memory
    if "elimination" not in memory:
        memory["elimination"] = Elimination.of(structure)
    elimination: Elimination = memory["elimination"]
    if len(elimination.kept) > 2 * DENSE or len(elimination.rows) > 4 * DENSE:
        return _general(systems)
    condensed = Condensed(systems, elimination)
    rest = np.flatnonzero(~condensed.ok)
    if not len(rest):
        return condensed
    if len(rest) == len(systems.held):
        return _general(systems)
    return Mixed(condensed, _general(systems.take(rest)), rest)


def _general(systems: Systems) -> Factors:
    structure = systems.program.structure
    n, m = structure.n, structure.m
    share = (structure.P.size + structure.A.size) / max(1, n * (n + m))
    return Full(systems) if n <= SMALL or (n <= DENSE and share >= FILLED) else Sparse(systems)


class Full:
    """A full matrix for each sample, curved rows eliminated, and what stands alone peeled off."""

    def __init__(self, systems: Systems) -> None:
        structure, w = systems.program.structure, systems.program.data
        batch, n, m = len(systems.held), structure.n, structure.m
        self.curved, self.regular = systems.curved & systems.easy, np.zeros(batch, dtype=bool)
        self.G = _turned(systems)
        H = np.zeros((len(w.P), n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        self.scale_x, self.scale_u = np.ones((batch, n)), np.ones((batch, m))
        self.samples: list[_Peeled] = []
        for i in range(batch):
            G_c = self.G[i, self.curved[i]]
            active = np.flatnonzero(systems.held[i] & ~self.curved[i])
            curvature = H[i if len(H) > 1 else 0]
            if len(G_c):
                curvature = curvature + G_c.T @ G_c
            corner = systems.curved[i, active].astype(float)
            sample = _Peeled(curvature, self.G[i, active], corner, active)
            self.scale_x[i], self.scale_u[i, active] = sample.scale_x, sample.scale_u
            self.samples.append(sample)

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u)."""
        x, u = np.empty_like(f), np.zeros_like(g)
        if self.curved.any():
            f = f + (np.where(self.curved, g, 0.0)[:, None, :] @ self.G)[:, 0]
        for i, sample in enumerate(self.samples):
            x[i], u[i, sample.rows] = sample.solve(f[i], g[i, sample.rows])
        if self.curved.any():
            u = np.where(self.curved, (self.G @ x[:, :, None])[:, :, 0] - g, u)
        return x, u


class _Peeled:
    """One sample's [H G'; G -C], H = P + G_c'G_c and G of other rows, in two steps.

    C is 1 on curved rows that are too rigid to be eliminated, 0 on active ones.

    A row with one entry, such as a bound's, fixes its column, whose equation then gives the row's
    multiplier. A column without curvature that stands in one active row alone, such as an
    epigraph's, gives that row's multiplier, and the row gives the column. Both are peeled off.
    """

    def __init__(self, H: np.ndarray, G: np.ndarray, corner: np.ndarray, rows: np.ndarray) -> None:
        n, stored, self.rows = len(H), G != 0, rows
        active = corner == 0
        single = np.flatnonzero((stored.sum(axis=1) == 1) & active)
        columns, first = np.unique(stored[single].argmax(axis=1), return_index=True)
        self.bounds, self.fixed = single[first], columns
        self.free = np.setdiff1d(np.arange(n), self.fixed)
        others = np.setdiff1d(np.arange(len(G)), self.bounds)
        here = stored[others[:, None], self.free]
        alone = (here.sum(axis=0) == 1) & ~H[:, self.free].any(axis=0)
        candidates = self.free[alone]
        owners = others[here[:, alone].argmax(axis=0)] if len(others) else others
        candidates, owners = candidates[active[owners]], owners[active[owners]]
        self.owners, first = np.unique(owners, return_index=True)
        self.peeled = candidates[first]
        self.kept = np.setdiff1d(self.free, self.peeled)
        self.left = np.setdiff1d(others, self.owners)
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
        self.scale = _scale(M)
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


def _turned(systems: Systems) -> np.ndarray:
    """Stretch B t A, (batch, m, n), cone by cone over the columns that each cone has."""
    structure, pairs, values = systems.program.structure, systems.pairs, systems.program.data.A
    A, batch = structure.A, len(systems.held)
    G = np.zeros((batch, structure.m, structure.n))
    G[:, A.rows, A.cols] = values * (pairs.weights * systems.stretch)[:, A.rows]
    for (cone, first, count), B in zip(structure.blocks, pairs.directions, strict=True):
        if B is None:
            continue
        rows = slice(first, first + cone.rows * count)
        columns = _columns(structure, cone, first, count)
        block = np.zeros((len(values), count, cone.rows, structure.n + 1))
        here = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop))
        at, column = A.rows[here] - first, A.cols[here]
        block[:, at // cone.rows, at % cone.rows, column] = values[:, here]
        part = np.take_along_axis(block, columns[None, :, None, :], axis=3)
        t = pairs.weights[:, rows].reshape(batch, count, cone.rows, 1)
        part = part * t
        turned = B @ part
        turned[np.abs(turned) <= NOTHING * (np.abs(B) @ np.abs(part))] = 0.0
        turned *= systems.stretch[:, rows].reshape(batch, count, cone.rows, 1)
        wide = np.zeros((batch, count, cone.rows, structure.n + 1))
        np.put_along_axis(wide, columns[None, :, None, :], turned, axis=3)
        G[:, rows] = wide[..., :-1].reshape(batch, -1, structure.n)
    return G


def _columns(structure: Structure, cone: Any, first: int, count: int) -> np.ndarray:
    """The columns that each cone of a run reaches, (count, most), filled up with n."""
    memory = structure.memory.setdefault("columns", {})
    if first not in memory:
        A, size = structure.A, structure.n
        inside = (A.rows >= first) & (A.rows < first + cone.rows * count)
        pairs = np.unique((A.rows[inside] - first) // cone.rows * (size + 1) + A.cols[inside])
        owner, column = pairs // (size + 1), pairs % (size + 1)
        counts = np.bincount(owner, minlength=count)
        out = np.full((count, max(1, int(counts.max(initial=0)))), size)
        out[owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)] = column
        memory[first] = out
    columns: np.ndarray = memory[first]
    return columns


def _scale(M: np.ndarray) -> np.ndarray:
    """E, such that the largest entry of each column of EME is about 1 (Ruiz 2001)."""
    size, scale = np.abs(M), np.ones(len(M))
    for _ in range(PASSES):
        largest = size.max(axis=0, initial=0.0)
        largest = np.where(largest > 0, largest, 1.0)
        if largest.max(initial=1.0) < EVEN and largest.min(initial=1.0) > 1 / EVEN:
            break
        step = 1 / np.sqrt(largest)
        scale *= step
        size *= step[:, None] * step
    return scale


class Sparse:
    """Sparse factors of the whole system for each sample."""

    def __init__(self, systems: Systems) -> None:
        structure, batch = systems.program.structure, len(systems.held)
        self.regular = np.zeros(batch, dtype=bool)
        self.scale_x, self.scale_u = np.ones((batch, structure.n)), np.ones((batch, structure.m))
        self.factors: list[Any] = []
        for i in range(batch):
            K, rows = _assembled(systems, i)
            scale = _sparse_scale(K)
            K.data = K.data * scale[K.indices] * np.repeat(scale, np.diff(K.indptr))
            shift = np.full(len(scale), DELTA)
            shift[structure.n :] *= -1
            self.scale_x[i], self.scale_u[i, rows] = scale[: structure.n], scale[structure.n :]
            try:
                regular = sp.csc_array(K + sp.diags_array(shift))
                self.factors.append((sla.splu(regular, permc_spec=ORDER), scale, rows))
            except RuntimeError:  # it is singular even so
                self.factors.append(None)

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u)."""
        x, u, n = np.full_like(f, np.nan), np.zeros_like(g), f.shape[1]
        for i, made in enumerate(self.factors):
            if made is not None:
                factors, scale, rows = made
                solution = factors.solve(np.concatenate([f[i], g[i, rows]]) * scale) * scale
                x[i], u[i, rows] = solution[:n], solution[n:]
        return x, u


def _assembled(systems: Systems, i: int) -> tuple[sp.csc_array, np.ndarray]:
    """A sample's K, and the rows that it holds."""
    structure, w = systems.program.structure, systems.program.data
    rows = np.flatnonzero(systems.held[i])
    A = sp.csr_array(structure.A.matrix(w.A[i if len(w.A) > 1 else 0]))
    B = _turning(systems, i, rows)
    G, terms = sp.csr_array(B @ A), sp.csr_array(abs(B) @ abs(A))
    G.data[np.abs(G.data) <= NOTHING * terms.data] = 0.0
    P = sp.csc_array(structure.P.matrix(w.P[i if len(w.P) > 1 else 0]))
    corner = sp.diags_array(-systems.curved[i, rows].astype(float))
    return sp.csc_array(sp.block_array([[P, G.T], [G, corner]], format="csc")), rows


def _turning(systems: Systems, i: int, rows: np.ndarray) -> sp.csr_array:
    """These rows of stretch B t."""
    structure, pairs = systems.program.structure, systems.pairs
    m, t, stretch = structure.m, pairs.weights[i], systems.stretch[i]
    if all(B is None for B in pairs.directions):
        values, starts = stretch[rows] * t[rows], np.arange(len(rows) + 1)
        return sp.csr_array((values, rows, starts), shape=(len(rows), m))
    parts = []
    for (cone, first, count), B in zip(structure.blocks, pairs.directions, strict=True):
        span = np.arange(first, first + cone.rows * count)
        if B is None:
            parts.append((span, span, np.ones(len(span))))
        else:
            blocks = span.reshape(count, cone.rows)
            left, right = np.broadcast_arrays(blocks[:, :, None], blocks[:, None, :])
            parts.append((left.ravel(), right.ravel(), B[i].ravel()))
    left, right, values = (np.concatenate(v) for v in zip(*parts, strict=True))
    values = stretch[left] * values * t[right]
    return sp.csr_array((values, (left, right)), shape=(m, m))[rows]


def _sparse_scale(K: sp.csc_array) -> np.ndarray:
    """The same."""
    columns, rows = np.repeat(np.arange(K.shape[0]), np.diff(K.indptr)), K.indices
    size, scale = np.abs(K.data), np.ones(K.shape[0])
    filled = np.flatnonzero(np.diff(K.indptr))
    for _ in range(PASSES):
        largest = np.zeros(K.shape[0])
        largest[filled] = np.maximum.reduceat(size, K.indptr[filled])
        step = 1 / np.sqrt(np.where(largest > 0, largest, 1.0))
        scale *= step
        size *= step[rows] * step[columns]
    return scale


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
        """(x, u); u and g are of rows times t."""
        e, x, u = self.e, np.zeros_like(f), np.zeros_like(g)
        g = g / self.t
        x0, f_F = g[:, e.defining] / self.D, f[:, e.defined]
        h = f[:, e.kept] - _each(x0, self.P_FC) - _each(f_F - _each(x0, self.P_FF), self.T)
        right = (_each(h, self.GW.swapaxes(1, 2)) - g[:, e.rows]) * self.height
        y = np.zeros((len(f), len(e.rows)))
        for i, (active, factor) in enumerate(zip(self.active, self.factors, strict=True)):
            if len(active) and self.ok[i]:
                y[i, active] = lapack.dpotrs(factor, right[i, active])[0]
        y *= self.height
        x_C = _each(h, self.W) - _each(y, self.GW)
        x_F = x0 - _each(x_C, self.T.swapaxes(1, 2))
        x[:, e.kept], x[:, e.defined] = x_C, x_F
        u[:, e.rows] = y / self.t[:, e.rows]
        y_R = (f_F - _each(x_C, self.P_FC.swapaxes(1, 2)) - _each(x_F, self.P_FF)) / self.D
        u[:, e.defining] = y_R / self.t[:, e.defining]
        return x, u


def _each(v: np.ndarray, M: np.ndarray) -> np.ndarray:
    """V M sample by sample, M (batch or 1, rows, columns): no bits depend on the batch."""
    return np.asarray((v[:, None, :] @ M)[:, 0])


class Mixed:
    """Some samples' systems by one way, the others' by another."""

    def __init__(self, one: Factors, other: Factors, index: np.ndarray) -> None:
        self.one, self.other, self.index = one, other, index
        self.scale_x, self.scale_u = one.scale_x.copy(), one.scale_u.copy()
        self.scale_x[index], self.scale_u[index] = other.scale_x, other.scale_u
        self.regular = one.regular.copy()
        self.regular[index] = other.regular

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u)."""
        x, u = self.one.apply(f, g)
        x[self.index], u[self.index] = self.other.apply(f[self.index], g[self.index])
        return x, u
