"""Polyhedral QPs without the variables that equations define, dense, and the way back.

CVXPY writes |Sx|² as |t|² with rows t - Sx = 0, so that no program is strictly convex in all of its
variables. With F the columns that one equation each defines (rows R) and that no other row holds,
and C the other columns,

    x_F = x0 - T x_C,   T = D^-1 A_RC,   x0 = D^-1 b_R,   D = A_RF, diagonal

    minimize ½u'Hu + f'u   subject to  l <= [u; A u] <= r,     u = x_C
    H = [I; -T]' P [I; -T],   f = [I; -T]' (q + P [0; x0])

    and back   y_R = -D^-1 (Px + q)_F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.program.pattern import Pattern
from cvxlpgd.program.threads import one_thread_each
from cvxlpgd.solvers.translate.bounds import Bounds


@dataclass(frozen=True, eq=False)
class Reduction:
    """Which columns and rows of a structure are eliminated.

    Parameters
    ----------
    kept : int array
        The columns C, those with bounds first.
    bounded : int
        How many of these have bounds.
    defined, defining : int arrays
        The columns F and their rows R.
    pivots : int array
        Where D's entries stand among A's.
    rows : int array
        The rows that are left, equalities first.
    equalities : int
        How many of these are equalities.
    """

    P: Pattern
    A: Pattern
    bounds: Bounds
    kept: np.ndarray
    bounded: int
    defined: np.ndarray
    defining: np.ndarray
    pivots: np.ndarray
    rows: np.ndarray
    equalities: int

    @classmethod
    def of(cls, structure: Structure, bounds: Bounds, user: bool = False) -> Reduction:
        """Of a structure whose bounds are known; with user=True the user's columns may go too."""
        A, zeros = structure.A, bounds.equalities
        alone = np.bincount(A.cols, minlength=structure.n) == 1
        lifted = structure.user == 0
        constant = np.ones(A.size, dtype=bool)
        constant[structure.varying.A] = False
        entries = (A.rows < zeros) & alone[A.cols] & (lifted[A.cols] | user) & constant
        candidates = np.flatnonzero(entries)
        candidates = candidates[np.argsort(~lifted[A.cols[candidates]], kind="stable")]
        pivots = candidates[np.unique(A.rows[candidates], return_index=True)[1]]
        defined, defining = A.cols[pivots], A.rows[pivots]
        kept = np.setdiff1d(np.arange(structure.n), defined)
        has = np.zeros(structure.n, dtype=bool)
        has[bounds.lower_cols] = has[bounds.upper_cols] = True
        kept = kept[np.argsort(~has[kept], kind="stable")]
        rows = np.setdiff1d(bounds.rows, defining)
        equalities = int((rows < zeros).sum())
        bounded = int(has[kept].sum())
        return cls(
            structure.P, A, bounds, kept, bounded, defined, defining, pivots, rows, equalities
        )

    def at(self, P: np.ndarray, A: np.ndarray) -> Reduced:
        """The reduced matrices of P's and A's values (entries,)."""
        parts, pivots = self._parts, A[self.pivots]
        H, P_FC, P_FF = (parts[name](P) for name in ("H", "P_FC", "P_FF"))
        T = parts["T"](A) / pivots[:, None]
        if len(pivots):
            with one_thread_each():  # the last bits of a matrix product depend on BLAS' threads
                cross, square = T.T @ P_FC, T.T @ P_FF @ T
            H = H - cross - cross.T + square
            H = (H + H.T) / 2
        # DAQP's pivots are compared with a fixed number: H of size 1, by a power of 2
        largest = float(H.diagonal().max(initial=0.0))
        scale = float(power_of_two(np.array(largest)))
        # and it takes rows below 3e-6 for empty ones, and then their programs for infeasible
        rows = parts["A"](A)
        heights = power_of_two(np.abs(rows).max(axis=1, initial=0.0))
        rows /= heights[:, None]
        return Reduced(self, H / scale, rows, T, P_FC, P_FF, pivots, scale, heights)

    @cached_property
    def _parts(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """Values -> the parts of P and A, dense."""
        P, A = self.P, self.A
        return {
            "H": _filled(P, self.kept, self.kept),
            "P_FC": _filled(P, self.defined, self.kept),
            "P_FF": _filled(P, self.defined, self.defined),
            "A": _filled(A, self.rows, self.kept),
            "T": _filled(A, self.defining, self.kept),
        }


def power_of_two(size: np.ndarray) -> np.ndarray:
    """The power of 2 that is just below each size, 1 where the size is 0 or not finite."""
    usual = (size > 0) & (size < np.inf)
    return np.asarray(2.0 ** np.floor(np.log2(np.where(usual, size, 1.0))))


def _filled(
    pattern: Pattern, rows: np.ndarray, cols: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Values -> the dense matrix of these rows and columns."""
    row_places, col_places = np.full(pattern.shape[0], -1), np.full(pattern.shape[1], -1)
    row_places[rows], col_places[cols] = np.arange(len(rows)), np.arange(len(cols))
    inside = np.flatnonzero((row_places[pattern.rows] >= 0) & (col_places[pattern.cols] >= 0))
    flat = row_places[pattern.rows[inside]] * len(cols) + col_places[pattern.cols[inside]]

    def filled(values: np.ndarray) -> np.ndarray:
        dense = np.zeros(len(rows) * len(cols))
        dense[flat] = values[inside]
        return dense.reshape(len(rows), len(cols))

    return filled


@dataclass(frozen=True, eq=False)
class Reduced:
    """The matrices of one reduced program.

    Parameters
    ----------
    H, A : arrays (kept, kept), (rows, kept)
    T, P_FC, P_FF : arrays (defined, kept), (defined, kept), (defined, defined)
    pivots : array (defined,)
        D.
    scale : float
        What H, and f with it, is divided by.
    heights : array (rows,)
        What each row of A, and its b, is divided by.
    """

    reduction: Reduction
    H: np.ndarray
    A: np.ndarray
    T: np.ndarray
    P_FC: np.ndarray
    P_FF: np.ndarray
    pivots: np.ndarray
    scale: float
    heights: np.ndarray

    def vectors(self, q: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(f, upper, lower) for a sample's q (n,) and b (m,): arrays (kept,), (bounded + rows,)."""
        reduction = self.reduction
        f = q[reduction.kept]
        if len(self.pivots):
            x0 = b[reduction.defining] / self.pivots
            f = f + self.P_FC.T @ x0 - self.T.T @ (q[reduction.defined] + self.P_FF @ x0)
        first, equalities = reduction.bounded, reduction.equalities
        upper = np.empty(first + len(reduction.rows))
        lower = np.full(len(upper), -np.inf)
        if first:
            low, high = reduction.bounds.limits(b)
            bounded = reduction.kept[:first]
            lower[:first], upper[:first] = low[bounded], high[bounded]
        upper[first:] = b[reduction.rows] / self.heights
        lower[first : first + equalities] = upper[first : first + equalities]
        return f / self.scale, upper, lower

    def point(
        self, u: np.ndarray, multipliers: np.ndarray, q: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of the whole program, arrays (n,) and (m,).

        Parameters
        ----------
        u : array (kept,)
            The reduced program's solution.
        multipliers : array (bounded + rows,)
            Of its limits: positive at the upper one, negative at the lower one.
        q, b : arrays (n,), (m,)
        """
        reduction, bounds = self.reduction, self.reduction.bounds
        first, multipliers = reduction.bounded, multipliers * self.scale
        x = np.empty(len(q))
        x[reduction.kept] = u
        y = np.zeros(len(b))
        y[reduction.rows] = multipliers[first:] / self.heights
        if first:
            of_bounds = np.zeros(len(q))
            of_bounds[reduction.kept[:first]] = multipliers[:first]
            y[bounds.lower_rows] = (
                -np.maximum(-of_bounds, 0.0)[bounds.lower_cols] / bounds.lower_scale
            )
            y[bounds.upper_rows] = (
                np.maximum(of_bounds, 0.0)[bounds.upper_cols] / bounds.upper_scale
            )
        if len(self.pivots):
            x_F = b[reduction.defining] / self.pivots - self.T @ u
            x[reduction.defined] = x_F
            gradient = self.P_FC @ u + self.P_FF @ x_F + q[reduction.defined]
            y[reduction.defining] = -gradient / self.pivots
        return x, y
