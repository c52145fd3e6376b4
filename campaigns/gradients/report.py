"""Tables of verdicts: families, totals, and how far the error bars can be trusted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tabulate import tabulate

from campaigns.gradients.families import FAMILIES, KINKS
from campaigns.gradients.judge import MODES, Verdict

SMALL = 1e-6


def families(verdicts: list[Verdict]) -> str:
    """For each family, derivative and mode the worst error, with what was wrong or refused."""
    pairs = _pairs(verdicts)
    names = list(dict.fromkeys(v.family for v in verdicts))
    rows = []
    for name in names:
        mine = [v for v in verdicts if v.family == name]
        label = f"{name} (kink)" if name in KINKS else name
        count = len({(v.draw, v.sample) for v in mine})
        rows.append([label, count, *(_cell(_of(mine, *pair)) for pair in pairs)])
    heads = ["family", "samples", *(f"{name} {mode}" for name, mode in pairs)]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def totals(verdicts: list[Verdict]) -> str:
    """Counts for each derivative and mode."""
    rows = []
    for pair in _pairs(verdicts):
        mine = _of(verdicts, *pair)
        given = [v for v in mine if not (v.refused or v.crashed)]
        rows.append(
            [
                " ".join(pair),
                len(mine),
                sum(v.silent for v in mine),
                sum(v.wrong and not v.silent for v in mine),
                sum(bool(v.warned) and not v.wrong for v in given),
                sum(bool(v.refused) for v in mine),
                sum(bool(v.crashed) for v in mine),
                *(f"{q:.0e}" for q in _quantiles([v.error for v in given])),
                "" if pair[1] == "jvp" else f"{max(v.component for v in given):.0e}",
                f"{sum(v.seconds for v in mine):.1f}",
            ]
        )
    heads = ["derivative", "samples", "silently wrong", "wrong, warned", "right, warned", "refused",
             "crashed", "median error", "95 %", "worst", "worst entry", "seconds"]  # fmt: skip
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def details(verdicts: list[Verdict], limit: int = 60) -> str:
    """The wrong and the crashed, one a line."""
    bad = [v for v in verdicts if v.wrong or v.crashed]
    bad.sort(key=lambda v: (v.derivative == "Implicit()", not (v.silent or v.crashed)))
    lines = [
        f"{v.derivative} {v.mode} {v.family} draw {v.draw} sample {v.sample}: "
        + (v.crashed or f"error {v.error:.1e}, solution's {v.forward:.1e}, bar {v.bar:.0e}, ")
        + ("" if v.crashed else ", ".join(v.warned) or "silent")
        for v in bad[:limit]
    ]
    return "\n".join([*lines, *([f"... {len(bad) - limit} more"] if len(bad) > limit else [])])


def calibration(verdicts: list[Verdict]) -> str:
    """The error bars of reverse mode beside the true errors, on both halves of the families."""
    order = {name: i for i, name in enumerate(FAMILIES)}
    rows = []
    for name in dict.fromkeys(v.derivative for v in verdicts):
        for half, remainder in (("even", 0), ("odd", 1)):
            mine = [
                v
                for v in _of(verdicts, name, "vjp")
                if order[v.family] % 2 == remainder and not (v.refused or v.crashed)
            ]
            barred = [v for v in mine if np.isfinite(v.bar)]
            large = [v for v in barred if v.error > SMALL]
            rest = [v for v in barred if v.error <= SMALL]
            rows.append(
                [
                    name,
                    half,
                    len(mine),
                    len(barred),
                    len(large),
                    _share(v.bar / 10 <= v.error <= 10 * v.bar for v in large),
                    _share(v.bar < v.error / 10 for v in large),
                    len(rest),
                    _share(v.bar <= 1e-5 for v in rest),
                ]
            )
    if not any(row[3] for row in rows):
        return "no error bars"
    heads = ["derivative", "families", "gradients", "with a bar", "error > 1e-6", "within 10 times",
             "bar below a tenth", "error <= 1e-6", "bar <= 1e-5"]  # fmt: skip
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def failed(verdicts: list[Verdict]) -> bool:
    """Whether LPGD or Exact was silently wrong, or raised what it should not."""
    ours = [v for v in verdicts if not v.derivative.startswith("Implicit")]
    return any(v.silent or v.crashed for v in ours)


def _cell(verdicts: list[Verdict]) -> str:
    given = [v.error for v in verdicts if not (v.refused or v.crashed)]
    worst = f"{max(given, key=lambda e: np.inf if np.isnan(e) else e):.0e}" if given else ""
    counts = {
        "silent": sum(v.silent for v in verdicts),
        "warned": sum(bool(v.warned) and not (v.refused or v.crashed) for v in verdicts),
        "refused": sum(bool(v.refused) for v in verdicts),
        "CRASHED": sum(bool(v.crashed) for v in verdicts),
    }
    return " ".join([worst, *(f"{n} {what}" for what, n in counts.items() if n)]).strip()


def _of(verdicts: list[Verdict], name: str, mode: str) -> list[Verdict]:
    return [v for v in verdicts if v.derivative == name and v.mode == mode]


def _pairs(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    names = dict.fromkeys(v.derivative for v in verdicts)
    return [(name, mode) for name in names for mode in MODES]


def _quantiles(errors: list[float]) -> list[float]:
    values = np.where(np.isnan(errors), np.inf, errors)
    return (
        [float(np.quantile(values, q, method="higher")) for q in (0.5, 0.95, 1.0)]
        if len(errors)
        else [float("nan")] * 3
    )


def _share(flags: Iterable[bool]) -> str:
    values = list(flags)
    return f"{100 * np.mean(values):.0f} %" if values else "–"
