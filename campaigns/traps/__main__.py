"""Spring the traps: `python -m campaigns.traps`, in the environment of benchmarks/constraints.txt.

Each trap of each library runs in a process of its own, under a time limit, so that a crash or a
hang is a result. `--newest PYTHON` names the interpreter of an environment with the newest CVXPY
and Moreau, for the traps that only those have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.report import machine
from campaigns.traps import calls, forms, gradients, solutions
from campaigns.traps.report import BLOCK, listing, written
from campaigns.traps.trap import Seen, Trap, outcome

TRAPS: dict[str, Trap] = solutions.TRAPS | gradients.TRAPS | calls.TRAPS | forms.TRAPS
OURS = "cvxlpgd"
PAGE = Path("docs/reliability.md")


def main() -> int:
    """Run them, print the list, write the JSON; 1 where ours fell into any."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.traps", description=__doc__)
    parser.add_argument("traps", nargs="*", help="names; all without")
    parser.add_argument("--newest", help="interpreter of an environment with the newest versions")
    parser.add_argument("--seconds", type=float, default=120.0, help="the limit of one trap")
    parser.add_argument("--json", type=Path, default=Path("traps.json"))
    parser.add_argument("--from", dest="old", type=Path, help="results to show again")
    parser.add_argument("--docs", action="store_true", help=f"write the list into {PAGE}")
    parser.add_argument("--one", nargs=2, metavar=("TRAP", "WHO"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(_sprung(*chosen.one)))
        return 0
    names = chosen.traps or list(TRAPS)
    if unknown := [name for name in names if name not in TRAPS]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(TRAPS)}")
    if chosen.old:
        rows = json.loads(chosen.old.read_text())["rows"]
    else:
        rows = list(_all(names, chosen.newest, chosen.seconds))
        found = {"machine": machine(), "rows": rows}
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    print(listing(rows))
    if chosen.docs:
        PAGE.write_text(written(PAGE.read_text(), BLOCK, listing(rows)))
    fell = [row["name"] for row in rows if row["seen"].get(OURS, {}).get("fell")]
    if fell:
        print(f"cvxlpgd fell into {', '.join(fell)}", file=sys.stderr)
    return 1 if fell else 0


def _all(names: list[str], newest: str | None, seconds: float) -> Iterator[dict[str, Any]]:
    for name in tqdm(names, desc="traps", unit="trap"):
        trap = TRAPS[name]
        python = newest if trap.newest else sys.executable
        seen = {}
        for who in (*trap.peers, OURS):
            if python is None:
                seen[who] = {"fell": None, "what": "not run: needs --newest"}
            else:
                seen[who] = _apart(python, name, who, seconds)
        yield {"name": name, "title": trap.title, "newest": trap.newest, "seen": seen,
               "tests": list(trap.tests)}  # fmt: skip


def _apart(python: str, name: str, who: str, seconds: float) -> dict[str, Any]:
    """One trap of one library in a process of its own."""
    command = [python, "-m", "campaigns.traps", "--one", name, who]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"fell": True, "what": f"no answer within {seconds:g} s"}
    if run.returncode < 0:
        return {"fell": True, "what": f"the process dies of signal {-run.returncode}"}
    if run.returncode or not run.stdout.strip():
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        return {"fell": True, "what": f"the process ends: {last[:80]}"}
    result: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return result


def _sprung(name: str, who: str) -> dict[str, Any]:
    """What happens in this process: {"fell": whether, or None if it cannot be tried, "what"}."""
    trap, seen = TRAPS[name], list[Seen]()
    spring = trap.ours if who == OURS else trap.peers[who]
    warnings.simplefilter("ignore")
    missing = False

    def run() -> None:
        nonlocal missing
        try:
            seen.append(spring())
        except ImportError:
            missing = True
            raise

    error = outcome(run)
    if missing:
        return {"fell": None, "what": f"not installed ({error})"}
    return seen[0]._asdict() if seen else {"fell": True, "what": error}


if __name__ == "__main__":
    sys.exit(main())
