"""Which runs there are: what fits into three hours of two cores, and what options make of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from examples.decisions.methods import EXTRA, METHODS, SIDES
from examples.decisions.tasks import TASKS

Run = dict[str, Any]

DEGREES, NOISE, TRAIN, RATES = (1, 4, 6), (0.0, 0.5), (100, 1000), (0.02, 0.1)
MIDDLE = {"degree": 4, "noise": 0.5}
SOLVERS = ("same", "default")
EVERY = 16  # steps between evaluations
DEAR = {  # hundreds of solves for a sample
    "ours": ("frank_wolfe",),
    "theirs": ("fenchel_young", "frank_wolfe"),
}
TOURS_BY_HIGHS = ("spo_plus", "perturbed_fy", "dbb", "lpgd", "map")  # 0.1 s a solve

KEY = ("task", "degree", "noise", "train", "seed", "method", "side", "solver", "rate")


@dataclass(frozen=True)
class Plan:
    """What one task gets, unless options say otherwise.

    Parameters
    ----------
    steps : int
        Of gradients, the same for all sizes of the training data; a multiple of EVERY.
    samples : int
        Of perturbed methods.
    seeds : int
    whole : names of SOLVERS
        Our runs with these solvers have all degrees, both levels of noise, both sizes of training
        data and all seeds, and so have PyEPO's runs; the rest has one cell in the middle. Without
        any, "same" has the middle degree and noise.
    test : int
    by_default : names of METHODS
        Those that run with our default solver, unless options name others.
    """

    steps: int
    samples: int
    seeds: int
    whole: tuple[str, ...]
    test: int = 1000
    by_default: tuple[str, ...] = tuple(METHODS)


PLANS = {
    "shortest_path": Plan(steps=96, samples=3, seeds=3, whole=("default",)),
    "knapsack": Plan(steps=96, samples=1, seeds=2, whole=("same",)),
    "knapsack_2d": Plan(steps=96, samples=1, seeds=2, whole=("same",)),
    "tsp": Plan(steps=32, samples=1, seeds=2, whole=(), test=200, by_default=TOURS_BY_HIGHS),
    "portfolio": Plan(steps=96, samples=1, seeds=2, whole=("default",)),
}


def plan_of(task: str, options: argparse.Namespace) -> Plan:
    """The plan of a task under the options given."""
    usual = PLANS[task]
    return replace(
        usual,
        steps=max(usual.steps // options.shorter, 1),
        samples=options.samples or usual.samples,
        seeds=options.seeds or usual.seeds,
        test=options.test or usual.test,
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
    """The runs, whole seeds one after the other: each is described by KEY."""
    seeds = max(plan_of(task, options).seeds for task in options.tasks)
    for seed, task in product(range(seeds), options.tasks):
        if seed >= plan_of(task, options).seeds:
            continue
        cells = product(options.degrees or DEGREES, options.noise or NOISE, options.train or TRAIN)
        for (degree, noise, train), method, side in product(cells, options.methods, options.sides):
            if described(method).absent(side, task):
                continue
            for solver, rate in product(_solvers(side, method, options.solvers), options.rates):
                values = (task, degree, noise, train, options.seed + seed, method, side, solver)
                run = dict(zip(KEY, (*values, rate), strict=True))
                if options.everything or _fits(run, options):
                    yield run


def _solvers(side: str, method: str, solvers: Sequence[str]) -> Sequence[str]:
    """Each set of rows once: PyEPO's own first choice is Gurobi, and two stages need no solver."""
    once = "same" in solvers and (side == "theirs" or method == "two_stage")
    return ("same",) if once else solvers


def _fits(run: Run, options: argparse.Namespace) -> bool:
    """Whether a run is one of the plan; what an option names is."""
    plan = PLANS[run["task"]]
    named = {"degree": options.degrees, "noise": options.noise}
    middle = all(run[name] == MIDDLE[name] or named[name] for name in MIDDLE)
    dear = run["method"] in DEAR[run["side"]]
    if run["method"] == "two_stage" or (run["side"] == "theirs" and not dear):
        return middle or bool(plan.whole)
    every = set(options.methods) >= METHODS.keys()
    if every and run["solver"] == "default" and run["method"] not in plan.by_default:
        return False
    if run["solver"] in plan.whole and not dear:
        return True
    once = run["seed"] == options.seed and run["train"] in (options.train or TRAIN[:1])
    if run["task"] == "tsp" and run["solver"] == "same":
        return middle
    return middle and once


def described(method: str) -> Any:
    """A method by its name."""
    return (METHODS | EXTRA)[method]


def absences(options: argparse.Namespace, tasks: Sequence[str]) -> dict[str, list[str]]:
    """Why methods are left out by themselves: {reason: ["side method on task", ...]}."""
    reasons: dict[str, list[str]] = {}
    for side, method in product(options.sides, options.methods):
        found = {task: described(method).absent(side, task) for task in tasks}
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
