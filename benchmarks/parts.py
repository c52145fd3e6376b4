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

from benchmarks.engines import AUTOMATIC, ENGINES, OURS
from benchmarks.families import FAMILIES
from benchmarks.measure import side_by_side

BATCHES = (1, 8, 64, 512)
SCALES = (0.25, 1.0, 4.0, 8.0)
SWEPT = ("projection QP", "sparse LP", "SOC")
CALLS = 200
CONSTRUCTED = {"LP": 500, "least squares": 500, "norm": 500, "transport": 500, "quadratic": 2000}


def sweeps(names: Sequence[str], engines: Sequence[str], budget: float) -> list[dict[str, Any]]:
    """Times against the batch and against n.

    An engine's sweep ends where a point takes longer than `budget` seconds, or does not run.
    """
    points: list[dict[str, Any]] = []
    for name in tqdm(names, desc="sweeps"):
        for kind, values in (("batch", BATCHES), ("scale", SCALES)):
            for engine in (e for e in engines if not ENGINES[e].only):
                for value in values:
                    batch = int(value) if kind == "batch" else None
                    scale = float(value) if kind == "scale" else 1.0
                    instance = FAMILIES[name].instance(batch, scale)
                    begin = perf_counter()
                    rows, _ = side_by_side(instance, [engine], rounds=1, judged=False)
                    points.append(asdict(rows[0]) | {"sweep": kind, "value": value})
                    if perf_counter() - begin > budget or rows[0].note:
                        break
    return points


def memory(names: Sequence[str], engines: Sequence[str]) -> list[dict[str, Any]]:
    """Peak resident memory of one step in a process of its own, MB, and that of the imports."""
    found = []
    for name in tqdm(names, desc="memory"):
        for engine in engines:
            found.append({"family": name, "engine": engine} | _memory(name, engine))
    return found


def add_peaks(points: Sequence[dict[str, Any]], engines: Sequence[str]) -> None:
    """Peak memory, MB, of these engines' points of a sweep that ran."""
    ran = [p for p in points if p["engine"] in engines and not p["note"]]
    for point in tqdm(ran, desc="memory of the sweeps"):
        at = (point["value"], 1) if point["sweep"] == "batch" else (0, point["value"])
        point["peak"] = _memory(point["family"], point["engine"], *map(str, at))["peak"]


def _memory(*words: str) -> dict[str, float]:
    """`memory_of` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "memory", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, json.JSONDecodeError):
        return {"imports": np.nan, "peak": np.nan}
    return found


def memory_of(name: str, engine: str, batch: str = "0", scale: str = "1") -> dict[str, float]:
    """Of this process: after the imports, and after one step; a batch of 0 is the family's own."""
    imports, instance = peak(), FAMILIES[name].instance(int(batch) or None, float(scale))
    rows, _ = side_by_side(instance, [engine], rounds=0, judged=False)
    found = {"imports": imports, "peak": peak() if not rows[0].note else float("nan")}
    return found | {"forward": rows[0].forward, "backward": rows[0].backward}


def peak() -> float:
    """Peak resident memory of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak is inherited from the process that started this one
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def construction() -> list[dict[str, Any]]:
    """Seconds and MB of constructing a layer with a large parameter, each in its process."""
    found = []
    for kind, n in CONSTRUCTED.items():
        command = [sys.executable, "-m", "benchmarks", "construct", kind, str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append({"problem": kind, "n": n} | json.loads(done.stdout.splitlines()[-1]))
    return found


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


def call() -> list[dict[str, Any]]:
    """Milliseconds of a call with next to nothing to solve: two samples of four variables."""
    instance = FAMILIES["projection QP"].instance(2, scale=1 / 16)
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
    import torch

    from cvxlpgd import LPGD
    from cvxlpgd.torch import CvxpyLayer

    found = []
    for name in ("projection QP", "portfolio", "sparse LP", "SOC", "entropy", "SDP", "OptNet QP"):
        instance = FAMILIES[name].instance(8)
        layer = CvxpyLayer(
            instance.problem, instance.parameters, instance.variables, derivative=LPGD()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for warm in (False, True):
                tensors = [torch.tensor(v, requires_grad=True) for v in instance.values]
                (x,) = layer(*tensors, warm_start=warm)
                cold, setups = layer.info.iterations.mean(), layer.info.setups.sum()
                x.backward(torch.tensor(instance.cotangent))
            both, again = layer.info.resolve_iterations.mean(), layer.info.setups.sum() - setups
            solves = len(instance.cotangent) * 2
            layer(*map(torch.tensor, instance.values), warm_start=True)
        found.append(
            {
                "family": name, "solver": layer.info.solver, "cold": float(cold),
                "setups": float(setups), "resolve": float(both) / 2,
                "resolve_setups": float(again), "resolves": solves,
                "warm": float(layer.info.iterations.mean()),
                "warm_setups": float(layer.info.setups.sum()),
            }
        )  # fmt: skip
    return found
