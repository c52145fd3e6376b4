"""Second-order cones as Gurobi's quadratic constraints, each of a kind that is convex for certain.

A cone's rows are s = b - Ax with s_0 >= |s_T|. It is taken in one of three forms.

    disk      s_0 = b_0 does not depend on x:   x'Qx + l'x <= b_0² - |b_T|²,
              Q = A_T'A_T,  l = -2 A_T'b_T;           its multiplier is u, and  y = 2u (s_0, -s_T)
    rotated   s_0 + s_1 = k does not either:   |s_R|² <= k w,  w = s_0 - s_1 >= 0,
              R the rows after the first two;   |y_R|² = (y_0 - y_1)(y_0 + y_1)
    cone      all others:   |s_T|² <= s_0²,  s_0 >= 0

s and w are variables of the last two, defined by equations, whose multipliers are y and
(y_0 - y_1) / 2. A disk needs none, unless Q would have more entries than A_T.

CVXPY writes |Fx| <= r with t: |Fx| <= t <= r, and |Fx|² <= r likewise. Such a t is put at its
bound: if x_t has a bound from above, no cost, and no other row than those of one cone, where more
of it moves s by an element of the cone (-A_t in K), then what is feasible stays so at that bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import is_

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import SOC
from cvxlpgd.program import Structure
from cvxlpgd.program.structure import latest_per_structure
from cvxlpgd.solvers.translate.bounds import Bounds


@dataclass(frozen=True, eq=False)
class Pins:
    """Columns that may be put at their upper bounds, and the cone of each."""

    columns: np.ndarray
    cones: np.ndarray
    rows: np.ndarray  # of their bounds
    scale: np.ndarray  # the bound is b / scale

    @classmethod
    def none(cls) -> Pins:
        """No such columns."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty, empty, np.zeros(0))

    def keep(self, chosen: np.ndarray) -> Pins:
        """Those that are chosen, bool."""
        own = (self.columns, self.cones, self.rows, self.scale)
        return Pins(*(v[chosen] for v in own))

    def hold(self, q: np.ndarray, b: np.ndarray) -> bool:
        """Whether no cost and no infinite bound keeps them from their bounds, at q (n,), b (m,)."""
        if not len(self.columns):
            return True
        return bool((q[self.columns] <= 0).all() and np.isfinite(self.values(b)).all())

    def values(self, b: np.ndarray) -> np.ndarray:
        """The bounds at b (m,)."""
        return np.asarray(b[self.rows] / self.scale)


def cones_of(structure: Structure) -> list[slice]:
    """The rows of each second-order cone."""
    return [
        slice(first + i * cone.rows, first + (i + 1) * cone.rows)
        for cone, first, count in structure.blocks
        for i in range(count)
        if isinstance(cone, SOC)
    ]


@latest_per_structure(is_)
def candidates(structure: Structure, bounds: Bounds) -> Pins:
    """Columns that may be pinned by their pattern, whatever the values."""
    A, cones = structure.A, cones_of(structure)
    of_row = np.full(structure.m, -1)  # the cone, or -1 of a linear row
    for k, rows in enumerate(cones):
        of_row[rows] = k
    inside = np.ones(structure.m, dtype=bool)
    inside[bounds.upper_rows] = False
    cols, owner = A.cols[inside[A.rows]], of_row[A.rows[inside[A.rows]]]
    low, high = np.full(structure.n, len(cones)), np.full(structure.n, -1)
    np.minimum.at(low, cols, owner)
    np.maximum.at(high, cols, owner)
    fit = (low == high)[bounds.upper_cols] & (high >= 0)[bounds.upper_cols]
    barred = np.concatenate(
        [bounds.lower_cols, structure.P.cols, structure.integer, structure.boolean]
    )
    fit &= ~np.isin(bounds.upper_cols, np.concatenate([barred, structure.varying.q]))
    columns = bounds.upper_cols[fit]
    return Pins(columns, high[columns], bounds.upper_rows[fit], bounds.upper_scale[fit])


def pinned(structure: Structure, bounds: Bounds, matrix: sp.csc_matrix) -> Pins:
    """The columns that may be pinned at these values of A."""
    pins, cones = candidates(structure, bounds), cones_of(structure)
    chosen = np.zeros(len(pins.columns), dtype=bool)
    for i, (column, cone) in enumerate(zip(pins.columns, pins.cones, strict=True)):
        v = -matrix[cones[cone], [column]].toarray().ravel()
        chosen[i] = v[0] > 0 and v[0] >= np.linalg.norm(v[1:])
    return pins.keep(chosen)


@dataclass(frozen=True, eq=False)
class Form:
    """One cone as Gurobi takes it; rows are counted within the cone.

    The equations  B x + v = c  define its own variables v, B = `matrix`, c = `mix` b. Where there
    are none, it is a disk in x alone, with Q = `square`.
    """

    kind: str  # "disk", "rotated" or "cone"
    rows: slice  # in the program
    A: sp.csr_matrix  # of these rows, without pinned columns
    matrix: sp.csr_matrix
    mix: sp.csr_matrix
    square: sp.csc_matrix | None = None

    @property
    def own(self) -> int:
        """How many variables of its own it has."""
        return int(self.matrix.shape[0])


def form_of(rows: slice, A: sp.csr_matrix) -> Form:
    """The form of a cone with these rows of A."""
    size, identity = A.shape[0], sp.csr_matrix(sp.identity(A.shape[0]))
    if A[[0]].nnz == 0:
        tail = A[1:]
        square = sp.csc_matrix(tail.T @ tail)
        if sp.triu(square).nnz <= tail.nnz + size:
            nothing = sp.csr_matrix((0, A.shape[1])), sp.csr_matrix((0, size))
            return Form("disk", rows, A, *nothing, square)
        return Form("disk", rows, A, tail, identity[1:])
    if size > 2 and (A[[0]] + A[[1]]).count_nonzero() == 0:
        turned = sp.vstack([identity[[0]] - identity[[1]], identity[2:]]).tocsr()
        return Form("rotated", rows, A, (turned @ A).tocsr(), turned)
    return Form("cone", rows, A, A, identity)


def multipliers(
    form: Form, x: np.ndarray, b: np.ndarray, of_rows: np.ndarray, of_square: float
) -> np.ndarray:
    """The y of a cone's rows, from the multipliers of its equations and of its constraint."""
    if form.kind == "disk":
        s = b - form.A @ x
        return np.asarray(2 * of_square * np.concatenate([s[:1], -s[1:]]))
    if form.kind == "cone":
        return of_rows
    tail, difference = of_rows[1:], 2 * of_rows[0]  # |y_R|² = (y_0 - y_1)(y_0 + y_1)
    total = tail @ tail / difference if difference > 0 else 0.0
    return np.concatenate([[(total + difference) / 2, (total - difference) / 2], tail])
