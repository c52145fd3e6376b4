"""What all cone programs of a layer have in common, as its maker spells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cvxlpgd.cone_programs.inputs import Input
from cvxlpgd.cone_programs.rows import Rows


class Term(NamedTuple):
    """A part of P, q, A or b: `factors` times entries of an input are added at these places.

    Of a vector all `cols` are 0. Where there is no input the factors themselves are added.
    """

    input: str | None
    rows: np.ndarray
    cols: np.ndarray
    columns: np.ndarray  # of the flattened input
    factors: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class ConeStructure:
    """Sizes, cones and patterns of cone programs, and the values that they were made with.

        minimize ½x'Px + q'x   subject to   Ax + s = b,  s in K

    Made by `from_scs`, `from_clarabel`, `from_diffcp` or `from_qp`, for a `ConeLayer`.

    Attributes
    ----------
    names : tuple of str
        The inputs, in the order of a layer's call.
    n, m : int
        Number of variables, and of rows.
    """

    n: int
    m: int
    rows: Rows
    inputs: tuple[Input, ...]
    terms: Mapping[str, Sequence[Term]]  # of P, q, A, b; in the caller's rows

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs, in the order of a layer's call."""
        return tuple(each.name for each in self.inputs)

    def __repr__(self) -> str:
        """Sizes, inputs and cones."""
        inputs = ", ".join(f"{each.name} {each.shape}" for each in self.inputs)
        kinds: dict[str, int] = {}
        for cone in self.rows.cones:
            name = type(cone).__name__
            kinds[name] = kinds.get(name, 0) + cone.rows
        cones = ", ".join(f"{count} {name}" for name, count in kinds.items())
        return f"ConeStructure({self.n} variables, {self.m} rows ({cones}); inputs {inputs})"


def quadratic(P: Input) -> Term:
    """P itself, made whole where it is one triangle, else (P + P')/2."""
    rows, cols = P.positions
    columns = np.arange(len(rows))
    i, j = np.concatenate([rows, cols]), np.concatenate([cols, rows])
    both, factors = np.tile(columns, 2), np.full(2 * len(rows), 0.5)
    if P.mirror is None:  # an entry off the diagonal stands for two, one on it for itself
        factors[i != j] = 1.0
    return Term(P.name, i, j, both, factors)


def linear(A: Input, first: int = 0) -> Term:
    """A matrix as the rows of A from `first` on."""
    rows, cols = A.positions
    return Term(A.name, rows + first, cols, np.arange(len(rows)), np.ones(len(rows)))


def plain(v: Input, first: int = 0, factor: float = 1.0) -> Term:
    """A vector as the rows of q or b from `first` on, without the entries that are absent."""
    columns = np.flatnonzero(np.ones(v.size[0], dtype=bool) if v.absent is None else ~v.absent)
    rows = first + np.arange(len(columns))
    return Term(v.name, rows, rows * 0, columns, np.full(len(columns), factor))
