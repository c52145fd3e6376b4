"""What sharing work costs, and when it pays: `python -m benchmarks.executors [--json FILE]`.

All executors solve the same batches in turn, with two workers each; numbers are medians of seconds,
in one run. It takes up to four minutes, and prints the tables of docs/executors.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import cvxpy as cp
import numpy as np
from tabulate import tabulate

from benchmarks.report import machine
from cvxlpgd import LPGD
from cvxlpgd.errors import CvxlpgdWarning
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.solvers import DAQP, Clarabel, HiGHS, Processes, Solver

BATCH = 16
FEW, MANY = 2, 66  # samples of the batches that overheads are told from
ROUNDS = 5
SECONDS = 150.0  # from there on no new round begins
NONE = "none"


@dataclass(frozen=True)
class Program:
    """A family of programs in n variables, by a solver."""

    name: str
    solver: Solver
    sizes: tuple[int, ...]
    problem: Callable[[cp.Variable, cp.Parameter, np.ndarray], cp.Problem]

    def layer(self, n: int, **options: Any) -> CvxpyLayer:
        """Half as many rows as variables, dense; the costs are the parameter."""
        x, cost = cp.Variable(n), cp.Parameter(n)
        rows = np.random.default_rng(0).uniform(size=(n // 2, n))
        problem = self.problem(x, cost, rows)
        tau = LPGD(tau=0.1)
        return CvxpyLayer(problem, [cost], [x], self.solver, derivative=tau, **options)


def _quadratic(x: cp.Variable, cost: cp.Parameter, rows: np.ndarray) -> cp.Problem:
    return cp.Problem(cp.Minimize(cp.sum_squares(x) + cost @ x), [rows @ x <= 0.1, x >= -1])


def _conic(x: cp.Variable, cost: cp.Parameter, rows: np.ndarray) -> cp.Problem:
    return cp.Problem(cp.Minimize(cp.norm(rows @ x - 1) + cost @ x), [cp.norm(x) <= 2])


def _linear(x: cp.Variable, cost: cp.Parameter, rows: np.ndarray) -> cp.Problem:
    limits = [rows @ x <= x.size / 8, x >= 0, x <= 1]
    return cp.Problem(cp.Minimize(cost @ x), limits)


PROGRAMS = (
    Program("QP, DAQP", DAQP(), (20, 200, 600), _quadratic),
    Program("cone, Clarabel", Clarabel(), (10, 50, 150), _conic),
    Program("LP, HiGHS", HiGHS(), (20, 100, 400), _linear),
)


def executors(stack: ExitStack) -> dict[str, Executor | Processes | None]:
    """Each kind with two workers, until the stack is closed."""
    from distributed import Client, LocalCluster
    from loky import get_reusable_executor

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    cluster = stack.enter_context(LocalCluster(dashboard_address=":0", **options))
    client = stack.enter_context(Client(cluster))
    loky = get_reusable_executor(2, timeout=600)  # idle workers would end
    stack.callback(loky.shutdown, kill_workers=True)
    spawned = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    return {
        NONE: None,
        "threads": stack.enter_context(ThreadPoolExecutor(2)),
        "Processes": stack.enter_context(closing(Processes(2))),
        "pool": stack.enter_context(spawned),
        "loky": loky,
        "Dask": client.get_executor(),
    }


def step(layer: CvxpyLayer, costs: np.ndarray) -> tuple[float, float]:
    """Seconds of a forward and of a backward pass."""
    begin = perf_counter()
    (solution,), pullback = layer.vjp(costs)
    middle = perf_counter()
    pullback(np.ones_like(solution))
    return middle - begin, perf_counter() - middle


def costs_of(n: int, batch: int) -> np.ndarray:
    """Seeded costs, (batch, n)."""
    return np.random.default_rng(1).normal(size=(batch, n))


def compare(pools: dict[str, Any], rounds: int, until: float) -> Iterator[dict[str, Any]]:
    """A row for each program, size and executor: milliseconds of a batch."""
    for program in PROGRAMS:
        for n in program.sizes:
            yield from _side_by_side(pools, program, n, BATCH, rounds, until)


def overheads(pools: dict[str, Any], rounds: int, until: float) -> list[dict[str, Any]]:
    """What a call and a sample cost more than without an executor, of programs that cost little."""
    program = PROGRAMS[0]

    def forward(batch: int) -> dict[str, float]:
        rows = _side_by_side(pools, program, 10, batch, rounds, until)
        return {row["executor"]: row["forward"] for row in rows}

    few, many = forward(FEW), forward(MANY)
    rows = []
    for name in list(pools)[1:]:
        call, whole = few[name] - few[NONE], many[name] - many[NONE]
        each = 1e3 * (whole - call) / (MANY - FEW)
        rows.append({"executor": name, "ms a call": call, "µs a sample": each})
    return rows


def _side_by_side(
    pools: dict[str, Any], program: Program, n: int, batch: int, rounds: int, until: float
) -> list[dict[str, Any]]:
    """All executors in turn, round by round; the first round is not counted."""
    layers = {
        name: program.layer(n) if pool is None else program.layer(n, executor=pool, pieces=2)
        for name, pool in pools.items()
    }
    costs = costs_of(n, batch)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    for k in range(rounds + 1):
        if k > 1 and perf_counter() > until:
            break
        for name, layer in layers.items():
            seconds = step(layer, costs)
            if k:
                times[name].append(seconds)
    rows = []
    for name, pairs in times.items():
        forward, backward = (1e3 * median(values) for values in zip(*pairs, strict=True))
        row = {"program": program.name, "n": n, "executor": name}
        rows.append(row | {"forward": forward, "backward": backward, "rounds": len(pairs)})
    return rows


def markdown(results: dict[str, Any]) -> str:
    """The tables of the page."""
    cost = tabulate(results["overheads"], headers="keys", tablefmt="github", floatfmt=".2g")
    by_program: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in results["rows"]:
        by_program.setdefault((row["program"], row["n"]), {})[row["executor"]] = row
    gains, largest = [], {}
    for (name, n), rows in by_program.items():
        alone = _total(rows[NONE])
        each = alone / BATCH
        ratios = [f"{alone / _total(rows[kind]):.2f}" for kind in ("threads", "pool")]
        gains.append([f"{name}, n = {n}", f"{each:.2g}", *ratios])
        largest[name] = rows
    headers = ["program", "ms a sample", "2 threads", "2 processes"]
    pays = tabulate(gains, headers, tablefmt="github", disable_numparse=True)
    kinds = [kind for kind in next(iter(largest.values())) if kind != NONE]
    table = [
        [kind, *(f"{_total(rows[NONE]) / _total(rows[kind]):.2f}" for rows in largest.values())]
        for kind in kinds
    ]
    every = tabulate(table, ["executor", *largest], tablefmt="github", disable_numparse=True)
    return "\n\n".join([cost, pays, every])


def _total(row: dict[str, Any]) -> float:
    return float(row["forward"] + row["backward"])


def main() -> int:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.executors", description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--from", dest="old", type=Path, help="numbers to show again")
    chosen = parser.parse_args()
    if chosen.old is not None:
        print(markdown(json.loads(chosen.old.read_text())))
        return 0
    warnings.simplefilter("ignore", CvxlpgdWarning)
    with ExitStack() as stack:
        pools = executors(stack)
        step(PROGRAMS[0].layer(10), costs_of(10, FEW))
        for pool in list(pools.values())[1:]:  # the workers start
            step(PROGRAMS[0].layer(10, executor=pool, pieces=2), costs_of(10, FEW))
        rounds, until = chosen.rounds, perf_counter() + SECONDS
        results = {"machine": machine(), "overheads": overheads(pools, rounds, until)}
        results["rows"] = list(compare(pools, rounds, until))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=1))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
