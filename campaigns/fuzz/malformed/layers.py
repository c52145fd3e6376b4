"""Places in layers: constructor, call, cotangents, tangents, envelopes, differences."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import torch

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd.solvers import SCS

from .values import Malformed, spoiled

a, b = cp.Parameter(2, name="a"), cp.Parameter(2, nonneg=True, name="b")
x = cp.Variable(2, name="x")
PROBLEM = cp.Problem(cp.Minimize(a @ x), [x >= -b, x <= 1])
FRAMEWORKS = {"torch": cvxlpgd.torch.CvxpyLayer, "numpy": cvxlpgd.numpy.CvxpyLayer}
CONCAVE = cp.Problem(cp.Minimize(cp.sqrt(x[0])), [x >= b])
NOT_DPP = cp.Problem(cp.Minimize(cp.sum((a + b) @ (a + b) * x)), [x >= 0])
EMPTY = cp.Problem(cp.Minimize(1.0))
STRANGE_PARAMETER, STRANGE_VARIABLE = cp.Parameter(2, name="other"), cp.Variable(2, name="other")
COMPLEX = cp.Variable(2, complex=True, name="z")
ARRAYS = {
    "too short": np.ones(1),
    "too long": np.ones(3),
    "scalar": np.float64(1.0),
    "transposed": np.ones((2, 1)),
    "many wrong ones": np.ones((5, 3)),
    "nested list": [[1.0, 2.0], [3.0]],
    "list of texts": ["1", "2"],
    "list of complex": [1j, 2j],
}


def made(framework: str, **options: Any) -> Any:
    return FRAMEWORKS[framework](PROBLEM, [a, b], [x], **options)


def values_of(framework: str) -> tuple[Any, Any]:
    arrays = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    return arrays if framework == "numpy" else tuple(torch.tensor(v) for v in arrays)


def constructors(framework: str) -> list[Malformed]:
    """Every argument of the constructor."""
    build = FRAMEWORKS[framework]

    def at(name: str, *words: str, fine=(), more=None) -> list[Malformed]:
        return spoiled(
            f"{framework} layer {name}",
            lambda value: build(PROBLEM, [a, b], [x], **{name: value}),
            *(words or (name,)),
            fine=fine,
            more=more,
        )

    problems = {"not DCP": CONCAVE, "not DPP": NOT_DPP, "no variables": EMPTY}
    listed = {
        "twice": [a, a],
        "of another problem": [STRANGE_PARAMETER],
        "variables": [x],
        "values": [np.ones(2), np.ones(2)],
        "a parameter": a,
        "generator": (p for p in (a, b)),
        "array": np.array([1.0, 2.0]),
    }
    outputs = {
        "twice": [x, x],
        "of another problem": [STRANGE_VARIABLE],
        "parameters": [a],
        "an expression": [x + 1],
        "part of a variable": [x[0]],
        "a variable": x,
        "constraints": list(PROBLEM.constraints),
    }
    solvers = {"its class": SCS, "unknown": "NO_SUCH", "a list": ["SCS"]}
    options = {
        "unknown option": {"no_such": 1},
        "negative eps": {"eps": -1.0},
        "eps as text": {"eps": "small"},
        "eps as None": {"eps": None},
        "no mode": {"mode": "no_such"},
        "pairs": [("eps", 1e-3)],
    }
    return [
        *spoiled(
            f"{framework} layer problem",
            lambda value: build(value, [a, b], [x]),
            "problem",
            fine=["problem"],
            more=problems,
        ),
        *spoiled(
            f"{framework} layer parameters",
            lambda value: build(PROBLEM, value, [x]),
            "parameter",
            fine=[],
            more=listed,
        ),
        *spoiled(
            f"{framework} layer variables",
            lambda value: build(PROBLEM, [a, b], value),
            "variable",
            fine=["empty list"],
            more=outputs,
        ),
        *at("solver", fine=["None"], more=solvers),
        *at("fallback", fine=["None"], more=solvers),
        *at("solver_args", "solver_args", "has no option", "eps", "mode",
            fine=["None", "empty dict"], more=options),
        *at("derivative"),
        *at("on_failure", more={"upper case": "RAISE"}),
        *at("time_limit", fine=["None", "3", "2.5", "inf"]),
        *at("executor", fine=["None"]),
        *at("gp", fine=["True"]),
        *at("verbose", fine=["True"]),
        *at("canon_backend", fine=["None"]),
    ]  # fmt: skip


def calls(framework: str) -> list[Malformed]:
    """Every argument of the call."""
    layer, (first, second) = made(framework), values_of(framework)
    many = {"none": (), "one": (first,), "three": (first, second, second)}
    cases = [
        Malformed(f"{framework} call with {name} values", lambda v=v: layer(*v), ("expected 2",))
        for name, v in many.items()
    ]
    negative = {"out of its domain": np.array([-1.0, 1.0])}
    fine = ["range"]
    for method in ("__call__", "optimal_value"):
        called = getattr(layer, method)
        place = f"{framework} {method}"
        cases += spoiled(
            f"{place} value 0", lambda v, f=called: f(v, second), "value 0", "parameter 0",
            "parameter a", fine=[*fine, "constant"], more=ARRAYS,
        )  # fmt: skip
        cases += spoiled(
            f"{place} value 1", lambda v, f=called: f(first, v), "value 1", "parameter 1",
            "parameter b", fine=[*fine, "constant"], more=ARRAYS | negative,
        )  # fmt: skip
    cases += spoiled(
        f"{framework} call solver_args", lambda v: layer(first, second, solver_args=v),
        "solver_args", "has no option", fine=["None", "empty dict"],
    )  # fmt: skip
    cases += spoiled(
        f"{framework} call warm_start", lambda v: layer(first, second, warm_start=v), "warm_start",
        fine=["True"],
    )  # fmt: skip
    cases += spoiled(
        f"{framework} weakly_active tol", lambda v: layer.weakly_active(v), "tol",
        fine=["3", "2.5"],
    )  # fmt: skip
    return cases


_ONE = ["True", "0", "3", "-1", "2.5", "range", "constant"]  # spread over a cotangent


def pullbacks() -> list[Malformed]:
    """Cotangents and tangents of NumPy layers."""
    layer, (first, second) = made("numpy"), values_of("numpy")
    _, pullback = layer.vjp(first, second)
    _, valued = layer.optimal_value_vjp(first, second)
    zero = np.zeros(2)
    cases = [
        Malformed("vjp: no cotangent", lambda: pullback(), ("cotangent",)),
        Malformed("vjp: two cotangents", lambda: pullback(zero, zero), ("cotangent",)),
        Malformed("jvp: one tangent", lambda: layer.jvp((first, second), (zero,)), ("tangent",)),
    ]
    infinite = ["nan", "inf", "-inf", "NaN array", "infinite array", "NaN tensor"]
    arrays = {k: v for k, v in ARRAYS.items() if k not in ("scalar", "too short")}
    cases += spoiled(
        "vjp cotangent", pullback, "cotangent 0", fine=[*_ONE, *infinite], more=arrays
    )  # NaN cotangents have NaN gradients
    cases += spoiled(
        "optimal value's cotangent", valued, "cotangent",
        fine=[*(k for k in _ONE if k not in ("range", "constant")), "nan", "inf", "-inf"],
        more={"too long": np.ones(2)},
    )  # fmt: skip
    cases += spoiled(
        "jvp tangent", lambda v: layer.jvp((first, second), (v, zero)), "tangent 0",
        fine=[*_ONE, *infinite], more=arrays,
    )  # fmt: skip
    cases += spoiled(
        "jvp tangents", lambda v: layer.jvp((first, second), v), "tangent", fine=["ragged"]
    )
    cases += spoiled(
        "jvp values", lambda v: layer.jvp(v, (zero, zero)), "value", "parameter 0", "expected 2"
    )
    return cases


def envelopes(framework: str) -> list[Malformed]:
    """Arguments of envelopes and of differences of Lagrangians."""
    layer, values = made(framework), values_of(framework)
    loss, t = cp.sum(x), cp.Parameter(2, name="t")
    bars = np.ones(2) if framework == "numpy" else torch.ones(2).double()
    targets = 0 * bars

    def envelope(**options: Any) -> Any:
        return layer.envelope(*values, **({"cotangents": bars, "tau": 0.1} | options))

    def of_loss(**options: Any) -> Any:
        return layer.envelope(*values, **({"loss": loss, "tau": 0.1, "side": "lower"} | options))

    def difference(**options: Any) -> Any:
        return layer.lagrangian_difference(*values, **({"targets": targets} | options))

    expressions = {"a vector": x, "of another variable": cp.sum(STRANGE_VARIABLE), "a number": 1.0,
                   "concave": -cp.sum_squares(x), "no variables": cp.sum(t)}  # fmt: skip
    given = {"no parameter of it": {a: np.ones(2)}, "a name": {"t": np.ones(2)}}
    numbers = ["3", "2.5"]
    place = f"{framework} envelope"
    arrays = {k: [v] for k, v in ARRAYS.items() if k not in ("scalar", "too short")}
    lists = {"two": [bars, bars], "a list of None": [None]}
    return [
        *spoiled(f"{place} cotangents", lambda v: envelope(cotangents=v), "cotangent",
                 fine=["NaN array", "infinite array", "NaN tensor"], more=arrays | lists),
        *spoiled(f"{place} tau", lambda v: envelope(tau=v), "tau",
                 fine=["None", "function", *numbers]),
        *spoiled(f"{place} side", lambda v: envelope(side=v), "side", fine=["None"]),
        *spoiled(f"{place} rho", lambda v: envelope(rho=v), "rho", fine=["0", *numbers]),
        *spoiled(f"{place} loss", lambda v: of_loss(loss=v), "loss", more=expressions),
        *spoiled(f"{place} loss_values", lambda v: of_loss(loss_values=v), "loss_values",
                 fine=["None", "empty dict"], more=given),
        *spoiled(f"{place} of a loss, tau", lambda v: of_loss(tau=v), "tau",
                 fine=[*numbers, "empty list", "long array", "cube", "long tensor"]),
        *spoiled(f"{place} of a loss, side", lambda v: of_loss(side=v), "side",
                 fine=["None"]),
        *spoiled(f"{framework} difference targets", lambda v: difference(targets=v), "target",
                 more=arrays | lists | {"infeasible": [5 + targets]}),
        *spoiled(f"{framework} difference margin", lambda v: difference(margin=v), "margin",
                 "sample", fine=["None"], more=arrays | lists),
    ]  # fmt: skip
