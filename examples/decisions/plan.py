"""Which runs there are: what fits into three hours of two cores, and what options make of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from examples.decisions.methods import EXTRA, METHODS, SIDES
from examples.decisions.tasks import TASKS

Run = dict[str, Any]

DEGREES, NOISE, TRAIN, RATES = (1, 4, 6), (0.0, 0.5), (100, 1000), (0.03, 0.3)
SOLVERS = ("same", "default")
EVERY = 32  # steps between evaluations: 1000 samples, where as many are there

KEY = ("task", "degree", "noise", "train", "seed", "method", "side", "solver", "rate")


@dataclass(frozen=True)
class Plan:
    """What one task gets, unless options say otherwise.

    `samples` are those of perturbed methods, `seeds` how many, `test` the test samples; `middle` is
    true where only degree 4 with noise 0.5 fits.
    """

    steps: int
    samples: int
    seeds: int
    test: int = 1000
    middle: bool = False


PLANS = {
    "shortest_path": Plan(steps=192, samples=3, seeds=3),
    "knapsack": Plan(steps=192, samples=1, seeds=2),
    "knapsack_2d": Plan(steps=192, samples=1, seeds=2),
    "tsp": Plan(steps=64, samples=1, seeds=1, test=200, middle=True),
    "portfolio": Plan(steps=192, samples=1, seeds=2),
}


def plan_of(task: str, options: argparse.Namespace) -> Plan:
    """The plan of a task under the options given."""
    usual = PLANS[task]
    given = options.degrees or options.noise
    return Plan(
        options.steps or usual.steps,
        options.samples or usual.samples,
        options.seeds or usual.seeds,
        options.test or usual.test,
        usual.middle and not given,
    )


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What all runs of a file have in common."""
    plans = {task: plan_of(task, options) for task in TASKS}
    return {
        "validation": options.validation,
        "test": {task: plan.test for task, plan in plans.items()},
        "steps": {task: plan.steps for task, plan in plans.items()},
        "samples": {task: plan.samples for task, plan in plans.items()},
    }


def wanted(options: argparse.Namespace) -> Iterator[Run]:
    """The runs, whole seeds one after the other: each is described by KEY.

    PyEPO's own first choice is Gurobi, so that its runs of "same" are those of "default" as well.
    """
    seeds = max(plan_of(task, options).seeds for task in options.tasks)
    for seed, task in product(range(seeds), options.tasks):
        plan = plan_of(task, options)
        if seed >= plan.seeds:
            continue
        degrees, noise = ((4,), (0.5,)) if plan.middle else (DEGREES, NOISE)
        cells = product(options.degrees or degrees, options.noise or noise, options.train or TRAIN)
        for (degree, level, train), side in product(cells, options.sides):
            solvers = options.solvers
            if side == "theirs" and "same" in solvers:
                solvers = ("same",)
            for method, solver, rate in product(options.methods, solvers, options.rates):
                if described(method).absent(side, task):
                    continue
                if solver != solvers[0] and method == "two_stage":
                    continue  # it has no solver
                values = (task, degree, level, train, options.seed + seed, method, side, solver)
                yield dict(zip(KEY, (*values, rate), strict=True))


def described(method: str) -> Any:
    """A method by its name."""
    return (METHODS | EXTRA)[method]


def absences(options: argparse.Namespace) -> dict[str, list[str]]:
    """Why methods are left out by themselves: {reason: ["method on task", ...]}."""
    reasons: dict[str, list[str]] = {}
    for side, method in product(options.sides, options.methods):
        found = {task: described(method).absent(side, task) for task in options.tasks}
        if not described(method).on(side):
            continue  # the table has no entry for it
        for task, why in found.items():
            if why:
                reasons.setdefault(why, []).append(f"{side} {method} on {task}")
    return reasons


def selected(results: Run, options: argparse.Namespace) -> Run:
    """The results of those runs alone that the options name; PyEPO's count for both solvers."""
    names = {
        "task": options.tasks, "degree": options.degrees, "noise": options.noise,
        "train": options.train, "side": options.sides,
        "method": (*options.methods, "two_stage"),
    }  # fmt: skip
    runs = [
        run
        for run in results["runs"]
        if all(not values or run[name] in values for name, values in names.items())
        and (run["solver"] in options.solvers or run["side"] == "theirs")
    ]
    return {**results, "runs": runs}


def key(run: Run) -> tuple[Any, ...]:
    """What makes a run another one."""
    return tuple(run[name] for name in KEY)


def names_of(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Comma-separated names of the command line."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = sorted(set(names) - set(known))
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"no {what} {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return names


def sides_of(word: str) -> tuple[str, ...]:
    """Of ours, theirs, both."""
    return SIDES if word == "both" else (word,)


def solvers_of(word: str) -> tuple[str, ...]:
    """Of same, default, both."""
    return SOLVERS if word == "both" else (word,)
