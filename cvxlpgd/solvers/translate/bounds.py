"""Zero and nonnegative rows as equalities, inequalities and bounds of variables, and the way back.

    A_e x = b_e,   A_i x <= b_i,   lower <= x <= upper

A nonnegative row a x_j <= b with one entry, a a constant other than 0, is a bound: b / a from above
where a > 0, from below where a < 0. Each variable has one row for each bound; further ones stay
inequalities, whose order their b decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Pattern, Solution, Structure, product
from cvxlpgd.program.rows import unknown_cone
from cvxlpgd.program.structure import latest_per_structure, per_structure


@dataclass(frozen=True, eq=False)
class Bounds:
    """The rows of polyhedral programs of one structure, sorted; for all samples of a batch."""

    n: int  # variables and rows of the structure
    m: int
    equalities: int  # how many of `rows`, the first ones, are equalities
    rows: np.ndarray  # the rows that are not bounds
    entries: np.ndarray  # where their entries stand among A's
    pattern: Pattern  # of these rows
    lower_rows: np.ndarray  # of each bound from below: its row, its variable, and a
    lower_cols: np.ndarray
    lower_scale: np.ndarray
    upper_rows: np.ndarray  # of each bound from above
    upper_cols: np.ndarray
    upper_scale: np.ndarray

    @classmethod
    def of(cls, program: ConeProgram, bounds: bool = True) -> Bounds:
        """The bounds of a program, none with bounds=False: then every row stays a row.

        They are the same object for as long as the structure and its constant entries are the same.
        """
        if not bounds:
            return _no_bounds(program.structure)
        return _bounds(program.structure, program.data.A[0][_single(program.structure)])

    def limits(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper) of the variables (n,) at b (m,), infinite where there is no bound."""
        lower, upper = np.full(self.n, -np.inf), np.full(self.n, np.inf)
        lower[self.lower_cols] = b[self.lower_rows] / self.lower_scale
        upper[self.upper_cols] = b[self.upper_rows] / self.upper_scale
        return lower, upper

    def duals(self, row_duals: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """The rows' y (..., m) from that of `rows`, and from multipliers of the bounds.

        These are `lower` and `upper` (..., n), >= 0, where Px + q + A'y - lower + upper = 0.
        """
        y = np.zeros((*row_duals.shape[:-1], self.m))
        y[..., self.rows] = row_duals
        y[..., self.lower_rows] = -lower[..., self.lower_cols] / self.lower_scale
        y[..., self.upper_rows] = upper[..., self.upper_cols] / self.upper_scale
        return y

    def with_slack(self, solution: Solution, program: ConeProgram) -> Solution:
        """The solution with s = b - Ax, 0 in the equalities and not negative elsewhere."""
        x = solution.point.x
        with np.errstate(invalid="ignore"):
            s = np.maximum(program.data.b - product(program.structure.A, program.data.A, x), 0.0)
        s[:, : self.equalities] *= 0.0  # NaN where there is no point
        return replace(solution, point=replace(solution.point, s=s))


@per_structure
def _single(structure: Structure) -> np.ndarray:
    """The constant entries of A that stand alone in an inequality."""
    A = structure.A
    single = np.bincount(A.rows, minlength=structure.m)[A.rows] == 1
    single[structure.varying.A] = False
    return np.flatnonzero(single & (A.rows >= _equalities(structure)))


@latest_per_structure(np.array_equal)
def _bounds(structure: Structure, values: np.ndarray) -> Bounds:
    """The bounds by the single entries, which have these values."""
    return _of_entries(structure, _single(structure), values)


@per_structure
def _no_bounds(structure: Structure) -> Bounds:
    """Every row stays a row."""
    return _of_entries(structure, np.zeros(0, dtype=np.int64), np.zeros(0))


def _of_entries(structure: Structure, entries: np.ndarray, values: np.ndarray) -> Bounds:
    """The bounds by these entries of A: in each column the first entry of each sign makes one."""
    A, zeros = structure.A, _equalities(structure)
    left, sides = np.ones(structure.m, dtype=bool), []
    for chosen in (values < 0, values > 0):
        own, scale = entries[chosen], values[chosen]
        first = np.unique(A.cols[own], return_index=True)[1]
        sides += [A.rows[own[first]], A.cols[own[first]], scale[first]]
        left[A.rows[own[first]]] = False
    rows, place = np.flatnonzero(left), np.cumsum(left) - 1
    inside = np.flatnonzero(left[A.rows])
    pattern = Pattern((len(rows), structure.n), place[A.rows[inside]], A.cols[inside])
    return Bounds(structure.n, structure.m, zeros, rows, inside, pattern, *sides)


def _equalities(structure: Structure) -> int:
    """How many of the rows are equalities; the others must be inequalities."""
    for cone in structure.cones:
        if not isinstance(cone, Zero | NonNeg):
            raise unknown_cone(cone, "solvers of linear and quadratic programs")
    return sum(cone.rows for cone in structure.cones if isinstance(cone, Zero))
