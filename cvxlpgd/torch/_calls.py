"""Calls of a layer with tensors: in eager code, and inside of the graphs of `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cvxlpgd.derivatives import Derivative
from cvxlpgd.layer import Layer
from cvxlpgd.program import Solution
from cvxlpgd.torch import _operators
from cvxlpgd.torch._autograd import Run, Solve, Valued
from cvxlpgd.torch._operators import is_transformed, number_of, refuse_lost_gradients, solve
from cvxlpgd.torch._sparse import pack, take_in
from cvxlpgd.torch._tensors import Tensor, doubles, eagerly, need_gradients
from cvxlpgd.values.optimal import refuse_integer_rows


@dataclass(frozen=True, eq=False)
class Numbered:
    """What a compiled graph holds of a layer, in numbers and names."""

    number: int
    names: list[str]  # the parameters'
    ranks: list[int]  # the parameters', without batch axes
    shapes: list[tuple[int, ...]]  # the variables'
    sizes: list[int]

    @classmethod
    def of(cls, layer: Layer) -> Numbered:
        """The layer's, with a number of its own."""
        names = [domain.name for domain in layer.domains]
        ranks = [len(domain.shape) for domain in layer.domains]
        return cls(number_of(layer), names, ranks, list(layer.shapes), list(layer.sizes))


def call(
    layer: Layer,
    numbered: Numbered,
    values: Sequence[Any],
    solver_args: Mapping[str, Any] | None,
    warm_start: bool | Solution,
) -> tuple[Tensor, ...]:
    """The variables at the solution for these values."""
    none = solver_args is None or (isinstance(solver_args, dict) and not solver_args)
    plain, compiling = none and isinstance(warm_start, bool), torch.compiler.is_compiling()
    if compiling and plain and not is_transformed() and not _any_sparse(values):
        return _inside_of_graphs(numbered, values, warm_start is True)
    within = False  # a compiled function; asked here, since what is called is not compiled
    if _operators.LOSING and not compiling:
        within = bool(torch._C._dynamo.eval_frame.get_eval_frame_callback())
    return _outside_of_graphs(layer, values, solver_args, warm_start, within)


def _any_sparse(values: Sequence[Any]) -> bool:
    """Whether a value is a sparse tensor, which an operator does not take."""
    return any(isinstance(v, Tensor) and v.layout != torch.strided for v in values)


def _inside_of_graphs(
    numbered: Numbered, values: Sequence[Any], warm_start: bool
) -> tuple[Tensor, ...]:
    tensors = [v if isinstance(v, Tensor) else torch.as_tensor(v) for v in values]
    outputs = solve(
        tensors, numbered.number, numbered.ranks, numbered.sizes, need_gradients(tensors),
        warm_start,
    )  # fmt: skip
    pairs = zip(outputs[:-1], numbered.shapes, strict=True)  # the last one is the ticket
    return tuple(v.reshape(v.shape[:-1] + shape) for v, shape in pairs)


@eagerly
def _outside_of_graphs(
    layer: Layer,
    values: Sequence[Any],
    solver_args: Mapping[str, Any] | None,
    warm_start: bool | Solution,
    within: bool,
) -> tuple[Tensor, ...]:
    if within:
        refuse_lost_gradients()
    tensors, strays = take_in(layer.domains, values)
    layer.require_gradients(need_gradients(tensors))
    outputs = Solve.apply(Run(layer, solver_args, warm_start, strays), *tensors)
    return tuple(outputs[: len(layer.shapes)])


@eagerly
def evaluate(
    layer: Layer,
    make: Callable[[list[Any]], Any],
    values: Sequence[Any],
    derivative: Derivative | None = None,
) -> Tensor:
    """A sum of optimal values (*batch shape), by what makes it of arrays; or a mean of solutions,
    whose gradients are by this derivative.
    """
    tensors, strays = take_in(layer.domains, values)
    refuse_integer_rows(layer, need_gradients(tensors), derivative)

    def make_of_tensors(each: Sequence[Tensor]) -> Any:
        return make(pack(layer.domains, doubles(each, "numpy"), strays))

    sums: Tensor = Valued.apply(make_of_tensors, *tensors)
    return sums
