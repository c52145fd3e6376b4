"""Learn the rules of Sudoku from solved boards; model.py has the layer.

    python -m examples.sudoku --quick
    python -m examples.sudoku --seeds 3 --methods lpgd --json lpgd.json
    python -m examples.sudoku --size 9 --methods lpgd --epochs 2
    python -m examples.sudoku --data boards.npz

The boards have one solution each. test_error is the share of boards outside training that are not
solved in every cell, their solutions being those of other training boards; so is
test_error_unseen_grids, for boards whose solutions are not. (A file that has boards of one kind
only gives both the same.) train_loss is the mean squared error of an entry. Methods:

    lpgd       LPGD with a tau (--tau) that reaches other vertices
    exact      the exact derivative, by diffcp
    exact_rho  the exact derivative of the program with (rho/2)|x|² in its objective (--rho)
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import DegenerateGradientWarning
from examples import _experiment as experiment
from examples.sudoku.boards import Boards, Split, generated, one_hot, read
from examples.sudoku.model import Rules

METHODS = ("lpgd", "exact", "exact_rho")
USUAL = {
    4: {"boards": 9000, "tests": 1000, "batch": 150, "rules": "any", "decay": "none"},
    9: {"boards": 1000, "tests": 200, "batch": 4, "rules": "alike", "decay": "cosine"},
}
QUICK = {"boards": 360, "tests": 100, "batch": 8}


def main() -> int:
    """Run the command."""
    return experiment.main(parser(), run, METHODS, "test_error", "The rules of Sudoku")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = experiment.arguments(__doc__ or "", "sudoku", METHODS, 3, QUICK)
    parser.add_argument(
        "--size", type=int, choices=(4, 9), default=4, help="of a board (default: 4)"
    )
    parser.add_argument(
        "--boards", type=_positive, help="training boards (default: 9000; size 9: 1000)"
    )
    parser.add_argument(
        "--tests", type=_positive, help="test boards of either kind (default: 1000; 200)"
    )
    parser.add_argument("--batch", type=_positive, help="boards a step (default: 150; 4)")
    parser.add_argument(
        "--data",
        type=Path,
        help=".npz with puzzles, solutions: (N, size, size) (default: generated)",
    )
    parser.add_argument("--lr", type=float, default=0.1, help="step size of Adam (default: 0.1)")
    parser.add_argument(
        "--decay", choices=("none", "cosine"), help="of the step size (default: none; cosine, to 0)"
    )
    parser.add_argument(
        "--tau",
        type=float,
        default=1.0,
        help="of lpgd, for the loss of a batch summed (default: 1)",
    )
    parser.add_argument(
        "--side",
        choices=("average", "lower", "upper"),
        default="average",
        help="of lpgd (default: average)",
    )
    parser.add_argument("--rho", type=float, default=1e-3, help="of exact_rho (default: 0.001)")
    parser.add_argument(
        "--rules",
        choices=("any", "alike"),
        help="alike: the same for every digit (default: any; alike)",
    )
    parser.add_argument("--rows", type=_positive, help="learned rows (default: as many as rules)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def run(method: str, seed: int, options: argparse.Namespace) -> Iterator[experiment.Row]:
    """One row before training and one after each epoch."""
    if options.quick and options.size != 4:
        raise ValueError("--quick is for boards of size 4")
    split = _boards(options, seed)
    given = {name: value for name, value in vars(options).items() if value is not None}
    options = argparse.Namespace(**USUAL[options.size] | {"rows": None} | given)
    torch.manual_seed(seed)
    rules = _rules(method, options)
    optimizer = torch.optim.Adam([p for p in rules.parameters() if p.requires_grad], options.lr)
    givens, solutions = _tensors(split.train)
    steps = max(1, options.epochs * math.ceil(len(givens) / options.batch))
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: (1 + math.cos(math.pi * k / steps)) / 2 if options.decay == "cosine" else 1.0,
    )
    seconds, (loss, _) = 0.0, _evaluated(rules, split.train.take(slice(options.tests)))
    yield {"epoch": 0, "seconds": seconds, "train_loss": loss} | _errors(rules, split)
    for epoch in range(1, options.epochs + 1):
        begin, total = perf_counter(), 0.0
        for some in torch.randperm(len(givens)).split(options.batch):
            optimizer.zero_grad()
            with warnings.catch_warnings():
                # at a vertex the exact derivative knows no effect of some inputs, and warns: that
                # it goes on nevertheless is what this experiment shows
                warnings.simplefilter("ignore", DegenerateGradientWarning)
                loss_sum = ((rules(givens[some]) - solutions[some]) ** 2).sum()
                loss_sum.backward()
            optimizer.step()
            decay.step()
            total += float(loss_sum.detach())
        seconds += perf_counter() - begin
        row = {"epoch": epoch, "seconds": seconds, "train_loss": total / givens.numel()}
        yield row | _errors(rules, split)


def _boards(options: argparse.Namespace, seed: int) -> Split:
    usual = USUAL[options.size]
    if options.data is None:
        train, tests = options.boards or usual["boards"], options.tests or usual["tests"]
        return _generated(options.size, train, tests, seed)
    train, *tests = read(options.data, options.size)
    if not len(train.puzzles) or not sum(len(kind.puzzles) for kind in tests):
        raise ValueError(f"{options.data} has too few boards to learn from some and test the rest")
    first = slice(options.tests)
    return Split(train.take(slice(options.boards)), *(kind.take(first) for kind in tests))


@lru_cache(maxsize=1)  # the methods share a seed's boards
def _generated(size: int, train: int, tests: int, seed: int) -> Split:
    return generated(size, train, tests, seed)


def _rules(method: str, options: argparse.Namespace) -> Rules:
    kind = options.size, options.rules == "alike", options.rows
    if method == "lpgd":
        return Rules(*kind, LPGD(tau=options.tau, side=options.side))
    exact = Implicit(mode="dense")  # measured: the fastest of its modes in size 4
    return Rules(*kind, exact, options.rho if method == "exact_rho" else 0.0)


def _tensors(boards: Boards) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(one_hot(boards.puzzles)), torch.tensor(one_hot(boards.solutions))


def _errors(rules: Rules, split: Split) -> dict[str, float]:
    """The two test errors."""
    test, unseen = (boards if len(boards.puzzles) else None for boards in split[1:])
    return {
        "test_error": _evaluated(rules, test or split.unseen)[1],
        "test_error_unseen_grids": _evaluated(rules, unseen or split.test)[1],
    }


def _evaluated(rules: Rules, boards: Boards) -> tuple[float, float]:
    """The mean squared error, and the share of boards that are not solved in every cell."""
    givens, solutions = _tensors(boards)
    with torch.no_grad():
        x = rules(givens)
    size = boards.puzzles.shape[-1]
    digits = x.numpy().reshape(-1, size, size, size).argmax(axis=-1) + 1
    wrong = np.any(digits != boards.solutions, axis=(1, 2))
    return float(((x - solutions) ** 2).mean()), float(wrong.mean())


if __name__ == "__main__":
    sys.exit(main())
