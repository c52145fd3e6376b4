"""What both experiments share: options, runs that are not repeated, the table.

Results are {"baseline_mse": ..., "settings": {...}, "runs": [...]}, written after each run. A run
that is in the file already, with the same settings, is not repeated. The baseline is the error of
the mean training signal: each run has that of its own case, and at the top is the newest run's.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from cvxlpgd.errors import CvxlpgdWarning
from examples import _experiment
from examples.unrolled.methods import TRAINED, Problem
from examples.unrolled.picture import picture
from examples.unrolled.samples import Sets
from examples.unrolled.training import SHOWN, Run, train

Case = dict[str, Any]  # what a run is of, besides method and seed, such as {"a": 1, "n_train": 50}
NAMES = ("n_train", "inclusions", "a")  # that a case may have
Results = dict[str, Any]

MEAN = "mean signal"


@dataclass(frozen=True)
class Experiment:
    """What differs between experiments.

    Parameters
    ----------
    title : str
    axis : str
        The entry of a case that the picture has on its abscissa.
    cases : options -> cases
    made : (case, options) -> the problem and its samples
    untrained : {name: (problem, sets) -> what a run has, but for method, seed and case}
        Methods without training, for comparison; they run for the first seed alone.
    draw : (subfigure, truth and estimates by name) -> None
        Signals side by side.
    trained : methods with training
    """

    title: str
    axis: str
    cases: Callable[[argparse.Namespace], list[Case]]
    made: Callable[[Case, argparse.Namespace], tuple[Problem, Sets]]
    untrained: Mapping[str, Callable[[Problem, Sets], Run]]
    draw: Callable[[Any, Mapping[str, np.ndarray]], None]
    trained: Sequence[str] = TRAINED


def arguments(
    doc: str, name: str, experiment: Experiment, epochs: int, quick: Mapping[str, Any]
) -> argparse.ArgumentParser:
    """The options that both have."""
    methods = (*experiment.trained, *experiment.untrained)
    quickly = "some methods in at most two minutes on two cores"
    parser = _experiment.arguments(doc, f"unrolled.{name}", methods, epochs, quick, quickly)
    parser.add_argument(
        "--batch", type=_experiment.positive, default=16,
        help="samples of a training step (default: %(default)s)",
    )  # fmt: skip
    return parser


def main(parser: argparse.ArgumentParser, experiment: Experiment) -> int:
    """Run what is not in the file; print a table, draw the picture."""
    options = _experiment.parse(parser)
    known = (*experiment.trained, *experiment.untrained)
    methods = [name.strip() for name in options.methods.split(",") if name.strip()]
    unknown = sorted(set(methods) - set(known))
    if unknown or not methods:
        parser.error(f"no method {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        if options.old:
            results = _experiment.merged([read(file) for file in options.old], _key)
            if options.json is not None:
                _experiment.write(condensed(results), options.json)
        else:
            results = _all(experiment, methods, options)
        print(table(results))
        if options.plot is not None:
            case = experiment.cases(options)[-1]
            _, sets = experiment.made(case, options)
            fixed = {name: value for name, value in case.items() if name != experiment.axis}
            runs = [r for r in results["runs"] if all(r[n] == fixed[n] for n in fixed)]
            truth = sets.test.truth[:SHOWN].numpy()
            picture(runs, experiment.title, experiment.axis, fixed, truth, experiment.draw,
                    options.plot)  # fmt: skip
            print(f"picture: {options.plot}", file=sys.stderr)
    except (ImportError, KeyError, OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error or type(error).__name__}\n")
    return 0


def _all(experiment: Experiment, methods: list[str], options: argparse.Namespace) -> Results:
    # failed solves are counted as divergence, and kinks are met now and then: no need to tell
    warnings.simplefilter("ignore", CvxlpgdWarning)
    torch.set_num_threads(1)
    cases = experiment.cases(options)
    settings = {"epochs": options.epochs, "batch": options.batch}
    results: Results = {"baseline_mse": None, "settings": settings, "runs": []}
    if options.json is not None and options.json.exists():
        results = read(options.json)
        if results["settings"] != settings:
            raise ValueError(f"{options.json} has runs of other settings: {results['settings']}")
    present = {_key(run) for run in results["runs"]}
    seeds = range(options.seed, options.seed + options.seeds)
    wanted = [
        (seed, case, method)
        for seed in seeds
        for case in cases
        for method in methods
        if (method in experiment.trained or seed == seeds[0])
        and _key({"method": method, "seed": seed, **case}) not in present
    ]
    with tqdm(total=len(wanted) * options.epochs, unit="epoch", delay=1) as bar:
        for seed, case, method in wanted:
            named = ", ".join(f"{name} {value:g}" for name, value in case.items())
            bar.set_description(f"{method}, seed {seed}, {named}")
            problem, sets = experiment.made(case, options)
            results["baseline_mse"] = mean_signal(sets)
            if method in experiment.trained:

                def told(row: Run) -> None:
                    bar.update(row["epoch"] > 0)
                    bar.set_postfix(validation=f"{row['validation_mse']:.4g}")

                run = train(method, problem, sets, seed, options.epochs, options.batch, told)
                bar.update(options.epochs - run["curve"][-1]["epoch"])
            else:
                run = experiment.untrained[method](problem, sets)
                run = {"method": method, "seed": seed, "diverged": False, **run}
                bar.update(options.epochs)
            results["runs"].append({**run, **case, "baseline_mse": results["baseline_mse"]})
            if options.json is not None:
                _experiment.write(results, options.json)
    return results


def condensed(results: Results) -> Results:
    """For a file to keep: numbers of six digits, and estimates of the first seed alone."""
    first = min(run["seed"] for run in results["runs"])
    runs = [
        run if run["seed"] == first else {k: v for k, v in run.items() if k != "estimates"}
        for run in results["runs"]
    ]
    whole: Results = _experiment.rounded({**results, "runs": runs})
    return whole


def mean_signal(sets: Sets) -> float:
    """The test error of predicting the mean of the training signals."""
    return float((sets.test.truth - sets.train.truth.mean(0)).square().mean())


def _key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a run another one."""
    return tuple(run.get(name) for name in ("method", "seed", *NAMES))


