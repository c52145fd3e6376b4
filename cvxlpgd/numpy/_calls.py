"""A layer as functions of NumPy arrays: solve, pull back, push forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Call, Layer, spread
from cvxlpgd.layer.arrays import Kind, double, give_back, take_in, take_in_tangent
from cvxlpgd.program import Solution
from cvxlpgd.values.optimal import refuse_integer_rows

Arrays = tuple[np.ndarray, ...]
Outputs = Arrays | Any  # a tuple to type checkers; of a single layer the one array itself


class Done(NamedTuple):
    """A forward pass: its call, the variables, and the kinds of the parameters' cotangents."""

    call: Call
    outputs: Arrays
    kinds: list[Kind]


def forward(
    layer: Layer,
    values: Sequence[Any],
    solver_args: Mapping[str, Any] | None,
    warm: bool | Solution = False,
) -> Done:
    """The variables' values at the solution, each (*batch shape, *shape)."""
    arrays, kinds, dtype = take_in(layer.domains, values)
    call = layer.forward(arrays, solver_args, warm)
    outputs = tuple(
        v.reshape(call.batch.shape + shape).astype(dtype)
        for v, shape in zip(call.outputs, layer.shapes, strict=True)
    )
    return Done(call, outputs, kinds)


def pull_back(layer: Layer, done: Done, bars: Sequence[Any]) -> tuple[Any, ...]:
    """The variables' cotangents -> the parameters'."""
    call, outputs, kinds = done
    if len(bars) != len(outputs):
        raise InvalidInput(f"received {len(bars)} cotangents, expected {len(outputs)}")
    triples = zip(bars, outputs, layer.sizes, strict=True)
    flat = [
        double(spread(bar, out.shape, f"cotangent {i}")).reshape(call.batch.samples, size)
        for i, (bar, out, size) in enumerate(triples)
    ]
    return give_back(layer.domains, call.vjp(flat, [True] * len(kinds)), kinds)


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
    triples = zip(tangents, values, layer.domains, strict=True)
    dots = [take_in_tangent(i, *triple) for i, triple in enumerate(triples)]
    pairs = zip(done.call.jvp(dots), done.outputs, strict=True)
    return done, tuple(np.asarray(v.reshape(out.shape), dtype=out.dtype) for v, out in pairs)


def evaluate(
    layer: Layer,
    make: Callable[[list[Any]], Any],
    values: Sequence[Any],
    derivative: Derivative | None = None,
) -> tuple[np.ndarray, Callable[[Any], tuple[Any, ...]]]:
    """A sum of optimal values that `make` makes of arrays, and its pullback; or a mean of
    solutions, whose gradients are by this derivative.
    """
    arrays, kinds, dtype = take_in(layer.domains, values)
    sums = make(arrays)

    def pullback(bar: Any) -> tuple[Any, ...]:
        refuse_integer_rows(layer, [True] * len(layer.domains), derivative)
        flat = double(spread(bar, sums.shape, "cotangent")).ravel()
        return give_back(layer.domains, sums.vjp(flat, [True] * len(values)), kinds)

    return sums.value.reshape(sums.shape).astype(dtype), pullback
