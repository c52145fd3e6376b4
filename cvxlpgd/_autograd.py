"""A layer as functions of torch tensors: solve, pull back, push forward.

Each has a vmap rule that turns the mapped axis into one more batch axis, so transforms nest in any
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from cvxlpgd.call import Call
from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.layer import Layer
from cvxlpgd.program import Point
from cvxlpgd.solution import Solution
from cvxlpgd.values import Values

Tensor = torch.Tensor


class Run:
    """How one call of a layer is to be run, and what its forward pass found."""

    def __init__(
        self, layer: Layer, solver_args: Mapping[str, Any] | None, warm_start: bool | Solution
    ) -> None:
        self.layer, self.solver_args, self.warm_start = layer, solver_args, warm_start
        self.call: Call | None = None

    @property
    def ranks(self) -> list[int]:
        """The parameters' ranks without batch axes."""
        return [len(domain.shape) for domain in self.layer.domains]

    def at(self, values: Sequence[Tensor], point: Sequence[Tensor]) -> Call:
        """The call for these values: the forward's own, or made anew at its solution."""
        assert self.call is not None
        shapes = zip(values, self.call.batch.own, self.layer.domains, strict=True)
        if all(tuple(v.shape) == own + domain.shape for v, own, domain in shapes):
            return self.call
        z = Point(*(_array(v).reshape(v.shape[:-1].numel(), v.shape[-1]) for v in point))
        return self.call.resumed([_array(v) for v in values], z)


class Solve(torch.autograd.Function):
    """values -> variables, and the canonical point (x, y, s) for the derivatives."""

    @staticmethod
    def forward(run: Run, *values: Tensor) -> tuple[Tensor, ...]:
        layer = run.layer
        call = layer.forward([_array(v) for v in values], run.solver_args, run.warm_start)
        run.call = call
        dtype, device = _dtype(values), values[0].device if values else None
        outputs = [
            torch.tensor(v.reshape(call.batch.shape + shape), device=device, dtype=dtype)
            for v, shape in zip(call.outputs, layer.shapes, strict=True)
        ]  # copies: the backward pass reads call.outputs, and the caller may write to a tensor
        z = call.record.solution.point
        point = [torch.as_tensor(v.reshape(*call.batch.shape, v.shape[1])) for v in (z.x, z.y, z.s)]
        return (*outputs, *point)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.run, values = inputs[0], inputs[1:]
        ctx.count = len(values)
        ctx.mark_non_differentiable(*output[-3:])
        ctx.save_for_backward(*values, *output[-3:])
        ctx.save_for_forward(*values, *output[-3:])
        ctx.shapes = [(out.shape, out.dtype, out.device) for out in output[:-3]]

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = tuple(ctx.needs_input_grad[1:])
        full = [
            torch.zeros(shape, dtype=dtype, device=device) if bar is None else bar
            for bar, (shape, dtype, device) in zip(bars, ctx.shapes, strict=False)
        ]
        found = PullBack.apply(ctx.run, needed, ctx.count, *ctx.saved_tensors, *full)
        found = iter(found if isinstance(found, tuple) else (found,))
        return None, *(next(found) if need else None for need in needed)

    @staticmethod
    def jvp(ctx: Any, _: None, *dots: Tensor | None) -> tuple[Tensor | None, ...]:
        values = ctx.saved_tensors[: ctx.count]
        full = [torch.zeros_like(v) if d is None else d for v, d in zip(values, dots, strict=True)]
        found = PushForward.apply(ctx.run, ctx.count, *ctx.saved_tensors, *full)
        return *found, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, *values: Tensor) -> tuple[Any, Any]:
        outputs = Solve.apply(run, *_mapped(values, in_dims[1:], run.ranks, None))
        return outputs, (0,) * len(outputs)


def _kept_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """The context of a function that has no derivative of its own."""


def _refused(ctx: Any, *tensors: Tensor) -> Any:
    raise CvxlpgdError(
        "a layer cannot be differentiated twice: its derivatives re-solve programs, which torch "
        "does not see; drop create_graph=True, or detach the gradient or tangent"
    )


