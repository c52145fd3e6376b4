"""What `cvxlpgd solvers` says: the solvers, which one a problem gets, and how all do on it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from cvxlpgd.analysis.tuning import Timing, explanation
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.layer import Layer
from cvxlpgd.solvers.choose.choice import all_solvers
from cvxlpgd.solvers.choose.rules import rule_for
from cvxlpgd.solvers.options import Configured
from cvxlpgd.solvers.registry import SOLVERS

WIDTH = 80  # of a terminal
_LINEAR = {Zero.__name__, NonNeg.__name__}
_CURVED = ("SOC", "PSD", "Exp", "Pow")
_LEGEND = (
    "own: by a file of cvxlpgd; CVXPY: any solver of CVXPY, by its name.",
    "cones: linear is equations and inequalities; SOC, PSD, Exp, Pow the second-order, "
    "semidefinite, exponential and power cones; all is all of these.",
    "quadratic: what becomes of an objective x'Px; native: the solver takes P; lifted: it becomes "
    "a second-order cone, less accurate; CVXPY: as CVXPY decides for that solver.",
    "integer: whether it takes integer variables; linear: with a linear objective only.",
)
_OPTIONS = (
    "Their options, for solver_args or a solver's own class; beside them eps for all tolerances at "
    "once:"
)


def rows() -> list[dict[str, Any]]:
    """All solvers, one row each."""
    return [
        {
            "solver": solver.name,
            "installed": installed,
            "own": own,
            "cones": sorted(cone.__name__ for cone in solver.cones),
            "quadratic": _quadratic(solver.name) if solver.quadratic else "",
            "integer": solver.integer,
            "options": sorted(solver.known.names) if isinstance(solver, Configured) else [],
            "install": _install(solver.name),
        }
        for solver, own, installed in all_solvers()
    ]


def _quadratic(name: str) -> str:
    row = SOLVERS.get(name)
    return "CVXPY" if row is None else "lifted" if row.lifts else "native"


def _install(name: str) -> str:
    """What to install for it, where it is an extra of this library."""
    row = SOLVERS.get(name)
    return f'pip install "cvxlpgd[{row.extra}]"' if row and row.extra else ""


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The installed solvers with a legend and their options, and the names of the others."""
    installed = [row for row in rows if row["installed"]]
    body = [
        [
            row["solver"], "own" if row["own"] else "CVXPY", _kinds(row["cones"]),
            row["quadratic"], {True: "yes", False: ""}.get(row["integer"], row["integer"]),
        ]
        for row in installed
    ]  # fmt: skip
    head = ["solver", "by", "cones", "quadratic", "integer"]
    parts = [tabulate(body, headers=head, tablefmt="github"), _wrap(_LEGEND)]
    absent = [row for row in rows if not row["installed"]]
    if absent:
        names = [row["solver"] + f" ({row['install']})" * bool(row["install"]) for row in absent]
        parts.append(_wrap([f"not installed: {', '.join(names)}"]))
    options = [f"{r['solver']}: {', '.join(r['options'])}" for r in installed if r["options"]]
    return "\n\n".join([*parts, _wrap([_OPTIONS]), _wrap(options)])


def _kinds(cones: Sequence[str]) -> str:
    curved = [name for name in _CURVED if name in cones]
    linear = ["linear"] if set(cones) >= _LINEAR else []
    return "all" if linear and len(curved) == len(_CURVED) else " ".join(linear + curved)


def choice(layer: Layer) -> dict[str, Any]:
    """The solvers that a layer asks, and the rule that names them."""
    structure, rule = layer.structure, rule_for(layer.structure)
    return {
        "variables": structure.n,
        "rows": structure.m,
        "cones": sorted({type(cone).__name__ for cone in structure.cones}),
        "rule": rule.kind,
        "why": rule.why,
        "measured": rule.measured,
        "solvers": list(layer.solvers),
        "refined": rule.refined,
    }


def explain(layer: Layer) -> str:
    """The same in words."""
    return _wrap(explanation(layer).splitlines())


def ranking(timings: Sequence[Timing]) -> str:
    """Times and errors of the solvers, what the errors are measured against, and who failed."""
    timed = [row for row in timings if not row.note]
    body = [
        [row.solver, *(f"{1e3 * t:.1f}" for t in (row.forward, row.backward)),
         f"{row.residual:.0e}", f"{row.error:.0e}"] for row in timed
    ]  # fmt: skip
    head = ["solver", "forward ms", "backward ms", "KKT residual", "gradient error"]
    parts = [tabulate(body, headers=head, tablefmt="github", disable_numparse=True)]
    if timed:
        best = min(timed, key=lambda row: (row.residual, row.error))
        parts.append(_wrap([
            "Times are medians for the whole batch. KKT residual: the largest relative one of its "
            f"solutions. Gradient error: relative to the gradient by {best.solver}, whose KKT "
            "residual is the smallest; LPGD() and random cotangents, the same for all."
        ]))  # fmt: skip
    failed = [f"{row.solver} failed: {row.note}" for row in timings if row.note]
    return "\n\n".join([*parts, *([_wrap(failed)] if failed else [])])


def plain(timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """The same for JSON, None for what is not a number."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in map(asdict, timings)
    ]


def _wrap(lines: Sequence[str]) -> str:
    """Lines no wider than a terminal; what goes on is indented."""
    wrapper = textwrap.TextWrapper(
        WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapper.fill(line) for line in lines)
