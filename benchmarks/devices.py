"""Solve where the tensors are, or on the CPU: `python -m benchmarks.devices --device cuda`.

A step is a forward and a backward pass with float32 tensors on the device, timed until it is done.
The ways: the chosen solver on the CPU, where tensors are copied there and back, and QPTH on the
device, with the limit (on the CPU) and with a given tau (on the device).
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.families import FAMILIES, Instance
from cvxlpgd import LPGD
from cvxlpgd.solvers import QPTH
from cvxlpgd.solvers.protocol import is_installed
from cvxlpgd.torch import CvxpyLayer

NAMES = ("OptNet QP", "portfolio")
TAU = 1e-3
WAYS: dict[str, dict[str, Any]] = {
    "chosen, CPU": {"derivative": LPGD()},
    "chosen, CPU, tau": {"derivative": LPGD(tau=TAU)},
    "QPTH, limit on the CPU": {"solver": QPTH(), "derivative": LPGD()},
    "QPTH, tau": {"solver": QPTH(), "derivative": LPGD(tau=TAU)},
}


@dataclass(frozen=True)
class Row:
    """One way to take a step of a batch: medians of seconds, and how many samples were solved."""

    family: str
    way: str
    device: str
    batch: int
    forward: float
    backward: float
    solved: int


def measure(
    device: str, batches: Sequence[int], rounds: int, scale: float, names: Sequence[str] = NAMES
) -> Iterator[Row]:
    """The rows, one after the other."""
    for name in names:
        for batch in batches:
            instance = FAMILIES[name].instance(batch, scale)
            for way, options in WAYS.items():
                layer = CvxpyLayer(
                    instance.problem, instance.parameters, instance.variables,
                    on_failure="nan", **options,
                )  # fmt: skip
                steps = [_step(layer, instance, device) for _ in range(rounds + 1)][1:]
                forward, backward = (median(times) for times in zip(*steps, strict=True))
                solved = int(layer.info.ok.sum())
                yield Row(name, way, device, batch, forward, backward, solved)


def _step(layer: CvxpyLayer, instance: Instance, device: str) -> tuple[float, float]:
    """Seconds of a forward and of a backward pass."""
    arrays = (*instance.values, instance.cotangent)
    *values, cotangent = (torch.tensor(v, dtype=torch.float32, device=device) for v in arrays)
    values, wait = [v.requires_grad_() for v in values], _barrier(device)
    wait()
    begin = perf_counter()
    output = layer(*values)[0]
    wait()
    middle = perf_counter()
    output.backward(cotangent)
    wait()
    return middle - begin, perf_counter() - middle


def _barrier(device: str) -> Callable[[], None]:
    """A function that returns when the device has done all that it was asked."""
    return torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batches", default="1024,8192", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiple of the programs' size")
    parser.add_argument("--json", type=Path, help="a file for the results")
    chosen = parser.parse_args(arguments)
    if not is_installed(QPTH()):
        parser.error("qpth is not installed: pip install --no-deps qpth")
    if torch.device(chosen.device).type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu runs without one")
    warnings.simplefilter("ignore")  # what is not solved is in the table
    batches = [int(number) for number in chosen.batches.split(",")]
    rows = []
    for row in measure(chosen.device, batches, chosen.rounds, chosen.scale):
        rows.append(asdict(row))
        print(row, file=sys.stderr)
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
