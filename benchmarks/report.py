"""Tables, pictures and docs/performance.md of the results."""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.engines import AUTOMATIC, ENGINES, OURS
from benchmarks.families import FAMILIES
from benchmarks.floor import WORKERS

LIBRARIES = (
    "cvxlpgd cvxpy numpy scipy torch cvxpylayers diffcp moreau moreau-cpu qpth proxsuite highspy "
    "daqp scs clarabel piqp osqp"
).split()
Found = dict[str, Any]
PARTS = {
    "memory": "Peak memory (MB) and seconds of one step",
    "construction": "Construction, 500 x 500",
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


def ratios(found: Found, family: str) -> dict[str, float]:
    """How many times longer each engine takes than ours."""
    totals = {r["engine"]: r["forward"] + r["backward"] for r in found["rows"]
              if r["family"] == family}  # fmt: skip
    return {name: total / totals[OURS] for name, total in totals.items() if OURS in totals}


def means(found: Found) -> dict[str, tuple[float, int]]:
    """Geometric means of these ratios over the compared families, and over how many."""
    names = [f.name for f in FAMILIES.values() if f.compared]
    collected: dict[str, list[float]] = {}
    for family in names:
        for engine, ratio in ratios(found, family).items():
            if np.isfinite(ratio):
                collected.setdefault(engine, []).append(ratio)
    return {k: (float(np.exp(np.mean(np.log(v)))), len(v)) for k, v in collected.items()}


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
    body = [[name, f"{mean:.1f}", count] for name, (mean, count) in means(found).items()]
    return tabulate(body, headers=["layer", "times ours", "families"], tablefmt="github")


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
    intro = Path(__file__).with_name("intro.md").read_text()
    text = f"{intro}\n{pictures}\n{tables(found)}\n\n## Machine and versions\n\n{about}\n"
    (docs / "performance.md").write_text(text)


def draw_ratios(found: Found, path: Path) -> None:
    """How many times longer than ours, for each family and layer."""
    import matplotlib.pyplot as plt

    families = [f for f in dict.fromkeys(row["family"] for row in found["rows"])
                if np.isfinite([r for e, r in ratios(found, f).items()
                                if not ENGINES[e].ours]).any()]  # fmt: skip
    engines = [e for e in ENGINES if e not in (OURS, AUTOMATIC)]
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    width = 0.8 / len(engines)
    for k, engine in enumerate(engines):
        heights = [ratios(found, family).get(engine, np.nan) for family in families]
        axes.bar(np.arange(len(families)) + (k - len(engines) / 2) * width, heights, width,
                 label=engine)  # fmt: skip
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("time, as a multiple of cvxlpgd's")
    axes.set_xticks(np.arange(len(families)), families, rotation=30, ha="right")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_sweeps(found: Found, path: Path) -> None:
    """Seconds, and our peak memory, against the batch and against n."""
    import matplotlib.pyplot as plt

    families = list(dict.fromkeys(p["family"] for p in found["sweeps"]))
    figure, grid = plt.subplots(
        4, len(families), figsize=(3 * len(families), 10), layout="constrained", squeeze=False
    )
    rows = [
        (what, sweep) for what in ("seconds", "peak memory, MB") for sweep in ("batch", "scale")
    ]
    for axes_row, (what, sweep) in zip(grid, rows, strict=True):
        for axes, family in zip(axes_row, families, strict=True):
            for engine in ENGINES:
                points = [p for p in found["sweeps"] if (p["family"], p["engine"], p["sweep"])
                          == (family, engine, sweep)]  # fmt: skip
                key = "batch" if sweep == "batch" else "variables"
                values = [_swept(p, what) for p in points]
                if np.isfinite(values).any():
                    axes.plot([p[key] for p in points], values, "o-", markersize=3, label=engine)
            axes.set_xscale("log")
            if what == "seconds":
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
            axes.xaxis.set_minor_formatter("")
            axes.set_title(family, fontsize="medium")
            axes.set_xlabel("batch" if sweep == "batch" else "variables")
        axes_row[0].set_ylabel(what)
    grid[0, 0].legend(fontsize="x-small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _swept(point: Found, what: str) -> float:
    """What is drawn of a point, NaN where it was not measured."""
    if what == "seconds":
        return float(point["forward"] + point["backward"])
    return float(point.get("peak", np.nan))
