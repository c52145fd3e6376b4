"""Rows in the order and the scaling of the caller, and in that of the library.

    s = T s_user,   y_user = T'y,   T a permutation with factors

A cone that is another one under such a T needs no code of its own. Dual cones do: with the power
cone of exponent a, K* = diag(a, 1 - a, 1) K; with the exponential cone, (u, v, w) is in K* where
(-v, -u, e w) is in K.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cvxlpgd.cones import PSD, Cone, Exp, Pow
from cvxlpgd.cones.psd import triangle
from cvxlpgd.cones.registry import position
from cvxlpgd.errors import InvalidProblem


@dataclass(frozen=True)
class Placed:
    """A cone of the library whose k-th row is the caller's row order[k] of it, times factors[k]."""

    cone: Cone
    order: Sequence[int] | np.ndarray
    factors: Sequence[float] | np.ndarray


@dataclass(frozen=True, eq=False)
class Rows:
    """Row k of the library is the caller's row `order[k]`, times `factors[k]`."""

    cones: tuple[Cone, ...]
    order: np.ndarray
    factors: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """Where each row of the caller's went."""
        return np.argsort(self.order)

    @classmethod
    def of(cls, placed: Iterable[Placed]) -> Rows:
        """The rows of these cones, which follow each other in the caller's matrix."""
        first, spans = 0, []
        for each in placed:
            spans.append((first, each))
            first += each.cone.rows
        spans.sort(key=lambda span: position(type(span[1].cone)))  # stable
        order = [start + np.asarray(each.order, dtype=int) for start, each in spans]
        factors = [np.asarray(each.factors, dtype=float) for _, each in spans]
        return cls(
            tuple(each.cone for _, each in spans),
            np.concatenate([np.zeros(0, dtype=int), *order]),
            np.concatenate([np.zeros(0), *factors]),
        )


def as_is(cone: Cone) -> Placed:
    """A cone whose rows stand as the library has them."""
    return Placed(cone, range(cone.rows), np.ones(cone.rows))


def by_upper_triangle(order: int) -> Placed:
    """A semidefinite cone whose rows are the upper triangle, column by column."""
    cone = PSD(order)
    rows, cols = triangle(order)  # entry (i, j), i >= j, stands for (j, i) of the upper one
    return Placed(cone, rows * (rows + 1) // 2 + cols, np.ones(cone.rows))


def power(alpha: float) -> Placed:
    """The power cone of this exponent; of a negative one, the dual of that of its size."""
    a = abs(alpha)
    if not 0 < a < 1:
        raise InvalidProblem(f"a power cone has an exponent between 0 and 1, not {alpha}")
    factors = (1.0, 1.0, 1.0) if alpha > 0 else (1 / a, 1 / (1 - a), 1.0)
    return Placed(Pow(a), range(3), factors)


def dual_exponential() -> Placed:
    """The dual of the exponential cone."""
    return Placed(Exp(), (1, 0, 2), (-1.0, -1.0, np.e))
