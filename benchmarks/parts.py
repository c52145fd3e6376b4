"""Sweeps over batch and size, memory, construction, reuse, and the fixed cost of a call."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.engines import AUTOMATIC, ENGINES, OURS, relative_tau
from benchmarks.families import FAMILIES, Instance
from benchmarks.measure import side_by_side

BATCHES = (1, 8, 64, 512)
SCALES = (0.25, 1.0, 4.0, 8.0)
SCALED_BATCH = 2  # of a sweep over sizes: a sample of the largest takes ten seconds
SWEPT = ("projection QP", "sparse LP", "SOC")
ONCE = 1.5  # seconds of a step, from which a sweep has no second one
SHORT = 5.0  # seconds of a step, up to which a sweep's memory is measured too
CALLS = 200
CONSTRUCTED = {"LP": 500, "least squares": 500, "norm": 500, "transport": 500, "quadratic": 2000}
Point = dict[str, Any]  # a row of a sweep


def sweeps(names: Sequence[str], engines: Sequence[str], budget: float) -> list[Point]:
    """Times against the batch and against n, each after one step to warm up if that is short.

    A sweep, but that of ours at a tau, ends where a step is expected to take longer than `budget`
    seconds, by the two before; any sweep ends where one does not run.
    """
    points: list[Point] = []
    for name in tqdm(names, desc="sweeps"):
        for kind, values in (("batch", BATCHES), ("scale", SCALES)):
            for engine in (e for e in engines if not ENGINES[e].only):
                points += _sweep(name, kind, values, engine, np.inf if engine == OURS else budget)
    return points


def _sweep(
    name: str, kind: str, values: Sequence[float], engine: str, budget: float
) -> list[Point]:
    """One engine's points, as far as they are expected to take less than `budget` seconds."""
    points: list[Point] = []
    for value in values:
        if _expected(points, value) > budget:
            break
        instance = FAMILIES[name].instance(*_size(kind, value))
        rows, _ = side_by_side(instance, [engine], rounds=1, judged=False, enough=ONCE)
        points.append(asdict(rows[0]) | {"sweep": kind, "value": value})
        if rows[0].note:
            break
    return points


def _size(sweep: str, value: float) -> tuple[int, float]:
    """The batch and the scale at a point of a sweep."""
    return (int(value), 1.0) if sweep == "batch" else (SCALED_BATCH, value)


def _expected(swept: Sequence[Point], value: float) -> float:
    """Seconds of a sweep's next step, by the power law through the last two points."""
    if len(swept) < 2:
        return 0.0
    (one, first), (other, last) = ((p["value"], _seconds(p)) for p in swept[-2:])
    power = np.log(last / first) / np.log(other / one)
    return float(last * (value / other) ** power)


def _seconds(point: Point) -> float:
    """Of its step."""
    return float(point["forward"] + point["backward"])


def steps_alone(names: Sequence[str], engines: Sequence[str], scale: float = 1.0) -> list[Point]:
    """One step of each family and engine in a process of its own, with the memory of that."""
    pairs = [(name, engine) for name in names for engine in engines]
    return [alone("step", *pair, str(scale)) for pair in tqdm(pairs, desc="each by itself")]


def add_peaks(points: Sequence[Point], engine: str) -> None:
    """Peak memory, MB, of an engine's points of a sweep that ran, and did not take long.

    A sweep is a process, whose peak grows from point to point.
    """
    ran = [p for p in points if p["engine"] == engine and not p["note"] and _seconds(p) <= SHORT]
    sweeps_of = dict.fromkeys((p["family"], p["sweep"]) for p in ran)
    for family, sweep in tqdm(sweeps_of, desc="memory of the sweeps"):
        own = [p for p in ran if (p["family"], p["sweep"]) == (family, sweep)]
        values = [str(p["value"]) for p in own]
        for point, most in zip(own, alone("peaks", family, engine, sweep, *values), strict=True):
            point["peak"] = most


def peaks_of(name: str, engine: str, sweep: str, *values: str) -> list[float]:
    """Peak memory of this process, MB, after a step at each of these points of a sweep."""
    peaks = []
    for value in map(float, values):
        instance = FAMILIES[name].instance(*_size(sweep, value))
        side_by_side(instance, [engine], rounds=0, judged=False)
        peaks.append(peak())
    return peaks


