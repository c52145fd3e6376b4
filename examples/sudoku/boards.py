"""Sudoku boards to learn from and to test with: generated, or read from a file and checked.

Boards are integer arrays (boards, size, size), 0 where empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from zipfile import is_zipfile

import numpy as np

from examples.sudoku.grids import all_grids, dug, obey, random_grids

HELD_OUT = 10  # one in so many boards, and one in so many grids, is kept for the tests
ROUNDS = 50  # how often boards that came out equal are drawn again


class Boards(NamedTuple):
    """Puzzles and their solutions."""

    puzzles: np.ndarray
    solutions: np.ndarray

    def take(self, index: np.ndarray | slice) -> Boards:
        """Some of the boards."""
        return Boards(self.puzzles[index], self.solutions[index])


class Split(NamedTuple):
    """`train`; test boards that are not there, though their solutions are; and whose are not."""

    train: Boards
    test: Boards
    unseen: Boards


def one_hot(boards: np.ndarray) -> np.ndarray:
    """Boards as vectors of zeros and ones, (boards, size³); digits run fastest."""
    size = boards.shape[-1]
    return (boards[..., None] == np.arange(1, size + 1)).reshape(len(boards), -1).astype(float)


def generated(size: int, train: int, test: int, seed: int) -> Split:
    """Boards drawn at random, each with one solution, no two the same; `test` of either kind.

    In size 4 one in ten of the 288 grids is unseen. In size 9 all training grids are different.
    """
    rng = np.random.default_rng(seed)
    if size == 4:
        grids = rng.permutation(all_grids())
        unseen = len(grids) // HELD_OUT
    else:
        grids, unseen = random_grids(train + test, size, rng), test
    known = _distinct(grids[unseen:][:train], train + test, rng)
    return Split(
        known.take(slice(train)),
        known.take(slice(train, None)),
        _distinct(grids[:unseen], test, rng),
    )


def _distinct(grids: np.ndarray, count: int, rng: np.random.Generator) -> Boards:
    """`count` different puzzles of the grids in turn."""
    solutions = grids[np.arange(count) % len(grids)]
    puzzles = dug(solutions, rng)
    for _ in range(ROUNDS):
        again = np.setdiff1d(np.arange(count), np.unique(puzzles, axis=0, return_index=True)[1])
        if not len(again):
            return Boards(puzzles, solutions)
        puzzles[again] = dug(solutions[again], rng)
    raise ValueError(
        f"{len(grids)} grids do not have {count} different puzzles, or hardly: ask for fewer boards"
    )


def read(file: Path, size: int) -> Split:
    """Boards from the arrays `puzzles` and `solutions` of an .npz file, checked and split.

    Of the different grids one in ten is unseen; of the other boards one in ten is for the tests.
    A kind without boards is left empty. The same file gives the same split. That no puzzle has a
    second solution is not checked, unless the file has both.

    Raises
    ------
    ValueError
        Where a board contradicts itself or the rules; the first such board is named.
    """
    if not is_zipfile(file):
        raise ValueError(f"there is no .npz file {file}")
    with np.load(file) as arrays:
        missing = {"puzzles", "solutions"} - set(arrays.files)
        if missing:
            raise ValueError(f"{file} has no array {' or '.join(sorted(missing))}")
        boards = Boards(arrays["puzzles"], arrays["solutions"])
    check(boards, size)
    rng = np.random.default_rng(0)
    boards = boards.take(np.sort(np.unique(_flat(boards), axis=0, return_index=True)[1]))
    grids, number = np.unique(boards.solutions, axis=0, return_inverse=True)
    hidden = rng.permutation(len(grids))[: len(grids) // HELD_OUT]
    is_unseen = np.isin(number.reshape(-1), hidden)
    known = rng.permutation(np.flatnonzero(~is_unseen))
    tests, train = np.split(known, [len(known) // HELD_OUT])
    occurs = np.isin(number.reshape(-1)[tests], number.reshape(-1)[train])
    others = np.concatenate([np.flatnonzero(is_unseen), tests[~occurs]])
    return Split(boards.take(train), boards.take(tests[occurs]), boards.take(others))


def _flat(boards: Boards) -> np.ndarray:
    count = len(boards.puzzles)
    return np.concatenate(
        [boards.puzzles.reshape(count, -1), boards.solutions.reshape(count, -1)], axis=1
    )


def check(boards: Boards, size: int) -> None:
    """Raise ValueError for the first board that cannot be, by its number in the file."""
    for name, array in boards._asdict().items():
        if array.ndim != 3 or array.shape[1:] != (size, size) or not len(array):
            raise ValueError(f"{name} must have shape (boards, {size}, {size}), not {array.shape}")
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers, 0 where empty, not {array.dtype}")
    puzzles, solutions = boards
    if len(puzzles) != len(solutions):
        raise ValueError(f"there are {len(puzzles)} puzzles but {len(solutions)} solutions")
    _refuse((puzzles < 0) | (puzzles > size), f"the puzzle has digits outside 0 to {size}")
    _refuse((solutions < 1) | (solutions > size), f"the solution has digits outside 1 to {size}")
    _refuse((puzzles > 0) & (puzzles != solutions), "a given is not the solution's digit")
    _refuse(~obey(solutions), "a row, column or box of the solution has a digit twice")
    first: dict[bytes, int] = {}
    for board, puzzle in enumerate(puzzles.astype(int)):
        same = first.setdefault(puzzle.tobytes(), board)
        if np.any(solutions[same] != solutions[board]):
            raise ValueError(
                f"board {board} (counted from 0): the puzzle of board {same}, solved otherwise"
            )


def _refuse(wrong: np.ndarray, why: str) -> None:
    """Name the first board that is wrong, and the cell if there is one."""
    if wrong.any():
        board, *cell = (int(i) for i in np.argwhere(wrong)[0])
        where = f", row {cell[0] + 1}, column {cell[1] + 1}" if cell else ""
        raise ValueError(f"board {board} (counted from 0){where}: {why}")
