"""What each advice of docs/performance.md is worth: the same step without and with it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.engines import relative_tau
from benchmarks.families import FAMILIES, Instance
from benchmarks.measure import REST
from cvxlpgd import LPGD, Exact
from cvxlpgd.solvers import Clarabel, Refined
from cvxlpgd.torch import CvxpyLayer

ROUNDS = 9
INTERIOR = "CLARABEL"  # it comes with CVXPY; it cannot start from a solution
MOVED = 1e-3  # how far data move between two steps of training, relative to their size
Step = Callable[[], float]  # returns its seconds
Variant = Callable[[Instance], Step]


@dataclass(frozen=True)
class Advice:
    """One advice.

    Parameters
    ----------
    name : str
    family : str
        The problem that it is measured on.
    without, followed : Instance -> step
    """

    name: str
    family: str
    without: Variant
    followed: Variant


def advice(
    rounds: int = ROUNDS, batch: int | None = None, scale: float = 1.0
) -> list[dict[str, Any]]:
    """Median milliseconds without each advice and with it, in turn."""
    rows = []
    for row in tqdm(ADVICE, desc="advice"):
        instance = FAMILIES[row.family].instance(batch, scale)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = row.without(instance), row.followed(instance)
            seconds = np.array([[_rested(step) for step in steps] for _ in range(rounds + 1)])
        without, followed = 1e3 * np.median(seconds[1:], axis=0)
        rows.append({"advice": row.name, "family": row.family,
                     "without (ms)": float(without), "followed (ms)": float(followed)})  # fmt: skip
    return rows


def _rested(step: Step) -> float:
    sleep(REST)
    return step()


def _tensors(instance: Instance, needed: Sequence[int] | None = None) -> list[torch.Tensor]:
    """The parameters' values; those at the positions `needed`, or all, require a gradient."""
    return [torch.tensor(value, requires_grad=needed is None or i in needed)
            for i, value in enumerate(instance.values)]  # fmt: skip


def _layer(instance: Instance, **options: Any) -> CvxpyLayer:
    return CvxpyLayer(instance.problem, instance.parameters, instance.variables, **options)


def _clock(action: Callable[[], Any]) -> float:
    begin = perf_counter()
    action()
    return perf_counter() - begin


def _step(layer: CvxpyLayer, tensors: Sequence[torch.Tensor], bar: torch.Tensor) -> None:
    layer(*tensors)[0].reshape(bar.shape).backward(bar)


def _whole(of: Callable[[Instance], list[torch.Tensor]] = _tensors, **options: Any) -> Variant:
    """Forward and backward of the batch."""

    def variant(instance: Instance) -> Step:
        layer, bar = _layer(instance, **options), torch.tensor(instance.cotangent)
        return lambda: _clock(lambda: _step(layer, of(instance), bar))

    return variant


def _constructing(instance: Instance) -> Step:
    """Forward and backward of a new layer each time."""
    bar = torch.tensor(instance.cotangent)
    return lambda: _clock(lambda: _step(_layer(instance), _tensors(instance), bar))


def _backward(derivative: Callable[[Instance], Any], solver: str | None = None) -> Variant:
    """The backward pass alone; the derivative may depend on the data."""

    def variant(instance: Instance) -> Step:
        layer = _layer(instance, derivative=derivative(instance), solver=solver)
        bar = torch.tensor(instance.cotangent)

        def step() -> float:
            solved = layer(*_tensors(instance))[0].reshape(bar.shape)
            return _clock(lambda: solved.backward(bar))

        return step

    return variant


def _repeated(instance: Instance) -> list[torch.Tensor]:
    """All parameters with a batch axis, which some of the problem's do not need."""
    batch = len(instance.cotangent)
    shapes = [(batch, *parameter.shape) for parameter in instance.parameters]
    return [torch.tensor(np.broadcast_to(value, shape), requires_grad=True)
            for value, shape in zip(instance.values, shapes, strict=True)]  # fmt: skip


def _one_by_one(instance: Instance) -> Step:
    """A call for each sample."""
    layer, bar = _layer(instance), torch.tensor(instance.cotangent)

    def steps() -> None:
        tensors = _tensors(instance)
        for k in range(len(bar)):
            mine = [t[k] if t.ndim > p.ndim else t
                    for t, p in zip(tensors, instance.parameters, strict=True)]  # fmt: skip
            _step(layer, mine, bar[k])

    return lambda: _clock(steps)


def _forward(warm: bool) -> Variant:
    """The forward pass alone, at data that have moved a little."""

    def variant(instance: Instance) -> Step:
        layer, rng = _layer(instance), np.random.default_rng(2)

        def step() -> float:
            noise = (MOVED * rng.standard_normal(v.shape) for v in instance.values)
            moved = [torch.tensor(v + v * e) for v, e in zip(instance.values, noise, strict=True)]
            return _clock(lambda: layer(*moved, warm_start=warm))

        return step

    return variant


def _on_one_core(instance: Instance) -> Step:
    """The forward pass, in one thread where the platform can ask for that."""
    step = _forward(warm=False)(instance)
    if not hasattr(os, "sched_setaffinity"):
        return step

    def alone() -> float:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            return step()
        finally:
            os.sched_setaffinity(0, cores)

    return alone


def _averaged(instance: Instance) -> LPGD:
    return LPGD(tau=relative_tau(instance), side="average")


ADVICE = (
    Advice("install", "projection QP", _whole(solver=Refined(Clarabel())), _whole()),
    Advice("construct", "dense QP", _constructing, _whole()),
    Advice("batch", "projection QP", _one_by_one, _whole()),
    Advice("shared", "dense QP", _whole(_repeated), _whole()),
    Advice("needed", "dense QP", _whole(), _whole(lambda instance: _tensors(instance, needed=[1]))),
    Advice("limit", "SOC", _backward(_averaged, INTERIOR), _backward(lambda _: Exact(), INTERIOR)),
    Advice(
        "side", "sparse LP", _backward(lambda _: LPGD()), _backward(lambda _: LPGD(side="lower"))
    ),
    Advice("small", "sparse LP", _backward(lambda _: LPGD()), _backward(_averaged)),
    Advice("warm", "sparse LP", _forward(warm=False), _forward(warm=True)),
    Advice("threads", "sparse LP", _on_one_core, _forward(warm=False)),
)
