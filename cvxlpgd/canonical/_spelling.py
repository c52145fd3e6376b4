"""Expressions and constraints as their author writes them, for messages.

CVXPY's own text names its internal atoms, as in PowerApprox(y, 0.5), and prints arrays in lines.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cvxpy as cp

LENGTH = 100  # characters; longer texts lose their middle

# how tightly the parts of an expression hold together
_SUM, _PRODUCT, _POWER, _ATOM = range(4)
_INFIX = {"multiply": " * ", "MulExpression": " @ ", "DivExpression": " / "}
_SIGNS = {"Inequality": " <= ", "Equality": " == "}
_NAMES = {  # the functions that make these atoms
    "QuadForm": "quad_form", "Sum": "sum", "Trace": "trace", "Hstack": "hstack",
    "Vstack": "vstack", "GeoMean": "geo_mean", "diag_vec": "diag", "diag_mat": "diag",
    "norm1": "norm1", "Pnorm": "norm",
}  # fmt: skip


def spell(part: Any) -> str:
    """An expression or a constraint in one short line."""
    kind, parts = type(part).__name__, [_spell(inner, _SUM) for inner in part.args]
    if isinstance(part, cp.Expression):
        text = _spell(part, _SUM)
    elif kind in _SIGNS:
        text = _SIGNS[kind].join(parts)
    else:
        text = f"{parts[0]} >> 0" if kind == "PSD" else f"{kind}({', '.join(parts)})"
    if len(text) <= LENGTH:
        return text
    return f"{text[: LENGTH * 2 // 3]} ... {text[-LENGTH // 4 :]}"


def _spell(expression: Any, within: int) -> str:
    """The expression, in parentheses where what it stands `within` holds more tightly."""
    text, tightness = _text(expression)
    return f"({text})" if tightness < within else text


def _text(expression: Any) -> tuple[str, int]:
    kind, args = type(expression).__name__.removesuffix("Approx"), expression.args
    if isinstance(expression, cp.Constant):
        return _constant(expression), _ATOM
    if not args:
        return expression.name(), _ATOM
    if kind in ("Promote", "broadcast_to"):
        return _text(args[0])
    if kind == "AddExpression":
        terms = [_spell(argument, _SUM) for argument in args]
        return " + ".join(t for t in terms if t not in ("0", "-0")).replace("+ -", "- "), _SUM
    if kind == "NegExpression":
        return f"-{_spell(args[0], _PRODUCT)}", _SUM
    if kind in _INFIX:
        left, right = _spell(args[0], _PRODUCT), _spell(args[1], _POWER)
        return left + _INFIX[kind] + right, _PRODUCT
    if kind in ("index", "special_index", "transpose"):
        return _spell(args[0], _ATOM) + expression.name().removeprefix(args[0].name()), _ATOM
    if kind == "Power":
        return _power(args[0], expression.get_data()[0])
    return _call(kind, expression), _ATOM


def _constant(constant: Any) -> str:
    if constant.is_scalar():
        return f"{constant.value.item():g}"
    return f"[{' x '.join(map(str, constant.shape))} array]"


def _power(base: Any, exponent: Any) -> tuple[str, int]:
    if isinstance(exponent, cp.Expression):
        return f"{_spell(base, _ATOM)}**{_spell(exponent, _ATOM)}", _POWER
    if exponent == Fraction(1, 2):
        return f"sqrt({_spell(base, _SUM)})", _ATOM
    return f"{_spell(base, _ATOM)}**{float(exponent):g}", _POWER


def _call(kind: str, expression: Any) -> str:
    """An atom as a call, with its axis and other whole numbers."""
    args = [_spell(argument, _SUM) for argument in expression.args]
    if kind == "quad_over_lin" and args[1] == "1":
        return f"sum_squares({args[0]})"
    data = expression.get_data() or []
    if kind == "Pnorm":
        args += [] if data[0] == 2 else [f"{float(data[0]):g}"]
    elif type(expression).__name__ == kind and not kind.startswith("diag"):
        args += [str(value) for value in data if type(value) is int]
    return f"{_NAMES.get(kind, kind)}({', '.join(args)})"
