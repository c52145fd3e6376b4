"""The picture: each method's regret and seconds by task, both packages side by side."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from examples.decisions.methods import EXTRA, METHODS, SIDES
from examples.decisions.report import Figures

COLORS = {"ours": "C0", "theirs": "C1"}
NAMES = {"ours": "cvxlpgd", "theirs": "PyEPO"}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)
SHIFT = {"ours": -0.17, "theirs": 0.17}  # of a line's height


def picture(results: dict[str, Any], file: Path) -> None:
    """Draw: above regret over that of two_stage, below seconds; a column for each task.

    Filled marks are of the same solver on both sides, rings of each side's default.

    Raises
    ------
    ValueError
        For results without a run.
    """
    from matplotlib.figure import Figure

    figures = Figures(results["runs"])
    tasks = figures.tasks()
    if not tasks:
        raise ValueError("there is no run to draw")
    names = [m for m in METHODS | EXTRA if any(m in figures.methods(task) for task in tasks)]
    size = (2.2 + 2.6 * len(tasks), 2.2 + 0.5 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(2, len(tasks), sharey=True, squeeze=False)
    for column, task in enumerate(tasks):
        _regrets(panels[0, column], figures, task, names)
        _seconds(panels[1, column], figures, task, names)
        panels[0, column].set_title(task.replace("_", " "))
    for panel in panels.flat:
        panel.set_xscale("log")
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", alpha=0.3)
        for line in range(0, len(names), 2):
            panel.axhspan(line - 0.5, line + 0.5, color="0.95", lw=0, zorder=0)
    for panel in panels[0]:
        low, high = panel.get_xlim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.set_xticks([], minor=True)
    panels[0, 0].set_yticks(range(len(names)), names)
    panels[0, 0].set_ylim(len(names) - 0.5, -0.5)
    _legend(figure, figures)
    figure.savefig(file, dpi=120)


def _regrets(panel: Any, figures: Figures, task: str, names: list[str]) -> None:
    """Geometric means over cells and seeds, with the geometric standard error."""
    panel.axvline(1.0, color="black", lw=0.8)
    panel.set_xlabel("regret / two_stage's")
    for line, name in enumerate(names):
        for side in SIDES:
            for solver in figures.solvers():
                logs = np.log(list(figures.ratios(task, side, name, solver).values()))
                if not len(logs) or not _is_shown(figures, task, side, name, solver):
                    continue
                error = logs.std(ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else 0.0
                low, high = np.exp(logs.mean() - error), np.exp(logs.mean() + error)
                panel.plot([low, high], [line + SHIFT[side]] * 2, color=COLORS[side], lw=1)
                _mark(panel, np.exp(logs.mean()), line, side, solver)


def _seconds(panel: Any, figures: Figures, task: str, names: list[str]) -> None:
    """Medians over all runs."""
    panel.set_xlabel("seconds for 1000 samples")
    for line, name in enumerate(names):
        for side in SIDES:
            for solver in figures.solvers():
                seconds = figures.seconds(task, side, name, solver)
                if np.isfinite(seconds) and _is_shown(figures, task, side, name, solver):
                    _mark(panel, seconds, line, side, solver)


def _is_shown(figures: Figures, task: str, side: str, name: str, solver: str) -> bool:
    """Whether there are cells, and others than those of the mark of the first set."""
    first = figures.solvers()[0]
    mine, theirs = (figures.cells(task, side, name, s) for s in (solver, first))
    return bool(mine) and (solver == first or mine != theirs)


def _mark(panel: Any, x: float, line: int, side: str, solver: str) -> None:
    face, size = (COLORS[side], 4) if solver == "same" else ("none", 7)
    panel.plot(x, line + SHIFT[side], "o", ms=size, color=COLORS[side], mfc=face)


def _legend(figure: Any, figures: Figures) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for side in SIDES:
        for solver, word in (("same", "the same solver"), ("default", "its default solver")):
            marks = product(figures.tasks(), METHODS | EXTRA)
            if any(_is_shown(figures, task, side, name, solver) for task, name in marks):
                color = COLORS[side]
                face = color if solver == "same" else "none"
                label = f"{NAMES[side]}, {word}"
                handles.append(
                    Line2D([], [], ls="", marker="o", color=color, mfc=face, label=label)
                )
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
