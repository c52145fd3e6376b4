"""All that the programs of a layer have in common, and what follows from it, worked out once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property, wraps
from itertools import groupby
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from cvxlpgd.cones import Cone, NonNeg, Zero
from cvxlpgd.program.data import Data
from cvxlpgd.program.pattern import Pattern


@dataclass(frozen=True, eq=False)
class Structure:
    """All that the programs of a layer have in common.

    Parameters
    ----------
    P, A : Pattern
        (n, n), both triangles, and (m, n).
    cones : tuple of Cone
        Their rows follow each other, in the order of `cones/registry.py`.
    integer, boolean : int arrays
        Columns of x that are integers, or 0 or 1.
    varying : Data of int arrays
        For each field, the entries that a parameter reaches.
    user : array (n,)
        The weights of the proximal term: how often the user's variables hold a column, 0 for the
        columns that canonicalization added.
    """

    P: Pattern
    A: Pattern
    cones: tuple[Cone, ...]
    integer: np.ndarray
    boolean: np.ndarray
    varying: Data
    user: np.ndarray

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.A.shape[1]

    @property
    def m(self) -> int:
        """Number of rows."""
        return self.A.shape[0]

    @property
    def mixed_integer(self) -> bool:
        """Whether any column is integer or boolean."""
        return len(self.integer) + len(self.boolean) > 0

    @cached_property
    def blocks(self) -> tuple[tuple[Cone, int, int], ...]:
        """(cone, first row, count) of each run of equal cones."""
        runs, first = [], 0
        for cone, run in groupby(self.cones):
            count = len(list(run))
            runs.append((cone, first, count))
            first += cone.rows * count
        return tuple(runs)

    def split(self, *arrays: Any) -> Iterator[tuple[Any, ...]]:
        """(cone, rows, *parts) of each run of equal cones, rows a slice.

        The parts (batch, count, cone.rows) are those of arrays (batch, m).
        """
        for cone, first, count in self.blocks:
            rows = slice(first, first + cone.rows * count)
            yield cone, rows, *(v[:, rows].reshape(len(v), count, cone.rows) for v in arrays)

    def rows_of(self, *kinds: type) -> np.ndarray:
        """Which rows are of cones of these kinds, bool (m,)."""
        chosen = np.array([isinstance(cone, kinds) for cone in self.cones], dtype=bool)
        return np.repeat(chosen, np.array([cone.rows for cone in self.cones], dtype=int))

    @cached_property
    def polyhedral(self) -> bool:
        """Whether all rows are equations and inequalities."""
        return all(isinstance(cone, Zero | NonNeg) for cone in self.cones)

    @cached_property
    def inequalities(self) -> np.ndarray:
        """Which rows are inequalities, bool (m,)."""
        return self.rows_of(NonNeg)

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without what follows from them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def proximal(self) -> Structure:
        """The structure with the diagonal of the user's columns in P's pattern."""
        diagonal = np.flatnonzero(self.user)
        rows, cols = np.append(self.P.rows, diagonal), np.append(self.P.cols, diagonal)
        pattern = Pattern.of(self.P.shape, rows, cols)
        varying = replace(self.varying, P=pattern.index(self.P)[self.varying.P])
        return replace(self, P=pattern, varying=varying)


Fact = TypeVar("Fact")
Key = TypeVar("Key")


def per_structure(work_out: Callable[[Structure], Fact]) -> Callable[[Structure], Fact]:
    """Work out what follows from a structure once, and forget it with the structure.

    Pickled and copied structures start anew. Threads may work the same fact out at once, to no
    effect. A fact must not refer to its structure: it would never go.
    """
    facts: WeakKeyDictionary[Structure, Fact] = WeakKeyDictionary()

    @wraps(work_out)
    def recall(structure: Structure) -> Fact:
        fact = facts.get(structure)
        return facts.setdefault(structure, work_out(structure)) if fact is None else fact

    return recall


def latest_per_structure(
    same: Callable[[Any, Any], bool],
) -> Callable[[Callable[[Structure, Key], Fact]], Callable[[Structure, Key], Fact]]:
    """Remember the last fact of each structure, for as long as its key stays the `same`."""

    def decorate(work_out: Callable[[Structure, Key], Fact]) -> Callable[[Structure, Key], Fact]:
        latest: WeakKeyDictionary[Structure, tuple[Key, Fact]] = WeakKeyDictionary()

        @wraps(work_out)
        def recall(structure: Structure, key: Key) -> Fact:
            pair = latest.get(structure)
            if pair is None or not same(pair[0], key):
                pair = latest[structure] = key, work_out(structure, key)
            return pair[1]

        return recall

    return decorate
