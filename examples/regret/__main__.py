"""Regret of decisions learned through linear programs, by how far LPGD moves their costs.

The derivative of a linear program's solution by its costs is zero, so that LPGD() takes a finite

    tau = kappa Σ |q_j x_bar_j| / Σ x_bar_j²,   kappa = 1

and this experiment asks which kappa decides best. A linear predictor learns costs from 5 features,
by PyEPO's generator (degree 4, multiplicative noise 0.5), and an LP decides by them:

    shortest path   on a 5x5 grid: 40 arcs
    packing         max c'x, Ax <= b, 0 <= x <= 1: 20 variables, 5 rows

Every seed is another generator and another A. There are two losses of the decision x,

    squared         |x - x*(c)|², the true optimal decision known
    regret          c'x - c'x*(c), the gradient of which knows the true costs alone

and these methods, all with the same data, initial weights and batches:

    lpgd            LPGD() as it is
    kappa_0.3, ...  the same with another kappa: kappa_1 must come out as lpgd does
    informative     LPGD(tau="informative"), which grows tenfold where nothing moves
    spo_plus        SPOPlus, a loss of its own
    lpgd_0.1.0      LPGD() of version 0.1.0, not part of this one

Adam takes each of two learning rates; for each program, loss, method and seed, validation data
say which one counts. The figure is the normalized regret on test data after the last epoch,
Σ (c'x - c'x*) / |Σ c'x*|, as the geometric mean over seeds and over both programs. "Against lpgd"
is the geometric mean of the ratios to lpgd's, and their range over programs and seeds. Seconds an
epoch are those of training alone, on one thread: each program's fastest run, as a shared machine
disturbs the others, and the mean of both programs.

The rule of version 0.1.0 runs where a checkout of that version comes first on the path, and the
results become one file:

    python -m examples.regret --seeds 6 --json new.json
    PYTHONPATH=CHECKOUT python examples/regret/__main__.py --seeds 6 --json old.json
    python -m examples.regret --from new.json old.json --json docs/results/regret.json
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from cvxlpgd import LPGD
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.losses import SPOPlus
from cvxlpgd.torch import CvxpyLayer
from examples import _experiment
from examples.shortest_path import task

Row = dict[str, Any]

KAPPAS = (0.3, 1.0, 2.0, 4.0)
METHODS = {
    "lpgd": "LPGD()",
    **{f"kappa_{kappa:g}": f"LPGD(), kappa = {kappa:g}" for kappa in KAPPAS},
    "informative": 'LPGD(tau="informative")',
    "spo_plus": "SPOPlus",
}
FORMER = {"lpgd_0.1.0": "LPGD() of version 0.1.0"}
PROGRAMS = {"shortest_path": "shortest path", "packing": "packing"}
LOSSES = ("squared", "regret")
RATES = (0.02, 0.1)
VARIABLES, ROWS, CAPACITY = 20, 5, 0.3  # of the packing: a row holds 0.3 of its items
BATCH = 16
QUICK = {"seeds": 1, "epochs": 4, "train": 48, "validation": 50, "test": 100}
FIGURE, CHOICE = "test_regret", "validation_regret"


@dataclass(frozen=True)
class Task:
    """A program and its data: rows for training, then for validation, then for the test."""

    problem: cp.Problem
    cost: cp.Parameter
    x: cp.Variable
    features: torch.Tensor
    costs: torch.Tensor

    def layer(self, **options: Any) -> CvxpyLayer:
        """Costs -> the decision."""
        return CvxpyLayer(self.problem, [self.cost], [self.x], **options)


@cache
def made(program: str, seed: int, samples: int) -> Task:
    """The program and the data of a seed."""
    if program == "shortest_path":
        features, costs = task.data(seed, samples, 0)
        A, b = task.flow()
    else:
        features, costs = _values(seed, samples)
        costs = -costs  # a minimization, as the path is
        A = np.random.default_rng(seed).uniform(3.0, 8.0, (ROWS, VARIABLES))
        b = CAPACITY * A.sum(axis=1)
    x, cost = cp.Variable(A.shape[1]), cp.Parameter(A.shape[1])
    rows = A @ x == b if program == "shortest_path" else A @ x <= b
    problem = cp.Problem(cp.Minimize(cost @ x), [rows, x >= 0, x <= 1])
    return Task(problem, cost, x, features, costs)


def _values(seed: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and values of the packing's items, by the generator of the paths' arcs."""
    from pyepo.data.shortestpath import genData

    grid = (1, VARIABLES + 1)  # a row of nodes: so many arcs
    features, values = genData(
        samples, task.FEATURES, grid, deg=task.DEGREE, noise_width=task.NOISE, seed=seed
    )
    return torch.tensor(features, dtype=torch.float32), torch.tensor(values)


