"""At which finite tau differences agree with the exact derivative, and where they see beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cvxlpgd.analysis.facts import Facts
from cvxlpgd.analysis.score import Score
from cvxlpgd.analysis.words import listed
from cvxlpgd.layer.description import number

CLOSE = 1e-2  # a relative error up to which a difference agrees with the exact derivative
NEAR = 0.1  # of the least tau that is compared: noise below that is no concern
SIDES = ("average", "lower", "upper")


def agreement_range(rows: Sequence[Score], noise: float, doubtful: bool) -> list[str]:
    """At which tau differences agree with the exact derivative; `doubtful` is the reference."""
    sides = by_side(rows)
    spans: dict[str, list[str]] = {}
    whole, judged = True, False
    for side, of_side in sides.items():
        span = agreeing(of_side, doubtful)
        whole &= bool(span) and span[-1] is of_side[-1]
        judged |= any(np.isfinite(error_of(row, doubtful)) for row in of_side)
        if span:
            spans.setdefault(_between(span), []).append(side)
    if not judged:
        return []
    if not spans:
        return ["No finite tau of these agrees with the exact derivative within 1 %."]
    floor, least = noise / CLOSE, min(of_side[0].tau or 0.0 for of_side in sides.values())
    near = floor > 0 and floor >= NEAR * least
    below = f" Below {number(floor, 0)} it is the solver's noise." * near
    above = "" if whole else " A larger one looks further."
    words = _with_sides(spans, sides)
    return [f"A finite tau agrees with the exact derivative within 1 % {words}.{above}{below}"]


def informative_range(rows: Sequence[Score], facts: Facts) -> list[str]:
    """From which tau on gradients that are 0 by the reference are not."""
    sides = by_side(rows)
    if not (facts.zero and sides):
        return []
    firsts: dict[str, list[str]] = {}
    for side, of_side in sides.items():
        first = next((row.tau for row in of_side if row.size_beyond), None)
        if first is not None:
            firsts.setdefault(f"from tau = {number(first)} on", []).append(side)
    whose = f"the gradient of {listed(facts.zero)}"
    if not firsts:
        return [f"At no finite tau of these is {whose} nonzero."]
    return [f"With a finite tau {whose} is nonzero {_with_sides(firsts, sides)}."]


def agreeing(rows: Sequence[Score], doubtful: bool = False) -> list[Score]:
    """The longest run of rows, one after the other by tau, that agree with the exact derivative.

    They are held against central differences where the reference is `doubtful`.
    """
    first, end = longest_run([error_of(row, doubtful) <= CLOSE for row in rows])
    return list(rows[first:end])


def longest_run(flags: Sequence[bool]) -> tuple[int, int]:
    """The first position of the longest run of True, and the one after its last."""
    best, first = (0, 0), 0
    for i, flag in enumerate(flags):
        if not flag:
            first = i + 1
        elif i + 1 - first > best[1] - best[0]:
            best = first, i + 1
    return best


def error_of(row: Score, doubtful: bool) -> float:
    """The error by the judge that is to be believed."""
    return row.error_fd if doubtful else row.error_reference


def by_side(rows: Sequence[Score]) -> dict[str, list[Score]]:
    """The rows of LPGD with a tau of their own, for each side by tau; the average first."""
    finite = sorted((r for r in rows if r.tau and not r.automatic), key=lambda r: r.tau or 0.0)
    sides = {side: [r for r in finite if r.side == side] for side in SIDES}
    return {side: of_side for side, of_side in sides.items() if of_side}


def _between(rows: Sequence[Score]) -> str:
    least, most = (number(row.tau or 0.0) for row in (rows[0], rows[-1]))
    return f"at {least}" if least == most else f"from {least} to {most}"


def _with_sides(spans: dict[str, list[str]], sides: Iterable[str]) -> str:
    """What holds for which sides: "from 1e-5 to 1e-2 (average and lower)"."""
    if list(spans.values()) == [list(sides)]:
        return next(iter(spans))
    return listed([f"{words} ({listed(names)})" for words, names in spans.items()])
