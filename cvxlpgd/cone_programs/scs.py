"""Cone programs as SCS and diffcp have them: a dictionary of cones, rows in a fixed order.

Both take semidefinite rows as the lower triangle, column by column, off-diagonal entries times √2,
and exponential rows as (x, y, z) with y exp(x/y) <= z, as the library does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cvxlpgd.checks import is_number
from cvxlpgd.cone_programs.inputs import Input, matrix, symmetric, vector
from cvxlpgd.cone_programs.rows import Placed, Rows, as_is, dual_exponential, power
from cvxlpgd.cone_programs.structure import ConeStructure, linear, plain, quadratic
from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Zero
from cvxlpgd.errors import InvalidProblem


def _alike(cone: type) -> Callable[[str, Any], list[Placed]]:
    """Rows of one kind by their number."""

    def place(key: str, value: Any) -> list[Placed]:
        count = _count(key, value)
        return [as_is(cone(count))] if count else []

    return place


def _several(cone: type) -> Callable[[str, Any], list[Placed]]:
    """Cones by a list of their sizes."""

    def place(key: str, value: Any) -> list[Placed]:
        counts = (_count(key, size) for size in _listed(value))
        return [as_is(cone(count)) for count in counts if count]

    return place


# In the order of the rows. Each entry: the keys, old ones too, and what a value of theirs means.
_CONES: tuple[tuple[tuple[str, ...], Callable[[str, Any], list[Placed]]], ...] = (
    (("z", "f"), _alike(Zero)),
    (("l",), _alike(NonNeg)),
    (("q",), _several(SOC)),
    (("s",), _several(PSD)),
    (("ep",), lambda key, value: [as_is(Exp())] * _count(key, value)),
    (("ed",), lambda key, value: [dual_exponential()] * _count(key, value)),
    (("p",), lambda key, value: [power(_exponent(alpha)) for alpha in _listed(value)]),
)
_REFUSED = {
    "bu": "box cones; write their rows as inequalities of \"l\"",
    "bl": "box cones; write their rows as inequalities of \"l\"",
    "cs": "complex semidefinite cones; write them as real ones of twice the order",
}  # fmt: skip


def from_scs(data: Mapping[str, Any], cone: Mapping[str, Any]) -> ConeStructure:
    """A cone program with the arguments of `scs.SCS(data, cone)`.

        minimize ½x'Px + c'x   subject to   Ax + s = b,  s in K

    Its inputs are those of the dictionary: `layer(**data)`.

    Parameters
    ----------
    data : dict
        A (m, n), and P (n, n), b (m,) and c (n,) where you have them. A SciPy matrix stands for its
        stored entries, which alone may change; an array for all entries. P is symmetric, or its
        upper triangle. A layer must list b or c where they are left out or None.
    cone : dict
        "z" (or "f"), "l", "q", "s", "ep", "ed" and "p", in this order of rows; a negative exponent
        in "p" is the dual power cone.

    Raises
    ------
    InvalidProblem
        For other cones, or sizes that do not fit.

    References
    ----------
    https://www.cvxgrp.org/scs/api/cones.html
    """
    if not isinstance(data, Mapping) or data.get("A") is None:
        raise InvalidProblem('data must be a dictionary with at least the matrix "A"')
    strange = set(data) - {"P", "A", "b", "c", "x", "y", "s"}  # the last three start SCS
    if strange:
        raise InvalidProblem(f"data has {', '.join(sorted(map(str, strange)))}, which nobody reads")
    A = matrix("A", data["A"], (None, None))
    m, n = A.size
    names = [name for name in ("P", "A", "b", "c") if name != "P" or data.get("P") is not None]
    made = {
        "P": lambda: symmetric("P", data["P"], n),
        "A": lambda: A,
        "b": lambda: vector("b", data.get("b"), m),
        "c": lambda: vector("c", data.get("c"), n),
    }
    return _structure(tuple(made[name]() for name in names), cone, (m, n))


def from_diffcp(
    A: Any, b: Any, c: Any, cone_dict: Mapping[str, Any], P: Any = None
) -> ConeStructure:
    """A cone program with the arguments of `diffcp.solve_and_derivative(A, b, c, cone_dict)`.

        minimize ½x'Px + c'x   subject to   Ax + s = b,  s in K

    Its inputs are A, b, c and, where it is given, P, in this order.

    Parameters
    ----------
    A, P : SciPy matrices or arrays (m, n), (n, n)
        A SciPy matrix stands for its stored entries, zeros too, which alone may change.
    b, c : arrays (m,), (n,), or None
        None is a vector that a layer must list.
    cone_dict : dict
        As that of `from_scs`.

    Raises
    ------
    InvalidProblem
        For other cones, or sizes that do not fit.
    """
    own = matrix("A", A, (None, None))
    m, n = own.size
    inputs = [own, vector("b", b, m), vector("c", c, n)]
    if P is not None:
        inputs.append(symmetric("P", P, n))
    return _structure(tuple(inputs), cone_dict, (m, n))


def _structure(
    inputs: tuple[Input, ...], cone: Mapping[str, Any], size: tuple[int, int]
) -> ConeStructure:
    (m, n), of = size, {each.name: each for each in inputs}
    rows = Rows.of(_placed(cone))
    if len(rows.order) != m:
        raise InvalidProblem(f"the cones have {len(rows.order)} rows, and A has {m}")
    terms = {
        "P": [quadratic(of["P"])] if "P" in of else [],
        "q": [plain(of["c"])],
        "A": [linear(of["A"])],
        "b": [plain(of["b"])],
    }
    return ConeStructure(n, m, rows, inputs, terms)


def _placed(cone: Mapping[str, Any]) -> list[Placed]:
    if not isinstance(cone, Mapping):
        raise InvalidProblem(f"the cones must be a dictionary, not {cone!r}")
    given = {key: value for key, value in cone.items() if not _is_none(value)}
    known = {key for keys, _ in _CONES for key in keys}
    for key in given:
        if key not in known:
            what = _REFUSED.get(key, f"cones {key!r}")
            raise InvalidProblem(f"cvxlpgd has no {what}")
    placed = []
    for keys, place in _CONES:
        own = [key for key in keys if key in given]
        if len(own) > 1:
            raise InvalidProblem(f"the cones have both {' and '.join(own)}, which are the same")
        placed += [each for key in own for each in place(key, given[key])]
    return placed


def _is_none(value: Any) -> bool:
    """Whether there are no cones of a kind: 0, an empty list, or None."""
    return value is None or (np.ndim(value) == 0 and value == 0) or np.size(value) == 0


def _listed(value: Any) -> list[Any]:
    return list(value) if np.ndim(value) else [value]


def _count(key: str, value: Any) -> int:
    if not is_number(value) or value < 0 or value != int(value):
        raise InvalidProblem(f"a size of the cones {key!r} must be an integer >= 0, not {value!r}")
    return int(value)


def _exponent(value: Any) -> float:
    if not is_number(value):
        raise InvalidProblem(f"the exponent of a power cone must be a number, not {value!r}")
    return float(value)
