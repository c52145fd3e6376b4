"""Set-ups that wait for their matrices' next solve, and those that a worker keeps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.solvers.run.tokens import structure_of, token_of

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Stock(Generic[T]):
    """The set-ups of one pair of matrices that nobody is using at the moment.

    In another process they would be of no use: a pickled one is empty there, fits no matrices, and
    says whose they were.
    """

    use: Hashable  # the solver's value, or more: with other options it sets up something else
    structure: Structure | None  # None: of a process that does not know it
    P: np.ndarray  # (entries,), or of all samples of a batch; A too
    A: np.ndarray
    # taking from its end and putting back are atomic: a set-up is never in two hands
    free: list[T] = field(default_factory=list)

    def fits(self, use: Hashable, structure: Structure, P: np.ndarray, A: np.ndarray) -> bool:
        """Whether the set-ups are for this use and these very matrices' values, (entries,)."""
        if not self.is_of(use, structure):
            return False
        pairs = ((self.P, P), (self.A, A))
        return all(one is other or np.array_equal(one, other) for one, other in pairs)

    def is_of(self, use: Hashable, structure: Structure) -> bool:
        """Whether it is for this use and programs of this structure."""
        return self.structure is structure and self.use == use

    @property
    def is_here(self) -> bool:
        """Whether it is of this process."""
        return self.P is not _NO_MATRIX

    def take(self) -> T | None:
        """A free set-up, no longer here; None where all are in use."""
        try:
            return self.free.pop()
        except IndexError:
            return None

    def __reduce__(self) -> Any:
        """Whose it is."""
        return _elsewhere, (self.use, token_of(self.structure) if self.structure else "")


_NO_MATRIX = np.full((1, 1), np.nan)  # equal to none


def _elsewhere(use: Hashable, token: str) -> Stock[Any]:
    """The empty stock that another process' one is here."""
    return Stock(use, structure_of(token), _NO_MATRIX, _NO_MATRIX)


def fingerprint(*arrays: np.ndarray) -> bytes:
    """What tells the values of these arrays from any others."""
    hashed = hashlib.blake2b(digest_size=32)
    for v in arrays:
        hashed.update(v.size.to_bytes(8, "little"))
        hashed.update(v.tobytes())
    return hashed.digest()


class Slot(NamedTuple):
    """What a solution keeps of one sample."""

    stock: Stock[Any]
    state: Any


# Together their entries. A set-up of dense matrices takes 2 (DAQP) to 11 (Clarabel) numbers for
# each, so that all take a quarter of a gigabyte at most.
ENTRIES = 3_000_000


class Shelf:
    """The stocks that a worker keeps between pieces, those that were asked for last.

    They are found by the values of their matrices. A dictionary's own methods are atomic, so that
    threads need no lock: what one of them discards, another sets up again.
    """

    def __init__(self) -> None:
        self.structures: set[str] = set()  # whose stocks are kept, by token
        self._stocks: dict[tuple[Hashable, ...], Stock[Any]] = {}

    def stock(
        self, use: Hashable, structure: Structure, P: np.ndarray, A: np.ndarray
    ) -> Stock[Any]:
        """The stock for this use and these matrices, (entries,), or a new one."""
        token = token_of(structure) if self.structures else ""
        if token not in self.structures:
            return Stock(use, structure, P, A)
        key = token, use, fingerprint(P, A)
        stock = self._stocks.pop(key, None)
        if stock is None or not stock.fits(use, structure, P, A):
            stock = Stock(use, structure, P.copy(), A.copy())
        self._stocks[key] = stock  # as the newest
        self._make_room(key)
        return stock

    def forget(self, token: str) -> None:
        """Discard the stocks of a structure."""
        self.structures.discard(token)
        for key in [key for key in list(self._stocks) if key[0] == token]:
            self._stocks.pop(key, None)

    def clear(self) -> None:
        """Discard everything."""
        self.structures.clear()
        self._stocks.clear()

    def _make_room(self, newest: tuple[Hashable, ...]) -> None:
        """Discard the oldest stocks, until the others' entries fit in; the newest one stays."""
        total = 0
        for key, stock in reversed(list(self._stocks.items())):
            total += stock.P.size + stock.A.size
            if total > ENTRIES and key != newest:
                self._stocks.pop(key, None)


SHELF = Shelf()  # empty but in a worker


def new_stock(
    use: Hashable, structure: Structure, P: np.ndarray, A: np.ndarray, lasting: bool = True
) -> Stock[Any]:
    """A stock for this use and these matrices, (entries,): in a worker one from earlier pieces.

    Where set-ups are not `lasting`, it is of this call alone.
    """
    return SHELF.stock(use, structure, P, A) if lasting else Stock(use, structure, P, A)


if hasattr(os, "register_at_fork"):  # a solver's threads stay with the parent
    os.register_at_fork(after_in_child=SHELF.clear)
