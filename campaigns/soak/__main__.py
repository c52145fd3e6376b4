"""Soak: `python -m campaigns.soak`, thousands of steps of each family, and nothing may be left.

A step is a forward and a backward pass with new data. After a warm-up the resident memory must stay
within 2 %, and the number of Python objects within 50; not one thread or descriptor may be left.
Each family runs in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.report import machine
from campaigns.soak.families import FAMILIES, Step
from campaigns.traps.report import written
from cvxlpgd.program.threads import one_thread_each, pool, workers

GROWTH = 0.02  # of the resident memory
OBJECTS = 50  # that Python's collector knows
WARM_UP = 0.2  # of the steps
PAGE = Path("docs/reliability.md")
LOOKS = 100  # how often memory is read


@dataclass(frozen=True)
class Soaked:
    """What a family was like after its warm-up and at the end.

    Memory is the median of the first and of the last fifth of the looks after the warm-up, in
    megabytes; `objects` counts what Python's garbage collector knows after a collection.
    """

    family: str
    steps: int
    seconds: float
    memory: tuple[float, float]
    objects: tuple[int, int]
    threads: tuple[int, int]
    descriptors: tuple[int, int]
    started: tuple[str, ...] = ()  # Python's names of the threads that are new at the end

    @property
    def growth(self) -> float:
        """Of the resident memory, relative."""
        return self.memory[1] / self.memory[0] - 1

    def faults(self, growth: float = GROWTH, objects: int = OBJECTS) -> list[str]:
        """What grew more than it may."""
        found = []
        if self.growth > growth:
            found.append(f"memory grew by {self.growth:.1%}")
        if self.objects[1] > self.objects[0] + objects:
            found.append(f"{self.objects[1] - self.objects[0]} Python objects are left")
        if self.threads[1] > self.threads[0]:
            names = f" ({', '.join(self.started)})" if self.started else ""
            found.append(f"{self.threads[1] - self.threads[0]} threads are left{names}")
        if self.descriptors[1] > self.descriptors[0]:
            found.append(f"{self.descriptors[1] - self.descriptors[0]} descriptors are left")
        return found


def soak(name: str, made: Callable[[], Step], steps: int, quiet: bool = False) -> Soaked:
    """Run a family for `steps` steps after its warm-up."""
    process, rng, step = psutil.Process(), np.random.default_rng(0), made()
    begin = perf_counter()
    bar = tqdm(total=steps + _warm(steps), desc=name, unit="step", disable=quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples fail, some are inaccurate: that is not the point
        _fill_pool()
        for _ in range(_warm(steps)):
            step(rng)
            bar.update()
        first, memory, known = _left(process), [], set(threading.enumerate())
        each = max(1, steps // LOOKS)
        for k in range(steps):
            step(rng)
            bar.update()
            if k % each == each - 1:
                memory.append(process.memory_info().rss / 2**20)
        last = _left(process)
        started = tuple(thread.name for thread in threading.enumerate() if thread not in known)
    bar.close()
    part = max(1, len(memory) // 5)
    ends = float(np.median(memory[:part])), float(np.median(memory[-part:]))
    objects, threads, descriptors = zip(first, last, strict=True)
    return Soaked(name, steps, perf_counter() - begin, ends, objects, threads, descriptors, started)


def _fill_pool() -> None:
    """Make what the library keeps for good: its pool's threads, and what it knows of BLAS.

    Made later, in a step that took long enough for threads, it would look left.
    """
    with one_thread_each():
        pass
    everyone = threading.Barrier(workers() + 1)
    for _ in range(workers()):
        pool().submit(everyone.wait)
    everyone.wait()


def _warm(steps: int) -> int:
    return max(1, int(WARM_UP * steps))


def _left(process: psutil.Process) -> tuple[int, int, int]:
    gc.collect()
    descriptors = process.num_fds() if psutil.POSIX else process.num_handles()
    return len(gc.get_objects()), process.num_threads(), descriptors


def table(rows: list[Soaked]) -> str:
    """A row for each family."""
    body = [
        [r.family, r.steps, f"{r.seconds:.0f}", f"{r.memory[0]:.0f}", f"{r.growth:+.2%}",
         *(f"{b - a:+d}" for a, b in (r.objects, r.threads, r.descriptors)),
         "; ".join(r.faults()) or "none"]
        for r in rows
    ]  # fmt: skip
    head = ["family", "steps", "seconds", "memory (MB)", "growth", "objects", "threads",
            "descriptors", "faults"]  # fmt: skip
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def main() -> int:
    """Run the families, print the table, write the JSON; 1 where anything is left."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--family", action="append", choices=FAMILIES, help="all without")
    parser.add_argument("--json", type=Path, default=Path("soak.json"))
    parser.add_argument("--from", dest="old", type=Path, nargs="+", help="results to show again")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {PAGE}")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.steps < 1:
        parser.error("--steps must be at least 1")
    names = chosen.family or list(FAMILIES)
    if chosen.old:
        files = [json.loads(file.read_text()) for file in chosen.old]
        return _shown([_row(row) for found in files for row in found["rows"]], chosen.docs)
    rows: list[Soaked] = []
    for name in names:
        one = (
            soak(name, FAMILIES[name], chosen.steps) if chosen.alone else _apart(name, chosen.steps)
        )
        rows.append(one)
        found = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")  # an interrupted run keeps these
    return int(any(row.faults() for row in rows)) if chosen.alone else _shown(rows, chosen.docs)


def _shown(rows: list[Soaked], docs: bool) -> int:
    print(table(rows))
    if docs:
        PAGE.write_text(written(PAGE.read_text(), "soak", table(rows)))
    return 1 if any(row.faults() for row in rows) else 0


def _apart(name: str, steps: int) -> Soaked:
    """One family in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = [sys.executable, "-m", "campaigns.soak", "--alone", "--family", name,
                   "--steps", str(steps), "--json", str(file)]  # fmt: skip
        run = subprocess.run(command, check=False)
        if not file.exists():
            raise RuntimeError(f"the process of {name} ended with {run.returncode}")
        return _row(json.loads(file.read_text())["rows"][0])


def _row(row: dict[str, Any]) -> Soaked:
    """A row as it was saved."""
    pairs = {k: tuple(v) for k, v in row.items() if isinstance(v, list)}
    whole: dict[str, Any] = {**row, **pairs}
    return Soaked(**whole)


if __name__ == "__main__":
    sys.exit(main())
