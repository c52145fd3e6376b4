"""A call's record in words: a line for terminals, a table for notebooks."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvxlpgd.layer.description import counts, number, span
from cvxlpgd.layer.html import facts_html
from cvxlpgd.layer.report import Report

HOW = {  # a gradient came about, by its method
    "path": "in closed form",
    "differences": "by differences",
    "path and differences": "in closed form and by differences",
    "embedding": "by diffcp",
}


def one_line(solved_by: str, status: np.ndarray, residual: float, report: Report) -> str:
    """Which solver, how many samples of each status, the largest residual; the gradient."""
    line = f"{solved_by}: {counts(status) or 'no samples'}; KKT residual <= {residual:.1e}"
    facts = _gradient(report)
    gradient = "; gradient: " + ", ".join(facts.values()) if facts else ""
    return f"Record({line}{gradient})"


def table(
    solved_by: str, status: np.ndarray, residual: float, report: Report, objective: np.ndarray,
    iterations: np.ndarray, seconds: np.ndarray,
) -> str:  # fmt: skip
    """The same and more for notebooks, a fact in each line."""
    facts = {
        "status": counts(status) or "no samples",
        "solved by": solved_by,
        "KKT residual": f"at most {residual:.1e}",
        "objective": span(finite(objective), "{:.6g}".format),
        "iterations": span(finite(iterations), "{:.0f}".format),
        "seconds": f"{finite(seconds).sum():.2g}, all samples together",
    }
    title = f"Record of {status.size} sample{'s' * (status.size != 1)}"
    return facts_html(title, facts | _gradient(report))


def finite(values: Any) -> np.ndarray:
    """Those of the values that are finite numbers, in one row."""
    flat = np.ravel(np.asarray(values, dtype=float))
    return flat[np.isfinite(flat)]


def _gradient(report: Report) -> dict[str, str]:
    """What the newest backward pass did, by what it is about; empty before it."""
    done = report.method != ""
    if not done.any():
        return {}
    taus, errors = finite(report.tau), finite(report.gradient_error[done])
    facts = {"gradient": "; ".join(HOW.get(name, name) for name in np.unique(report.method[done]))}
    if taus.size:
        facts["perturbation"] = f"tau {span(taus, number)}" if taus.any() else "limit tau -> 0"
    if errors.size:
        facts["error"] = f"error <= {errors.max():.1e}"
    remarks = {
        "informative": (done & ~report.informative, "zero or noise"),
        "kinks": (report.kink > 0, "at a kink"),
        "failed": (~report.differentiated, "without a gradient"),
    }
    for name, (where, words) in remarks.items():
        if where.any():
            facts[name] = f"{where.sum()} of {where.size} {words}"
    return facts
