"""A layer as functions of torch tensors: solve, pull back, push forward.

Each has a vmap rule that turns the mapped axis into one more batch axis, so transforms nest in any
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.layer import Call, Layer
from cvxlpgd.layer.packed import Packed
from cvxlpgd.program import Array, Point, Solution
from cvxlpgd.torch._sparse import pack
from cvxlpgd.torch._tensors import Tensor, double, doubles, eagerly, promote
from cvxlpgd.values.optimal import Values


class Run:
    """How one call of a layer is to be run, and its forward pass."""

    def __init__(
        self,
        layer: Layer,
        solver_args: Mapping[str, Any] | None,
        warm_start: bool | Solution,
        strays: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self.layer, self.solver_args, self.warm_start = layer, solver_args, warm_start
        self.strays = [None] * len(layer.domains) if strays is None else strays
        self.call: Call | None = None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The values' shapes without batch axes: the parameters', or the entries of a pattern."""
        pairs = zip(self.layer.domains, self.strays, strict=False)
        return [domain.shape if stray is None else domain.kept for domain, stray in pairs]

    @property
    def ranks(self) -> list[int]:
        """The values' ranks without batch axes."""
        return [len(shape) for shape in self.shapes]

    def solve(self, values: Sequence[Tensor]) -> Call:
        """Solve for these values, and remember the call."""
        solver, _ = self.layer.chosen(self.solver_args, self.warm_start is not False)
        arrays = pack(self.layer.domains, doubles(values, solver.arrays), self.strays)
        self.call = self.layer.forward(arrays, self.solver_args, self.warm_start)
        return self.call

    def pack(self, tensors: Sequence[Tensor]) -> list[Array | Packed]:
        """Values with more batch axes, or tangents of values, as the layer takes them."""
        none = [stray if stray is None else np.zeros(()) for stray in self.strays]
        return pack(self.layer.domains, self.arrays(tensors), none)

    def at(self, values: Sequence[Tensor], point: Sequence[Tensor]) -> Call:
        """The call for these values: the forward's own, or made anew at its solution."""
        assert self.call is not None
        shapes = zip(values, self.call.batch.own, self.shapes, strict=True)
        if all(tuple(v.shape) == own + shape for v, own, shape in shapes):
            return self.call
        flat = [v.reshape(v.shape[:-1].numel(), v.shape[-1]) for v in point]
        return self.call.at(self.pack(values), Point(*self.arrays(flat)))

    def arrays(self, tensors: Sequence[Tensor]) -> list[Array]:
        """Tensors as arrays of doubles of the kind, and on the device, of the call's own."""
        assert self.call is not None
        like = self.call.full.point.x
        kind = "torch" if isinstance(like, Tensor) else "numpy"
        return doubles(tensors, kind, like)


