"""The directions that a path is followed in: that of a cotangent, and one of the data.

They are the right-hand sides f and g of the path's system, see `velocity`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, Structure, product, transposed_product

CANCELLED = 64.0  # times the unit of rounding of its terms


class Direction(Protocol):
    """A direction of each sample's program, that of a cotangent or of the data."""

    def sides(self, program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        """(f, g), (batch, n) and (batch, m)."""

    def take(self, index: np.ndarray) -> Direction:
        """The directions of some samples."""


@dataclass(frozen=True, eq=False)
class AlongCotangent:
    """The direction of L + t (x_bar'x + y_bar'y)."""

    z_bar: Point

    def sides(self, program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        """(-x_bar, -y_bar), wherever z is."""
        return -self.z_bar.x, -self.z_bar.y

    def take(self, index: np.ndarray) -> AlongCotangent:
        """The directions of some samples."""
        return AlongCotangent(self.z_bar.pick(index))


@dataclass(frozen=True, eq=False)
class AlongData:
    """The direction of w + t w_dot, w_dot at the structure's varying entries."""

    w_dot: Data

    def sides(self, program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        """(-(P_dot x + q_dot + A_dot'y), b_dot - A_dot x), 0 where that is rounding."""
        full = all_entries(program, self.w_dot)
        f, g = data_sides(program.structure, full, z)
        sizes = replace(full, **{name: np.abs(v) for name, v in full.items()})
        sizes = replace(sizes, A=-sizes.A)  # so that its product with |x| is added to |b|
        terms = data_sides(program.structure, sizes, Point(np.abs(z.x), -np.abs(z.y), z.s))
        return _without_rounding(f, terms[0]), _without_rounding(g, terms[1])

    def take(self, index: np.ndarray) -> AlongData:
        """The directions of some samples."""
        return AlongData(self.w_dot.take(index))


def all_entries(program: ConeProgram, w_dot: Data) -> Data:
    """A direction of the varying entries as one of all entries."""
    full = {}
    for name, entries in program.structure.varying.items():
        dot = getattr(w_dot, name)
        full[name] = np.zeros((len(dot), getattr(program.data, name).shape[1]))
        full[name][:, entries] = dot
    return Data(**full)


def data_sides(structure: Structure, w_dot: Data, z: Point) -> tuple[np.ndarray, np.ndarray]:
    """(-(P_dot x + q_dot + A_dot'y), b_dot - A_dot x), w_dot of all entries."""
    f = w_dot.q + product(structure.P, w_dot.P, z.x)
    f = f + transposed_product(structure.A, w_dot.A, z.y)
    return -f, w_dot.b - product(structure.A, w_dot.A, z.x)


def _without_rounding(v: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Sums, 0 where they are rounding of their terms."""
    return np.where(np.abs(v) > CANCELLED * np.finfo(float).eps * np.abs(terms), v, 0.0)
