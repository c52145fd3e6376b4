"""Layers and what belongs to them in words: kinds of programs, derivatives, numbers, counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np

from cvxlpgd.checks import is_number
from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.derivatives import Implicit
from cvxlpgd.program import Structure

CONES = {
    Zero: "zero", NonNeg: "nonnegative", SOC: "second-order", PSD: "semidefinite",
    Exp: "exponential", Pow: "power",
}  # fmt: skip
PLAIN = 1.0, 1e4  # between which numbers have no exponent
SHOWN = 4  # parameters or variables that a line names


def kind_of(structure: Structure) -> str:
    """What sort of programs these are, such as "linear program"."""
    integer = "mixed-integer " if structure.mixed_integer else ""
    if structure.polyhedral:
        return f"{integer}{'quadratic' if structure.P.size else 'linear'} program"
    kinds = {type(cone) for cone in structure.cones} - {Zero, NonNeg}
    names = sorted(cone_name(kind) for kind in kinds)
    quadratic = "quadratic " if structure.P.size else ""
    return f"{integer}{quadratic}cone program ({' and '.join(names)} cones)"


def cone_name(kind: type) -> str:
    """A kind of cone in words; a new one by its class."""
    return CONES.get(kind, kind.__name__)


def number(value: float, digits: int = 1) -> str:
    """A number as 1e-3 or 2.5: its size is what matters."""
    if not math.isfinite(value):
        return str(value)
    if PLAIN[0] <= abs(value) < PLAIN[1]:
        return f"{float(f'{value:.{digits}e}'):g}"
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}" if value else "0"


def spelling(value: Any) -> str:
    """A derivative as one would write it: LPGD(tau=1e-3, side="lower"), Implicit("lsqr")."""
    if isinstance(value, str):
        return f'"{value}"'
    if is_number(value):
        return number(float(value), digits=3)
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    changed = [
        f"{f.name}={spelling(getattr(value, f.name))}" for f in fields(value)
        if f.repr and not (isinstance(value, Implicit) and f.name == "mode")
        and (f.default is MISSING or not _same(getattr(value, f.name), f.default))
    ]  # fmt: skip
    mode = [spelling(value.mode)] if isinstance(value, Implicit) else []
    return f"{type(value).__name__}({', '.join(mode + changed)})"


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def named_shapes(each: Iterable[tuple[str, tuple[int, ...]]], most: int) -> str:
    """What goes in or comes out: "A (3, 2), b (3,)", and how many there are beyond `most`."""
    words = [f"{name} {shape}" for name, shape in each]
    more = [f"{len(words) - most} more"] if len(words) > most else []
    return ", ".join(words[:most] + more) or "nothing"


def counts(words: np.ndarray) -> str:
    """How many of each: "7 solved, 1 infeasible", the most frequent first."""
    kinds, numbers = np.unique(words.astype(str), return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return ", ".join(f"{numbers[i]} {kinds[i]}" for i in order)


def span(values: np.ndarray, write: Callable[[float], str]) -> str:
    """The values (n,) as "1e-3 to 2", as one number where all are written alike."""
    if not values.size:
        return "unknown"
    least, most = write(float(values.min())), write(float(values.max()))
    return least if least == most else f"{least} to {most}"
