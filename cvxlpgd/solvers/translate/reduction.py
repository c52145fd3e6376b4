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

from dataclasses import dataclass, replace

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.program.elimination import Elimination, eliminate
from cvxlpgd.program.threads import one_thread_each, one_thread_for
from cvxlpgd.solvers.translate.bounds import Bounds


@dataclass(frozen=True, eq=False)
class Reduction:
    """Which columns and rows of a structure are eliminated, and how the rest is ordered.

    Kept columns are ordered, those with bounds first; rows are those that are neither bounds nor
    defining, equalities first.
    """

    columns: Elimination
    bounds: Bounds
    bounded: int  # how many of the kept columns have bounds
    equalities: int  # how many of the rows are equalities

    @classmethod
    def of(cls, structure: Structure, bounds: Bounds, user: bool = False) -> Reduction:
        """The reduction of a structure; with user=True the user's columns may go too."""
        whole = eliminate(structure, user)
        has_bound = np.zeros(structure.n, dtype=bool)
        has_bound[bounds.lower_cols] = has_bound[bounds.upper_cols] = True
        kept = whole.kept[np.argsort(~has_bound[whole.kept], kind="stable")]
        rows = np.setdiff1d(bounds.rows, whole.defining)
        equalities = int((rows < bounds.equalities).sum())
        columns = replace(whole, kept=kept, rows=rows)
        return cls(columns, bounds, int(has_bound[kept].sum()), equalities)

    def at(self, P: np.ndarray, A: np.ndarray) -> Reduced:
        """The reduced matrices of P's and A's values (entries,)."""
        pivots = A[self.columns.pivots]
        H, P_FC, P_FF = (self._part(name, P) for name in ("P_CC", "P_FC", "P_FF"))
        T = self._part("A_R", A) / pivots[:, None]
        if len(pivots):
            with one_thread_each():  # the last bits of a matrix product depend on BLAS' threads
                cross, square = T.T @ P_FC, T.T @ P_FF @ T
            H = H - cross - cross.T + square
            H = (H + H.T) / 2
        # DAQP's pivots are compared with a fixed number: H of size 1, by a power of 2
        largest = float(H.diagonal().max(initial=0.0))
        scale = float(power_of_two(np.array(largest)))
        # and it takes rows below 3e-6 for empty ones, and then their programs for infeasible
        rows = self._part("A_C", A)
        heights = power_of_two(np.abs(rows).max(axis=1, initial=0.0))
        rows = rows / heights[:, None]
        return Reduced(self, H / scale, rows, T, P_FC, P_FF, pivots, scale, heights)

    def _part(self, name: str, values: np.ndarray) -> np.ndarray:
        """A part of P or A, full, of their values (entries,)."""
        return self.columns.parts[name].full(values[None])[0]


def power_of_two(size: np.ndarray) -> np.ndarray:
    """The power of 2 that is just below each size, 1 where the size is 0 or not finite."""
    usual = (size > 0) & (size < np.inf)
    return np.asarray(2.0 ** np.floor(np.log2(np.where(usual, size, 1.0))))


@dataclass(frozen=True, eq=False)
class Reduced:
    """The matrices of one reduced program."""

    reduction: Reduction
    H: np.ndarray  # (kept, kept)
    A: np.ndarray  # (rows, kept)
    T: np.ndarray  # (defined, kept)
    P_FC: np.ndarray  # (defined, kept)
    P_FF: np.ndarray  # (defined, defined)
    pivots: np.ndarray  # D (defined,)
    scale: float  # what H, and f with it, is divided by
    heights: np.ndarray  # what each row of A, and its b, is divided by

    def vectors(self, q: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(f, upper, lower) of samples: q (batch or 1, n), b (batch or 1, m) -> arrays
        (batch or 1, kept), (batch or 1, bounded + rows).
        """
        reduction, columns = self.reduction, self.reduction.columns
        f = np.take(q, columns.kept, axis=1)
        if len(self.pivots):
            x0 = b[:, columns.defining] / self.pivots
            of_rows = q[:, columns.defined] + times(x0, self.P_FF)
            f = f + times(x0, self.P_FC) - times(of_rows, self.T)
        first, equalities = reduction.bounded, reduction.equalities
        upper = np.empty((len(b), first + len(columns.rows)))
        lower = np.full(upper.shape, -np.inf)
        if first:
            low, high = reduction.bounds.limits(b)
            bounded = columns.kept[:first]
            lower[:, :first], upper[:, :first] = low[:, bounded], high[:, bounded]
        upper[:, first:] = b[:, columns.rows] / self.heights
        lower[:, first : first + equalities] = upper[:, first : first + equalities]
        return f / self.scale, upper, lower

    def point(
        self, u: np.ndarray, multipliers: np.ndarray, q: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of whole programs (batch, n), (batch, m), from solutions u (batch, kept).

        The multipliers (batch, bounded + rows) of the reduced programs' limits are positive at the
        upper one, negative at the lower one; q and b are (batch or 1, n) and (batch or 1, m).
        """
        columns, bounds = self.reduction.columns, self.reduction.bounds
        first, multipliers = self.reduction.bounded, multipliers * self.scale
        x = np.empty((len(u), q.shape[1]))
        x[:, columns.kept] = u
        y = np.zeros((len(u), b.shape[1]))
        y[:, columns.rows] = multipliers[:, first:] / self.heights
        if first:
            of_bounds = np.zeros_like(x)
            of_bounds[:, columns.kept[:first]] = multipliers[:, :first]
            lower, upper = of_bounds[:, bounds.lower_cols], of_bounds[:, bounds.upper_cols]
            y[:, bounds.lower_rows] = np.minimum(lower, 0.0) / bounds.lower_scale
            y[:, bounds.upper_rows] = np.maximum(upper, 0.0) / bounds.upper_scale
        if len(self.pivots):
            x_F = b[:, columns.defining] / self.pivots - times(u, self.T.T)
            x[:, columns.defined] = x_F
            gradient = times(u, self.P_FC.T) + times(x_F, self.P_FF) + q[:, columns.defined]
            y[:, columns.defining] = -gradient / self.pivots
        return x, y


def times(v: np.ndarray, M: np.ndarray) -> np.ndarray:
    """V M for each row v of (batch, k): one product a row, whose bits no other row decides."""
    with one_thread_for(M.size):
        return np.asarray((v[:, None] @ M)[:, 0])
