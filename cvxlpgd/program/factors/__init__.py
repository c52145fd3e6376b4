"""Ways to solve a batch's optimality systems, nearly: refinement does the rest.

    K (x, u) = (f, g):    P x + G'u = f,    G x - C u = g,    C = 1 on curved rows, 0 on active ones

- `Separable`: programs of linear rows with a curvature and often a bound on each column. Columns
  that equations define are eliminated, active bounds fix columns; each sample factors its other
  active rows' part.
- `Condensed`: other strictly convex programs of linear rows. Columns that equations define are
  eliminated, H⁻¹ and G H⁻¹G' made once where the samples share their matrices, and each sample
  factors its active rows' part; matrices of its own are factored for each.
- `Divided`: what stands alone peeled off; curved rows but rigid ones eliminated where columns are
  few, H = P + G_c'G_c; each sample factors [H G'; G -C] of the others.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cvxlpgd.program.elimination import Elimination
from cvxlpgd.program.factors.condensed import Condensed
from cvxlpgd.program.factors.divided import Divided
from cvxlpgd.program.factors.separable import Separable, Separation
from cvxlpgd.program.matrices import Matrices, Stack
from cvxlpgd.program.structure import Structure

__all__ = ["Factors", "Mixed", "factor", "numbers"]

SMALL = 150  # columns up to which systems are full matrices
DENSE, FILLED = 400, 0.01  # columns, if at least this share of the entries is stored
FILL = 10  # entries of sparse factors for each one of the matrix, about
CONDENSED = 800  # columns, and rows by half, up to which H⁻¹ is a full matrix


class Factors(Protocol):
    """What solves systems nearly.

    `scale_x` (batch, n) and `scale_u` (batch, m) are E such that EKE has entries of about 1;
    `regular`, bool (batch,), says where K is known to have no null space.
    """

    scale_x: np.ndarray
    scale_u: np.ndarray
    regular: np.ndarray

    def apply(self, right: Stack) -> Stack:
        """(x, u) for stacks (batch, columns, n + m) of (f, g)."""


def factor(K: Matrices, same: tuple[Factors, np.ndarray] | None = None) -> Factors:
    """The way that fits each sample, whatever the others are.

    `same` are factors of the same matrices with other active rows, and which of their samples.
    """
    structure = K.program.structure
    special: Condensed | Separable
    known = same and (same[0].one if isinstance(same[0], Mixed) else same[0])
    if Separation.of(structure).holds:
        inverses = known.inverses.take(same[1]) if same and isinstance(known, Separable) else None
        special = Separable(K, inverses)
    elif _is_condensed(structure):
        own = known.inverses.take(same[1]) if same and isinstance(known, Condensed) else None
        special = Condensed(K, Elimination.of(structure), own)
    else:
        return _general(K)
    rest = np.flatnonzero(~special.ok)
    if not len(rest):
        return special
    if len(rest) == len(K.held):
        return _general(K)
    return Mixed(special, _general(K.take(rest)), rest)


def _general(K: Matrices) -> Factors:
    return Divided(K, full=_is_full(K.program.structure))


def _is_condensed(structure: Structure) -> bool:
    """Whether H⁻¹ can be a full matrix."""
    if not (structure.polyhedral and structure.P.size):
        return False
    elimination = Elimination.of(structure)
    return max(len(elimination.kept), len(elimination.rows) // 2) <= CONDENSED


def _is_full(structure: Structure) -> bool:
    """Whether H is a full matrix."""
    n, m = structure.n, structure.m
    share = (structure.P.size + structure.A.size) / max(1, n * (n + m))
    return n <= SMALL or (n <= DENSE and share >= FILLED)


def numbers(structure: Structure) -> int:
    """About how many numbers a sample's factors hold."""
    n, m, entries = structure.n, structure.m, structure.P.size + structure.A.size
    separation = Separation.of(structure)
    if separation.holds:
        return n + m + len(separation.several) ** 2
    whole = _is_condensed(structure) or _is_full(structure)
    return n * (n + m) if whole else FILL * (n + m + entries)


class Mixed:
    """Some samples' systems by one way, the others' by another."""

    def __init__(self, one: Factors, other: Factors, index: np.ndarray) -> None:
        self.one, self.other, self.index = one, other, index
        self.scale_x, self.scale_u = one.scale_x.copy(), one.scale_u.copy()
        self.scale_x[index], self.scale_u[index] = other.scale_x, other.scale_u
        self.regular = one.regular.copy()
        self.regular[index] = other.regular

    def apply(self, right: Stack) -> Stack:
        """(x, u)."""
        both = self.one.apply(right)
        both[self.index] = self.other.apply(right[self.index])
        return both
