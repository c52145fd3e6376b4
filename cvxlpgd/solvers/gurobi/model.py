"""A program as Gurobi takes it, and its answers as points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Pattern, Point, Structure, product, transposed_product
from cvxlpgd.program.data import Data
from cvxlpgd.program.structure import per_structure
from cvxlpgd.solvers.run.each import Answer, of_sample, stack
from cvxlpgd.solvers.translate.bounds import Bounds


class Linear(NamedTuple):
    """The linear rows of a structure, which come first: its own one, and their entries of A."""

    structure: Structure
    entries: np.ndarray

    def bounds(self, program: ConeProgram) -> Bounds:
        """Their bounds."""
        w, rows = program.data, self.structure.m
        if rows == program.structure.m:
            return Bounds.of(program)
        A, b = w.A[:, self.entries], w.b[:, :rows]
        return Bounds.of(ConeProgram(self.structure, Data(w.P, w.q, A, b)))


@per_structure
def linear_of(structure: Structure) -> Linear:
    """The linear rows of a structure."""
    cones = tuple(cone for cone in structure.cones if isinstance(cone, Zero | NonNeg))
    m, A, old = sum(cone.rows for cone in cones), structure.A, structure.varying
    entries = np.flatnonzero(A.rows < m)
    place = np.full(A.size, -1)
    place[entries] = np.arange(len(entries))
    moving = place[old.A]
    varying = Data(old.P, old.q, moving[moving >= 0], old.b[old.b < m])
    pattern = Pattern((m, structure.n), A.rows[entries], A.cols[entries])
    linear = Structure(
        structure.P, pattern, cones, structure.integer, structure.boolean, varying, structure.user
    )
    return Linear(linear, entries)


class Form:
    """A batch's vectors as they are, and points of answers.

    An answer has x, and the multipliers of the rows that are not bounds and then of the cones'.
    """

    def __init__(self, program: ConeProgram, bounds: Bounds) -> None:
        self.program, self.bounds, w = program, bounds, program.data
        self.q, self.b = w.q, w.b

    def vectors(self, i: int, setup: Any) -> tuple[np.ndarray, ...]:
        """(q, b) of the i-th sample."""
        return of_sample(self.q, i), of_sample(self.b, i)

    def point(self, answers: Sequence[Answer]) -> Point:
        """The points (batch, ...); an integer program's duals are 0.

        A bound's multiplier is what stationarity leaves to it:  r = Px + q + A'y  without the
        bounds' rows is max(r, 0) of a bound from below and max(-r, 0) of one from above.
        """
        bounds, structure, w = self.bounds, self.program.structure, self.program.data
        x = stack([answer.x for answer in answers], structure.n)
        y = np.zeros((len(x), structure.m))
        if not structure.mixed_integer:
            rows = len(bounds.rows)
            own = stack([answer.y for answer in answers], rows + structure.m - bounds.m)
            y[:, bounds.rows], y[:, bounds.m :] = own[:, :rows], own[:, rows:]
            r = w.q + transposed_product(structure.A, w.A, y)
            if structure.P.size:
                r += product(structure.P, w.P, x)
            lower, upper = np.maximum(r, 0.0), np.maximum(-r, 0.0)
            y[:, : bounds.m] = bounds.duals(own[:, :rows], lower, upper)
        return Point(x, y, self._slack(x))

    def _slack(self, x: np.ndarray) -> np.ndarray:
        """The slack s = b - Ax, 0 in the equalities and not negative in the inequalities."""
        bounds, structure, w = self.bounds, self.program.structure, self.program.data
        s = w.b - product(structure.A, w.A, x)
        np.maximum(s[:, : bounds.m], 0.0, out=s[:, : bounds.m])
        s[:, : bounds.equalities] *= 0.0  # NaN where there is no point
        return s


def quadratic(structure: Structure, P: np.ndarray) -> sp.csc_matrix:
    """½P of its values (entries,)."""
    return structure.P.matrix(P / 2)
