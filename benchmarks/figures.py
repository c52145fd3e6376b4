"""The figures of docs/performance.md: geometric means, and what fills the text of intro.md."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from string import Template
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.advice import ADVICE
from benchmarks.engines import AUTOMATIC, ENGINES, OURS
from benchmarks.families import FAMILIES
from cvxlpgd.solvers.choose.rules import RULES

Found = dict[str, Any]
MISSING = "–"  # in place of a figure that was not measured
SWEPT, OWN = "projection QP", "OptNet QP"  # families whose memory the text names


def ratios(found: Found, family: str) -> dict[str, float]:
    """How many times longer each engine takes than ours, at the family's own size."""
    totals = _totals(found, family)
    return {name: total / totals[OURS] for name, total in totals.items() if OURS in totals}


def means(found: Found, ours: str = OURS) -> dict[str, tuple[float, int]]:
    """Geometric means of these ratios over the compared families and the sizes that were measured,
    relative to a layer of ours, and over how many points.
    """
    points: dict[tuple[str, float], dict[str, float]] = {}
    for row in found.get("scaled") or found["rows"]:
        if FAMILIES[row["family"]].compared:
            point = points.setdefault((row["family"], row.get("scale", 1.0)), {})
            point[row["engine"]] = _total(row)
    collected: dict[str, list[float]] = {}
    for totals in points.values():
        for engine, total in totals.items():
            if np.isfinite(ratio := total / totals.get(ours, np.nan)):
                collected.setdefault(engine, []).append(ratio)
    return {k: (float(np.exp(np.mean(np.log(v)))), len(v)) for k, v in collected.items()}


def sizes(found: Found) -> list[float]:
    """The multiples of the families' sizes that the means are over."""
    return sorted({row["scale"] for row in found.get("scaled", [])}) or [1.0]


def fill(text: str, found: Found) -> str:
    """The text with the results in place of its `$names`."""
    return Template(text).substitute(_filling(found))


def _filling(found: Found) -> dict[str, str]:
    filling = {"overview": _overview(found), "means": _means(found), "rules": _rules()}
    for advice in ADVICE:
        row = _row(found, "advice", advice=advice.name)
        filling[f"{advice.name}_without"] = number(row.get("without (ms)", np.nan))
        filling[f"{advice.name}_followed"] = number(row.get("followed (ms)", np.nan))
    for name, engine in (("automatic", AUTOMATIC), ("fixed", OURS)):
        row = _row(found, "call", layer=engine)
        filling[f"call_{name}"] = number(row.get("both (ms)", np.nan))
    for batch in (64, 512):
        row = _row(found, "sweeps", family=SWEPT, engine=OURS, sweep="batch", value=batch)
        filling[f"peak_{batch}"] = number(row.get("peak", np.nan))
    filling["imports"] = number(_row(found, "memory", family=SWEPT).get("imports", np.nan))
    filling["peak_own"] = number(_row(found, "memory", family=OWN).get("peak", np.nan))
    for kind in ("quadratic", "transport"):
        row = _row(found, "construction", problem=kind)
        for field in ("seconds", "megabytes"):
            filling[f"{kind}_{field}"] = number(row.get(field, np.nan))
    return filling


def _row(found: Found, part: str, **values: Any) -> Found:
    """The first row of a part of the results with these values; empty where there is none."""
    rows = (r for r in found.get(part, []) if all(r.get(k) == v for k, v in values.items()))
    return next(rows, {})


def number(value: float) -> str:
    """In two digits, or in whole numbers."""
    if not np.isfinite(value):
        return MISSING
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _rules() -> str:
    """Which solvers are asked for which programs."""
    body = [[rule.kind, ", ".join(rule.solvers), "yes" if rule.refined else "–"] for rule in RULES]
    head = ["programs", "solvers, in this order", "refined to rounding"]
    return tabulate(body, headers=head, tablefmt="github")


def _overview(found: Found) -> str:
    """For each family the solver, our two times, and the fastest of the others'."""
    body = []
    for family in dict.fromkeys(row["family"] for row in found["rows"]):
        totals = _totals(found, family)
        others = {e: t for e, t in totals.items() if not ENGINES[e].ours and np.isfinite(t)}
        ours = totals.get(AUTOMATIC, np.nan)
        nearest = min(others, key=others.__getitem__, default=MISSING)
        body.append([
            family, _row(found, "floors", family=family).get("solver", MISSING),
            number(1e3 * totals.get(OURS, np.nan)), number(1e3 * ours), nearest,
            number(others.get(nearest, np.nan) / ours),
        ])  # fmt: skip
    head = ["family", "solver", "fixed tau (ms)", "`LPGD()` (ms)", "fastest other layer",
            "its time / `LPGD()`'s"]  # fmt: skip
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _means(found: Found) -> str:
    """How many times longer the others take than each layer of ours, in a sentence."""
    clauses = []
    for ours, name in ((OURS, "cvxlpgd with a fixed `tau`"), (AUTOMATIC, "`LPGD()`")):
        others = {e: mean for e, (mean, _) in means(found, ours).items() if not ENGINES[e].ours}
        if others:
            words = _listed([f"{mean:.1f} ({engine})" for engine, mean in others.items()])
            clauses.append(f"{words} times as long as {name}")
    if not clauses:
        return "The other layers were not measured."
    scales = _listed([f"{scale:g}" for scale in sizes(found)])
    at = "their sizes" if scales == "1" else f"{scales} times their sizes"
    count = len({r["family"] for r in found["rows"] if FAMILIES[r["family"]].compared})
    sentence = (
        f"By geometric means over {count} families at {at}, as far as they run them, the others "
        f"take {', and '.join(clauses)}."
    )
    return textwrap.fill(sentence, 100)


def _totals(found: Found, family: str) -> dict[str, float]:
    """Each engine's seconds."""
    return {r["engine"]: _total(r) for r in found["rows"] if r["family"] == family}


def _total(row: Found) -> float:
    return float(row["forward"] + row["backward"])


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