def read(file: Path) -> Results:
    """Results of a file."""
    return _experiment.read(file, {"baseline_mse", "settings", "runs"})


def table(results: Results) -> str:
    """A line for each method: test error of each case, mean and spread over seeds."""
    runs = results["runs"]
    names = [name for name in NAMES if name in runs[0]]
    cases = sorted({tuple(run[name] for name in names) for run in runs})
    varying = [i for i, values in enumerate(zip(*cases, strict=True)) if len(set(values)) > 1]
    heads = [", ".join(f"{names[i]} {case[i]:g}" for i in varying) or "test mse" for case in cases]
    lines = []
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [run for run in runs if run["method"] == method]
        errors = [
            [run["test_mse"] for run in mine if tuple(run[name] for name in names) == case]
            for case in cases
        ]
        diverged = sum(run["diverged"] for run in mine)
        lines.append([method, len(mine), mine[0]["parameters"], diverged, *map(_figure, errors)])
    means = [
        [run["baseline_mse"] for run in runs if tuple(run[name] for name in names) == case][:1]
        for case in cases
    ]
    lines.append([MEAN, "", "", "", *map(_figure, means)])
    heads = ["method", "runs", "parameters", "diverged", *heads]
    return tabulate(lines, headers=heads, tablefmt="github", disable_numparse=True)


def _figure(errors: Sequence[float | None]) -> str:
    """Mean, and standard deviation of several."""
    finite = [error for error in errors if error is not None and np.isfinite(error)]
    if not finite:
        return ""
    spread = f" ± {np.std(finite, ddof=1):.4f}" if len(finite) > 1 else ""
    return f"{np.mean(finite):.4f}{spread}"
