"""A picture of the results: error across cases, training curves, signals side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = Mapping[str, Any]

# one colour for each kind of momentum, one dash for each scheme
COLORS = {"": "C7", "ma": "C1", "rma": "C0", "wide": "C2"}
PLAIN = {"prox": ("C3", "-"), "prox_untrained": ("C3", ":"), "gauss_newton": ("C4", ":")}
DASHES = {"lpgd": "-", "lpd": "--"}


def picture(
    runs: Sequence[Run],
    title: str,
    axis: str,
    fixed: Mapping[str, Any],
    truth: np.ndarray,
    draw: Callable[[Any, Mapping[str, np.ndarray]], None],
    file: Path,
) -> None:
    """Draw runs of the same `fixed` case, which differ along the axis."""
    from matplotlib.figure import Figure

    named = ", ".join(f"{name} = {value:g}" for name, value in fixed.items())
    runs = [run for run in runs if np.isfinite(run["test_mse"] or np.nan)]
    if not runs:
        raise ValueError(f"there is no run to draw with {named}")
    figure = Figure(figsize=(10, 8), layout="constrained")
    above, below = figure.subfigures(2, 1)
    left, right = above.subplots(1, 2)
    _errors(left, runs, axis)
    last = max(run[axis] for run in runs)
    _curves(right, [run for run in runs if run[axis] == last and "curve" in run])
    right.set_title(f"{axis} = {last:g}", fontsize="medium")
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3)
    first = min(run["seed"] for run in runs)
    shown = [run for run in runs if run[axis] == last and run["seed"] == first]
    draw(below, {"truth": truth} | {r["method"]: np.array(r["estimates"]) for r in shown})
    figure.suptitle(f"{title} ({named})" if named else title)
    figure.savefig(file, dpi=120)


def look(method: str) -> dict[str, str]:
    """The colour and dashes of a method."""
    scheme, _, variant = method.partition("_")
    color, dash = PLAIN.get(method) or (COLORS[variant], DASHES[scheme])
    return {"color": color, "linestyle": dash, "label": method}


def _errors(panel: Any, runs: list[Run], axis: str) -> None:
    """Mean and range over seeds, beside the error of the mean signal."""
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [run for run in runs if run["method"] == method]
        at = sorted({run[axis] for run in mine})
        errors = [[run["test_mse"] for run in mine if run[axis] == value] for value in at]
        (line,) = panel.plot(at, [np.mean(e) for e in errors], marker="o", ms=3, **look(method))
        panel.fill_between(
            at, [min(e) for e in errors], [max(e) for e in errors], color=line.get_color(),
            alpha=0.12, lw=0,
        )  # fmt: skip
    baselines = sorted({run[axis]: run["baseline_mse"] for run in runs}.items())
    panel.plot(
        *zip(*baselines, strict=True), color="black", lw=0.8, marker=".", label="mean signal"
    )
    panel.set(xlabel=axis, ylabel="test error (mean and range over seeds)", yscale="log")
    panel.legend(frameon=False, fontsize="small", ncols=2)


def _curves(panel: Any, runs: list[Run]) -> None:
    """Validation error along the training, the mean over seeds."""
    for method in dict.fromkeys(run["method"] for run in runs):
        curves = [run["curve"] for run in runs if run["method"] == method and not run["diverged"]]
        if curves:
            values = np.array([[row["validation_mse"] for row in curve] for curve in curves])
            panel.plot(values.mean(axis=0), **look(method))
    panel.set(xlabel="epoch", ylabel="validation error (mean over seeds)", yscale="log")
