"""Running what is wanted and not there yet: trainings in both processes, judged in this one."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning
from examples import _experiment
from examples.decisions import ours, plan, tasks
from examples.decisions.peer import Peer
from examples.decisions.training import Row, predicted

Results = dict[str, Any]
FIELDS = {"settings", "runs", "absent"}
FIGURES = {
    "validation_regret",
    "test_regret",
    "best_test_regret",
    "best_validation_regret",
    "seconds",
    "samples_seen",
    "backend",
}


class Trainer:
    """Trains by the methods of both packages, and judges all in the same way."""

    def __init__(self, options: argparse.Namespace, peer: Peer | None, folder: Path) -> None:
        self._options, self._peer, self._folder = options, peer, folder
        self._data = lru_cache(maxsize=2)(self._made)

    def _made(self, task: str, degree: int, noise: float, seed: int) -> tuple[tasks.Data, Path]:
        """A data set, and its file for the other process."""
        sizes = self._options.validation, plan.plan_of(task, self._options).test
        data = tasks.data(task, degree, noise, seed, *sizes, ours.solved)
        file = self._folder / f"{task}-{degree}-{noise:g}-{seed}.npz"
        data.save(file)
        return data, file

    def run(self, wanted: Row, bar: tqdm[Any]) -> Row:
        """The run with its figures; {"absent"} or {"failure"} where there are none."""
        cell = (wanted[name] for name in ("task", "degree", "noise", "seed"))
        data, file = self._data(*cell)
        settings = plan.plan_of(wanted["task"], self._options)
        job = {
            **wanted, "steps": settings.steps, "every": min(plan.EVERY, settings.steps),
            "samples": settings.samples, "data": str(file),
        }  # fmt: skip
        report: Row = {**wanted, "epochs": []}
        weights = []
        for row in self._rows(job, data):
            if "weights" not in row:
                report |= row
                continue
            weights.append(row.pop("weights"))
            report["epochs"].append(row)
            bar.update(job["every"])
        if "failure" in report or "absent" in report:
            return report
        try:
            return report | self._figures(report["epochs"], data, weights, wanted["train"])
        except CvxlpgdError as error:  # as for weights that are no longer finite
            return report | {"failure": f"the decisions: {type(error).__name__}: {error}"}

    def _rows(self, job: Row, data: tasks.Data) -> Iterator[Row]:
        if job["side"] == "theirs":
            assert self._peer is not None
            return self._peer.answers(job)
        return _without_errors(ours.rows(job, data))

    def _figures(self, epochs: list[Row], data: tasks.Data, weights: list[Any], train: int) -> Row:
        """What the table is made of: of the last weights, and of those that validation prefers.

        Rows of `epochs` get their validation regret.
        """
        first = tasks.TRAIN + self._options.validation
        validation, test = slice(tasks.TRAIN, first), slice(first, None)
        regrets = [self._regret(data, each, validation) for each in weights]
        for row, regret in zip(epochs, regrets, strict=True):
            row["validation_regret"] = regret
        least = regrets.index(min(regrets))
        last, steps = len(epochs) - 1, epochs[-1]["steps"]
        tested = {k: self._regret(data, weights[k], test) for k in {least, last}}
        return {
            "seconds": epochs[-1]["seconds"],
            "samples_seen": samples_seen(train, steps),
            "validation_regret": regrets[-1],
            "test_regret": tested[last],
            "best_steps": epochs[least]["steps"],
            "best_validation_regret": regrets[least],
            "best_test_regret": tested[least],
        }

    def _regret(self, data: tasks.Data, weights: Any, part: slice) -> float:
        decisions = ours.solved(data.task, data.fixed, predicted(weights, data.features[part]))
        return data.regret(decisions, part)


def samples_seen(train: int, steps: int) -> int:
    """How many samples the steps of a training take, the last batch of an epoch being smaller."""
    whole, rest = divmod(steps, -(-train // tasks.BATCH))
    return whole * train + rest * tasks.BATCH


def _without_errors(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; a solve that fails ends them."""
    try:
        yield from rows
    except CvxlpgdError as error:
        yield {"failure": f"{type(error).__name__}: {error}"}


def everything(options: argparse.Namespace) -> Results:
    """All runs that are wanted; those of the file --json are not repeated."""
    # inaccurate solutions and zero gradients are part of what is compared
    warnings.simplefilter("ignore", CvxlpgdWarning)
    torch.set_num_threads(1)
    results: Results = {"settings": plan.settings(options), "absent": [], "runs": []}
    if options.json is not None and options.json.exists():
        results = read(options.json)
        results["absent"] = []  # it may be there now
        if results["settings"] != plan.settings(options):
            raise ValueError(f"{options.json} has runs of other settings: {results['settings']}")
    todo = {plan.key(run): run for run in plan.wanted(options)}
    # what failed, such as for want of a licence, is tried once more
    kept = [r for r in results["runs"] if "failure" not in r or plan.key(r) not in todo]
    results["runs"], present = kept, {plan.key(run) for run in kept}
    missing = [run for name, run in todo.items() if name not in present]
    total = sum(plan.plan_of(run["task"], options).steps for run in missing)
    needed = any(run["side"] == "theirs" for run in missing)
    with (
        TemporaryDirectory() as folder,
        _peer(options, needed) as peer,
        tqdm(total=total, unit="step", delay=1, smoothing=0.01) as bar,
    ):
        trainer = Trainer(options, peer, Path(folder))
        for run in missing:
            bar.set_description(" ".join(str(run[name]) for name in plan.KEY))
            end = bar.n + plan.plan_of(run["task"], options).steps
            report = trainer.run(run, bar)
            bar.update(end - bar.n)
            bar.set_postfix(test_regret=f"{report.get('best_test_regret', np.nan):.4g}")
            if "absent" in report:
                _note(results, report)
            else:
                results["runs"].append(report)
            if options.json is not None:
                _experiment.write(results, options.json)
    return results


def _peer(options: argparse.Namespace, needed: bool) -> AbstractContextManager[Peer | None]:
    return Peer(options.pyepo_python) if needed else nullcontext()


def _note(results: Results, report: Row) -> None:
    """Keep once why PyEPO cannot run something here."""
    line = report["absent"]
    if line not in results["absent"]:
        results["absent"].append(line)
        print(f"\nleft out: {line}", file=sys.stderr)


def read(file: Path) -> Results:
    """Results of a file, of which every run is whole.

    Raises
    ------
    ValueError
        For a file that is not one of this experiment.
    """
    results = _experiment.read(file, FIELDS)
    for run in results["runs"]:
        missing = set(plan.KEY) - run.keys()
        if "failure" not in run:
            missing |= FIGURES - run.keys()
        if missing:
            raise ValueError(f"{file} has a run without {', '.join(sorted(missing))}")
    return results


def merged(files: list[Path]) -> Results:
    """The results of several files; of the same run twice, the last."""
    several = [read(file) for file in files]
    absent = list(dict.fromkeys(line for results in several for line in results["absent"]))
    return {**_experiment.merged(several, plan.key), "absent": absent}


def condensed(results: Results) -> Results:
    """For a file to keep: without the curves of training, and with numbers of six digits."""
    kept = [{k: v for k, v in run.items() if k != "epochs"} for run in results["runs"]]
    condensed: Results = _experiment.rounded({**results, "runs": kept})
    return condensed
