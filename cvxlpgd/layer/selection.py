"""Which samples of a batch something is about, and the way there and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cvxlpgd.program import Array, ConeProgram
from cvxlpgd.program.pattern import namespace_of


@dataclass(frozen=True, eq=False)
class Selection:
    """Some of a call's samples: batch -> those that the solver was handed -> these.

    The solver is handed the samples whose values are in their domains.
    """

    batch: int  # samples of the call
    handed: int  # samples of the solver's batch
    places: np.ndarray  # int (selection,): positions in the call's batch, increasing
    rows: np.ndarray  # int (selection,): positions in the solver's batch

    @classmethod
    def of(cls, keep: np.ndarray) -> Selection:
        """The samples to hand to the solver: those of the batch that `keep`, bool (batch,), has."""
        places = np.flatnonzero(keep)
        return cls(len(keep), len(places), places, np.arange(len(places)))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.places)

    def where(self, keep: np.ndarray) -> Selection:
        """The samples among these that `keep`, bool (selection,), has."""
        if keep.all():
            return self
        index = np.flatnonzero(keep)
        return replace(self, places=self.places[index], rows=self.rows[index])

    def of_batch(self, values: Array) -> Array:
        """These samples' rows of (batch or 1, ...); values that all samples share stay as is."""
        return pick(values, self.places, self.batch)

    def rows_of_batch(self, values: Array) -> Array:
        """These samples' rows of (batch, ...)."""
        return values if len(self) == self.batch else values[self.places]

    def of_handed(self, values: Array) -> Array:
        """These samples' rows of (handed or 1, ...); values that all samples share stay as is."""
        return pick(values, self.rows, self.handed)

    def of_programs(self, program: ConeProgram) -> ConeProgram:
        """These samples' programs, of the solver's batch; the same object where they are all."""
        return program if len(self) == program.batch else program.take(self.rows)

    def into_batch(self, values: Array, fill: float) -> Array:
        """Values (selection, ...) at their places in the batch, `fill` elsewhere."""
        if len(self) == self.batch:
            return values
        shape, xp = (self.batch, *values.shape[1:]), namespace_of(values)
        whole = xp.full(shape, fill, dtype=values.dtype, device=values.device)
        whole[self.places] = values
        return whole


def pick(values: Array, index: np.ndarray, count: int) -> Array:
    """Rows `index` of (count, ...); the values themselves where all share them, or all are wanted.

    Parameters
    ----------
    values : array (count or 1, ...)
    index : int array, increasing
    count : int
    """
    return values if len(values) == 1 or len(index) == count else values[index]


def only_where(keep: np.ndarray, values: Array, fill: float) -> Array:
    """The rows (samples, size) that `keep`, bool (samples,), has; `fill` in the others."""
    xp = namespace_of(values)
    return xp.where(xp.asarray(keep, device=values.device)[:, None], values, fill)
