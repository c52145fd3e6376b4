"""Which solver serves a problem, why, and which of the installed ones is fastest on it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.analysis.progress import progress_bar
from cvxlpgd.derivatives import LPGD
from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning
from cvxlpgd.layer import Layer, compile_layer, real
from cvxlpgd.solvers.choose.choice import all_solvers
from cvxlpgd.solvers.choose.rules import is_dual_ahead, rule_for
from cvxlpgd.solvers.protocol import missing_cones


def explanation(layer: Layer) -> str:
    """Which solvers solver=None asks for a layer's programs, and why."""
    structure = layer.structure
    rule = rule_for(structure)
    first = "Newton's method on the dual first, then " if is_dual_ahead(structure) else ""
    kinds = ", ".join(sorted({type(cone).__name__ for cone in structure.cones})) or "none"
    return (
        f"{structure.n} variables, {structure.m} rows, cones {kinds}, "
        f"{structure.A.size} entries in A, {structure.P.size} in P\n"
        f"rule: {rule.kind}: {rule.why}\n"
        f"tried in this order: {first}{', '.join(layer.solvers)}"
        + ("; solutions are refined by Newton's method" if rule.refined else "")
    )


@dataclass(frozen=True)
class Timing:
    """One solver's median seconds, and how accurate it was."""

    solver: str
    forward: float  # median seconds of a batch, as is `backward`; NaN where it failed
    backward: float
    residual: float  # the largest relative KKT residual of its solutions
    error: float  # of its gradients, relative to those of the most accurate solver of the run
    note: str = ""  # why there are no times


def tune(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    values: Sequence[Any],
    *,
    gp: bool = False,
    rounds: int = 5,
    time_limit: float = 10.0,
    progress: bool | None = None,
) -> list[Timing]:
    """All installed solvers that take the problem, fastest first; the arguments are a layer's.

    In each round every solver has one forward and one backward pass of `LPGD()`, with the same
    random cotangents. One that takes longer than `time_limit` seconds for these has one round only.
    A progress bar is shown if `progress`; by default after two seconds, in a terminal.
    """
    arrays = [real(v, f"value {i}").astype(float) for i, v in enumerate(values)]
    lists = problem, parameters, variables
    structure = compile_layer(*lists, gp=gp).structure
    candidates = [s for s, _, installed in all_solvers() if installed]
    candidates = [s for s in candidates if not missing_cones(s, structure)]
    runs: dict[str, list[tuple[float, float]]] = {s.name: [] for s in candidates}
    layers: dict[str, Layer] = {}
    results: dict[str, tuple[float, np.ndarray]] = {}
    notes: dict[str, str] = {}
    parts = (rounds + 1) * len(candidates)
    with warnings.catch_warnings(), progress_bar("tune", progress, parts) as bar:
        warnings.simplefilter("ignore", CvxlpgdWarning)
        for _ in range(rounds + 1):
            for solver in candidates:
                bar.update()
                name, times = solver.name, runs[solver.name]
                if name in notes or (times and sum(times[0]) > time_limit):
                    continue
                try:
                    if name not in layers:
                        layers[name] = compile_layer(
                            *lists, solver=solver, gp=gp, derivative=LPGD()
                        )
                    seconds, results[name] = _time(layers[name], arrays)
                    times.append(seconds)
                except CvxlpgdError as error:
                    notes[name] = str(error).splitlines()[0][:100]
    return _rank(runs, results, notes)


def _rank(
    runs: dict[str, list[tuple[float, float]]],
    results: dict[str, tuple[float, np.ndarray]],
    notes: dict[str, str],
) -> list[Timing]:
    """The solvers by their times, those that failed last, all by name.

    `runs` has (forward, backward) of each round, `results` the residual and the gradients
    (entries,), `notes` why a solver failed.
    """
    best = min(results, key=lambda name: results[name][0], default=None)
    rows = []
    for name, times in runs.items():
        if name in notes:
            rows.append(Timing(name, np.nan, np.nan, np.nan, np.nan, notes[name]))
            continue
        # the first round imports and warms up
        forward, backward = np.median(times[1:] or times, axis=0)
        residual, gradient = results[name]
        reference = results[best][1] if best else gradient
        size = float(np.linalg.norm(reference)) or 1.0
        distance = float(np.linalg.norm(gradient - reference)) / size
        rows.append(Timing(name, float(forward), float(backward), residual, distance))
    return sorted(rows, key=lambda row: (np.isnan(row.forward), row.forward + row.backward))


def _time(
    layer: Layer, arrays: Sequence[np.ndarray]
) -> tuple[tuple[float, float], tuple[float, np.ndarray]]:
    """Seconds of a forward and a backward pass; the largest residual, and all gradients."""
    begin = perf_counter()
    call = layer.forward(arrays)
    middle = perf_counter()
    random = np.random.default_rng(0)
    bars = [random.standard_normal(output.shape) for output in call.outputs]
    start = perf_counter()
    gradients = call.vjp(bars, [True] * len(arrays))
    end = perf_counter()
    info = layer.info
    worst = np.nanmax([info.primal_residual, info.dual_residual, info.gap])
    flat = np.concatenate([g.ravel() for g in gradients if g is not None] or [np.zeros(0)])
    return (middle - begin, end - start), (float(worst), flat)
