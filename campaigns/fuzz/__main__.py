"""python -m campaigns.fuzz --problems 2000 --seed 0 [--first K] [--json FILE]."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from .choices import Seeded
from .examine import MOST_REFUSED, Finding, counted, examine, share_refused


def main() -> int:
    """Examine problems; the status is 1 for a mismatch or too many refusals."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.fuzz", description=__doc__)
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first problem")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings")
    parser.add_argument("--show", action="store_true", help="print the problems themselves")
    given = parser.parse_args()
    found: dict[int, Finding] = {}
    for k in tqdm(range(given.first, given.first + given.problems), desc="problems", mininterval=5):
        found[k] = examine(Seeded(given.seed, k))
        if found[k].mismatches:
            tqdm.write(_said(given.seed, k, found[k]))
        if given.show:
            tqdm.write(repr(found[k].case))
    share = share_refused(found.values())
    head = ["", "data 1e-2 .. 1e2", "data 1e-6 .. 1e6"]
    print(tabulate(counted(found.values()), headers=head, tablefmt="github"))
    print(f"refused at data between 1e-2 and 1e2: {share:.1%}, at most {MOST_REFUSED:.0%}")
    if given.json is not None:
        given.json.write_text(json.dumps([_plain(k, f) for k, f in found.items()], indent=1))
    return int(share > MOST_REFUSED or any(f.mismatches for f in found.values()))


def _said(seed: int, k: int, finding: Finding) -> str:
    command = f"python -m campaigns.fuzz --seed {seed} --first {k} --problems 1 --show"
    return "\n".join([f"problem {k}: {command}", *(f"  {t}" for t in finding.mismatches)])


def _plain(k: int, finding: Finding) -> dict[str, object]:
    world = finding.case.world
    return {
        "problem": k,
        "verdict": finding.verdict,
        "scales": [world.x_scale, world.a_scale, world.f_scale],
        "batch": world.batch,
        "parts": world.words,
        "mismatches": finding.mismatches,
        "refusals": finding.refusals,
        "notes": finding.notes,
    }


if __name__ == "__main__":
    sys.exit(main())
