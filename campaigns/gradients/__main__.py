"""Hold gradients of small problems of every cone against closed forms: wrong, warned or right.

A gradient is wrong where it is off by more than 1 % of its parameter's largest entry. With --check
the closed forms themselves are held against CVXPY's solutions and against differences.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from tabulate import tabulate
from tqdm import tqdm

from campaigns.gradients import check
from campaigns.gradients.families import FAMILIES


def main() -> int:
    """Run and print; 1 if LPGD or Exact was silently wrong or raised, or a reference is wrong."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.gradients", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, help="cases of each family; 3, or 1 for --check")
    parser.add_argument("--family", nargs="+", choices=sorted(FAMILIES), metavar="NAME")
    parser.add_argument("--derivative", nargs="+", metavar="NAME", help="LPGD, Exact, Implicit")
    parser.add_argument("--json", type=Path, help="write every verdict here")
    parser.add_argument("--check", action="store_true", help="hold the references against others")
    parser.add_argument("--seeds", type=int, default=5, help="how many for --check")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    names = chosen.family or list(FAMILIES)
    if chosen.check:
        return _checked(names, range(chosen.seed, chosen.seed + chosen.seeds), chosen.draws or 1)
    return _judged(names, chosen)


def _judged(names: list[str], chosen: argparse.Namespace) -> int:
    """Tables, and the verdicts as JSON."""
    from campaigns.gradients import judge, report  # the references are checked without the layers

    tried = judge.derivatives()
    if chosen.derivative:
        tried = {k: d for k, d in tried.items() if k.removesuffix("()") in chosen.derivative}
    cases = [(name, draw) for name in names for draw in range(chosen.draws or 3)]
    verdicts = [
        verdict
        for name, draw in tqdm(cases, disable=None)
        for verdict in judge.judged(name, chosen.seed, draw, tried)
    ]
    for table in (report.families, report.totals, report.calibration, report.details):
        print(table(verdicts), end="\n\n")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    return int(report.failed(verdicts))


def _checked(names: list[str], seeds: range, draws: int) -> int:
    """A line for each family: the worst over seeds."""
    rows, good = [], True
    for name in tqdm(names, disable=None):
        done = [check.checked(name, seed, draw) for seed in seeds for draw in range(draws)]
        bad = [(c.seed, c.draw) for c in done if not c.ok]
        good &= not bad
        point, gradient = max(c.point for c in done), max(c.gradient for c in done)
        rows.append([name, f"{point:.0e}", f"{gradient:.0e}", str(bad or "ok")])
    heads = ["family", "beside CVXPY", "beside differences", "wrong (seed, draw)"]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
