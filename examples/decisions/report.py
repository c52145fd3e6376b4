"""The table: what each method reaches and costs, in both packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from examples.decisions.methods import EXTRA, METHODS, SIDES
from examples.decisions.plan import SOLVERS
from examples.decisions.tasks import TASKS

Row = dict[str, Any]
Cell = tuple[Any, ...]

FLOOR = 1e-3  # regrets below 0.1 % count as that: a ratio to nothing would outweigh all others
REGRETS = {"validation": "best_validation_regret", "test": "best_test_regret"}
WITH = {"same": "the same solver", "default": "each one's default"}
OF_CELL = ("task", "degree", "noise", "train", "seed")


class Figures:
    """Runs by what they are of; of several learning rates the one that validation prefers."""

    def __init__(self, runs: Iterable[Row], samples: str = "test") -> None:
        self._chosen: dict[Cell, dict[Cell, Row]] = {}
        self._all: dict[Cell, list[Row]] = {}
        self.figure = REGRETS[samples]
        self.runs = [run for run in runs if "failure" not in run]
        # what needs no solver belongs to both sets, and is counted in the first
        solving = {run["solver"] for run in self.runs if run["backend"] != "none"}
        first = min(solving or {run["solver"] for run in self.runs}, key=SOLVERS.index, default="")
        self.runs = [r | {"solver": first} if r["backend"] == "none" else r for r in self.runs]
        for run in self.runs:
            what = (run["task"], run["side"], run["method"], run["solver"])
            self._all.setdefault(what, []).append(run)
            chosen, cell = self._chosen.setdefault(what, {}), tuple(run[n] for n in OF_CELL)
            if cell not in chosen or _validated(run) < _validated(chosen[cell]):
                chosen[cell] = run

    def tasks(self) -> list[str]:
        """Those that there are runs of."""
        return [task for task in TASKS if any(run["task"] == task for run in self.runs)]

    def methods(self, task: str) -> list[str]:
        """Likewise, in their order."""
        return [m for m in METHODS | EXTRA if any(what[::2] == (task, m) for what in self._all)]

    def solvers(self) -> list[str]:
        """Likewise."""
        return [name for name in SOLVERS if any(what[3] == name for what in self._all)]

    def _what(self, task: str, side: str, method: str, solver: str) -> Cell | None:
        """Where its runs are: PyEPO's default solver is Gurobi, and not every method solves."""
        if (task, side, method, solver) in self._all:
            return task, side, method, solver
        (other,) = (name for name in SOLVERS if name != solver)
        runs = self._all.get((task, side, method, other), [])
        alike = all(run["backend"] in _alike(side) for run in runs)
        return (task, side, method, other) if runs and alike else None

    def chosen(self, task: str, side: str, method: str, solver: str) -> dict[Cell, Row]:
        """{cell: run}, empty where there are none."""
        what = self._what(task, side, method, solver)
        return {} if what is None else self._chosen[what]

    def cells(self, task: str, side: str, method: str, solver: str) -> dict[Cell, Row]:
        """Those of its runs whose cells the other package has, too, if it has the method at all."""
        mine = self.chosen(task, side, method, solver)
        (another,) = (one for one in SIDES if one != side)
        other = self.chosen(task, another, method, solver)
        return {cell: run for cell, run in mine.items() if cell in other or not other}

    def common(self, task: str, method: str, solver: str) -> int:
        """How many cells a method has there, those of both packages if both have it."""
        return max(len(self.cells(task, side, method, solver)) for side in SIDES)

    def ratios(self, task: str, side: str, method: str, solver: str) -> dict[Cell, float]:
        """Regrets over those of the squared error of costs, in the same cells."""
        base: dict[Cell, Row] = {}
        for one in SIDES:
            base = self.chosen(task, one, "two_stage", solver) | base
        return {
            cell: _floored(run[self.figure]) / _floored(base[cell][self.figure])
            for cell, run in self.cells(task, side, method, solver).items()
            if cell in base
        }

    def seconds(self, task: str, side: str, method: str, solver: str) -> float:
        """Of training with 1000 samples: the median run's, NaN without one."""
        what = self._what(task, side, method, solver)
        cells = self.cells(task, side, method, solver)
        runs = [] if what is None else self._all[what]
        runs = [run for run in runs if tuple(run[n] for n in OF_CELL) in cells]
        times = [1000 * run["seconds"] / run["samples_seen"] for run in runs]
        return float(np.median(times)) if times else np.nan

    def rates(self) -> dict[float, int]:
        """How often validation prefers each learning rate."""
        chosen = [run["rate"] for cells in self._chosen.values() for run in cells.values()]
        return {rate: chosen.count(rate) for rate in sorted(set(chosen))}


