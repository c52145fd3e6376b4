"""Columns that equations define, and what is left of a program's matrices without them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxlpgd.cones import Zero
from cvxlpgd.program.pattern import Pattern
from cvxlpgd.program.structure import Structure, per_structure


@dataclass(frozen=True, eq=False)
class Elimination:
    """Columns F that one equation each defines (rows R), in no other row; the others are C.

    CVXPY writes |Sx|² as |t|² with rows t - Sx = 0: no program is strictly convex in all columns.
    """

    P: Pattern
    A: Pattern
    kept: np.ndarray  # the columns C
    defined: np.ndarray  # the columns F
    defining: np.ndarray  # their rows R
    pivots: np.ndarray  # where the entries of F in R stand among A's; they are constant
    rows: np.ndarray  # the others

    @staticmethod
    @per_structure
    def of(structure: Structure) -> Elimination:
        """The elimination of columns that canonicalization added."""
        return eliminate(structure)

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Which entries of P and A are in each part of them."""
        return {
            "P_CC": Part.of(self.P, self.kept, self.kept),
            "P_FC": Part.of(self.P, self.defined, self.kept),
            "P_FF": Part.of(self.P, self.defined, self.defined),
            "A_C": Part.of(self.A, self.rows, self.kept),
            "A_R": Part.of(self.A, self.defining, self.kept),
        }


def eliminate(structure: Structure, user: bool = False) -> Elimination:
    """The columns that canonicalization added; if `user`, the user's too, where both can go."""
    A, added, equalities = structure.A, structure.user == 0, structure.rows_of(Zero)
    once = np.bincount(A.cols, minlength=structure.n) == 1
    constant = np.ones(A.size, dtype=bool)
    constant[structure.varying.A] = False
    able = np.flatnonzero(equalities[A.rows] & once[A.cols] & (added[A.cols] | user) & constant)
    able = able[np.argsort(~added[A.cols[able]], kind="stable")]
    pivots = able[np.unique(A.rows[able], return_index=True)[1]]
    kept = np.setdiff1d(np.arange(structure.n), A.cols[pivots])
    rows = np.setdiff1d(np.arange(structure.m), A.rows[pivots])
    return Elimination(structure.P, A, kept, A.cols[pivots], A.rows[pivots], pivots, rows)


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows and columns of a sparse matrix as a full one: its entries `inside`, at `flat`."""

    inside: np.ndarray
    flat: np.ndarray
    shape: tuple[int, int]
    is_whole: bool

    @classmethod
    def of(cls, pattern: Pattern, rows: np.ndarray, cols: np.ndarray) -> Part:
        """The part of a pattern's rows and columns."""
        row_places, col_places = np.full(pattern.shape[0], -1), np.full(pattern.shape[1], -1)
        row_places[rows], col_places[cols] = np.arange(len(rows)), np.arange(len(cols))
        chosen = (row_places[pattern.rows] >= 0) & (col_places[pattern.cols] >= 0)
        inside, shape = np.flatnonzero(chosen), (len(rows), len(cols))
        flat = row_places[pattern.rows[inside]] * len(cols) + col_places[pattern.cols[inside]]
        whole = pattern.shape == shape and pattern.size == shape[0] * shape[1]
        return cls(inside, flat, shape, whole)

    def full(self, values: np.ndarray) -> np.ndarray:
        """The full matrices (count, *shape) of values (count, entries)."""
        if self.is_whole:  # contiguous: the bits of NumPy's products depend on strides
            whole = values.reshape(len(values), *self.shape[::-1]).swapaxes(1, 2)
            return np.ascontiguousarray(whole)
        out = np.zeros((len(values), self.shape[0] * self.shape[1]))
        out[:, self.flat] = values[:, self.inside]
        return out.reshape(len(values), *self.shape)
