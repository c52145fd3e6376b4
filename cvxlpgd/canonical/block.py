"""One field of the data as an affine function of the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Block:
    """One field of the data: value = base, with base + M theta at the varying entries.

    Parameters
    ----------
    base : array (1, entries)
    varying : int array
        The entries that theta reaches, one for each row of M.
    matrix : sparse (varying entries, columns of theta)
    """

    base: np.ndarray
    varying: np.ndarray
    matrix: sp.csr_array

    @cached_property
    def whole(self) -> bool:
        """Whether theta alone makes the field: it reaches every entry, and the base is 0."""
        return len(self.varying) == self.base.shape[1] and not self.base.any()

    def entries_within(self, columns: np.ndarray) -> np.ndarray:
        """The entries that these parts of theta reach, bool (columns of theta,)."""
        inside = np.append(columns[self.matrix.indices], False)
        return self.varying[np.add.reduceat(inside, self.matrix.indptr[:-1]) > 0]
