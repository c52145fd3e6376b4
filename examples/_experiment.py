"""What the experiments share: the command line, the progress bar, results as JSON, the picture.

An experiment yields one row for each epoch of one run, and before them one of epoch 0, untrained;
all else is here. Results are

    {"runs": [{"method": ..., "seed": ..., "start": row, "epochs": [row, ...]}]}
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

Row = dict[str, Any]  # "epoch", "seconds" since the run began, "train_loss", and a test figure
Run = Callable[[str, int, argparse.Namespace], Iterator[Row]]


def arguments(
    doc: str,
    name: str,
    methods: Sequence[str],
    epochs: int,
    quick: Mapping[str, Any],
    quickly: str = "all of it in less than a minute on one core",
) -> argparse.ArgumentParser:
    """The options that every experiment has; `quick` are those that --quick sets."""
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = "(default: %(default)s)"
    small = " ".join(f"--{key} {_written(value)}" for key, value in quick.items())
    parser.add_argument("--seed", type=_count, default=0, help=f"the first seed {default}")
    parser.add_argument(
        "--seeds", type=positive, default=1, help=f"how many, from --seed on {default}"
    )
    parser.add_argument(
        "--epochs", type=_count, default=epochs, help=f"epochs of training {default}"
    )
    parser.add_argument(
        "--methods", default=",".join(methods), help="names, comma-separated (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{quickly}, small though real; "
        f"the same as {small}, each of which you may set otherwise",
    )  # fmt: skip
    add_files(parser)
    parser.set_defaults(small=quick)
    return parser


def add_files(parser: argparse.ArgumentParser) -> None:
    """The options that name files."""
    parser.add_argument("--json", type=Path, help="file for the results (default: none)")
    parser.add_argument("--plot", type=Path, help="file for the picture (default: none)")
    parser.add_argument(
        "--from", dest="old", type=Path, nargs="+", metavar="JSON",
        help="show the results of these files, run nothing",
    )  # fmt: skip


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options: the small ones if they are to be quick, and over them what is given."""
    options = parser.parse_args()
    if options.quick:
        parser.set_defaults(**options.small)
        options = parser.parse_args()
    for file in filter(None, (options.json, options.plot)):
        if not file.parent.is_dir():
            parser.error(f"there is no folder {file.parent} for {file}")
    if options.plot is not None and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    return options


def _written(value: Any) -> str:
    """An option's value as on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def main(
    parser: argparse.ArgumentParser,
    run: Run,
    methods: Sequence[str],
    metric: str,
    title: str,
    summary: Callable[[Sequence[Row]], str] = lambda runs: "",
) -> int:
    """Run every method with every seed; print a table, write the JSON and the picture.

    Parameters
    ----------
    run : (method, seed, options) -> rows
    metric : str
        The name of the test figure in the rows.
    summary : runs -> what is printed below the table
    """
    options = parse(parser)
    chosen = [name.strip() for name in options.methods.split(",") if name.strip()]
    unknown = sorted(set(chosen) - set(methods))
    if unknown or not chosen:
        parser.error(f"no method {', '.join(unknown)}; there are {', '.join(methods)}")
    try:
        if options.old:
            runs = [r for file in options.old for r in json.loads(file.read_text())["runs"]]
        else:
            runs = _all(run, chosen, options, metric)
        print("\n".join(filter(None, (_table(runs, metric), summary(runs)))))
    except (
        ImportError,
        KeyError,
        OSError,
        ValueError,
    ) as error:  # what the user handed over: no traceback
        parser.exit(1, f"{parser.prog}: {error or type(error).__name__}\n")
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
                runs.append({"method": method, "seed": seed, "start": {}, "epochs": rows})
                for row in run(method, seed, options):
                    bar.update(row["epoch"] - (rows[-1]["epoch"] if rows else 0))
                    if row["epoch"]:
                        rows.append(row)
                    else:
                        runs[-1]["start"] = row
                    bar.set_postfix({metric: f"{row[metric]:.4g}"})
                    if options.json is not None:  # after every epoch: nothing is lost
                        save(runs, options.json)
    return runs


def save(runs: list[Row], file: Path) -> None:
    """Write the results, null for what is not finite."""
    file.write_text(standard_json({"runs": runs}))


def write(results: Any, file: Path) -> None:
    """Write all of it or nothing: whoever is stopped meanwhile keeps the file of before."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(standard_json(results))
    part.replace(file)


def read(file: Path, names: set[str]) -> Row:
    """Results of a file, an object that has these names."""
    results: Row = json.loads(file.read_text())
    missing = names - (results.keys() if isinstance(results, dict) else set())
    if missing:
        raise ValueError(f"{file} has no {', '.join(sorted(missing))}")
    return results


def merged(several: Sequence[Row], key: Callable[[Row], Any]) -> Row:
    """The results of several files of the same settings; of runs of the same key, the last."""
    first, *others = several
    if any(other["settings"] != first["settings"] for other in others):
        raise ValueError("the files have runs of different settings")
    runs = {key(run): run for results in several for run in results["runs"]}
    return {**first, "runs": list(runs.values())}


def standard_json(results: Any) -> str:
    """The results as JSON that any reader takes: null for what is not finite.

    What has no lists or objects inside is on one line.
    """

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [finite(entry) for entry in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    text = json.dumps(finite(results), indent=1, allow_nan=False)
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda leaf: " ".join(leaf[0].split()), text) + "\n"


def _table(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    rows = []
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [rows_of(run) for run in runs if run["method"] == method and rows_of(run)]
        if mine:
            first, last = ([_of(of[k], metric) for of in mine] for k in (0, -1))
            rows.append([
                method, len(mine), mine[0][-1]["epoch"],
                np.mean([of[-1]["seconds"] for of in mine]),
                np.mean([_of(of[-1], "train_loss") for of in mine]),
                np.mean(first), np.mean(last), np.std(last),
            ])  # fmt: skip
    heads = ["method", "runs", "epochs", "seconds", "train loss", "first", metric, "std"]
    return tabulate(rows, headers=heads, floatfmt=".4g", tablefmt="github")


def rows_of(run: Mapping[str, Any]) -> list[Row]:
    """The rows of a run, the untrained one first."""
    return [row for row in (run.get("start"), *run["epochs"]) if row]


def _of(row: Row, name: str) -> float:
    """A figure, NaN where the row has none."""
    value = row.get(name)
    return np.nan if value is None else float(value)


def picture(runs: Sequence[Mapping[str, Any]], metric: str, title: str, file: Path) -> None:
    """Loss and test figure per epoch and per second, each method's mean over its runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [rows_of(run) for run in runs if run["method"] == method and rows_of(run)]
        shortest = min(len(rows) for rows in mine)
        for line, name in enumerate(("train_loss", metric)):
            values = np.array([[_of(row, name) for row in rows[:shortest]] for rows in mine])
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


def positive(text: str) -> int:
    """A whole number of the command line that is 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def rounded(value: Any) -> Any:
    """Results with numbers of six digits, for a file to keep."""
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
