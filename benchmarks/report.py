"""Tables and pictures of the results, and the pages that they make: docs/performance.md for users,
docs/performance-notes.md for contributors.
"""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.engines import AUTOMATIC, ENGINES, OURS
from benchmarks.figures import Results, by_size, fill, means_table, number, ratios, sizes
from benchmarks.floor import WORKERS
from benchmarks.parts import SCALED_BATCH
from benchmarks.pictures import draw_ratios, draw_sweeps

LIBRARIES = (
    "cvxlpgd cvxpy numpy scipy torch cvxpylayers diffcp moreau moreau-cpu qpth proxsuite highspy "
    "daqp scs clarabel piqp osqp"
).split()
INTRO, NOTES = (Path(__file__).with_name(name) for name in ("intro.md", "notes.md"))
USERS = {
    "memory": "Peak memory of one step, MB",
    "construction": "Construction, with an n x n parameter",
}
CONTRIBUTORS = {
    "profile": "Where a step's milliseconds go",
    "reuse": "Iterations and set-ups, batch of 8",
}
IN_WORDS = {  # what the text of the page says
    "advice": "What each advice is worth",
    "call": "A call with next to nothing to solve",
}
GROWTH = f"""\
Times are against the batch at the family's own size, and against multiples of that size at a batch
of {SCALED_BATCH}. They grow with this power of the batch, or of the size, by the last three. A
row ends where a step would take too long."""
OTHER_SIZES = "The others' times, as multiples of those of `LPGD(tau=...)` / of `LPGD()`."
BOOKKEEPING = ("solution_error", "gradient_error", "note", "forward", "backward")  # in no table


def machine() -> dict[str, str]:
    """When, on what, with which versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    facts = {
        "date": date.today().isoformat(),
        "processor": models[0] if models else platform.processor(),
        "cores": str(WORKERS),
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def tables(results: Results) -> str:
    """All of it as text."""
    means = "## Geometric means\n\n" + means_table(results)
    parts = [means, *_for_users(results), *_for_contributors(results), *_listed(results, IN_WORDS)]
    return "\n\n".join(parts)


def _for_users(results: Results) -> list[str]:
    parts = ["## Times and errors\n\n" + _families(results)]
    if len(sizes(results)) > 1:
        parts.append(f"## At other sizes\n\n{OTHER_SIZES}\n\n{_other_sizes(results)}")
    if results.get("sweeps"):
        parts.append(f"## Growth\n\n{GROWTH}\n\n{_growth(results)}")
    return parts + _listed(results, USERS)


def _for_contributors(results: Results) -> list[str]:
    return [
        "## Against the bare loop\n\n" + _floors(results),
        *_listed(results, CONTRIBUTORS),
    ]


def _listed(results: Results, parts: dict[str, str]) -> list[str]:
    """The parts that are rows already, each with its title."""
    texts = []
    for key, title in parts.items():
        if results.get(key):
            rows = [{k: v for k, v in row.items() if k not in BOOKKEEPING} for row in results[key]]
            table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g")
            texts.append(f"## {title}\n\n{table}")
    return texts


def _families(results: Results) -> str:
    body = []
    for row in results["rows"]:
        ratio = ratios(results, row["family"]).get(row["engine"], np.nan)
        body.append([
            row["family"], row["engine"], row["batch"], _ms(row["forward"]), _ms(row["backward"]),
            f"{ratio:.1f}" if np.isfinite(ratio) else "-", _error(row["solution_error"]),
            _error(row["gradient_error"]), row["note"],
        ])  # fmt: skip
    head = ["family", "layer", "batch", "forward (ms)", "backward (ms)", "time / cvxlpgd's",
            "solution error", "gradient error", "note"]  # fmt: skip
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _other_sizes(results: Results) -> str:
    """How many times longer the others take than ours, at each multiple of the sizes."""
    others = [name for name, engine in ENGINES.items() if not engine.ours and not engine.only]
    body = []
    for (family, scale), totals in by_size(results).items():
        cells = [
            " / ".join(_ratio(totals, name, ours) for ours in (OURS, AUTOMATIC)) for name in others
        ]
        body.append([family, f"{scale:g}", *cells])
    head = ["family", "size", *others]
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _ratio(totals: dict[str, float], name: str, ours: str) -> str:
    return number(totals.get(name, np.nan) / totals.get(ours, np.nan))


def _floors(results: Results) -> str:
    body = []
    for bare in results["floors"]:
        ours = next(r for r in results["rows"]
                    if r["family"] == bare["family"] and r["engine"] == OURS)  # fmt: skip
        total, least = ours["forward"] + ours["backward"], bare["forward"] + bare["backward"]
        allowed = 1.3 * least + 3e-3 * max(1.0, ours["batch"] / 32)
        body.append([
            bare["family"], bare["solver"], _ms(bare["forward"]), _ms(bare["backward"]),
            _ms(ours["forward"]), _ms(ours["backward"]), f"{total / least:.2f}",
            _ms(total - least), "yes" if total <= allowed else "no",
            f"{ours['backward'] / ours['forward']:.2f}",
        ])  # fmt: skip
    head = ["family", "solver", "bare forward (ms)", "bare re-solves", "ours forward",
            "ours backward", "ours / bare", "above it (ms)", "within 1.3 x + 3 ms",
            "backward / forward"]  # fmt: skip
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _growth(results: Results) -> str:
    body = []
    keys = {(p["family"], p["engine"], p["sweep"]): None for p in results["sweeps"]}
    for family, engine, sweep in keys:
        points = [p for p in results["sweeps"]
                  if (p["family"], p["engine"], p["sweep"]) == (family, engine, sweep)]  # fmt: skip
        values = np.array([p["value"] for p in points], dtype=float)
        totals = np.array([p["forward"] + p["backward"] for p in points])
        good = np.isfinite(totals)
        slope = np.nan
        if good.sum() > 1:  # over the larger sizes: small ones are overhead
            slope = float(np.polyfit(np.log(values[good][-3:]), np.log(totals[good][-3:]), 1)[0])
        times = ", ".join(f"{v:g}: {_ms(t)}" for v, t in zip(values, totals, strict=True))
        body.append([family, engine, sweep, times, f"{slope:.2f}" if np.isfinite(slope) else "-"])
    head = ["family", "layer", "against", "ms", "power"]
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _ms(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "-"
    return f"{1e3 * seconds:.1f}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _error(error: float) -> str:
    return f"{error:.0e}" if np.isfinite(error) else "-"


def write(results: Results, docs: Path) -> None:
    """Both pages, with their pictures."""
    draw_ratios(results, docs / "performance.png")
    pictures = ["![Times of the others, as multiples of ours](performance.png)"]
    if results.get("sweeps"):
        draw_sweeps(results, docs / "performance_sweeps.png")
        pictures.append("![Time and memory against the batch and the size](performance_sweeps.png)")
    about = "\n".join(f"- {name}: {value}" for name, value in results["machine"].items())
    versions = f"## Machine and versions\n\n{about}"
    pages = {
        "performance.md": [_text(INTRO, results), *pictures, *_for_users(results), versions],
        "performance-notes.md": [_text(NOTES, results), *_for_contributors(results)],
    }
    for name, parts in pages.items():
        (docs / name).write_text("\n\n".join(parts) + "\n")


def _text(template: Path, results: Results) -> str:
    """A page before its tables."""
    return fill(template.read_text(), results).rstrip()
