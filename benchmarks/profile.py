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
# part -> the functions that it is made of; none of them calls another one
PARTS = {
    "solver loop": ("cvxlpgd.solvers.run.prepared.solve_each",),
    "Newton's method": ("cvxlpgd.solvers.refine.solver.refine",),
    "residuals": ("cvxlpgd.solvers.run.solve.judge",),
    "maps": (
        "cvxlpgd.canonical.parameter_map.ParameterMap.data",
        "cvxlpgd.canonical.parameter_map.ParameterMap.cotangents",
    ),
    "domains": ("cvxlpgd.layer.compiled.Compiled.faults", "cvxlpgd.layer.compiled.Compiled.flat"),
    "differences": (
        "cvxlpgd.derivatives.ends.is_noise",
        "cvxlpgd.program.ConeProgram.lagrangian_gradient",
    ),
}


def profiles(names: Sequence[str]) -> list[dict[str, Any]]:
    """Median milliseconds of our step on each family, in all and by part."""
    found = []
    for name in tqdm(names, desc="profiles"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append({"family": name} | profile(name))
    return found


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
    finally:
        for clocked in patches:
            clocked.stop()
    medians = 1e3 * np.median(rows, axis=0)
    return dict(zip(("ms", *PARTS, "rest"), medians.tolist(), strict=True))


def _clocked(target: str, part: str, seconds: dict[str, float]) -> Any:
    """A patch of a function that adds the time it takes to its part."""
    place, name = target.rsplit(".", 1)
    original = _found(place, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[part] += perf_counter() - begin

    return patch(target, timed)


def _found(place: str, name: str) -> Callable[..., Any]:
    from pkgutil import resolve_name

    return getattr(resolve_name(place), name)