@contextmanager
def kappa_of_linear_programs(kappa: float) -> Iterator[None]:
    """Let LPGD() move linear programs' costs by kappa times their own size.

    The package has no option for it: its constant is replaced while the context lasts.
    """
    from cvxlpgd.derivatives.tau import sizes

    before, sizes.LINEAR = sizes.LINEAR, kappa
    try:
        yield
    finally:
        sizes.LINEAR = before


def setting(method: str) -> tuple[LPGD, AbstractContextManager[None]]:
    """The derivative of a method, and what it has to run in."""
    if method.startswith("kappa_"):
        return LPGD(), kappa_of_linear_programs(float(method.removeprefix("kappa_")))
    if method == "informative":
        return LPGD(tau="informative"), nullcontext()
    return LPGD(), nullcontext()


def run(
    program: str, loss: str, method: str, seed: int, rate: float, options: argparse.Namespace
) -> Row:
    """Train once; how long it took, and the regret afterwards."""
    train, validation = options.train, options.validation
    data = made(program, seed, train + validation + options.test)
    features, costs = data.features, data.costs
    derivative, context = setting(method)
    decide = data.layer(derivative=derivative)
    with torch.no_grad():
        (best,) = decide(costs)
    if method == "spo_plus":
        score: Callable[..., torch.Tensor] = SPOPlus(decide)
    else:

        def score(predicted: torch.Tensor, costs: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
            (x,) = decide(predicted)
            each = (x - best) ** 2 if loss == "squared" else costs * (x - best)
            return each.sum(1).mean()

    def regret(part: slice) -> float:
        with torch.no_grad():
            (x,) = decide(network(features[part]))
        return abs(task.normalized_regret(x, costs[part], best[part]))

    torch.manual_seed(seed)
    network = torch.nn.Linear(features.shape[1], costs.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    order = torch.Generator().manual_seed(seed)
    begin = perf_counter()
    with context:
        for _ in range(options.epochs):
            for index in torch.randperm(train, generator=order).split(BATCH):
                value = score(network(features[index]), costs[index], best[index])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    seconds = perf_counter() - begin
    return {
        "program": program, "loss": loss, "method": method, "seed": seed, "rate": rate,
        "epochs": options.epochs, "seconds": seconds,
        CHOICE: regret(slice(train, train + validation)),
        FIGURE: regret(slice(train + validation, None)),
    }  # fmt: skip


def all_runs(methods: Sequence[str], options: argparse.Namespace) -> list[Row]:
    """Every seed, program, loss, method and rate; the results are saved after each."""
    # where no vertex is near, a gradient is zero now and then: it is what the methods differ in
    warnings.simplefilter("ignore", DegenerateGradientWarning)
    torch.set_num_threads(1)
    kinds = [(m, loss) for loss in LOSSES for m in methods if m != "spo_plus"]
    kinds += [("spo_plus", "spo_plus")] if "spo_plus" in methods else []
    seeds, runs = range(options.seed, options.seed + options.seeds), []
    with tqdm(total=len(seeds) * len(PROGRAMS) * len(kinds) * len(RATES), unit="run") as bar:
        for seed, program, (method, loss), rate in product(seeds, PROGRAMS, kinds, RATES):
            bar.set_description(f"{program}, {loss}, {method}, seed {seed}")
            runs.append(run(program, loss, method, seed, rate, options))
            bar.update()
            if options.json is not None:
                _experiment.save(runs, options.json)
    return runs


def table(runs: Sequence[Row]) -> str:
    """A line for each loss and method."""
    chosen = _chosen(runs)
    lines = []
    for loss, method in dict.fromkeys((r["loss"], r["method"]) for r in runs):
        mine = {key[2:]: row for key, row in chosen.items() if key[:2] == (loss, method)}
        regrets = {key: _number(row[FIGURE]) for key, row in mine.items()}
        ratios = [
            value / _number(chosen[loss, "lpgd", *key][FIGURE])
            for key, value in regrets.items()
            if (loss, "lpgd", *key) in chosen
        ]
        of = f"{_mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        seconds = [_fastest(runs, loss, method, program) for program in PROGRAMS]
        lines.append([
            loss if loss in LOSSES else "its own", (METHODS | FORMER)[method], len(mine),
            *(_mean([v for key, v in regrets.items() if key[0] == name]) for name in PROGRAMS),
            _mean(list(regrets.values())), of, np.mean(seconds),
        ])  # fmt: skip
    lines.sort(key=lambda line: (*LOSSES, "its own").index(line[0]))
    heads = ["loss", "method", "runs", *PROGRAMS.values(), "both", "against lpgd", "seconds/epoch"]
    return tabulate(lines, headers=heads, floatfmt=("", "", "", *[".4f"] * 3, "", ".3f"),
                    tablefmt="github")  # fmt: skip


def _chosen(runs: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    """(loss, method, program, seed) -> the run at the rate that validation prefers."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in sorted(runs, key=lambda row: _number(row[CHOICE]), reverse=True):
        found[row["loss"], row["method"], row["program"], row["seed"]] = row
    return found


def _fastest(runs: Sequence[Row], loss: str, method: str, program: str) -> float:
    """Seconds an epoch of the run that was disturbed least, NaN without one."""
    wanted = (loss, method, program)
    mine = [row for row in runs if (row["loss"], row["method"], row["program"]) == wanted]
    return min((row["seconds"] / row["epochs"] for row in mine), default=np.nan)


def _number(value: float | None) -> float:
    """A figure; infinite where the results have none."""
    return np.inf if value is None or np.isnan(value) else value


def _mean(values: Sequence[float]) -> float:
    """The geometric mean, NaN of nothing."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(values)))) if len(values) else np.nan


def merged(files: Sequence[Path]) -> list[Row]:
    """The runs of several files; of the same run twice, the last."""
    runs = [row for file in files for row in json.loads(file.read_text())["runs"]]
    names = ("program", "loss", "method", "seed", "rate")
    return list({tuple(row[name] for name in names): row for row in runs}.values())


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    words = argparse.ArgumentParser(
        prog="python -m examples.regret",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, usual, meaning in (
        ("seed", 0, "the first seed"),
        ("seeds", 3, "how many, from --seed on"),
        ("epochs", 15, "epochs of each training"),
        ("train", 160, "training samples"),
        ("validation", 200, "samples that choose the rate"),
        ("test", 500, "test samples"),
    ):
        words.add_argument(
            f"--{name}", type=int, default=usual, help=f"{meaning} (default: {usual})"
        )
    words.add_argument("--methods", help="names, comma-separated (default: all)")
    small = " ".join(f"--{name} {value}" for name, value in QUICK.items())
    words.add_argument(
        "--quick", action="store_true", help="all of it in less than a minute on one core, small "
        f"though real; the same as {small}, each of which you may set otherwise",
    )  # fmt: skip
    words.add_argument("--json", type=Path, help="file for the results (default: none)")
    words.add_argument(
        "--from", dest="old", type=Path, nargs="+", metavar="JSON",
        help="show the results of these files, run nothing; with --json, make them one file",
    )  # fmt: skip
    words.set_defaults(small=QUICK, plot=None)
    return words


def main() -> int:
    """The command line."""
    words = parser()
    options = _experiment.parse(words)
    if (
        options.seed < 0
        or min(options.seeds, options.epochs, options.train, options.validation, options.test) < 1
    ):
        words.error("all counts must be 1 or more, the first seed 0 or more")
    present = METHODS if find_spec("cvxlpgd.derivatives.tau") else FORMER  # of which version
    methods = [m.strip() for m in (options.methods or ",".join(present)).split(",")]
    absent = [name for name in methods if name not in present]
    if absent and not options.old:
        words.error(f"no method {', '.join(absent)} here; this version has {', '.join(present)}")
    try:
        runs = merged(options.old) if options.old else all_runs(methods, options)
        if options.json is not None:
            _experiment.save(runs, options.json)
        print(table(runs))
    except (
        ImportError,
        KeyError,
        OSError,
        ValueError,
    ) as error:  # what the user handed over: no traceback
        words.exit(1, f"{words.prog}: {error or type(error).__name__}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
