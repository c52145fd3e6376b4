"""Measure: `python -m benchmarks [--quick]`; `call`, `advice`, `construction`, `reuse` or `profile`
for a part of it.

The peers' pins, on which they are right, are in benchmarks/constraints.txt; on others the command
says how to make that environment and stops, unless `--newest` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks import measure, parts, report
from benchmarks.advice import advice
from benchmarks.engines import ENGINES, OURS
from benchmarks.families import FAMILIES
from benchmarks.profile import profiles

PINS = Path(__file__).with_name("constraints.txt")
NEEDED = {"cvxpy": "1.9.0", "moreau": "0.3.3"}
QUICK = 0.25
ALONE: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "call": parts.call,
    "advice": advice,
    "construction": parts.construction,
    "reuse": parts.reuse,
    "profile": lambda: profiles([f.name for f in FAMILIES.values() if not f.ours_only]),
}


def main() -> int:
    """Run, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"one alone: {', '.join(ALONE)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, no sweeps")
    parser.add_argument("--newest", action="store_true", help="whatever versions are installed")
    parser.add_argument("--families", default=None, help="names, comma-separated")
    parser.add_argument("--engines", default=None, help="names, comma-separated")
    parser.add_argument(
        "--scales", default=[1.0], type=_numbers, help="multiples of the sizes, comma-separated"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-sweep", action="store_true")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds a point of a sweep")
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"))
    parser.add_argument("--from", dest="old", type=Path, help="results to show again")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    chosen = parser.parse_args()
    if chosen.part:
        return _part(chosen.part)
    if chosen.old is not None:
        return _shown(json.loads(chosen.old.read_text()), chosen.docs)
    if not chosen.newest and (wrong := _other_versions()):
        print(_advice(wrong), file=sys.stderr)
        return 2
    names = _named(chosen.families, list(FAMILIES), parser)
    engines = _named(chosen.engines, list(ENGINES), parser)
    if chosen.quick and not chosen.families:
        names = [name for name in names if not name.startswith("large")]
    found = _families(chosen, names, engines)
    _save(found, chosen.json)
    if not chosen.quick:
        found["construction"], found["reuse"] = parts.construction(), parts.reuse()
        found["profile"] = profiles([name for name in names if not FAMILIES[name].ours_only])
        _save(found, chosen.json)
        found["memory"] = parts.memory(names, [e for e in engines if e == OURS])
        _save(found, chosen.json)
    if not (chosen.quick or chosen.no_sweep):
        found["sweeps"] = parts.sweeps([n for n in parts.SWEPT if n in names], engines,
                                       chosen.budget)  # fmt: skip
        _save(found, chosen.json)
        parts.add_peaks(found["sweeps"], [e for e in engines if e == OURS])
        _save(found, chosen.json)
    return _shown(found, chosen.docs)


def _families(chosen: Any, names: list[str], engines: list[str]) -> dict[str, Any]:
    """The families at their sizes and at the multiples asked for; a call; what advice is worth."""
    rounds = 2 if chosen.quick else chosen.rounds
    size, batch = (QUICK, 8) if chosen.quick else (1.0, None)
    rows, floors = measure.families(names, engines, rounds, size, batch)
    scaled = {1.0: rows} if 1.0 in chosen.scales else {}
    compared = [name for name in names if FAMILIES[name].compared]
    for scale in (scale for scale in chosen.scales if scale != 1.0):
        scaled[scale], _ = measure.families(compared, engines, rounds, size * scale, batch)
    return {
        "machine": report.machine(),
        "quick": chosen.quick,
        "rows": [asdict(row) for row in rows],
        "floors": [asdict(floor) for floor in floors],
        "scaled": [asdict(row) | {"scale": k} for k, of in scaled.items() for row in of],
        "call": parts.call(),
        "advice": advice(rounds, batch, size),
    }


def _save(found: dict[str, Any], file: Path) -> None:
    """Write what there is so far: what comes next takes minutes."""
    file.write_text(json.dumps(found, indent=1))
    print(f"results: {file}", file=sys.stderr)


def _shown(found: dict[str, Any], docs: bool) -> int:
    print(report.tables(found))
    if docs:
        report.write(found, Path("docs"))
    return 0


def _part(words: list[str]) -> int:
    if words[0] == "memory":
        print(json.dumps(parts.memory_of(*words[1:])))
    elif words[0] == "construct":
        print(json.dumps(parts.construction_of(*words[1:])))
    elif words[0] in ALONE:
        rows = ALONE[words[0]]()
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))
    else:
        print(f"there is no part {words[0]!r}; there are {', '.join(ALONE)}", file=sys.stderr)
        return 2
    return 0


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _named(given: str | None, known: list[str], parser: argparse.ArgumentParser) -> list[str]:
    if given is None:
        return known
    names = [name.strip() for name in given.split(",")]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _other_versions() -> str:
    """Which of the pinned peers are of another version, or missing."""
    found = []
    for name, wanted in NEEDED.items():
        try:
            have = version(name)
        except PackageNotFoundError:
            have = "not installed"
        if have != wanted:
            found.append(f"{name} {have} instead of {wanted}")
    return ", ".join(found)


def _advice(wrong: str) -> str:
    return (
        f"{wrong}: cvxpylayers + Moreau is right on the pins only. In a new environment:\n"
        f"  pip install torch==2.13.0\n"
        f"  pip install -c {PINS} -e '.[bench]' cvxpylayers moreau diffcp proxsuite\n"
        f"  pip install -c {PINS} --no-deps qpth\n"
        "or run with --newest, on the versions that are installed"
    )


if __name__ == "__main__":
    sys.exit(main())
