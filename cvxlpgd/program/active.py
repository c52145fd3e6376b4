"""Active rows of quadratic programs of linear rows: their system, and what solves the program.

A point solves its program if y >= 0 and s >= 0, one of them 0 in each inequality, and if what is
left of Px + q + A'y = 0 and Ax + s = b is rounding.
"""

from __future__ import annotations

import numpy as np

from cvxlpgd.program.data import Point, norm
from cvxlpgd.program.kkt import Start, Systems
from cvxlpgd.program.matrices import rounding
from cvxlpgd.program.pairs import Pairs
from cvxlpgd.program.pattern import product, transposed_product
from cvxlpgd.program.programs import ConeProgram
from cvxlpgd.program.structure import Structure

TERMS = 100.0  # times the unit of rounding of its terms: a y or s below 0 may be 0
FINE = 1e-13  # of a motion: what may be left of its right-hand side without refinement
ROUNDED = 1e-12  # of the solution: what may be left of the conditions, both in the system's scale


def is_inside(structure: Structure, z: Point) -> np.ndarray:
    """Whether y >= 0 and s >= 0 in all inequalities, bool (batch,)."""
    return np.asarray((((z.y >= 0) & (z.s >= 0)) | ~structure.inequalities).all(axis=1))


def clip(program: ConeProgram, z: Point) -> tuple[Point, np.ndarray]:
    """The points without what is negative in y and s, where that is rounding of the terms that it
    is added to; and where nothing is negative then, bool (batch,).
    """
    structure, A = program.structure, np.abs(program.data.A)
    y = np.where(structure.inequalities, np.maximum(z.y, 0.0), z.y)
    s = np.where(structure.inequalities, np.maximum(z.s, 0.0), z.s)
    f, g = rounding(program, z)
    inside = (transposed_product(structure.A, A, y - z.y) <= TERMS * f).all(axis=1)
    inside &= (s - z.s <= TERMS * g).all(axis=1)
    moved = inside[:, None]
    return Point(z.x, np.where(moved, y, z.y), np.where(moved, s, z.s)), inside


class Active:
    """The rows that are active at a batch's points, and the system of these.

    `at` are the points with s = 0 on these, y = 0 on the others, where s = b - Ax; `f` and `g` are
    what is missing in Px + q + A'y = 0 and Ax + s = b, `left` is their size and `size` that of the
    points, (batch,), in the system's scale.
    """

    def __init__(
        self,
        program: ConeProgram,
        z: Point,
        units: np.ndarray,
        same: tuple[Systems, np.ndarray] | None = None,
    ) -> None:
        structure, w = program.structure, program.data
        pairs = Pairs.of(structure, z, units)
        self.program, self.units = program, units
        self.systems = systems = Systems(program, pairs, same=same)
        rest = w.b - product(structure.A, w.A, z.x)
        self.at = Point(z.x, pairs.y, np.where(systems.held, 0.0, rest))
        curved = product(structure.P, w.P, z.x)
        self.f = -(curved + w.q + transposed_product(structure.A, w.A, pairs.y))
        self.g = np.where(systems.held, rest, 0.0)
        self.left = systems.size(self.f[:, None], systems.side(self.g[:, None]))[:, 0]
        self.size = self._size(z.x, pairs.y / units)

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[Point, np.ndarray, np.ndarray]:
        """The motion for these right-hand sides, (batch, n) and (batch, m), refined where that is
        not rounding; what is left of them and the motion's size, (batch,), in the system's scale.
        """
        structure, w, systems = self.program.structure, self.program.data, self.systems
        sides = f[:, None], systems.side(g[:, None])
        motions = systems.solve(*sides, rough=1)
        x, u, left = motions.x[:, 0], motions.u[:, 0], motions.residual[:, 0]
        rough = left > FINE * self._size(x, u)
        if rough.any():
            every = np.ones_like(rough)
            motions = systems.solve(*sides, start=Start(motions.both, every, ~every))
            x = np.where(rough[:, None], motions.x[:, 0], x)
            u = np.where(rough[:, None], motions.u[:, 0], u)
            left = np.where(rough, motions.residual[:, 0], left)
        s = np.where(systems.held, 0.0, g - product(structure.A, w.A, x))
        return Point(x, systems.dual(u[:, None])[:, 0], s), left, self._size(x, u)

    def _size(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        factors = self.systems.factors
        return np.asarray(np.maximum(norm(x / factors.scale_x), norm(u / factors.scale_u)))
