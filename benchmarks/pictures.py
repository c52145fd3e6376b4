"""Pictures of the results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.engines import AUTOMATIC, ENGINES, OURS
from benchmarks.figures import Found, ratios


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
