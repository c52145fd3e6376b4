"""Times and errors of engines on families, side by side in one process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import WRONG_GRADIENT, WRONG_SOLUTION, reference
from benchmarks.engines import ENGINES, OURS, Step, Unsupported
from benchmarks.families import FAMILIES, Instance
from benchmarks.floor import floor

REST = 0.1  # seconds before each step: the threads of the one before spin on for a while
SLOW = 30.0  # seconds for a step: beyond, one round is enough; a sweep stops there


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
    instance: Instance, engines: Sequence[str], rounds: int, judged: bool = True
) -> tuple[list[Row], Floor | None]:
    """All engines on one instance, in turn: each once per round, after one round to warm up."""
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
                if name in notes or (turn and sum(times[name][0]) > SLOW):
                    continue
                sleep(REST)
                try:
                    last[name] = step()
                    times[name].append((last[name].forward, last[name].backward))
                except Exception as error:
                    notes[name] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
            if bare is not None and (not turn or sum(bares[0]) <= SLOW):
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
    return rows, Floor(instance.family.name, _solver(instance), float(forward), float(backward))


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


def _solver(instance: Instance) -> str:
    from cvxlpgd.torch import CvxpyLayer

    layer = CvxpyLayer(instance.problem, instance.parameters, instance.variables)
    return layer._layer.solvers[0]


def families(
    names: Sequence[str], engines: Sequence[str], rounds: int, scale: float, batch: int | None
) -> tuple[list[Row], list[Floor]]:
    """All engines on all families."""
    rows: list[Row] = []
    floors: list[Floor] = []
    for name in tqdm(names, desc="families"):
        able = [e for e in engines if not ENGINES[e].only or name in ENGINES[e].only]
        some, bare = side_by_side(FAMILIES[name].instance(batch, scale), able, rounds)
        rows += some
        floors += [bare] if bare else []
    return rows, floors


BATCHES = (1, 8, 64, 512)
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


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
                    rows, _ = side_by_side(instance, [engine], rounds=2, judged=False)
                    points.append(asdict(rows[0]) | {"sweep": kind, "value": value})
                    if perf_counter() - begin > budget or rows[0].note:
                        break
    return points


def memory(names: Sequence[str], engines: Sequence[str]) -> list[dict[str, Any]]:
    """Peak resident memory of one step in a process of its own, MB, and that of the imports."""
    found = []
    for name in tqdm(names, desc="memory"):
        for engine in engines:
            command = [sys.executable, "-m", "benchmarks", "memory", name, engine]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=900)
                row = json.loads(done.stdout.splitlines()[-1])
            except (subprocess.TimeoutExpired, IndexError, json.JSONDecodeError):
                row = {"imports": np.nan, "peak": np.nan}
            found.append({"family": name, "engine": engine} | row)
    return found


def memory_of(name: str, engine: str) -> dict[str, float]:
    """Of this process: after the imports, and after one step."""
    imports = peak()
    rows, _ = side_by_side(FAMILIES[name].instance(), [engine], rounds=0, judged=False)
    return {"imports": imports, "peak": peak() if not rows[0].note else float("nan")}


def peak() -> float:
    """Peak resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def construction() -> list[dict[str, Any]]:
    """Seconds and MB of constructing a layer with a 500 x 500 parameter, each in its process."""
    found = []
    for kind in ("LP", "least squares", "norm"):
        command = [sys.executable, "-m", "benchmarks", "construct", kind]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append({"problem": kind} | json.loads(done.stdout.splitlines()[-1]))
    return found


def construction_of(kind: str, n: int = 500) -> dict[str, float]:
    """Seconds, and MB above the imports."""
    import cvxpy as cp

    from cvxlpgd.torch import CvxpyLayer

    x, A, b = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    problem = {
        "LP": cp.Problem(cp.Minimize(cp.sum(x)), [A @ x <= b, x >= 0]),
        "least squares": cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b))),
        "norm": cp.Problem(cp.Minimize(cp.norm(A @ x - b))),
    }[kind]
    before, begin = peak(), perf_counter()
    CvxpyLayer(problem, [A, b], [x])
    return {"seconds": perf_counter() - begin, "megabytes": peak() - before}


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
