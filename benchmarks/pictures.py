"""Pictures of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import ENGINES
from benchmarks.figures import Results, ratios
from benchmarks.parts import SCALED_BATCH

LABELS = {"batch": "batch", "scale": f"variables, batch of {SCALED_BATCH}"}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
WIDTH = 0.2  # of a bar, where families are 1 apart


def draw_ratios(results: Results, path: Path) -> None:
    """How many times longer than ours, for each family and layer."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    others = [engine for engine in ENGINES if not ENGINES[engine].ours]
    families = dict[str, dict[str, float]]()
    for name in dict.fromkeys(row["family"] for row in results["rows"]):
        own = ratios(results, name)
        measured = {e: own[e] for e in others if np.isfinite(own.get(e, np.nan))}
        if measured:
            families[name] = measured
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for engine in others:
        places, heights = [], []
        for i, measured in enumerate(families.values()):
            if engine in measured:
                beside = list(measured).index(engine) - (len(measured) - 1) / 2
                places.append(i + WIDTH * beside)
                heights.append(measured[engine] - 1.0)
        axes.bar(places, heights, WIDTH, bottom=1.0, label=engine)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_yticks(*zip(*((t, f"{t:g}") for t in TICKS if low <= t <= high), strict=True))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("time, as a multiple of cvxlpgd's")
    axes.set_xticks(np.arange(len(families)), list(families), rotation=30, ha="right")
    figure.legend(loc="outside upper center", ncols=len(others), fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_sweeps(results: Results, path: Path) -> None:
    """Seconds, and our peak memory, against the batch and against n."""
    import matplotlib.pyplot as plt

    families = list(dict.fromkeys(p["family"] for p in results["sweeps"]))
    figure, grid = plt.subplots(
        4, len(families), figsize=(3 * len(families), 10), layout="constrained", squeeze=False
    )
    rows = [
        (what, sweep) for what in ("seconds", "peak memory, MB") for sweep in ("batch", "scale")
    ]
    for axes_row, (what, sweep) in zip(grid, rows, strict=True):
        for axes, family in zip(axes_row, families, strict=True):
            points = [p for p in results["sweeps"]
                      if (p["family"], p["sweep"]) == (family, sweep)]  # fmt: skip
            _draw_sweep(axes, points, what, "batch" if sweep == "batch" else "variables")
            axes.set_title(family, fontsize="medium")
            axes.set_xlabel(LABELS[sweep])
        axes_row[0].set_ylabel(what)
    lines, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(lines), fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_sweep(axes: Any, points: list[Results], what: str, key: str) -> None:
    """One quantity of each engine against the batch or the variables."""
    for engine in ENGINES:
        own = [p for p in points if p["engine"] == engine]
        values = [_swept(p, what) for p in own]
        if np.isfinite(values).any():
            axes.plot([p[key] for p in own], values, "o-", markersize=3, label=engine)
    axes.set_xscale("log")
    ticks = sorted({p[key] for p in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize="small")
    axes.set_xticks([], minor=True)
    if what == "seconds":
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])


def _swept(point: Results, what: str) -> float:
    """What is drawn of a point, NaN where it was not measured."""
    if what == "seconds":
        return float(point["forward"] + point["backward"])
    return float(point.get("peak", np.nan))
