"""Where the parts of Newton's systems stand: what a structure says of them, worked out once."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.program import Pattern, Structure
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.structure import per_structure
from cvxlpgd.solvers.refine.grams import Gram, grams_of

FLAT = 10.0  # d, relative to the diagonal, of e²
QUICK = 1e7  # multiplications of a matrix that is made before each step that is far: measured
DENSE = 300  # columns up to which matrices are full: measured


class _Layout(NamedTuple):
    """Where the parts of a sparse Newton system stand in its pattern.

    `curved`, bool (m,), are the rows of curved cones; `P` and `diagonal` share entries, which add
    up; `places` are those of A'D, S A, the diagonal of dv, dy in its two rows, and each -D_c.
    """

    pattern: Pattern
    curved: np.ndarray
    P: np.ndarray
    diagonal: np.ndarray
    places: list[np.ndarray]


@per_structure
def layout(structure: Structure) -> _Layout:
    """The layout of a structure's systems."""
    n, m, P, A = structure.n, structure.m, structure.P, structure.A
    curved = np.zeros(m, dtype=bool)
    blocks = []
    for cone, rows in structure.split():
        if not is_diagonal(cone):
            curved[rows] = True
            blocks.append(np.arange(rows.start, rows.stop).reshape(-1, cone.rows))
    dy = n + m + np.cumsum(curved) - 1  # of the curved rows
    x, v, y = np.arange(n), n + np.arange(m), dy[curved]
    multiplied = np.where(curved, dy, v)
    parts = [(A.cols, multiplied[A.rows]), (v[A.rows], A.cols), (v, v), (v[curved], y), (y, y)]
    for block in blocks:
        left, right = np.broadcast_arrays(dy[block][:, :, None], v[block][:, None, :])
        parts.append((left.ravel(), right.ravel()))
    everything = [(P.rows, P.cols), (x, x), *parts]
    size = n + m + len(y)
    pattern = Pattern.of(
        (size, size), *(np.concatenate([p[k] for p in everything]) for k in (0, 1))
    )
    places = [np.searchsorted(pattern.flat, cols * size + rows) for rows, cols in everything]
    return _Layout(pattern, curved, places[0], places[1], places[2:])


class Local(NamedTuple):
    """Columns of a run of cones that lie in one of these cones alone, without curvature.

    One of a cone at most. Canonicalization's epigraph columns are such, as t of exp(x) <= t: they
    are eliminated before anything full is factored.
    """

    columns: np.ndarray  # (c,)
    cones: np.ndarray  # whose they are, of the run's
    entries: np.ndarray  # of A, all that these columns have
    places: np.ndarray  # where those stand in vectors (c, rows of a cone), flat

    def vectors(self, A: np.ndarray, rows: int) -> np.ndarray:
        """The columns (k, c, rows) as vectors of their cones, from A's values (k, entries)."""
        out = np.zeros((len(A), len(self.columns) * rows))
        out[:, self.places] = A[:, self.entries]
        return out.reshape(len(A), len(self.columns), rows)


class Run(NamedTuple):
    """A run of equal curved cones, or all rows that are cones of their own (`cone` is None)."""

    cone: Any
    rows: slice
    size: int  # rows of one cone
    local: Local
    grams: list[Gram]  # what adds up to A'MA

    def split(self, v: np.ndarray) -> np.ndarray:
        """These rows of vectors (k, m): (k, count, size)."""
        return v[:, self.rows].reshape(len(v), -1, self.size)


class Dense(NamedTuple):
    """How a structure's full matrices are made: in the columns `kept`, the others are local."""

    kept: np.ndarray
    P: tuple[np.ndarray, np.ndarray]  # where P's entries stand
    runs: list[Run]

    @property
    def multiplications(self) -> float:
        """About how many it takes to make a matrix and its factor."""
        return len(self.kept) ** 3 / 3 + sum(gram.cost for run in self.runs for gram in run.grams)


def is_quick(structure: Structure) -> bool:
    """Whether a full matrix is made and factored as quickly as a few steps are taken."""
    return structure.n <= DENSE and dense(structure).multiplications <= QUICK


@per_structure
def dense(structure: Structure) -> Dense:
    """The runs of a structure's cones, and which columns are kept."""
    P, A, n = structure.P, structure.A, structure.n
    spans: list[tuple[Any, slice, int]] = []
    for alone, blocks in groupby(structure.blocks, lambda block: is_diagonal(block[0])):
        run = [(cone, slice(first, first + cone.rows * count)) for cone, first, count in blocks]
        if alone:
            spans.append((None, slice(run[0][1].start, run[-1][1].stop), 1))
        else:
            spans.extend((cone, rows, cone.rows) for cone, rows in run)
    free = np.ones(n, dtype=bool)
    free[P.cols] = False
    locals_ = [_local(A, free, rows, 0 if cone is None else size) for cone, rows, size in spans]
    kept = np.setdiff1d(np.arange(n), np.concatenate([local.columns for local in locals_]))
    new = np.full(n, -1)
    new[kept] = np.arange(len(kept))
    runs = [
        Run(cone, rows, size, local, grams_of(A, new, len(kept), rows, size))
        for (cone, rows, size), local in zip(spans, locals_, strict=True)
    ]
    return Dense(kept, (new[P.rows], new[P.cols]), runs)


def _local(A: Pattern, free: np.ndarray, rows: slice, size: int) -> Local:
    """The local columns of the cones of `size` rows each in these rows; of single rows none."""
    cone = (A.rows - rows.start) // max(size, 1)
    inside = (A.rows >= rows.start) & (A.rows < rows.stop) & (size > 0)
    lowest, highest = np.full(A.shape[1], len(A.rows)), np.full(A.shape[1], -1)
    np.minimum.at(lowest, A.cols, np.where(inside, cone, -1))
    np.maximum.at(highest, A.cols, np.where(inside, cone, -1))
    able = np.flatnonzero(free & (lowest == highest) & (lowest >= 0))
    cones, first = np.unique(lowest[able], return_index=True)
    columns = able[first]
    position = np.full(A.shape[1], -1)
    position[columns] = np.arange(len(columns))
    entries = np.flatnonzero(position[A.cols] >= 0)
    places = position[A.cols[entries]] * size + (A.rows[entries] - rows.start) % max(size, 1)
    return Local(columns, cones, entries, places)
