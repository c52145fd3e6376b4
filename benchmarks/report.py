"""Tables, pictures and docs/performance.md of the results."""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.engines import AUTOMATIC, OURS
from benchmarks.figures import Found, fill, means, ratios
from benchmarks.floor import WORKERS
from benchmarks.pictures import draw_ratios, draw_sweeps

LIBRARIES = (
    "cvxlpgd cvxpy numpy scipy torch cvxpylayers diffcp moreau moreau-cpu qpth proxsuite highspy "
    "daqp scs clarabel piqp osqp"
).split()
INTRO = Path(__file__).with_name("intro.md")
PARTS = {
    "advice": "What each advice is worth",
    "call": "A call with next to nothing to solve",
    "memory": "Peak memory (MB) and seconds of one step",
    "construction": "Construction, with an n x n parameter",
    "reuse": "Reuse, batch of 8",
    "profile": "Where a step's milliseconds go",
}


def machine() -> dict[str, str]:
    """When, on what, with which versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found = {
        "date": date.today().isoformat(),
        "processor": models[0] if models else platform.processor(),
        "cores": str(WORKERS),
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def tables(found: Found) -> str:
    """All of it as text."""
    parts = [
        "## Times and errors\n\n" + _families(found),
        "## Geometric means\n\n" + _means(found),
        "## Against the bare loop\n\n" + _floors(found),
    ]
    if found.get("sweeps"):
        parts.append("## Growth\n\n" + _growth(found))
    for key, title in PARTS.items():
        if found.get(key):
            table = tabulate(found[key], headers="keys", tablefmt="github", floatfmt=".3g")
            parts.append(f"## {title}\n\n{table}")
    return "\n\n".join(parts)


def _families(found: Found) -> str:
    body = []
    for row in found["rows"]:
        ratio = ratios(found, row["family"]).get(row["engine"], np.nan)
        body.append([
            row["family"], row["engine"], row["batch"], _ms(row["forward"]), _ms(row["backward"]),
            f"{ratio:.1f}" if np.isfinite(ratio) else "-", _error(row["solution_error"]),
            _error(row["gradient_error"]), row["note"],
        ])  # fmt: skip
    head = ["family", "layer", "batch", "forward (ms)", "backward (ms)", "times ours",
            "solution error", "gradient error", "note"]  # fmt: skip
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _means(found: Found) -> str:
    """The others' times as multiples of each of ours."""
    fixed, automatic = means(found), means(found, AUTOMATIC)
    body = [[name, f"{mean:.1f}", f"{automatic[name][0]:.1f}" if name in automatic else "-", count]
            for name, (mean, count) in fixed.items()]  # fmt: skip
    head = ["layer", f"times {OURS}", f"times {AUTOMATIC}", "families and sizes"]
    return tabulate(body, headers=head, tablefmt="github")


def _floors(found: Found) -> str:
    body = []
    for bare in found["floors"]:
        ours = next(r for r in found["rows"]
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


def _growth(found: Found) -> str:
    body = []
    keys = {(p["family"], p["engine"], p["sweep"]): None for p in found["sweeps"]}
    for family, engine, sweep in keys:
        points = [p for p in found["sweeps"]
                  if (p["family"], p["engine"], p["sweep"]) == (family, engine, sweep)]  # fmt: skip
        values = np.array([p["value"] for p in points], dtype=float)
        totals = np.array([p["forward"] + p["backward"] for p in points])
        good = np.isfinite(totals)
        slope = np.nan
        if good.sum() > 1:  # over the larger sizes: small ones are overhead
            slope = float(np.polyfit(np.log(values[good][-3:]), np.log(totals[good][-3:]), 1)[0])
        times = ", ".join(f"{v:g}: {_ms(t)}" for v, t in zip(values, totals, strict=True))
        body.append([family, engine, sweep, times, f"{slope:.2f}" if np.isfinite(slope) else "-"])
    head = ["family", "layer", "against", "ms", "exponent of the last three"]
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _ms(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "-"
    return f"{1e3 * seconds:.1f}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _error(error: float) -> str:
    return f"{error:.0e}" if np.isfinite(error) else "-"


def write(found: Found, docs: Path) -> None:
    """docs/performance.md, with its pictures."""
    draw_ratios(found, docs / "performance.png")
    pictures = "![Times of the others, as multiples of ours](performance.png)\n"
    if found.get("sweeps"):
        draw_sweeps(found, docs / "performance_sweeps.png")
        pictures += "\n![Time and memory against the batch and the size](performance_sweeps.png)\n"
    about = "\n".join(f"- {name}: {value}" for name, value in found["machine"].items())
    text = f"{intro(found)}\n{pictures}\n{tables(found)}\n\n## Machine and versions\n\n{about}\n"
    (docs / "performance.md").write_text(text)


def intro(found: Found) -> str:
    """The text before the tables."""
    return fill(INTRO.read_text(), found)
