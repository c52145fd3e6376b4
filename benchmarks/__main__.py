"""Measure: `python -m benchmarks [--quick]`, or a part: `call`, `advice`, `construction`, `reuse`,
`profile`.

The peers' pins, on which they are right, are in benchmarks/constraints.txt; on others the command
says how to make that environment and stops, unless `--newest` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks import measure, parts, report
from benchmarks.advice import advice
from benchmarks.engines import ENGINES, OURS
from benchmarks.families import FAMILIES
from benchmarks.figures import Results
from benchmarks.profile import profiles

PINS = Path(__file__).with_name("constraints.txt")
NEEDED = {"cvxpy": "1.9.0", "moreau": "0.3.3"}
QUICK = 0.25
ROUNDS, OTHER_ROUNDS = 5, 3  # at the families' own sizes, and at multiples of them
PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "call": parts.call,
    "advice": advice,
    "construction": parts.construction,
    "reuse": parts.reuse,
    "profile": lambda: profiles([f.name for f in FAMILIES.values() if not f.ours_only]),
}
STEPS: dict[str, Callable[..., Any]] = {  # what runs in processes of its own, and prints JSON
    "step": parts.step_of,
    "peaks": parts.peaks_of,
    "construct": parts.construction_of,
}


def main() -> int:
    """Run, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"one alone: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, no sweeps")
    parser.add_argument("--newest", action="store_true", help="whatever versions are installed")
    parser.add_argument("--families", default=None, help="names, comma-separated")
    parser.add_argument("--engines", default=None, help="names, comma-separated")
    parser.add_argument(
        "--scales", default=[1.0], type=_numbers, help="multiples of the sizes, comma-separated"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="less where a step takes long")
    parser.add_argument("--no-sweep", action="store_true")
    parser.add_argument(
        "--budget",
        type=float,
        default=6.0,
        help="longest step of a sweep, seconds; ours at a tau goes on",
    )
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"))
    parser.add_argument("--from", dest="old", type=Path, help="results to show again")
    parser.add_argument("--docs", action="store_true", help="write the pages of docs/")
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
        names = [name for name in names if not FAMILIES[name].ours_only]
    results: Results = {"machine": report.machine(), "quick": chosen.quick}
    for part in _measure(chosen, names, engines):
        results |= part
        chosen.json.write_text(json.dumps(results, indent=1))  # what comes next takes minutes
        print(f"results: {chosen.json}", file=sys.stderr)
    return _shown(results, chosen.docs)


def _measure(chosen: Any, names: list[str], engines: list[str]) -> Iterator[Results]:
    """All results, part by part."""
    size, batch = (QUICK, 8) if chosen.quick else (1.0, None)
    rounds = 2 if chosen.quick else chosen.rounds
    together = [name for name in names if not FAMILIES[name].ours_only]
    yield {"solvers": {n: measure.solver_of(FAMILIES[n].instance(2, size)) for n in names}}
    rows, floors = measure.families(together, engines, rounds, size, batch)
    yield {"rows": [asdict(row) for row in rows], "floors": [asdict(floor) for floor in floors]}
    compared = [name for name in names if FAMILIES[name].compared]
    scaled: list[Results] = []
    for scale in chosen.scales:
        at_scale = rows
        if scale != 1.0:
            at_scale, _ = measure.families(
                compared, engines, min(rounds, OTHER_ROUNDS), size * scale, batch, judged=False
            )
        scaled += [asdict(row) | {"scale": scale} for row in at_scale]
    yield {"scaled": scaled}
    yield {"call": parts.call(), "advice": advice(rounds, batch, size)}
    own = [engine for engine in engines if ENGINES[engine].ours]
    large = parts.steps_alone([name for name in names if name not in together], own, size)
    yield {"rows": [asdict(row) for row in rows] + large}
    if chosen.quick:
        return
    alone = parts.steps_alone(together, [engine for engine in own if engine == OURS])
    yield {"memory": [row for row in alone + large if row["engine"] == OURS]}
    yield {"construction": parts.construction(), "reuse": parts.reuse()}
    yield {"profile": profiles(together)}
    if not chosen.no_sweep:
        swept = [name for name in parts.SWEPT if name in names]
        yield {"sweeps": (points := parts.sweeps(swept, engines, chosen.budget))}
        parts.add_peaks(points, OURS)
        yield {"sweeps": points}


def _shown(results: Results, docs: bool) -> int:
    print(report.tables(results))
    if docs:
        report.write(results, Path("docs"))
    return 0


def _part(words: list[str]) -> int:
    if words[0] in STEPS:
        print(json.dumps(STEPS[words[0]](*words[1:])))
    elif words[0] in PARTS:
        rows = PARTS[words[0]]()
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))
    else:
        print(f"there is no part {words[0]!r}; there are {', '.join(PARTS)}", file=sys.stderr)
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
    wrong = []
    for name, wanted in NEEDED.items():
        try:
            have = version(name)
        except PackageNotFoundError:
            have = "not installed"
        if have != wanted:
            wrong.append(f"{name} {have} instead of {wanted}")
    return ", ".join(wrong)


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
