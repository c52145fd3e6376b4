"""The figures of docs/performance.md: geometric means, and what fills the text of intro.md."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.advice import ADVICE
from benchmarks.engines import AUTOMATIC, ENGINES, OURS
from benchmarks.families import FAMILIES
from cvxlpgd.solvers.choose.rules import DENSE_SHARE, RULES, SMALL

Results = dict[str, Any]
MISSING = "–"  # in place of a figure that was not measured
SWEPT, OWN = "projection QP", "OptNet QP"  # families whose memory the text names


def ratios(results: Results, family: str) -> dict[str, float]:
    """How many times longer each engine takes than ours, at the family's own size."""
    totals = _totals(results, family)
    return {name: total / totals[OURS] for name, total in totals.items() if OURS in totals}


def by_size(results: Results) -> dict[tuple[str, float], dict[str, float]]:
    """Each engine's seconds on the compared families, at each multiple of their sizes."""
    points: dict[tuple[str, float], dict[str, float]] = {}
    for row in results.get("scaled") or results["rows"]:
        if FAMILIES[row["family"]].compared:
            point = points.setdefault((row["family"], row.get("scale", 1.0)), {})
            point[row["engine"]] = _total(row)
    order = list(FAMILIES)
    return dict(sorted(points.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def means(results: Results, ours: str = OURS) -> dict[str, tuple[float, int]]:
    """Geometric means of how many times longer the engines take than a layer of ours, over the
    compared families and the sizes that were measured, and over how many points.
    """
    collected: dict[str, list[float]] = {}
    for totals in by_size(results).values():
        for engine, total in totals.items():
            if np.isfinite(ratio := total / totals.get(ours, np.nan)):
                collected.setdefault(engine, []).append(ratio)
    return {k: (float(np.exp(np.mean(np.log(v)))), len(v)) for k, v in collected.items()}


def sizes(results: Results) -> list[float]:
    """The multiples of the families' sizes that the means are over."""
    return sorted({row["scale"] for row in results.get("scaled", [])}) or [1.0]


def fill(text: str, results: Results) -> str:
    """The text with the results in place of its `$names`."""
    return Template(text).substitute(_filling(results))


def _filling(results: Results) -> dict[str, str]:
    filling = {"overview": _overview(results), "means": means_table(results), "rules": _rules()}
    filling |= {"small": str(SMALL), "dense": f"{DENSE_SHARE:.0%}".replace("%", " %")}
    for advice in ADVICE:
        row = _row(results, "advice", advice=advice.name)
        filling[f"{advice.name}_without"] = number(row.get("without (ms)", np.nan))
        filling[f"{advice.name}_followed"] = number(row.get("followed (ms)", np.nan))
    for name, engine in (("automatic", AUTOMATIC), ("fixed", OURS)):
        row = _row(results, "call", layer=engine)
        filling[f"call_{name}"] = number(row.get("both (ms)", np.nan))
    for batch in (64, 512):
        row = _row(results, "sweeps", family=SWEPT, engine=OURS, sweep="batch", value=batch)
        filling[f"peak_{batch}"] = number(row.get("peak", np.nan))
    filling["imports"] = number(_row(results, "memory", family=SWEPT).get("imports", np.nan))
    filling["peak_own"] = number(_row(results, "memory", family=OWN).get("peak", np.nan))
    for kind in ("quadratic", "transport"):
        row = _row(results, "construction", problem=kind)
        for field in ("seconds", "megabytes"):
            filling[f"{kind}_{field}"] = number(row.get(field, np.nan))
    return filling


def _row(results: Results, part: str, **values: Any) -> Results:
    """The first row of a part of the results with these values; empty where there is none."""
    rows = (r for r in results.get(part, []) if all(r.get(k) == v for k, v in values.items()))
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


def _overview(results: Results) -> str:
    """For each family the solver, our two times, and the fastest of the others'."""
    body = []
    batches = {row["family"]: row["batch"] for row in results["rows"]}
    for family in dict.fromkeys(row["family"] for row in results["rows"]):
        totals = _totals(results, family)
        others = {e: t for e, t in totals.items() if not ENGINES[e].ours and np.isfinite(t)}
        ours = totals.get(AUTOMATIC, np.nan)
        nearest = min(others, key=others.__getitem__, default=MISSING)
        body.append([
            family, results["solvers"][family], batches[family],
            number(1e3 * totals.get(OURS, np.nan)), number(1e3 * ours), nearest,
            number(others.get(nearest, np.nan) / ours),
        ])  # fmt: skip
    head = ["family", "solver", "batch", "`LPGD(tau=...)` (ms)", "`LPGD()` (ms)",
            "fastest other layer", "its time / `LPGD()`'s"]  # fmt: skip
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def means_table(results: Results) -> str:
    """How many times longer the others take than each layer of ours, with a sentence above."""
    fixed, automatic = means(results), means(results, AUTOMATIC)
    body = [
        [engine, number(mean), number(automatic.get(engine, (np.nan, 0))[0]), points]
        for engine, (mean, points) in fixed.items()
        if not ENGINES[engine].ours
    ]
    head = [
        "other layer",
        "its time / `LPGD(tau=...)`'s",
        "its time / `LPGD()`'s",
        "families and sizes",
    ]
    scales = _listed([f"{scale:g}" for scale in sizes(results)])
    at = "their sizes" if scales == "1" else f"{scales} times their sizes"
    count = len({family for family, _ in by_size(results)})
    sentence = (
        "Another layer takes this many times as long, by geometric means over\n"
        f"{count} families of problems at {at}:"
    )
    return f"{sentence}\n\n" + tabulate(
        body, headers=head, tablefmt="github", disable_numparse=True
    )


def _totals(results: Results, family: str) -> dict[str, float]:
    """Each engine's seconds."""
    return {r["engine"]: _total(r) for r in results["rows"] if r["family"] == family}


def _total(row: Results) -> float:
    return float(row["forward"] + row["backward"])


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
