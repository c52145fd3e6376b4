"""Complementary pairs of a batch's cones, how each can move, and in which units.

A cone's pair moves by y_dot = B'u, -B s_dot = C u, see `cones/linearization.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones import Linearization, NonNeg, Zero
from cvxlpgd.program.data import Point, norm
from cvxlpgd.program.pattern import product
from cvxlpgd.program.programs import ConeProgram
from cvxlpgd.program.structure import Structure

APART = 1e6  # the cones' weights lie this far apart at most, around their mean
FEW = 4  # rows of a cone up to which all cones' products are added up entry by entry
NOISE = 1e-2  # of the size that the data suggest: a y or s below this share is taken for noise


class Pairs(NamedTuple):
    """A batch's complementary pairs and how they move, in the rows' weighted units.

    All are arrays (batch, m) but `directions`: for each block of cones (batch, count, rows, rows),
    None where they are the rows.
    """

    weights: np.ndarray  # t, such that t s and y / t are of about one size; equal in a curved cone
    y: np.ndarray  # in its own units, and s too
    s: np.ndarray
    compliance: np.ndarray  # of each direction: 0 where it is active, infinite where it is free
    directions: list[np.ndarray | None]

    @property
    def are_straight(self) -> bool:
        """Whether all directions are the rows."""
        return all(B is None for B in self.directions)

    @classmethod
    def of(
        cls, structure: Structure, z: Point, weights: np.ndarray, shift: np.ndarray | None = None
    ) -> Pairs:
        """The pairs nearest to a point's (batch, m), for weights (batch, m).

        `shift` (batch, m) settles which side a pair without a side is on: an inequality's row is
        active where it is positive, free where it is negative; in weighted units it is added to y,
        or to s, of curved cones, along their insides.
        """
        y, s = z.y / weights, z.s * weights
        if structure.polyhedral:
            return cls._of_rows(structure, y - s, weights, shift)
        rows_alone = cls._of_rows(structure, y - s, weights, shift)
        if shift is not None:
            y, s = y + np.maximum(shift, 0.0), s + np.maximum(-shift, 0.0)
        y_new, s_new, compliance = np.empty_like(y), np.empty_like(s), np.empty_like(y)
        directions: list[np.ndarray | None] = []
        for cone, rows, *parts in structure.split(y, s):
            if isinstance(cone, Zero | NonNeg):
                y_new[:, rows] = rows_alone.y[:, rows] / weights[:, rows]
                s_new[:, rows] = rows_alone.s[:, rows] * weights[:, rows]
                compliance[:, rows] = rows_alone.compliance[:, rows]
                directions.append(None)
                continue
            pair: Linearization = cone.linearize(*parts)
            y_new[:, rows] = pair.y.reshape(len(y), -1)
            s_new[:, rows] = pair.s.reshape(len(y), -1)
            compliance[:, rows] = pair.compliance.reshape(len(y), -1)
            directions.append(None if is_diagonal(cone) else pair.directions)
        return cls(weights, y_new * weights, s_new / weights, compliance, directions)

    @classmethod
    def _of_rows(
        cls, structure: Structure, v: np.ndarray, weights: np.ndarray, shift: np.ndarray | None
    ) -> Pairs:
        """The pairs of equations and inequalities, of v = y - s: all rows at once."""
        free = structure.inequalities & (v < 0)
        if shift is not None:
            settled = structure.inequalities & (shift != 0)
            free = np.where(settled, shift < 0, free)
            v = np.where(settled & ((v < 0) != free), 0.0, v)
        y, s = np.where(free, 0.0, v * weights), np.where(free, -v / weights, 0.0)
        return cls(weights, y, s, np.where(free, np.inf, 0.0), [None] * len(structure.blocks))

    def take(self, index: np.ndarray) -> Pairs:
        """The pairs of some samples."""
        directions = [v if v is None else v[index] for v in self.directions]
        weights, y, s, compliance = (v[index] for v in self[:4])
        return Pairs(weights, y, s, compliance, directions)

    def turn(
        self,
        structure: Structure,
        v: np.ndarray,
        transposed: bool = False,
        magnitudes: bool = False,
    ) -> np.ndarray:
        """B v, or B'v, or |B|v, for vectors (batch, columns, m) in weighted units."""
        if self.are_straight:
            return v
        out, (batch, columns, _) = v.copy(), v.shape
        for (cone, first, count), B in zip(structure.blocks, self.directions, strict=True):
            if B is not None:
                rows = slice(first, first + cone.rows * count)
                B = np.abs(B) if magnitudes else B
                part = v[:, :, rows].reshape(batch, columns, count, cone.rows)
                turned = _turn(B.swapaxes(-1, -2) if transposed else B, part)
                out[:, :, rows] = turned.reshape(batch, columns, -1)
        return out


def _turn(B: np.ndarray, v: np.ndarray) -> np.ndarray:
    """B v for matrices (batch, count, rows, rows) and vectors (batch, columns, count, rows)."""
    rows = B.shape[-1]
    if rows > FEW:
        return np.asarray((B @ v.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    entries = [np.ascontiguousarray(v[..., j]) for j in range(rows)]
    out = np.empty(v.shape)
    for i in range(rows):
        sums = B[:, None, :, i, 0] * entries[0]
        for j in range(1, rows):
            sums += B[:, None, :, i, j] * entries[j]
        out[..., i] = sums
    return out


def is_diagonal(cone: Any) -> bool:
    """Whether its projection's derivative is a diagonal."""
    return _is_diagonal(cone)


@lru_cache(maxsize=256)
def _is_diagonal(cone: Any) -> bool:
    return bool(cone.derivative(np.zeros((0, cone.rows))).ndim == 2)


def weights(program: ConeProgram, z: Point) -> np.ndarray:
    """The weights t (batch, m), such that y / t and t s are of one size in each cone.

    On rows of their own it is the row's size. A curved cone's follows its pair; where y or s is
    nothing but noise it counts as a small part of what the data would allow.
    """
    structure, w = program.structure, program.data
    ones = np.ones((len(w.A), structure.n))
    rows = np.sqrt(product(structure.A, w.A**2, ones))
    rows = np.where((rows > 0) & np.isfinite(rows), rows, 1.0)
    with np.errstate(all="ignore"):
        x_size, b_size = norm(z.x), norm(w.b / rows)
        q = norm(w.q) + norm(w.P) * (x_size + b_size)
        y_size = np.maximum(norm(z.y * rows), NOISE * q)
        s_size = np.maximum(norm(z.s / rows), NOISE * (b_size + x_size))
        # where all costs are 0: a dual variable's size beside a slack's
        curvature = norm(w.P[:, structure.P.rows == structure.P.cols])
        mean = np.maximum(y_size / s_size, NOISE * curvature)
        mean = np.where((mean > 0) & np.isfinite(mean), mean, 1.0)[:, None]
        squares = mean / rows**2
        if structure.polyhedral:
            return np.asarray(np.sqrt(squares))
        rows = np.broadcast_to(rows, z.y.shape)
        for cone, span, y, s, sizes in structure.split(z.y, z.s, rows):
            if is_diagonal(cone):
                continue
            usual = mean / (sizes**2).mean(axis=-1)
            own = np.clip(norm(y) / norm(s), usual / APART, usual * APART)
            own = np.where((norm(y) > 0) & (norm(s) > 0), own, usual)
            squares[:, span] = np.repeat(own, cone.rows, axis=1)
    return np.asarray(np.sqrt(squares))
