"""Times and errors of engines on families, side by side in one process."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from time import sleep
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import WRONG_GRADIENT, WRONG_SOLUTION, reference
from benchmarks.engines import ENGINES, OURS, Step, Unsupported
from benchmarks.families import FAMILIES, Instance
from benchmarks.floor import floor

REST = 0.1  # seconds before each step: the threads of the one before spin on for a while
ENOUGH = 5.0  # seconds of an engine's steps


@dataclass(frozen=True)
class Row:
    """One engine on one family.

    Attributes
    ----------
    forward, backward : float
        Median seconds of a batch; NaN where it did not run.
    solution_error, gradient_error : float
    note : str
        Why it did not run, or what is wrong with its answers.
    """

    family: str
    engine: str
    batch: int
    variables: int
    forward: float
    backward: float
    solution_error: float
    gradient_error: float
    note: str = ""

    @property
    def total(self) -> float:
        """Seconds of forward and backward."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Floor:
    """The bare loop over the chosen solver, median seconds."""

    family: str
    solver: str
    forward: float
    backward: float


def side_by_side(
    instance: Instance,
    engines: Sequence[str],
    rounds: int,
    judged: bool = True,
    enough: float = ENOUGH,
) -> tuple[list[Row], Floor | None]:
    """All engines on one instance, in turn: each once per round, after one round to warm up.

    An engine takes part in no more rounds once its steps have taken `enough` seconds.
    """
    steps: dict[str, Step] = {}
    notes: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in engines:
            try:
                steps[name] = ENGINES[name].step(instance)
            except Unsupported as error:
                notes[name] = str(error).splitlines()[0]
        bare = floor(instance) if judged and OURS in engines else None
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
        bares: list[tuple[float, float]] = []
        last: dict[str, Any] = {}
        for turn in range(rounds + 1):
            # another one is first in each round
            first = turn % max(1, len(steps))
            order = [*steps.items()]
            for name, step in order[first:] + order[:first]:
                if name in notes or _seconds(times[name]) > enough:
                    continue
                sleep(REST)
                try:
                    last[name] = step()
                    times[name].append((last[name].forward, last[name].backward))
                except Exception as error:
                    notes[name] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
            if bare is not None and _seconds(bares) <= enough:
                sleep(REST)
                bares.append(bare())
        truth = reference(instance) if judged else None
    rows = []
    for name in engines:
        forward, backward = np.nan, np.nan
        errors = np.nan, np.nan
        if name in last and name not in notes:
            forward, backward = np.median(times[name][1:] or times[name], axis=0)
            if truth is not None:
                errors = truth.solution_error(last[name]), truth.gradient_error(last[name])
                if instance.family.kind == "linear" and name != OURS:
                    errors = errors[0], np.nan  # of another tau, or exact: nothing to compare with
                notes[name] = _wrong(instance, name, last[name], *errors)
        rows.append(
            Row(instance.family.name, name, len(instance.cotangent),
                int(np.prod(instance.variables[0].shape)), float(forward), float(backward),
                float(errors[0]), float(errors[1]), notes.get(name, ""))
        )  # fmt: skip
    if not bares:
        return rows, None
    forward, backward = np.median(bares[1:] or bares, axis=0)
    return rows, Floor(instance.family.name, solver_of(instance), float(forward), float(backward))


def _seconds(times: Sequence[tuple[float, float]]) -> float:
    """Of all these passes."""
    return sum(forward + backward for forward, backward in times)


def _wrong(instance: Instance, name: str, run: Any, solution: float, gradient: float) -> str:
    """What is wrong with an answer, in words."""
    words = []
    if not solution <= WRONG_SOLUTION:
        words.append(f"wrong solution ({solution:.0e})")
    if instance.family.kind == "smooth" and not gradient <= WRONG_GRADIENT:
        words.append(f"wrong gradient ({gradient:.0%} off)")
    if instance.family.kind == "linear" and not ENGINES[name].ours:
        largest = max(float(np.abs(g).max()) for g in run.gradients)
        words.append(f"exact gradient is 0, got up to {largest:.0e}")
    return "; ".join(words)


def solver_of(instance: Instance) -> str:
    """The solver that ours asks first."""
    from cvxlpgd.torch import CvxpyLayer

    layer = CvxpyLayer(instance.problem, instance.parameters, instance.variables)
    return layer._layer.solvers[0]


def families(
    names: Sequence[str],
    engines: Sequence[str],
    rounds: int,
    scale: float,
    batch: int | None,
    judged: bool = True,
) -> tuple[list[Row], list[Floor]]:
    """All engines on all families; their answers, and the bare loop, if `judged`."""
    rows: list[Row] = []
    floors: list[Floor] = []
    for name in tqdm(names, desc=f"families, {scale:g} times their size"):
        able = [e for e in engines if not ENGINES[e].only or name in ENGINES[e].only]
        own, bare = side_by_side(FAMILIES[name].instance(batch, scale), able, rounds, judged)
        rows += own
        floors += [bare] if bare else []
    return rows, floors
