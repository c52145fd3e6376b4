"""The Sudoku experiment: its boards, its checks of given boards, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from examples.sudoku.boards import Boards, check, generated, one_hot, read
from examples.sudoku.grids import all_grids, dug, obey, random_grids, units

ROOT = Path(__file__).parent.parent.parent
DIFFERENT = "a given is not the solution's digit"
TWICE = "a row, column or box of the solution has a digit twice"


def has_one_solution(puzzle: np.ndarray, solution: np.ndarray) -> bool:
    """Whether no grid has the puzzle's givens and is not the solution, by integer programming."""
    size = len(puzzle)
    eye, each = np.eye(size), np.ones((1, size))
    rules = np.concatenate([np.kron(units(size), eye), np.kron(np.eye(size**2), each)])
    givens, known = one_hot(puzzle[None])[0], one_hot(solution[None])[0]
    found = milp(
        known,  # as different from the solution as can be
        integrality=np.ones(len(known)),
        constraints=[LinearConstraint(rules, 1, 1), LinearConstraint(givens[None], givens.sum())],
    )
    return found.fun > size**2 - 0.5


def pairs(boards: Boards) -> set[bytes]:
    return {puzzle.tobytes() for puzzle in boards.puzzles}


def grids(boards: Boards) -> set[bytes]:
    return {solution.tobytes() for solution in boards.solutions}


def test_there_are_288_grids_of_size_4():
    assert len(np.unique(all_grids(), axis=0)) == 288
    assert obey(all_grids()).all()


@pytest.mark.parametrize(("size", "train", "test"), [(4, 60, 20), (9, 6, 3)])
def test_generated_boards_have_one_solution_and_are_split_as_said(size, train, test):
    split = generated(size, train, test, seed=3)
    assert [len(boards.puzzles) for boards in split] == [train, test, test]
    for boards in split:
        check(boards, size)
        for puzzle, solution in zip(*boards, strict=True):
            assert has_one_solution(puzzle, solution)
    assert len(set.union(*map(pairs, split))) == train + 2 * test
    assert grids(split.test) <= grids(split.train)
    assert not grids(split.unseen) & grids(split.train)
    again, other = generated(size, train, test, seed=3), generated(size, train, test, seed=4)
    assert np.array_equal(split.unseen.puzzles, again.unseen.puzzles)
    assert not np.array_equal(split.unseen.puzzles, other.unseen.puzzles)


def test_no_given_of_a_small_board_can_be_spared():
    solution = all_grids()[100]
    (puzzle,) = dug(solution[None], np.random.default_rng(0))
    for i, j in np.argwhere(puzzle):
        fewer = puzzle.copy()
        fewer[i, j] = 0
        assert not has_one_solution(fewer, solution)


def test_more_boards_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"2 grids do not have 900 different puzzles"):
        generated(4, 2, 898, seed=0)


def some_boards(count: int) -> tuple[np.ndarray, np.ndarray]:
    solutions = all_grids()[np.arange(count) * 7 % 288]
    return dug(solutions, np.random.default_rng(1)), solutions.copy()


def contradictory(kind: str) -> tuple[np.ndarray, np.ndarray]:
    puzzles, solutions = some_boards(8)
    solution = solutions[5]
    if kind == "given":
        puzzles[5, 2, 1] = solution[2, 1] % 4 + 1
    elif kind == "rules":
        solution[0] = np.roll(solution[0], 2)
        puzzles[5] = 0
    elif kind == "digit":
        puzzles[5, 3, 0] = 5
    elif kind == "empty":
        solution[0, 3] = 0
    elif kind == "twice":
        puzzles[[1, 5]] = 0
    elif kind == "float":
        puzzles = puzzles / 2
    elif kind == "shape":
        puzzles = puzzles.reshape(8, 16)
    elif kind == "fewer":
        solutions = solutions[:7]
    return puzzles, solutions


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("given", f"board 5 .*, row 3, column 2: {DIFFERENT}"),
        ("rules", f"board 5 .*: {TWICE}"),
        ("digit", "board 5 .*, row 4, column 1: the puzzle has digits outside 0 to 4"),
        ("empty", "board 5 .*, row 1, column 4: the solution has digits outside 1 to 4"),
        ("twice", "board 5 .*: the puzzle of board 1, solved otherwise"),
        ("float", "puzzles must be integers"),
        ("shape", r"puzzles must have shape \(boards, 4, 4\), not \(8, 16\)"),
        ("fewer", "8 puzzles but 7 solutions"),
    ],
)
def test_boards_that_cannot_be_are_refused(kind, message, tmp_path):
    puzzles, solutions = contradictory(kind)
    np.savez(tmp_path / "boards.npz", puzzles=puzzles, solutions=solutions)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "boards.npz", 4)