class PullBack(torch.autograd.Function):
    """The variables' cotangents -> those of the values that need one."""

    @staticmethod
    def forward(
        run: Run, needed: tuple[bool, ...], count: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        values, point, bars = tensors[:count], tensors[count : count + 3], tensors[count + 3 :]
        call = run.at(values, point)
        sizes = [int(np.prod(shape)) for shape in run.layer.shapes]
        flat = [
            _array(bar).reshape(call.batch.samples, size)
            for bar, size in zip(bars, sizes, strict=True)
        ]
        found = call.vjp(flat, needed)
        return tuple(
            torch.as_tensor(g).to(device=v.device, dtype=v.dtype)
            for v, g in zip(values, found, strict=True)
            if g is not None
        )

    setup_context = staticmethod(_kept_nothing)
    backward = jvp = staticmethod(_refused)

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, needed: Any, count: int, *tensors: Tensor) -> Any:
        ranks = [*run.ranks, 1, 1, 1, *(len(shape) for shape in run.layer.shapes)]
        found = PullBack.apply(
            run, needed, count, *_mapped(tensors, in_dims[3:], ranks, info.batch_size)
        )
        return found, (0,) * len(found)


class PushForward(torch.autograd.Function):
    """The values' tangents -> the variables'."""

    @staticmethod
    def forward(run: Run, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        values, point, dots = tensors[:count], tensors[count : count + 3], tensors[count + 3 :]
        call = run.at(values, point)
        found = call.jvp([_array(dot) for dot in dots])
        dtype, device = _dtype(values), values[0].device
        return tuple(
            torch.as_tensor(v.reshape(call.batch.shape + shape)).to(device=device, dtype=dtype)
            for v, shape in zip(found, run.layer.shapes, strict=True)
        )

    setup_context = staticmethod(_kept_nothing)
    backward = jvp = staticmethod(_refused)

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, count: int, *tensors: Tensor) -> Any:
        ranks = [*run.ranks, 1, 1, 1, *run.ranks]
        found = PushForward.apply(
            run, count, *_mapped(tensors, in_dims[2:], ranks, info.batch_size)
        )
        return found, (0,) * len(found)


def _mapped(
    tensors: Sequence[Tensor], in_dims: Sequence[int | None], ranks: Sequence[int], size: int | None
) -> list[Tensor]:
    """The tensors with the mapped axis first, before all batch axes of any of them.

    A tensor that is not mapped keeps its shape, or is spread to `size` where that is given: then
    its gradient is not summed over the mapped axis.
    """
    mapped = [d is not None for d in in_dims]
    batch = max(t.ndim - m - r for t, m, r in zip(tensors, mapped, ranks, strict=True))
    out = []
    for tensor, dim, rank in zip(tensors, in_dims, ranks, strict=True):
        if dim is None and size is None:
            out.append(tensor)
            continue
        first = tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
        padding = (1,) * (batch - (first.ndim - 1 - rank))
        first = first.reshape(first.shape[0], *padding, *first.shape[1:])
        out.append(first if size is None else first.expand(size, *first.shape[1:]))
    return out


def _array(tensor: Tensor) -> np.ndarray:
    if get_proxy_mode() is not None:
        raise CvxlpgdError(
            "a layer cannot be traced by make_fx or torch.func.linearize, to which its solutions "
            "would be constants; torch.func.jvp and torch.func.vjp see it"
        )
    return tensor.detach().to(device="cpu", dtype=torch.float64).contiguous().numpy()


def _dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """The promoted floating dtype; the default one where there is none."""
    floating = [t.dtype for t in tensors if t.is_floating_point()]
    if not floating:
        return torch.get_default_dtype()
    dtype = floating[0]
    for other in floating[1:]:
        dtype = torch.promote_types(dtype, other)
    return dtype


class Valued(torch.autograd.Function):
    """values -> a sum of optimal values, by `make`, which solves for arrays."""

    @staticmethod
    def forward(ctx: Any, make: Callable[[list[np.ndarray]], Values], *values: Tensor) -> Tensor:
        found = make([_array(v) for v in values])
        ctx.found, ctx.kinds = found, [(v.dtype, v.device) for v in values]
        device = values[0].device if values else None
        return torch.tensor(found.value.reshape(found.shape), dtype=_dtype(values), device=device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.found.vjp(_array(bar).reshape(-1), ctx.needs_input_grad[1:])
        grads = [
            None if g is None else torch.as_tensor(g).to(dtype=dtype, device=device)
            for g, (dtype, device) in zip(found, ctx.kinds, strict=True)
        ]
        return None, *grads
