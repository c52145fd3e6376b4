"""Learn arc costs from features so that the paths decided by them are short.

A 5x5 grid, costs of degree 4 in 5 features with noise 0.5 (Elmachtoub and Grigas 2022, PyEPO's
generator), a linear predictor, Adam. Methods of this package and of PyEPO get the same data, the
same initial network and the same batches. The test figure is the normalized regret.

    lpgd            c'x*(predicted), LPGD at a finite tau
    spo_plus        SPOPlus
    fenchel_young   FenchelYoung of the program with |x|²/2 added to its objective
    pyepo_*         SPO+, blackbox backpropagation and I-MLE of PyEPO, in a process of their own
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cvxpy as cp
import torch

from cvxlpgd import LPGD
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.losses import FenchelYoung, SPOPlus
from cvxlpgd.torch import CvxpyLayer
from examples import _experiment
from examples.shortest_path import peers, task

OURS = ("lpgd", "spo_plus", "fenchel_young")
METHODS = (*OURS, *sorted(peers.METHODS, reverse=True))
QUICK = {"epochs": 3, "train": 64, "test": 200}
TAU = 2.0 * task.BATCH  # the loss is a mean: a sample's own perturbation is twice its true cost


def layer(quadratic: float = 0.0, **options: Any) -> CvxpyLayer:
    """Predicted costs -> the path, or with a quadratic term a mixture of paths."""
    A, b = task.flow()
    x, cost = cp.Variable(len(task.arcs())), cp.Parameter(len(task.arcs()))
    objective = cost @ x + (quadratic / 2 * cp.sum_squares(x) if quadratic else 0)
    problem = cp.Problem(cp.Minimize(objective), [A @ x == b, x >= 0, x <= 1])
    return CvxpyLayer(problem, [cost], [x], **options)


def run(method: str, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train by one method."""
    if method in OURS:
        return _ours(method, seed, options)
    return _theirs(method, seed, options)


def _ours(method: str, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    features, costs = task.data(seed, options.train, options.test)
    decide = layer(derivative=LPGD(tau=TAU))
    with torch.no_grad():
        (best,) = decide(costs)
    train = options.train
    # where every arc of two paths differs little, a gradient is zero now and then: as it should be
    warnings.simplefilter("ignore", DegenerateGradientWarning)

    def regret(network: torch.nn.Module) -> float:
        with torch.no_grad():
            (decided,) = decide(network(features[train:]))
        return task.normalized_regret(decided, costs[train:], best[train:])

    if method == "lpgd":

        def loss(predicted: Any, costs: Any, best: Any) -> Any:
            (decided,) = decide(predicted)
            return (costs * (decided - best)).sum(1).mean()

    elif method == "spo_plus":
        loss = SPOPlus(decide)  # type: ignore[assignment]
    else:
        away = FenchelYoung(layer(quadratic=1.0))

        def loss(predicted: Any, costs: Any, best: Any) -> Any:
            return away(predicted, best)

    tensors = [v[:train] for v in (features, costs, best)]
    return task.training(seed, options.epochs, tensors, loss, regret)


def _theirs(method: str, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    words = [method, *(str(v) for v in (seed, options.epochs, options.train, options.test))]
    child = subprocess.Popen(
        [options.pyepo_python, "-m", "examples.shortest_path.peers", *words],
        cwd=Path(__file__).parent.parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        row = json.loads(line)
        if "epoch" in row:
            yield row
        else:
            print(f"\n{method}: PyEPO on {row['backend']}", file=sys.stderr)
    if child.wait():
        raise ChildProcessError(
            f"PyEPO's process ended with {child.returncode}; what it said is above"
        )


def main() -> int:
    """The command line."""
    parser = _experiment.arguments(__doc__ or "", "shortest_path", METHODS, 10, QUICK)
    for name, usual in (("train", task.TRAIN), ("test", task.TEST)):
        parser.add_argument(
            f"--{name}", type=int, default=usual, help=f"samples to {name} with (default: {usual})"
        )
    parser.add_argument(
        "--pyepo-python",
        default=sys.executable,
        help="the Python that runs PyEPO, of an environment with pyepo, torch and, to be fast, "
        "ortools (default: this one)",
    )
    return _experiment.main(parser, run, METHODS, "test_regret", "Shortest paths on a 5x5 grid")


if __name__ == "__main__":
    sys.exit(main())
