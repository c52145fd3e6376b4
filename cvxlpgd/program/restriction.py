"""Programs in which some columns of x are fixed: what is left to solve, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.cones import Cone, NonNeg, Zero, distance
from cvxlpgd.program.data import Data, Point, norm
from cvxlpgd.program.pattern import Array, Pattern, product
from cvxlpgd.program.programs import ConeProgram
from cvxlpgd.program.structure import Structure

TOLERATED = 1e-5  # violation by fixed values, relative to the row's own size: single precision
LEFT = 1e-8  # violation that solvers leave, whose tolerances are absolute


@dataclass(frozen=True, eq=False)
class Restriction:
    """The programs over the other columns when some are fixed.

    minimize ½f'P_FF f + (q_F + P_FJ x_J)'f   subject to  A_F f + s = b - A_J x_J,  s in K
    """

    fixed: np.ndarray  # the columns J of x
    free: np.ndarray  # the columns F
    left: Structure  # of the programs over F: the same rows and cones
    P: np.ndarray  # which entries of the whole pattern those of `left` are; A too
    A: np.ndarray
    unreached: np.ndarray  # rows that no free column reaches, bool (m,): they hold or do not

    @classmethod
    def of(cls, structure: Structure, columns: np.ndarray) -> Restriction:
        """Fix these columns."""
        is_free = np.ones(structure.n, dtype=bool)
        is_free[columns] = False
        free, place = np.flatnonzero(is_free), np.cumsum(is_free) - 1
        whole_P, whole_A = structure.P, structure.A
        P = np.flatnonzero(is_free[whole_P.rows] & is_free[whole_P.cols])
        A = np.flatnonzero(is_free[whole_A.cols])
        nothing = np.zeros(0, dtype=np.int64)
        shape = (structure.m, len(free))
        left = replace(
            structure,
            P=Pattern((len(free),) * 2, place[whole_P.rows[P]], place[whole_P.cols[P]]),
            A=Pattern(shape, whole_A.rows[A], place[whole_A.cols[A]]),
            integer=place[structure.integer[is_free[structure.integer]]],
            boolean=place[structure.boolean[is_free[structure.boolean]]],
            varying=Data(nothing, nothing, nothing, nothing),
            user=structure.user[free],
        )
        reached = np.zeros(structure.m, dtype=bool)
        reached[whole_A.rows[A]] = True
        for cone, rows in _cones(structure):
            if not isinstance(cone, Zero | NonNeg):  # a curved cone holds as a whole
                reached[rows] = reached[rows].any()
        return cls(np.flatnonzero(~is_free), free, left, P, A, ~reached)

    def program(self, program: ConeProgram, x: Array) -> tuple[ConeProgram, np.ndarray]:
        """What is left at x (batch, n), and how far unreached rows are from holding, (batch,).

        Those rows are then made to hold exactly, so that rounding does not make them infeasible.
        """
        structure, w = program.structure, program.data
        xp = array_namespace(x)
        held = x * 1.0
        held[:, self.free] = 0.0
        q = (w.q + product(structure.P, w.P, held))[:, self.free]
        b = w.b - product(structure.A, w.A, held)
        size, violation = _row_sizes(program, held), xp.zeros(len(x), dtype=x.dtype)
        for cone, rows in _cones(structure):
            if isinstance(cone, Zero | NonNeg):
                rows = rows[self.unreached[rows]]
            if not len(rows) or not self.unreached[rows[0]]:
                continue
            own, unit = b[:, rows], size[:, rows]
            if isinstance(cone, Zero | NonNeg):
                cone = type(cone)(len(rows))
                own = own / unit
            else:
                unit = xp.max(unit, axis=1, keepdims=True)
                own = own / unit
            violation = xp.maximum(violation, distance(cone, own))
            b[:, rows] = cone.project(b[:, rows])
        left = ConeProgram(self.left, Data(w.P[:, self.P], q, w.A[:, self.A], b))
        return left, np.asarray(to_device(violation, "cpu"))

    def widened(self, left: ConeProgram, program: ConeProgram, x: Array) -> ConeProgram:
        """What is left, with rows that hold up to `TOLERATED` of their own size.

        A target that is on the boundary up to rounding leaves nothing between what it fixes and
        its limits, which solvers call infeasible.
        """
        structure, w = program.structure, program.data
        xp = array_namespace(x)
        held = xp.abs(x)
        held[:, self.free] = 0.0
        size = xp.abs(w.b) + product(structure.A, xp.abs(w.A), held)
        b = left.data.b * 1.0
        for cone, rows in _cones(structure):
            if not isinstance(cone, Zero):
                each = size[:, rows]
                own = each if isinstance(cone, NonNeg) else xp.max(each, axis=1, keepdims=True)
                b[:, rows] += TOLERATED * own * xp.asarray(cone.interior)
        return ConeProgram(self.left, replace(left.data, b=b))

    def point(self, z: Point, x: Array) -> Point:
        """The whole point, from that of what was left."""
        whole = x * 1.0
        whole[:, self.free] = z.x
        return replace(z, x=whole)


def _row_sizes(program: ConeProgram, x: Array) -> Array:
    """|b_i| + Σ_j |A_ij| (|x_j| + u), (batch, m): by its own size a row is held or not.

    u is the largest |x_j|, at least the least |b_i| / |A_i| that is not 0: what a zero may be off.
    What solvers leave is added.
    """
    structure, w = program.structure, program.data
    xp = array_namespace(x)
    A, b, here = xp.abs(w.A), xp.abs(w.b), xp.abs(x)
    sums = product(structure.A, A, here * 0.0 + 1.0)
    inf = xp.asarray(np.inf, dtype=x.dtype)
    apart = xp.where((b > 0) & (sums > 0), b / xp.where(sums > 0, sums, sums * 0.0 + 1.0), inf)
    least = xp.min(apart, axis=1, keepdims=True) if structure.m else here[:, :0]
    unit = norm(here)[:, None]
    if structure.m:
        unit = xp.maximum(unit, xp.where(xp.isfinite(least), least, xp.zeros_like(least)))
    return b + product(structure.A, A, here) + sums * unit + LEFT / TOLERATED


def _cones(structure: Structure) -> list[tuple[Cone, np.ndarray]]:
    """All cones, each with its rows."""
    return [
        (cone, np.arange(first + k * cone.rows, first + (k + 1) * cone.rows))
        for cone, first, count in structure.blocks
        for k in range(count)
    ]