def test_files_that_hold_no_boards_are_refused(tmp_path):
    np.savez(tmp_path / "half.npz", puzzles=np.zeros((1, 4, 4), dtype=int))
    with pytest.raises(ValueError, match="has no array solutions"):
        read(tmp_path / "half.npz", 4)
    with pytest.raises(ValueError, match=r"there is no \.npz file"):
        read(tmp_path / "none.npz", 4)


def test_a_file_is_split_always_alike(tmp_path):
    puzzles, solutions = some_boards(600)
    np.savez(tmp_path / "boards.npz", puzzles=puzzles, solutions=solutions)
    split, again = read(tmp_path / "boards.npz", 4), read(tmp_path / "boards.npz", 4)
    assert len(set.union(*map(pairs, split))) == sum(len(boards.puzzles) for boards in split)
    assert len(grids(split.unseen)) >= 28
    assert len(split.test.puzzles) > 40
    assert grids(split.test) <= grids(split.train)
    assert not grids(split.unseen) & grids(split.train)
    assert all(np.array_equal(a, b) for a, b in zip(split.train, again.train, strict=True))


def test_a_file_whose_grids_all_differ_has_unseen_ones_only(tmp_path):
    solutions = random_grids(12, 9, np.random.default_rng(0))
    np.savez(tmp_path / "boards.npz", puzzles=solutions, solutions=solutions)
    split = read(tmp_path / "boards.npz", 9)
    assert [len(boards.puzzles) for boards in split] == [10, 0, 2]


def needs(*libraries: str) -> None:
    for library in libraries:
        if find_spec(library) is None:
            pytest.skip(f"the experiment needs {library}, which is not installed")


def command(*options: str) -> subprocess.CompletedProcess[str]:
    needs("torch", "tqdm", "tabulate")
    line = [sys.executable, "-m", "examples.sudoku", *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300)


def test_every_method_writes_the_agreed_form(tmp_path):
    needs("diffcp")
    small = "--boards 12 --tests 5 --batch 6 --epochs 1 --seed 2 --json".split()
    done = command(*small, str(tmp_path / "results.json"))
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [(run["method"], run["seed"]) for run in runs] == [
        ("lpgd", 2), ("exact", 2), ("exact_rho", 2)
    ]  # fmt: skip
    for run in runs:
        assert [row["epoch"] for row in run["epochs"]] == [1]
        assert run["start"]["seconds"] == 0 < run["epochs"][0]["seconds"]
        for row in (run["start"], *run["epochs"]):
            assert row["train_loss"] > 0
            assert 0 <= row["test_error"] <= 1
            assert 0 <= row["test_error_unseen_grids"] <= 1


def test_contradictory_boards_end_the_command_with_their_number(tmp_path):
    puzzles, solutions = contradictory("given")
    np.savez(tmp_path / "boards.npz", puzzles=puzzles, solutions=solutions)
    done = command("--data", str(tmp_path / "boards.npz"))
    assert done.returncode == 1
    assert f"board 5 (counted from 0), row 3, column 2: {DIFFERENT}" in done.stderr
    assert "Traceback" not in done.stderr


def rows(method: str, seed: int = 0, **options: object) -> list[dict]:
    """A run's rows without the seconds."""
    needs("torch", "tqdm", "tabulate")
    from examples.sudoku.__main__ import parser, run

    line = [f"--{name}={value}" for name, value in options.items()]
    found = run(method, seed, parser().parse_args(line))
    return [{name: row[name] for name in row if name != "seconds"} for row in found]


@pytest.mark.parametrize("method", ["lpgd", "exact_rho"])
def test_the_same_seed_gives_the_same_results(method):
    if method != "lpgd":
        needs("diffcp")
    small = {"boards": 12, "tests": 5, "batch": 6, "epochs": 1}
    first = rows(method, **small)
    assert rows(method, **small) == first
    assert rows(method, seed=1, **small) != first


def test_lpgd_learns_from_few_boards():
    first, *_, last = rows("lpgd", boards=600, tests=50, batch=10, epochs=5)
    assert last["train_loss"] < first["train_loss"] / 3
    assert first["test_error"] == 1
    assert last["test_error"] < 0.3


def test_boards_from_a_file_are_learned_from(tmp_path):
    puzzles, solutions = some_boards(100)
    np.savez(tmp_path / "boards.npz", puzzles=puzzles, solutions=solutions)
    first, last = rows("lpgd", data=tmp_path / "boards.npz", boards=30, batch=10, epochs=1)
    assert first["train_loss"] != last["train_loss"]


def test_size_9_learns_rules_that_are_the_same_for_every_digit():
    first, last = rows("lpgd", size=9, boards=16, tests=2, batch=4, epochs=1)
    assert last["train_loss"] < first["train_loss"]
