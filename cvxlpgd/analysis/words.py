"""Words of a verdict: counts, errors, lists."""

from __future__ import annotations

from collections.abc import Sequence

from cvxlpgd.layer.description import number

LISTED = 6  # names in a row
PERCENT = 1e-2, 10.0  # errors between these are written in percent


def count(samples: int | Sequence[str], one: str = "", many: str = "") -> str:
    """How many samples, and what they do: "1 sample is", "2 samples are"."""
    number_of = samples if isinstance(samples, int) else len(samples)
    noun, verb = ("sample", one) if number_of == 1 else ("samples", many)
    return f"{number_of} {noun} {verb}".strip()


def amount(error: float) -> str:
    """A relative error: in percent where it is large, a multiple where it is huge."""
    least, most = PERCENT
    if error < least:
        return number(error, 0)
    return f"{100 * error:.0f} %" if error < most else f"{number(error, 0)} times its size"


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: "a", "a and b", "a, b and c", and how many more."""
    if len(names) > LISTED:
        names = [*names[: LISTED - 1], f"{len(names) - LISTED + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
