"""The entries of G = stretch B t A, cone by cone over the columns that each cone has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.program.factors.scaling import NOTHING
from cvxlpgd.program.matrices import Matrices
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.structure import Structure, per_structure


class Run(NamedTuple):
    """Where A's entries of a run of equal cones stand, and over which columns each cone is turned.

    A run of single rows keeps A's entries as they are. A run of curved cones is turned in full
    matrices of `shape` (count, rows of a cone, columns at most), A's entries at `places` of them;
    what is `inside` of these are G's entries.
    """

    rows: slice
    curved: bool
    entries: np.ndarray
    shape: tuple[int, int, int]
    places: np.ndarray
    inside: np.ndarray
    columns: np.ndarray
    at: tuple[np.ndarray, np.ndarray]
    apart: bool = True  # whether each column is in one cone only, and each cone has equally many

    @classmethod
    def of(cls, structure: Structure, cone: Any, first: int, count: int) -> Run:
        """The run of `count` equal cones from row `first` on."""
        A, n, height = structure.A, structure.n, cone.rows
        rows = slice(first, first + height * count)
        entries = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop))
        row, column = A.rows[entries] - first, A.cols[entries]
        if is_diagonal(cone):
            nothing = np.zeros(0, dtype=int)
            own = A.rows[entries], column
            return cls(rows, False, entries, (count, height, 0), nothing, nothing, nothing, own)
        pairs = np.unique(row // height * n + column)
        owner = pairs // n
        counts = np.bincount(owner, minlength=count)
        starts = np.cumsum(counts) - counts
        width = int(counts.max(initial=0))
        columns = np.full((count, width), -1)
        columns[owner, np.arange(len(owner)) - np.repeat(starts, counts)] = pairs % n
        order = np.searchsorted(pairs, row // height * n + column) - starts[row // height]
        every = np.broadcast_to(columns[:, None], (count, height, width)).ravel()
        inside = np.flatnonzero(every >= 0)
        at = first + inside // max(1, width), every[inside]
        shape = (count, height, width)
        apart = len(inside) == len(every) and len(np.unique(columns)) == columns.size
        return cls(rows, True, entries, shape, row * width + order, inside, columns, at, apart)


class Layout(NamedTuple):
    """The runs of a structure, and the row and the column of each entry of G."""

    runs: list[Run]
    rows: np.ndarray
    cols: np.ndarray

    @staticmethod
    @per_structure
    def of(structure: Structure) -> Layout:
        """The layout of a structure."""
        runs = [Run.of(structure, *block) for block in structure.blocks]
        nothing = [np.zeros(0, dtype=int)]
        rows, cols = (np.concatenate(nothing + [run.at[k] for run in runs]) for k in (0, 1))
        return Layout(runs, rows, cols)


def entries(K: Matrices) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """G's entries (batch, entries), and each curved run's matrices (batch, *shape) of them; what is
    nothing but rounding is 0.
    """
    structure, pairs, values = K.program.structure, K.pairs, K.program.data.A
    layout, batch = Layout.of(structure), len(K.held)
    parts: list[np.ndarray] = []
    matrices: list[np.ndarray | None] = []
    for run, B in zip(layout.runs, pairs.directions, strict=True):
        own, t = values[:, run.entries], pairs.weights
        if B is None:
            rows = structure.A.rows[run.entries]
            parts.append(own * (t * K.stretch)[:, rows])
            matrices.append(None)
            continue
        shape = (batch, *run.shape[:2], 1)
        part = np.zeros((len(values), int(np.prod(run.shape))))
        part[:, run.places] = own
        part = part.reshape(len(values), *run.shape) * t[:, run.rows].reshape(shape)
        turned = B @ part
        sizes = (
            np.sqrt(np.einsum("...ij,...ij->...i", B, B)),
            np.sqrt(np.einsum("...ij,...ij->...j", part, part)),
        )  # no entry of the product exceeds these, by Cauchy and Schwarz
        turned[np.abs(turned) <= NOTHING * sizes[0][..., None] * sizes[1][..., None, :]] = 0.0
        turned *= K.stretch[:, run.rows].reshape(shape)
        flat = turned.reshape(batch, -1)
        parts.append(flat if len(run.inside) == flat.shape[1] else flat[:, run.inside])
        matrices.append(turned)
    return np.concatenate(parts or [np.zeros((batch, 0))], axis=1), matrices
