"""What the experiments share: the command line, the progress bar, results as JSON, the picture.

An experiment yields one row for each epoch of one run; all else is here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

Row = dict[str, Any]  # "epoch", "seconds" since the run began, "train_loss", and a test figure
Run = Callable[[str, int, argparse.Namespace], Iterator[Row]]


def arguments(doc: str, name: str, methods: Sequence[str], epochs: int) -> argparse.ArgumentParser:
    """The options that every experiment has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=_count, default=0, help="the first seed")
    parser.add_argument("--seeds", type=_positive, default=1, help="how many, from --seed on")
    parser.add_argument("--epochs", type=_count, default=epochs)
    parser.add_argument("--methods", default=",".join(methods), help="names, comma-separated")
    parser.add_argument("--json", type=Path, default=None, help="where the results go")
    parser.add_argument("--plot", type=Path, default=None, help="where the picture goes")
    parser.add_argument(
        "--from", dest="old", type=Path, nargs="+", help="show these results, run nothing"
    )
    return parser


def main(
    parser: argparse.ArgumentParser, run: Run, methods: Sequence[str], metric: str, title: str
) -> int:
    """Run every method with every seed; print a table, write the JSON and the picture.

    Parameters
    ----------
    run : (method, seed, options) -> rows
    metric : str
        The name of the test figure in the rows.
    """
    options = parser.parse_args()
    chosen = [name.strip() for name in options.methods.split(",") if name.strip()]
    unknown = sorted(set(chosen) - set(methods))
    if unknown or not chosen:
        parser.error(f"no method {', '.join(unknown)}; there are {', '.join(methods)}")
    if options.old:
        runs = [r for file in options.old for r in json.loads(file.read_text())["runs"]]
    else:
        try:
            runs = _all(run, chosen, options, metric)
        except ValueError as error:  # what the user handed over is at fault: no traceback
            parser.exit(1, f"{parser.prog}: {error}\n")
    print(_table(runs, metric))
    if options.plot is not None:
        picture(runs, metric, title, options.plot)
        print(f"picture: {options.plot}", file=sys.stderr)
    return 0


def _all(run: Run, methods: list[str], options: argparse.Namespace, metric: str) -> list[Row]:
    seeds = range(options.seed, options.seed + options.seeds)
    runs: list[Row] = []
    with tqdm(total=len(methods) * len(seeds) * options.epochs, unit="epoch") as bar:
        for seed in seeds:
            for method in methods:
                bar.set_description(f"{method}, seed {seed}")
                rows: list[Row] = []
                runs.append({"method": method, "seed": seed, "epochs": rows})
                for row in run(method, seed, options):
                    bar.update(row["epoch"] - (rows[-1]["epoch"] if rows else 0))
                    rows.append(row)
                    bar.set_postfix({metric: f"{row[metric]:.4g}"})
                    if options.json is not None:  # after every epoch: nothing is lost
                        save(runs, options.json)
    return runs


def save(runs: list[Row], file: Path) -> None:
    """Write the results."""
    file.write_text(json.dumps({"runs": runs}, indent=1) + "\n")


def _table(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    rows = []
    for method in dict.fromkeys(run["method"] for run in runs):
        last = [r["epochs"][-1] for r in runs if r["method"] == method and r["epochs"]]
        if last:
            figures = [row[metric] for row in last]
            rows.append([
                method, len(last), last[0]["epoch"], np.mean([row["seconds"] for row in last]),
                np.mean([row["train_loss"] for row in last]), np.mean(figures), np.std(figures),
            ])  # fmt: skip
    heads = ["method", "runs", "epochs", "seconds", "train loss", metric, "std"]
    return tabulate(rows, headers=heads, floatfmt=".4g", tablefmt="github")


def picture(runs: Sequence[Mapping[str, Any]], metric: str, title: str, file: Path) -> None:
    """Loss and test figure per epoch and per second, each method's mean over its runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [run["epochs"] for run in runs if run["method"] == method and run["epochs"]]
        shortest = min(len(rows) for rows in mine)
        for line, name in enumerate(("train_loss", metric)):
            values = np.array([[row[name] for row in rows[:shortest]] for rows in mine])
            for column, across in enumerate(("epoch", "seconds")):
                xs = np.array([[row[across] for row in rows[:shortest]] for rows in mine])
                panel, mean = panels[line, column], values.mean(axis=0)
                (drawn,) = panel.plot(
                    xs.mean(axis=0), mean, label=method, marker="o" if shortest < 20 else "", ms=3
                )
                if len(mine) > 1:
                    low, high = values.min(axis=0), values.max(axis=0)
                    panel.fill_between(
                        xs.mean(axis=0), low, high, color=drawn.get_color(), alpha=0.15, lw=0
                    )
    for panel, name in zip(panels[:, 0], ("training loss", metric.replace("_", " ")), strict=True):
        panel.set_ylabel(name)
    for panel, name in zip(panels[1], ("epoch", "seconds"), strict=True):
        panel.set_xlabel(name)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3)
    panels[0, 1].legend(frameon=False)
    count = max(sum(r["method"] == run["method"] for r in runs) for run in runs)
    spread = f": mean and range of {count} seeds" if count > 1 else ""
    figure.suptitle(f"{title}{spread}")
    figure.savefig(file, dpi=120)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {value}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value
