"""Where a step's time goes: its parts by the clock, the rest is what is between them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

from benchmarks.engines import ENGINES, OURS
from benchmarks.families import FAMILIES

ROUNDS = 15
ENOUGH = 2.0  # seconds of a family's steps, after which there are no more rounds
# part -> the functions that it is made of; none of them calls another one
PARTS = {
    "solver loop": ("cvxlpgd.solvers.run.prepared.solve_each",),
    "Newton's method": (
        "cvxlpgd.solvers.refine.solver.refine",
        "cvxlpgd.solvers.dual_newton._by_newton",
    ),
    "residuals": ("cvxlpgd.solvers.run.solve.judge",),
    "maps": (
        "cvxlpgd.canonical.parameter_map.ParameterMap.data",
        "cvxlpgd.canonical.parameter_map.ParameterMap.cotangents",
    ),
    "domains": ("cvxlpgd.layer.compiled.Compiled.faults", "cvxlpgd.layer.compiled.Compiled.flat"),
    "path": (
        "cvxlpgd.derivatives.perturbation.follow_path",
        "cvxlpgd.derivatives.perturbation.follow_ends",
    ),
    "pull-backs": (
        "cvxlpgd.program.motion.Motion.pull_back",
        "cvxlpgd.program.motion.Motion.total",
    ),
}


def profiles(names: Sequence[str]) -> list[dict[str, Any]]:
    """Median milliseconds of our step on each family, in all and by part."""
    rows = []
    for name in tqdm(names, desc="profiles"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows.append({"family": name} | profile(name))
    return rows


def profile(name: str, batch: int | None = None, scale: float = 1.0) -> dict[str, float]:
    """Median milliseconds of one family's step, in all and by part."""
    step, seconds = ENGINES[OURS].step(FAMILIES[name].instance(batch, scale)), dict[str, float]()
    step()
    rows = []
    patches = [_clocked(f, part, seconds) for part, of in PARTS.items() for f in of]
    for clocked in patches:
        clocked.start()
    try:
        for _ in range(ROUNDS):
            seconds.update(dict.fromkeys(PARTS, 0.0))
            run = step()
            total = run.forward + run.backward
            rows.append([total, *seconds.values(), total - sum(seconds.values())])
            if sum(row[0] for row in rows) > ENOUGH:
                break
    finally:
        for clocked in patches:
            clocked.stop()
    medians = 1e3 * np.median(rows, axis=0)
    return dict(zip(("ms", *PARTS, "rest"), medians.tolist(), strict=True))


def _clocked(target: str, part: str, seconds: dict[str, float]) -> Any:
    """A patch of a function that adds the time it takes to its part."""
    place, name = target.rsplit(".", 1)
    original = _function(place, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[part] += perf_counter() - begin

    return patch(target, timed)


def _function(place: str, name: str) -> Callable[..., Any]:
    from pkgutil import resolve_name

    return getattr(resolve_name(place), name)
