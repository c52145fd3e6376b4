"""A layer as functions of NumPy arrays: solve, pull back, push forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Call, Layer, real, spread
from cvxlpgd.program import Solution
from cvxlpgd.values.optimal import refuse_integer_rows

Arrays = tuple[np.ndarray, ...]
Outputs = Arrays | Any  # a tuple to type checkers; of a single layer the one array itself


class Done(NamedTuple):
    """A forward pass: its call, the variables, and the dtypes of the parameters' cotangents."""

    call: Call
    outputs: Arrays
    dtypes: list[np.dtype]


def forward(
    layer: Layer,
    values: Sequence[Any],
    solver_args: Mapping[str, Any] | None,
    warm: bool | Solution = False,
) -> Done:
    """The variables' values at the solution, each (*batch shape, *shape)."""
    arrays, dtypes, dtype = read(values)
    call = layer.forward([double(v) for v in arrays], solver_args, warm)
    outputs = tuple(
        v.reshape(call.batch.shape + shape).astype(dtype)
        for v, shape in zip(call.outputs, layer.shapes, strict=True)
    )
    return Done(call, outputs, dtypes)


def pull_back(layer: Layer, done: Done, bars: Sequence[Any]) -> Arrays:
    """The variables' cotangents -> the parameters'."""
    call, outputs, dtypes = done
    if len(bars) != len(outputs):
        raise InvalidInput(f"received {len(bars)} cotangents, expected {len(outputs)}")
    triples = zip(bars, outputs, layer.sizes, strict=True)
    flat = [
        double(spread(bar, out.shape, f"cotangent {i}")).reshape(call.batch.samples, size)
        for i, (bar, out, size) in enumerate(triples)
    ]
    gradients = call.vjp(flat, [True] * len(dtypes))
    pairs = zip(gradients, dtypes, strict=True)
    return tuple(np.asarray(v, dtype=dtype) for v, dtype in pairs)


def push_forward(
    layer: Layer,
    values: Sequence[Any],
    tangents: Sequence[Any],
    solver_args: Mapping[str, Any] | None,
) -> tuple[Done, Arrays]:
    """The forward pass, and the variables' tangents for the parameters'."""
    for name, argument in (("values", values), ("tangents", tangents)):
        if not isinstance(argument, list | tuple):
            raise InvalidInput(f"{name} must be a list or tuple, one for each parameter")
    done = forward(layer, values, solver_args)
    if len(tangents) != len(values):
        raise InvalidInput(f"received {len(tangents)} tangents, expected {len(values)}")
    dots = [
        double(spread(dot, np.shape(v), f"tangent {i}"))
        for i, (dot, v) in enumerate(zip(tangents, values, strict=True))
    ]
    pairs = zip(done.call.jvp(dots), done.outputs, strict=True)
    return done, tuple(np.asarray(v.reshape(out.shape), dtype=out.dtype) for v, out in pairs)


def evaluate(
    layer: Layer, make: Callable[[list[np.ndarray]], Any], values: Sequence[Any]
) -> tuple[np.ndarray, Callable[[Any], Arrays]]:
    """A sum of optimal values that `make` makes of arrays, and its pullback."""
    arrays, dtypes, dtype = read(values)
    sums = make([double(v) for v in arrays])

    def pullback(bar: Any) -> Arrays:
        refuse_integer_rows(layer, [True] * len(layer.domains))
        flat = double(spread(bar, sums.shape, "cotangent")).ravel()
        bars = sums.vjp(flat, [True] * len(values))
        pairs = zip(bars, dtypes, strict=True)
        return tuple(np.asarray(bar, dtype=dtype) for bar, dtype in pairs)

    return sums.value.reshape(sums.shape).astype(dtype), pullback


def read(values: Sequence[Any]) -> tuple[list[np.ndarray], list[np.dtype], np.dtype]:
    """The values as arrays, the dtypes of their cotangents, and that of what is computed."""
    arrays = [real(v, f"value {i}") for i, v in enumerate(values)]
    dtypes = [v.dtype if v.dtype.kind == "f" else np.dtype(float) for v in arrays]
    floating = [v.dtype for v in arrays if v.dtype.kind == "f"]
    return arrays, dtypes, np.result_type(*floating) if floating else np.dtype(float)


def double(values: np.ndarray) -> np.ndarray:
    """A copy: the caller may write to its own array before the pullback is called."""
    return np.array(values, dtype=np.float64, order="C")