def table(results: Row, samples: str = "test") -> str:
    """A table for each task, some of all tasks, and below what is left out and what failed.

    Parameters
    ----------
    results : {"runs", "absent"}
    samples : "test" or "validation"
        Whose regrets.
    """
    figures = Figures(results["runs"], samples)
    parts = [_of_task(figures, task) for task in figures.tasks()]
    if len(parts) > 1:
        parts.append(_of_all(figures, "regret, ours / theirs", _regret, figures.solvers()))
        for solver in figures.solvers():
            title = f"seconds, {WITH[solver]}, ours / theirs"
            parts.append(_of_all(figures, title, _seconds, [solver]))
    lost = [run for run in results["runs"] if "failure" in run]
    for what in dict.fromkeys((r["side"], r["method"], r["task"], r["solver"]) for r in lost):
        same = [r for r in lost if (r["side"], r["method"], r["task"], r["solver"]) == what]
        first = same[0]["failure"].splitlines()[0][:150]
        parts.append(f"failed, {len(same)} runs of {' '.join(what)}: {first}")
    parts += [f"left out: {line}" for line in results["absent"]]
    if figures.runs:
        parts.append(
            f"Regret of {samples} samples over that of two_stage in the same cell, geometric mean "
            "over cells and seeds, ÷× the geometric standard deviation over the seeds of a cell, "
            f"the root mean square of all cells'; regrets below {FLOOR:g} count as that. Seconds "
            "are of training with 1000 samples, the median of all runs. Where both packages have a "
            "method, only cells that both have count. "
            "Learning rates that validation prefers: "
            f"{', '.join(f'{r:g} in {n} cells' for r, n in figures.rates().items())}."
        )
    return "\n\n".join(parts)


def _of_task(figures: Figures, task: str) -> str:
    solvers = figures.solvers()
    heads = ["method"]
    for solver in solvers:
        regret, seconds = ([f"{w}, {side}, {solver}" for side in SIDES] for w in ("regret", "s"))
        heads += ["cells", *regret, *seconds, "ours/theirs"]
    lines = [
        [method, *(word for solver in solvers for word in _words(figures, task, method, solver))]
        for method in figures.methods(task)
    ]
    base = [
        run[figures.figure]
        for side in SIDES
        for run in figures.chosen(task, side, "two_stage", solvers[0]).values()
    ]
    mean = f"; regret of two_stage {np.mean(base):.4f}" if base else ""
    cells = len({tuple(r[n] for n in OF_CELL) for r in figures.runs if r["task"] == task})
    title = f"{task}, {cells} cells and seeds{mean}"
    return f"{title}\n\n" + tabulate(lines, headers=heads, tablefmt="github", disable_numparse=True)


def _words(figures: Figures, task: str, method: str, solver: str) -> list[str]:
    """Of a method: in how many cells, regrets, seconds and their ratio."""
    of = [(task, side, method, solver) for side in SIDES]
    ours, theirs = (figures.seconds(*what) for what in of)
    return [
        str(figures.common(task, method, solver) or ""),
        *(_spread(figures.ratios(*what)) for what in of),
        _written(ours, ".3f"), _written(theirs, ".3f"), _written(ours / theirs, ".2f"),
    ]  # fmt: skip


def _of_all(figures: Figures, title: str, word: Callable[..., str], solvers: Sequence[str]) -> str:
    """One figure of all tasks and methods, of one of these sets of rows."""
    tasks = figures.tasks()
    methods = [m for m in METHODS | EXTRA if any(m in figures.methods(task) for task in tasks)]
    lines = [
        [method, *(_pair(figures, task, method, word, solvers) for task in tasks)]
        for method in methods
    ]
    text = tabulate(lines, headers=["method", *tasks], tablefmt="github", disable_numparse=True)
    return f"{title}\n\n{text}"


def _pair(
    figures: Figures, task: str, method: str, word: Callable[..., str], solvers: Sequence[str]
) -> str:
    """Of the set of rows in which both packages have a method, in more cells, the first of those
    alike.
    """

    def worth(solver: str) -> tuple[int, int]:
        sides = sum(bool(figures.cells(task, side, method, solver)) for side in SIDES)
        return sides, figures.common(task, method, solver)

    solver = max(solvers, key=worth)
    pair = [word(figures, task, side, method, solver) for side in SIDES]
    return " / ".join(w or "–" for w in pair) if any(pair) else ""


def _regret(figures: Figures, *what: str) -> str:
    ratios = list(figures.ratios(*what).values())
    return f"{np.exp(np.mean(np.log(ratios))):.2f}" if ratios else ""


def _seconds(figures: Figures, *what: str) -> str:
    return _written(figures.seconds(*what), ".3g")


def _spread(ratios: Mapping[Cell, float]) -> str:
    """Geometric mean, and standard deviation over the seeds of a cell."""
    if not ratios:
        return ""
    seeds: dict[Cell, list[float]] = {}
    for (*cell, _), ratio in ratios.items():
        seeds.setdefault(tuple(cell), []).append(np.log(ratio))
    several = [np.var(logs, ddof=1) for logs in seeds.values() if len(logs) > 1]
    spread = f" ÷× {np.exp(np.sqrt(np.mean(several))):.2f}" if several else ""
    return f"{np.exp(np.mean(np.log(list(ratios.values())))):.3f}{spread}"


def _written(value: float, how: str) -> str:
    return format(value, how) if np.isfinite(value) else ""


def _floored(regret: float | None) -> float:
    return max(_number(regret), FLOOR)


def _validated(run: Row) -> float:
    return _number(run[REGRETS["validation"]])


def _number(value: float | None) -> float:
    """A figure; infinite where the results have none."""
    return np.inf if value is None or np.isnan(value) else value


def _alike(side: str) -> tuple[str, ...]:
    """The solvers with which a run of one set belongs to the other one, too."""
    return ("none", "GUROBI") if side == "theirs" else ("none",)
