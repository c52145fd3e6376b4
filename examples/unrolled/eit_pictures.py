"""Pictures of what the experiment on impedance tomography found, from its rows of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.unrolled.eit_data import COARSE
from examples.unrolled.mesh import disk

Row = Mapping[str, Any]
NAMES = {
    "lpgd": "LPGD", "lpgd_ma": "LPGD, average", "lpgd_rma": "LPGD, recurrent",
    "lpgd_wide": "LPGD, wide",
    "lpd": "LPD", "lpd_ma": "LPD, average", "lpd_rma": "LPD, recurrent",
}  # fmt: skip
LEAST, MOST = 0.2, 2.2  # conductivities at the ends of the colour scale


def images(columns: Mapping[str, Sequence[Sequence[float]]], file: Path) -> None:
    """Conductivities on the triangles: a column for each name, a row for each disk, one scale."""
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure
    from matplotlib.tri import Triangulation

    mesh = disk(*COARSE)
    triangles = Triangulation(*mesh.p, mesh.t.T)
    rows = len(next(iter(columns.values())))
    width = 1.7 * len(columns)
    figure = Figure(figsize=(width + 0.9, 1.75 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, len(columns), squeeze=False)
    norm = TwoSlopeNorm(1.0, LEAST, MOST)
    for panel, (name, values) in zip(panels.T, columns.items(), strict=True):
        panel[0].set_title(name, fontsize=9)
        for axes, image in zip(panel, values, strict=True):
            drawn = axes.tripcolor(
                triangles, facecolors=np.asarray(image), norm=norm, cmap="RdBu_r"
            )
            axes.set_aspect("equal")
            axes.axis("off")
    bar = figure.colorbar(drawn, ax=panels, shrink=0.7, ticks=[0.3, 0.5, 1.0, 1.5, 2.0])
    bar.set_label("conductivity")
    figure.savefig(file, dpi=150)


def errors(runs: Sequence[Row], baseline: Mapping[str, float], file: Path) -> None:
    """Test error against the number of training samples: each method's mean and range over seeds."""
    figure, panels = _panels(runs)
    for panel, inclusions in zip(panels, _values(runs, "inclusions"), strict=True):
        panel.axhline(baseline[str(inclusions)], color="0.4", ls="--", lw=1, label="Gauss-Newton")
        for number, method in enumerate(_values(runs, "method")):
            mine = [
                [r["test_mse"] for r in runs if _is(r, method, inclusions, count)]
                for count in _values(runs, "n_train")
            ]
            kept = [(n, e) for n, e in zip(_values(runs, "n_train"), mine, strict=True) if e]
            counts = np.array([n for n, _ in kept]) * 1.02 ** (number - 3)  # ranges side by side
            means = np.array([np.mean(e) for _, e in kept])
            ends = np.array([(min(e), max(e)) for _, e in kept]).reshape(-1, 2)
            panel.errorbar(counts, means, np.abs(ends.T - means), marker="o", ms=3, lw=1.2,
                           color=f"C{number}", label=NAMES.get(method, method))  # fmt: skip
        panel.set(xscale="log", yscale="log", title=f"{inclusions} inclusions")
        panel.set_xlabel("training disks")
        panel.set_xticks(_values(runs, "n_train"), _values(runs, "n_train"), minor=False)
        panel.minorticks_off()
    panels[0].set_ylabel("mean squared error")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)


def curves(runs: Sequence[Row], baseline: Mapping[str, float], file: Path) -> None:
    """Validation error while training on the largest set: each seed a line."""
    most = max(_values(runs, "n_train"))
    figure, panels = _panels(runs)
    for panel, inclusions in zip(panels, _values(runs, "inclusions"), strict=True):
        for number, method in enumerate(_values(runs, "method")):
            label = NAMES.get(method, method)
            for run in (r for r in runs if _is(r, method, inclusions, most)):
                epochs, values = zip(*((e["epoch"], e["validation_mse"]) for e in run["curve"]),
                                     strict=True)  # fmt: skip
                panel.plot(epochs, values, color=f"C{number}", lw=1, label=label)
                label = None
        panel.set(yscale="log", title=f"{inclusions} inclusions, {most} training disks")
        panel.set_xlabel("epoch")
    panels[0].set_ylabel("mean squared error, validation")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)


def _panels(runs: Sequence[Row]) -> tuple[Any, Any]:
    """A figure with a panel for each number of inclusions."""
    from matplotlib.figure import Figure

    count = len(_values(runs, "inclusions"))
    figure = Figure(figsize=(4.5 * count + 0.5, 3.6), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3)
    return figure, panels


def _values(runs: Sequence[Row], name: str) -> list[Any]:
    """What the runs have under this name, in the order of methods and of numbers."""
    present = {run[name] for run in runs}
    return [m for m in NAMES if m in present] if name == "method" else sorted(present)


def _is(run: Row, method: str, inclusions: int, count: int) -> bool:
    """Whether it is a run of these that has a finite result."""
    wanted = (method, inclusions, count)
    return (run["method"], run["inclusions"], run["n_train"]) == wanted and bool(
        run["test_mse"] is not None and np.isfinite(run["test_mse"])
    )
