"""Programs of linear rows whose columns have a curvature of their own each, and often a bound.

Columns that equations define are eliminated, as in `condensed.py`, which leaves a diagonal: P may
be the identity on factors F'w and on roots d w of many weights w >= 0. A row of one entry, if it is
active, fixes its column; the others are solved for:

    x_j = (h_j - G_j'u) / H_j on free columns,   a_i x_j = g_i on fixed ones,
    (G_f H_f⁻¹ G_f')_aa u_a = G_f H_f⁻¹ h_f + G_x x_x - g_a,    a the other active rows,
    a_i u_i = h_j - H_j x_j - G_j'u on the rows that fix columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from cvxlpgd.program.elimination import Elimination, Part
from cvxlpgd.program.matrices import Matrices, Stack
from cvxlpgd.program.structure import Structure, per_structure

PIVOT = 1e-5  # roots of pivots of unit rows: where one is smaller, rows may be dependent
SEVERAL = 0.5  # rows of several entries for each column, at most: they are a full matrix


@dataclass(frozen=True, eq=False)
class Separation:
    """Where a structure's columns and rows stand; `holds` says whether it is separable.

    Columns are numbered among the kept ones, rows among the rows that define nothing.
    """

    holds: bool
    e: Elimination
    own: tuple[np.ndarray, np.ndarray]  # entries of P on kept columns, and these
    defined: tuple[np.ndarray, np.ndarray]  # the same on defined columns
    linked: np.ndarray  # of A's entries, those that define a column by a kept one
    sources: np.ndarray  # by which of the kept ones, sorted
    places: np.ndarray  # which of the defined ones
    distinct: np.ndarray  # these kept columns, each once
    starts: np.ndarray  # where each begins among `places`
    single: np.ndarray  # rows of one entry
    columns: np.ndarray  # their columns
    entries: np.ndarray  # their entries of A
    several: np.ndarray  # the other rows
    G: Part  # their entries, of the kept columns
    # rows of one entry, among these, their columns, each once, and which of them are equations
    layers: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    @staticmethod
    @per_structure
    def of(structure: Structure) -> Separation:
        """The separation of a structure."""
        P, A, e = structure.P, structure.A, Elimination.of(structure)
        kept, defined = np.full((2, structure.n), -1)
        kept[e.kept], defined[e.defined] = np.arange(len(e.kept)), np.arange(len(e.defined))
        rows, defining = np.full((2, structure.m), -1)
        rows[e.rows], defining[e.defining] = np.arange(len(e.rows)), np.arange(len(e.defining))
        own, inner = np.flatnonzero(kept[P.cols] >= 0), np.flatnonzero(defined[P.cols] >= 0)
        linked = np.flatnonzero((defining[A.rows] >= 0) & (kept[A.cols] >= 0))
        linked = linked[np.argsort(kept[A.cols[linked]], kind="stable")]
        places = defining[A.rows[linked]]
        sources = kept[A.cols[linked]]
        distinct, starts = np.unique(sources, return_index=True)
        curved = np.union1d(kept[P.cols[own]], distinct)
        each = np.bincount(A.rows, minlength=structure.m)
        single = np.flatnonzero(each[e.rows] == 1)
        several = np.setdiff1d(np.arange(len(e.rows)), single)
        entries = np.flatnonzero((rows[A.rows] >= 0) & (each[A.rows] == 1))
        entries = entries[np.argsort(A.rows[entries])]
        holds = (
            structure.polyhedral
            and P.size > 0
            and bool((P.rows == P.cols).all())
            and len(curved) == len(e.kept)
            and len(np.unique(places)) == len(places)  # one kept column at most defines another
            and len(single) > 0
            and len(several) <= SEVERAL * len(e.kept)
        )
        G = Part.of(A, e.rows[several] if holds else several[:0], e.kept)
        columns, equations = kept[A.cols[entries]], ~structure.inequalities[e.rows[single]]
        layers, left = [], np.arange(len(single) if holds else 0)
        while len(left):
            each_once, first = np.unique(columns[left], return_index=True)
            layers.append((left[first], each_once, equations[left[first]]))
            left = np.delete(left, first)
        return Separation(
            holds, e, (own, kept[P.cols[own]]), (inner, defined[P.cols[inner]]), linked, sources,
            places, distinct, starts, single, columns, entries, several, G, layers,
        )  # fmt: skip


class Diagonals(NamedTuple):
    """What follows from matrices alone, `count` of them: 1 if the samples share them."""

    definite: np.ndarray  # bool (count,): where every column has a curvature
    root: np.ndarray  # H^(-1/2), (count, n)
    V: np.ndarray  # G H^(-1/2), of rows of unit length, (count, several, n)
    height: np.ndarray  # what makes the rows so, those of one entry too, (count, rows)
    sign: np.ndarray  # of the entries of rows of one entry, (count, single)
    D: np.ndarray  # pivots of the rows that define columns
    T: np.ndarray  # D⁻¹ times the entries of kept columns there, one for each of the `places`
    curvature: np.ndarray  # of the defined columns
    defined_scale: np.ndarray  # units of these
    defining_height: np.ndarray  # and of their rows

    @classmethod
    def of(cls, separation: Separation, P: np.ndarray, A: np.ndarray) -> Diagonals:
        """Those of values (1 or count, entries)."""
        s, e = separation, separation.e
        count = max(len(P), len(A))
        H = np.zeros((count, len(e.kept)))
        H[:, s.own[1]] = P[:, s.own[0]]
        curvature = np.zeros((len(P), len(e.defined)))
        curvature[:, s.defined[1]] = P[:, s.defined[0]]
        D = A[:, e.pivots]
        T = A[:, s.linked] / D[:, s.places]
        if len(s.places):
            squares = T**2 * curvature[:, s.places]
            H[:, s.distinct] += np.add.reduceat(squares, s.starts, axis=1)
        definite = (H > 0).all(axis=1)
        root = 1 / np.sqrt(np.where(H > 0, H, 1.0))
        V, a = s.G.full(A) * root[:, None], A[:, s.entries] * root[:, s.columns]
        lengths = np.sqrt(np.einsum("kij,kij->ki", V, V))
        height = np.empty((count, len(e.rows)))
        height[:, s.several] = 1 / np.where(lengths > 0, lengths, 1.0)
        height[:, s.single] = 1 / np.where(a != 0, np.abs(a), 1.0)
        definite &= (a != 0).all(axis=1)
        V *= height[:, s.several, None]
        defined_scale = 1 / np.sqrt(np.where(curvature > 0, curvature, 1.0))
        defining_height = 1 / (np.abs(D) * defined_scale)
        return cls(
            definite, root, V, height, np.sign(a), D, T, curvature, defined_scale, defining_height
        )

    def take(self, samples: np.ndarray) -> Diagonals:
        """Those of some samples."""
        return Diagonals(*(v if len(v) == 1 else v[samples] for v in self))


def reduce(s: Separation, d: Diagonals, f: Stack, g: Stack) -> tuple[Stack, Stack]:
    """(h, x0): right-hand sides of the kept columns, and the defined ones where those are 0."""
    h, x0 = np.take(f, s.e.kept, axis=-1), np.take(g, s.e.defining, axis=-1) / d.D[:, None]
    if len(s.places):
        rest = np.take(f, s.e.defined, axis=-1) - x0 * d.curvature[:, None]
        pulled = d.T[:, None] * np.take(rest, s.places, axis=-1)
        h[..., s.distinct] -= np.add.reduceat(pulled, s.starts, axis=-1)
    return h, x0


def complete(
    s: Separation, d: Diagonals, f: Stack, x_C: Stack, y: Stack, x0: Stack
) -> tuple[Stack, Stack]:
    """(x, u) of all columns and rows, from the kept ones and `reduce`; x0 is overwritten."""
    e = s.e
    x, u = np.empty(f.shape), np.empty((*f.shape[:-1], len(e.rows) + len(e.defining)))
    x[..., e.kept], u[..., e.rows] = x_C, y
    if len(s.places):
        x0[..., s.places] -= d.T[:, None] * np.take(x_C, s.sources, axis=-1)
    if len(e.defined):
        rest = np.take(f, e.defined, axis=-1) - x0 * d.curvature[:, None]
        x[..., e.defined], u[..., e.defining] = x0, rest / d.D[:, None]
    return x, u


class Separable:
    """A core of each sample's free columns and active rows of several entries.

    `ok`, bool (batch,), is False where a column has no curvature, or active rows are dependent.
    """

    def __init__(self, K: Matrices, inverses: Diagonals | None = None) -> None:
        structure, w = K.program.structure, K.program.data
        self.separation = s = Separation.of(structure)
        self.n, self.t, e = structure.n, K.pairs.weights, s.e
        self.inverses = d = Diagonals.of(s, w.P, w.A) if inverses is None else inverses
        batch = len(self.t)
        self.scale_x, self.scale_u = np.empty((batch, self.n)), np.empty((batch, structure.m))
        self.scale_x[:, e.kept], self.scale_x[:, e.defined] = d.root, d.defined_scale
        self.scale_u[:, e.rows] = d.height / self.t[:, e.rows]
        self.scale_u[:, e.defining] = d.defining_height / self.t[:, e.defining]
        held = K.held[:, e.rows]
        self.fixing, active = held[:, s.single], held[:, s.several]
        samples, rows = np.nonzero(self.fixing)
        fixed = np.zeros((batch, len(e.kept)), dtype=int)
        np.add.at(fixed, (samples, s.columns[rows]), 1)
        self.free = fixed == 0
        self.fixed_by = np.zeros_like(fixed)  # which row of one entry
        self.fixed_by[samples, s.columns[rows]] = rows
        self.every = bool(active.all())  # of rows of several entries, all are active
        self.rows = _places(active)
        self.factors, regular = self._factor()
        self.ok = self.regular = regular & d.definite & (fixed <= 1).all(axis=1)

    def _factor(self) -> tuple[list[np.ndarray | None], np.ndarray]:
        """Each sample's Cholesky factor of (G_f H_f⁻¹ G_f')_aa, and which are safe."""
        V, ok = self.inverses.V, np.ones(len(self.rows), dtype=bool)
        factors: list[np.ndarray | None] = [None] * len(ok)
        for i, (rows, columns) in enumerate(zip(self.rows, _places(self.free), strict=True)):
            if not len(rows):
                continue
            own = V[i % len(V)].take(columns, axis=1)
            if not self.every:
                own = own.take(rows, axis=0)
            factor, fault = lapack.dpotrf(
                (own @ own.T).T, lower=True, clean=False, overwrite_a=True
            )
            ok[i] = not fault and factor.diagonal().min() > PIVOT
            if ok[i]:
                factors[i] = factor
        return factors, ok

    def apply(self, right: Stack) -> Stack:
        """(x, u) for stacks of (f, g); u and g are of rows times t."""
        t, (f, g) = self.t[:, None], np.split(right, [self.n], axis=-1)
        e, g = self.separation.e, g / t
        h, x0 = reduce(self.separation, self.inverses, f, g)
        x_C, y = self._solve(h, np.take(g, e.rows, axis=-1))
        x, u = complete(self.separation, self.inverses, f, x_C, y, x0)
        return np.concatenate([x, u / t], axis=-1)

    def _solve(self, h: Stack, g: Stack) -> tuple[Stack, Stack]:
        """(x_C, y) in scaled units within; y is 0 on rows that are not active."""
        s, d = self.separation, self.inverses
        root, height, free = d.root[:, None], d.height[:, None], self.free[:, None]
        half, level = h * root, g * height
        held = d.sign[:, None] * np.take(level, s.single, axis=-1)
        fixed = np.take_along_axis(
            held, np.broadcast_to(self.fixed_by[:, None], half.shape), axis=-1
        )
        z, y = np.where(free, half, fixed), np.zeros(g.shape)
        across = z @ d.V.swapaxes(1, 2) - np.take(level, s.several, axis=-1)
        several = np.zeros_like(across)
        for i, (rows, factor) in enumerate(zip(self.rows, self.factors, strict=True)):
            if factor is None:
                continue
            if self.every:
                several[i] = lapack.dpotrs(factor, across[i].T, lower=True)[0].T
            else:
                several[i][:, rows] = lapack.dpotrs(factor, across[i].T[rows], lower=True)[0].T
        rest = half - several @ d.V
        z = np.where(free, rest, fixed)
        y[..., s.several] = several
        own = d.sign[:, None] * np.take(rest - z, s.columns, axis=-1)
        y[..., s.single] = np.where(self.fixing[:, None], own, 0.0)
        return z * root, y * height


def _places(chosen: np.ndarray) -> list[np.ndarray]:
    """Where each sample's are, of bool (batch, size)."""
    ends = np.cumsum(chosen.sum(axis=1))[:-1]
    return np.split(np.nonzero(chosen)[1], ends)
