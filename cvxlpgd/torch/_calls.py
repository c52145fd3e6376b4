"""A call of a layer, eager or inside of a compiled graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Layer
from cvxlpgd.program import Solution
from cvxlpgd.torch import _operators
from cvxlpgd.torch._autograd import Run, Solve, Valued
from cvxlpgd.torch._operators import is_transformed, number_of, refuse_lost_gradients, solve
from cvxlpgd.torch._tensors import Tensor, eagerly, require_dense
from cvxlpgd.values.optimal import refuse_integer_rows


class Module(Protocol):
    """A layer as a module, and as numbers what a compiled graph holds of it."""

    _layer: Layer
    _number: int
    _ranks: list[int]
    _shapes: list[tuple[int, ...]]
    _sizes: list[int]


def number(module: Module) -> None:
    """Note as numbers what a compiled graph holds of a layer."""
    layer = module._layer
    module._number = number_of(layer)
    module._ranks = [len(domain.shape) for domain in layer.domains]
    module._shapes, module._sizes = list(layer.shapes), list(layer.sizes)


def call(
    module: Module,
    values: Sequence[Any],
    solver_args: Mapping[str, Any] | None,
    warm_start: bool | Solution,
) -> tuple[Tensor, ...]:
    """The variables' values at the solution, each (*batch shape, *shape)."""
    none = solver_args is None or (isinstance(solver_args, dict) and not solver_args)
    plain, compiling = none and isinstance(warm_start, bool), torch.compiler.is_compiling()
    if compiling and plain and not is_transformed():
        return _inside_of_graphs(module, values, warm_start is True)
    within = False  # a compiled function; asked here, since what is called is not compiled
    if _operators.LOSING and not compiling:
        within = bool(torch._C._dynamo.eval_frame.get_eval_frame_callback())
    return _outside_of_graphs(module._layer, values, solver_args, warm_start, within)


def _inside_of_graphs(
    module: Module, values: Sequence[Any], warm_start: bool
) -> tuple[Tensor, ...]:
    tensors = [v if isinstance(v, Tensor) else torch.as_tensor(v) for v in values]
    needed = _need_gradients(tensors)
    outputs = solve(tensors, module._number, module._ranks, module._sizes, needed, warm_start)
    pairs = zip(outputs[:-1], module._shapes, strict=True)  # the last one is the ticket
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
    tensors = [as_tensor(i, value) for i, value in enumerate(values)]
    layer.require_gradients(_need_gradients(tensors))
    run = Run(layer, solver_args, warm_start)
    outputs = Solve.apply(run, *tensors)
    return tuple(outputs[: len(layer.shapes)])


@eagerly
def evaluate(
    layer: Layer, make: Callable[[list[np.ndarray]], Any], values: Sequence[Any]
) -> Tensor:
    """A sum of optimal values that `make` makes of arrays, (*batch shape), differentiable."""
    tensors = [as_tensor(i, value) for i, value in enumerate(values)]
    refuse_integer_rows(layer, _need_gradients(tensors))
    sums: Tensor = Valued.apply(make, *tensors)
    return sums


def as_tensor(i: int, value: Any) -> Tensor:
    """The i-th value as a dense real tensor; arrays are copied, lists and numbers converted."""
    try:
        own = value.copy() if isinstance(value, np.ndarray) else value
        tensor = own if isinstance(own, Tensor) else torch.as_tensor(own)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(f"value {i} cannot be made into a tensor: {error}") from None
    require_dense(i, tensor)
    return tensor


def _need_gradients(tensors: Sequence[Tensor]) -> list[bool]:
    """Which of them a backward pass would reach."""
    return [torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors]
