"""Programs whose rows and columns are of about one size, and the way back.

    P̂ = DPD,  q̂ = Dq,  Â = EAD,  b̂ = Eb;    x = D x̂,  y = E ŷ,  s = ŝ / E

where D and E are diagonal, of powers of 2, which round nothing, and E is the same on all rows of a
curved cone. Ruiz, "A scaling algorithm to equilibrate both rows and columns norms in matrices",
2001.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, product, transposed_product
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.solvers.translate.reduction import power_of_two

WORTH = 1e3  # a sample whose rows or columns are further apart in size is scaled
PASSES = 6


class Scales(NamedTuple):
    """D (k, n) and E (k, m), where k is the batch, or 1 where it shares A."""

    D: np.ndarray
    E: np.ndarray

    @classmethod
    def of(cls, program: ConeProgram) -> Scales | None:
        """The scales of a batch, 1 for samples that are not worth it; None where no sample is."""
        structure, squares = program.structure, program.data.A**2
        worth = np.ones(len(squares), dtype=bool)
        D, E = (np.ones((len(squares), size)) for size in (structure.n, structure.m))
        for k in range(PASSES):
            rows = E * np.sqrt(product(structure.A, squares, D**2))
            for cone, where, part in structure.split(rows):
                if not is_diagonal(cone):
                    each = np.sqrt((part**2).mean(axis=2, keepdims=True))
                    rows[:, where] = np.broadcast_to(each, part.shape).reshape(len(rows), -1)
            columns = D * np.sqrt(transposed_product(structure.A, squares, E**2))
            if not k:
                worth = np.maximum(_apart(rows), _apart(columns)) > WORTH
                if not worth.any():
                    return None
            E, D = E / np.sqrt(_or_one(rows)), D / np.sqrt(_or_one(columns))
        chosen = worth[:, None]
        return cls(*(np.where(chosen, power_of_two(v), 1.0) for v in (D, E)))

    def program(self, program: ConeProgram) -> ConeProgram:
        """The scaled program."""
        w, P, A = program.data, program.structure.P, program.structure.A
        data = Data(
            P=self.D[:, P.rows] * w.P * self.D[:, P.cols],
            q=self.D * w.q,
            A=self.E[:, A.rows] * w.A * self.D[:, A.cols],
            b=self.E * w.b,
        )
        return replace(program, data=data)

    def scale(self, z: Point) -> Point:
        """A point of the scaled program."""
        return Point(x=z.x / self.D, y=z.y / self.E, s=self.E * z.s)

    def unscale(self, z: Point) -> Point:
        """A point of the program itself."""
        return Point(x=self.D * z.x, y=self.E * z.y, s=z.s / self.E)


def _or_one(sizes: np.ndarray) -> np.ndarray:
    return np.where((sizes > 0) & np.isfinite(sizes), sizes, 1.0)


def _apart(sizes: np.ndarray) -> np.ndarray:
    """Each sample's largest size over its smallest one that is not 0, (k,)."""
    usual = (sizes > 0) & np.isfinite(sizes)
    largest = np.where(usual, sizes, 0.0).max(axis=1, initial=0.0)
    smallest = np.where(usual, sizes, np.inf).min(axis=1, initial=np.inf)
    return largest / smallest
