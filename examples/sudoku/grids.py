"""The rules of Sudoku: complete grids, and puzzles that have one solution only.

Boards are made with them; the model knows nothing of this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

GIVENS = {4: 0, 9: 40}  # digits left in a puzzle; 0: as few as one solution needs


@cache
def units(size: int) -> np.ndarray:
    """Whether a row, column or box has a cell, (3 size, size²); cells count row by row."""
    box = int(size**0.5)
    i, j = np.divmod(np.arange(size * size), size)
    of = (i, j, i // box * box + j // box)
    return np.concatenate([k == np.arange(size)[:, None] for k in of])


def obey(grids: np.ndarray) -> np.ndarray:
    """Whether each row, column and box of a grid has each digit once, (grids,)."""
    size = grids.shape[-1]
    has = grids.reshape(len(grids), -1, 1) == np.arange(1, size + 1)
    return np.all(units(size).astype(int) @ has == 1, axis=(1, 2))


@cache
def all_grids() -> np.ndarray:
    """The 288 grids of size 4."""
    empty = [0] * 16
    return np.array(list(_completions(empty, 4, None))).reshape(-1, 4, 4)


def random_grids(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Grids found by search in random order: all can occur, not all equally often."""
    found = [next(_completions([0] * size**2, size, rng)) for _ in range(count)]
    return np.array(found).reshape(-1, size, size)


def _completions(
    cells: list[int], size: int, rng: np.random.Generator | None
) -> Iterator[list[int]]:
    """All ways to fill the empty cells, the one with the fewest digits left first."""
    peers, best, choices = _peers(size), None, list(range(size + 1))
    for k, digit in enumerate(cells):
        if not digit:
            taken = {cells[p] for p in peers[k]}
            left = [d for d in range(1, size + 1) if d not in taken]
            if len(left) < len(choices):
                best, choices = k, left
                if len(left) < 2:
                    break
    if best is None:
        yield cells
        return
    if rng is not None:
        rng.shuffle(choices)
    for digit in choices:
        yield from _completions([*cells[:best], digit, *cells[best + 1 :]], size, rng)


@cache
def _peers(size: int) -> list[list[int]]:
    """The cells that share a unit with each cell."""
    shared = units(size).T.astype(int) @ units(size) > 0
    np.fill_diagonal(shared, False)
    return [list(np.flatnonzero(row)) for row in shared]


def dug(grids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A puzzle of each grid: digits removed in random order while the solution stays unique.

    Size 4 is compared with all 288 grids. In size 9 a digit goes only if singles bring it back
    (a cell with one digit left, a unit with one cell left for a digit), so that the puzzles are
    easy ones; that proves that there is no other solution.
    """
    size = grids.shape[-1]
    cells = grids.reshape(len(grids), -1).copy()
    order = rng.permuted(np.tile(np.arange(size * size), (len(grids), 1)), axis=1)
    removable = _Exact(grids) if size == 4 else _by_singles
    for step in range(size * size):
        rows = np.flatnonzero(np.count_nonzero(cells, axis=1) > GIVENS[size])
        if not len(rows):
            break
        gone = rows[removable(cells, rows, order[rows, step])]
        cells[gone, order[gone, step]] = 0
    return cells.reshape(grids.shape)


class _Exact:
    """Removes a digit of size 4 if all other grids still contradict a given."""

    def __init__(self, grids: np.ndarray) -> None:
        every, self.bit = all_grids().reshape(-1, 16), 1 << np.arange(16)
        differ = (every[:, None] != every) @ self.bit  # the cells, as bits
        np.fill_diagonal(differ, -1)
        number = {grid.tobytes(): i for i, grid in enumerate(every)}
        self.differ = differ[[number[grid.tobytes()] for grid in grids.reshape(-1, 16)]]

    def __call__(self, cells: np.ndarray, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Whether the digits `at` can go, (rows,)."""
        left = (cells[rows] > 0) @ self.bit & ~self.bit[at]
        return np.all(self.differ[rows] & left[:, None], axis=1)


def _by_singles(cells: np.ndarray, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether singles bring the digits `at` back once they are gone, (rows,)."""
    size = int(cells.shape[1] ** 0.5)
    U = units(size).astype(np.float32)
    shared = (U.T @ U > 0).astype(np.float32) - np.eye(size * size, dtype=np.float32)
    puzzles, back = cells[rows], np.zeros(len(rows), dtype=bool)
    puzzles[np.arange(len(rows)), at] = 0
    single = puzzles[:, :, None] == np.arange(1, size + 1)
    possible = single | (puzzles == 0)[:, :, None]
    open_ = np.arange(len(rows))  # the boards that still change
    while len(open_):
        before, known = possible[open_], single[open_]
        now = before & ~(shared @ known > 0)
        alone = now & (now.sum(axis=2, keepdims=True) == 1)
        hidden = now & (U.T @ (U @ now == 1) > 0)
        known = known | alone | hidden
        now = np.where(known.any(axis=2, keepdims=True), known, now)
        possible[open_], single[open_] = now, known
        back[open_] = known[np.arange(len(open_)), at[open_]].any(axis=1)
        changed = (now != before).any(axis=(1, 2))
        open_ = open_[changed & ~back[open_]]
    return back
