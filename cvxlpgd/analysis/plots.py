"""Pictures of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvxlpgd.analysis.score import Score
from cvxlpgd.errors import SolverNotInstalled

_COLORS = {"lower": "#d95f02", "upper": "#7570b3", "average": "#1b9e77"}


def draw_comparison(
    rows: Sequence[Score], reference: str, noise: float, title: str, path: str
) -> None:
    """Draw error against tau, both sides and the average, with the other rows, to a file.

    `noise` is the relative error that the solver's noise causes at tau = 1.

    Raises
    ------
    SolverNotInstalled
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise SolverNotInstalled('pictures need matplotlib: pip install "cvxlpgd[plot]"') from error

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True, sharex=True)
    judges = (f"against {reference.split(',')[0]}", "against central differences")
    for axis, field, judge in zip(axes, ("error_reference", "error_fd"), judges, strict=True):
        _draw_errors(axis, rows, noise, field)
        axis.set(xscale="log", yscale="log", xlabel="tau", title=judge)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("relative error of the gradient")
    handles = {line.get_label(): line for a in axes for line in a.lines}
    shown = {k: v for k, v in handles.items() if not str(k).startswith("_")}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def _draw_errors(axis: Any, rows: Sequence[Score], noise: float, field: str) -> None:
    chosen = [row for row in rows if not row.automatic]
    for side, color in _COLORS.items():
        pairs = [(r.tau, getattr(r, field)) for r in chosen if r.side == side]
        points = sorted((t, e) for t, e in pairs if t is not None and np.isfinite(e) and e > 0)
        if points:
            axis.plot(*zip(*points, strict=True), "o-", color=color, label=f"LPGD {side}")
    for row in rows:
        error = getattr(row, field)
        if not np.isfinite(error) or error <= 0:
            continue
        if row.automatic and row.tau == 0:  # no place on a logarithmic axis
            axis.axhline(error, color="black", ls="-.", label="LPGD auto (the limit)")
        elif row.automatic:
            axis.plot([row.tau], [error], "*", ms=15, color="black", label="LPGD auto", zorder=5)
        elif row.tau is None and field != "error_reference":
            axis.axhline(error, color="gray", ls="--", label=row.derivative)
    taus = np.array(sorted({row.tau for row in chosen if row.tau is not None}))
    if len(taus) and np.isfinite(noise) and noise > 0:
        floor = noise / taus
        axis.plot(taus, floor, ":", color="red", label="solver noise")