def solve_tensors(run: Run, values: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The variables at the solution for these values, and the canonical point (x, y, s).

    The variables are copies: the backward pass reads the call's, and the caller may write to them.
    """
    call = run.solve(values)
    dtype, device = promote(values), values[0].device if values else None
    outputs = [
        torch.as_tensor(v.reshape(call.batch.shape + shape)).to(device, dtype, copy=True)
        for v, shape in zip(call.outputs, run.layer.shapes, strict=True)
    ]
    z = call.full.point
    point = [torch.as_tensor(v.reshape(*call.batch.shape, v.shape[1])) for v in (z.x, z.y, z.s)]
    return outputs, point


def pull(
    run: Run,
    needed: Sequence[bool],
    values: Sequence[Tensor],
    point: Sequence[Tensor],
    bars: Sequence[Tensor],
) -> list[Tensor]:
    """Cotangents (*batch shape, *shape) of variables -> those of the values that need one."""
    call = run.at(values, point)
    pairs = zip(bars, run.layer.sizes, strict=True)
    flat = run.arrays([bar.reshape(call.batch.samples, size) for bar, size in pairs])
    return [
        torch.as_tensor(g).to(device=v.device, dtype=v.dtype)
        for v, g in zip(values, call.vjp(flat, needed), strict=True)
        if g is not None
    ]


def push(
    run: Run, values: Sequence[Tensor], point: Sequence[Tensor], dots: Sequence[Tensor]
) -> list[Tensor]:
    """The values' tangents -> the variables'."""
    call = run.at(values, point)
    tangents = call.jvp(run.pack(dots))
    dtype, device = promote(values), values[0].device
    return [
        torch.as_tensor(v.reshape(call.batch.shape + shape)).to(device=device, dtype=dtype)
        for v, shape in zip(tangents, run.layer.shapes, strict=True)
    ]


class Solve(torch.autograd.Function):
    """values -> variables, and the canonical point (x, y, s) for the derivatives."""

    @staticmethod
    def forward(run: Run, *values: Tensor) -> tuple[Tensor, ...]:
        outputs, point = solve_tensors(run, values)
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
    @eagerly
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = tuple(ctx.needs_input_grad[1:])
        full = [
            torch.zeros(shape, dtype=dtype, device=device) if bar is None else bar
            for bar, (shape, dtype, device) in zip(bars, ctx.shapes, strict=False)
        ]
        inputs = ctx.run, needed, ctx.count, *ctx.saved_tensors, *full
        # a function of its own where a transform, or a second backward pass, must see it
        plain = not (torch._C._are_functorch_transforms_active() or torch.is_grad_enabled())
        gradients = PullBack.forward(*inputs) if plain else PullBack.apply(*inputs)
        each = iter(gradients if isinstance(gradients, tuple) else (gradients,))
        return None, *(next(each) if need else None for need in needed)

    @staticmethod
    def jvp(ctx: Any, _: None, *dots: Tensor | None) -> tuple[Tensor | None, ...]:
        values = ctx.saved_tensors[: ctx.count]
        full = [torch.zeros_like(v) if d is None else d for v, d in zip(values, dots, strict=True)]
        tangents = PushForward.apply(ctx.run, ctx.count, *ctx.saved_tensors, *full)
        return *tangents, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, *values: Tensor) -> tuple[Any, Any]:
        outputs = Solve.apply(run, *lead_with_mapped(values, in_dims[1:], run.ranks, None))
        return outputs, (0,) * len(outputs)


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """The context of a function that has no derivative of its own."""


def _refuse(ctx: Any, *tensors: Tensor) -> Any:
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
        return tuple(pull(run, needed, values, point, bars))

    setup_context = staticmethod(_keep_nothing)
    backward = jvp = staticmethod(_refuse)

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, needed: Any, count: int, *tensors: Tensor) -> Any:
        ranks = [*run.ranks, 1, 1, 1, *(len(shape) for shape in run.layer.shapes)]
        gradients = PullBack.apply(
            run, needed, count, *lead_with_mapped(tensors, in_dims[3:], ranks, info.batch_size)
        )
        return gradients, (0,) * len(gradients)


class PushForward(torch.autograd.Function):
    """The values' tangents -> the variables'."""

    @staticmethod
    def forward(run: Run, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        values, point, dots = tensors[:count], tensors[count : count + 3], tensors[count + 3 :]
        return tuple(push(run, values, point, dots))

    setup_context = staticmethod(_keep_nothing)
    backward = jvp = staticmethod(_refuse)

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, count: int, *tensors: Tensor) -> Any:
        ranks = [*run.ranks, 1, 1, 1, *run.ranks]
        tangents = PushForward.apply(
            run, count, *lead_with_mapped(tensors, in_dims[2:], ranks, info.batch_size)
        )
        return tangents, (0,) * len(tangents)


_functions: tuple[Any, ...] = (Solve, PullBack, PushForward)
for _function in _functions:  # torch asks for it in each call
    _function.forward.__signature__ = signature(_function.forward)


def lead_with_mapped(
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


class Valued(torch.autograd.Function):
    """values -> a sum of optimal values, by `make`, which solves for tensors."""

    @staticmethod
    def forward(ctx: Any, make: Callable[[Sequence[Tensor]], Values], *values: Tensor) -> Tensor:
        sums = make(values)
        ctx.sums, ctx.kinds = sums, [(v.dtype, v.device) for v in values]
        device = values[0].device if values else None
        return torch.tensor(sums.value.reshape(sums.shape), dtype=promote(values), device=device)

    @staticmethod
    @once_differentiable
    @eagerly
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.sums.vjp(double(bar).reshape(-1), ctx.needs_input_grad[1:])
        grads = [
            None if g is None else torch.as_tensor(g).to(dtype=dtype, device=device)
            for g, (dtype, device) in zip(gradients, ctx.kinds, strict=True)
        ]
        return None, *grads