def step_of(name: str, engine: str, scale: str) -> Point:
    """One step's row, and peaks of this process' memory, MB: after the imports, after the step.

    A small step comes first, which brings what is imported by then.
    """
    side_by_side(_smallest(), [OURS], rounds=0, judged=False)
    imports, instance = peak(), FAMILIES[name].instance(scale=float(scale))
    rows, _ = side_by_side(instance, [engine], rounds=0, judged=False)
    most = peak() if not rows[0].note else float("nan")
    return asdict(rows[0]) | {"imports": imports, "peak": most}


def alone(*words: str) -> Any:
    """What `python -m benchmarks` prints for these words, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak() -> float:
    """Peak resident memory of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak is inherited from the process that started this one
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def construction() -> list[dict[str, Any]]:
    """Seconds and MB of constructing a layer with a large parameter, each in its process."""
    rows = []
    for kind, n in CONSTRUCTED.items():
        rows.append({"problem": kind, "n": n} | alone("construct", kind, str(n)))
    return rows


def construction_of(kind: str, n: str) -> dict[str, float]:
    """Seconds, and MB above the imports, with a parameter of n rows and columns."""
    import cvxpy as cp

    from cvxlpgd.torch import CvxpyLayer

    size = int(n)
    x, X = cp.Variable(size), cp.Variable((size, size))
    A, b = cp.Parameter((size, size)), cp.Parameter(size)
    objective, constraints = {
        "LP": (cp.sum(x), [A @ x <= b, x >= 0]),
        "least squares": (cp.sum_squares(A @ x - b), []),
        "norm": (cp.norm(A @ x - b), []),
        "transport": (cp.sum(cp.multiply(A, X)), [X >= 0, cp.sum(X, axis=0) == b]),
        "quadratic": (cp.sum_squares(A @ x) - b @ x, [x >= 0]),
    }[kind]
    problem = cp.Problem(cp.Minimize(objective), constraints)
    before, begin = peak(), perf_counter()
    CvxpyLayer(problem, [A, b], problem.variables())
    return {"seconds": perf_counter() - begin, "megabytes": peak() - before}


def _smallest() -> Instance:
    """Two samples of four variables."""
    return FAMILIES["projection QP"].instance(2, scale=1 / 16)


def call() -> list[dict[str, Any]]:
    """Milliseconds of a call with next to nothing to solve: two samples of four variables."""
    instance = _smallest()
    steps = {name: ENGINES[name].step(instance) for name in (AUTOMATIC, OURS)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(CALLS):
        for name, step in steps.items():
            run = step()
            times[name].append((run.forward, run.backward))
    rows: list[dict[str, Any]] = []
    for name in steps:
        forward, backward = 1e3 * np.median(times[name][CALLS // 10 :], axis=0)
        passes = {
            "forward (ms)": forward,
            "backward (ms)": backward,
            "both (ms)": forward + backward,
        }
        rows.append({"layer": name} | {key: float(value) for key, value in passes.items()})
    return rows


def reuse() -> list[dict[str, Any]]:
    """Iterations and set-ups a sample: cold, of the re-solves, and warm-started from itself."""
    rows = []
    for name in ("projection QP", "portfolio", "sparse LP", "SOC", "entropy", "SDP", "OptNet QP"):
        instance = FAMILIES[name].instance(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows.append({"family": name} | _reused(instance))
    return rows


def _reused(instance: Instance) -> dict[str, Any]:
    import torch

    from cvxlpgd import LPGD
    from cvxlpgd.torch import CvxpyLayer

    layer = CvxpyLayer(
        instance.problem,
        instance.parameters,
        instance.variables,
        derivative=LPGD(tau=relative_tau(instance), side="average"),
    )
    tensors = [torch.tensor(v, requires_grad=True) for v in instance.values]
    (x,) = layer(*tensors, warm_start=True)  # the first one starts cold
    cold, setups = layer.info.iterations.mean(), layer.info.setups.sum()
    x.backward(torch.tensor(instance.cotangent))
    first = layer.info
    layer(*map(torch.tensor, instance.values), warm_start=True)
    return {
        "solver": first.solver,
        "cold": float(cold),
        "set-ups": float(setups),
        "re-solve": float(first.resolve_iterations.mean() / 2),
        "set-ups of re-solves": float(first.setups.sum() - setups),
        "warm": float(layer.info.iterations.mean()),
        "set-ups of warm": float(layer.info.setups.sum()),
    }
