"""A layer as torch operators, for `torch.compile`: compiled graphs hold tensors and numbers only.

    solve       values, number of the layer -> variables, ticket
    pull_back   ticket, values, variables_bar -> values_bar

The number finds the layer, and the ticket, an integer tensor, its forward pass. A layer
is not kept alive by its number; a forward pass is by the memory of its ticket, and so by the graph.

Forward mode and the transforms of torch.func have no part in this: an operator's tangent would
silently be zero, and torch refuses its gradients there.
"""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch.autograd import forward_ad

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.layer import Layer
from cvxlpgd.layer.arguments import called
from cvxlpgd.torch._autograd import Run, pull, solve_tensors
from cvxlpgd.torch._tensors import Tensor, promote, require_dense

LOSING = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 12)

_layers: weakref.WeakValueDictionary[int, Layer] = weakref.WeakValueDictionary()
_runs: dict[int, Run] = {}
_keys = count()


def number_of(layer: Layer) -> int:
    """A number for the layer that no layer of any process has: compiled graphs are kept on disk."""
    number = uuid.uuid4().int >> 66
    _layers[number] = layer
    return number


def is_transformed() -> bool:
    """Whether a transform of torch.func, or forward mode, is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def refuse_lost_gradients() -> None:
    """Raise where torch would lose a gradient: outside of graphs, called by a compiled function.

    Before torch 2.12 `vjp` and `jacrev` in a compiled function are zero where the graph breaks in
    what they differentiate, be that a layer or a sine. `grad` is right, and looks the same here.

    Raises
    ------
    CvxlpgdError
    """
    # torch's own insides, which newer versions may move: looked up by those that need it alone
    from torch._C._functorch import TransformType
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

    if any(one.key() == TransformType.Grad for one in retrieve_all_functorch_interpreters()):
        raise CvxlpgdError(
            f"torch {torch.__version__} loses gradients of torch.func.vjp and jacrev around a "
            "layer in a compiled function: call torch.compile on less of it, use backward(), or "
            "torch 2.12 or newer"
        )


def _ticket(run: Run) -> Tensor:
    """A tensor that keeps the run for as long as something has its memory."""
    key = next(_keys)
    _runs[key] = run
    ticket = torch.tensor(key, device="cpu")
    weakref.finalize(ticket.untyped_storage(), _runs.pop, key, None).atexit = False
    return ticket


@torch.library.custom_op(
    "cvxlpgd::solve",
    mutates_args=(),
    schema="(Tensor[] values, SymInt layer, SymInt[] ranks, SymInt[] sizes, bool[] needed, "
    "bool warm_start) -> Tensor[]",
)
def solve(
    values: Sequence[Tensor],
    layer: int,
    ranks: Sequence[int],
    sizes: Sequence[int],
    needed: Sequence[bool],
    warm_start: bool,
) -> list[Tensor]:
    """Variables (*batch shape, size) and the ticket.

    `ranks` are the parameters' without batch axes, `sizes` the variables'; `needed` says which
    values' gradients a backward pass would reach.
    """
    alive = _layers.get(layer)
    if alive is None:
        raise CvxlpgdError(
            "the layer of this compiled or exported graph is not in this process, or is gone: "
            "compile where the layer is"
        )
    names = [domain.name for domain in alive.domains]
    for i, value in enumerate(values):
        require_dense(value, called(i, names))
    alive.require_gradients(needed)
    run = Run(alive, None, warm_start)
    # copies: a compiled graph writes to memory that it has no more use for
    outputs, (x, _, _) = solve_tensors(run, [value.clone() for value in values])
    batch = x.shape[:-1]
    flat = [v.reshape(*batch, size) for v, size in zip(outputs, sizes, strict=True)]
    return [*flat, _ticket(run)]


@solve.register_fake
def _(
    values: Sequence[Tensor],
    layer: int,
    ranks: Sequence[int],
    sizes: Sequence[int],
    needed: Sequence[bool],
    warm_start: bool,
) -> list[Tensor]:
    try:
        leading = [v.shape[: v.ndim - rank] for v, rank in zip(values, ranks, strict=False)]
        batch = torch.broadcast_shapes(*leading)
    except RuntimeError:  # refused when it runs, by the library's own error
        batch = torch.Size()
    device = values[0].device if values else torch.device("cpu")
    outputs = [torch.empty(*batch, n, dtype=promote(values), device=device) for n in sizes]
    return [*outputs, torch.empty((), dtype=torch.int64, device="cpu")]


@torch.library.custom_op(
    "cvxlpgd::pull_back",
    mutates_args=(),
    schema="(Tensor ticket, Tensor[] values, Tensor[] bars, bool[] needed) -> Tensor[]",
)
def pull_back(
    ticket: Tensor, values: Sequence[Tensor], bars: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor]:
    """Cotangents of the values that need one, for the variables', (*batch shape, size)."""
    run = _runs.get(int(ticket))
    if run is None:
        raise CvxlpgdError(
            "the forward pass of a compiled layer is gone: the tensors that were saved "
            "for the backward pass were replaced by copies, as saved-tensor hooks do"
        )
    return pull(run, needed, values, (), bars)


@pull_back.register_fake
def _(
    ticket: Tensor, values: Sequence[Tensor], bars: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor]:
    pairs = zip(values, needed, strict=True)
    return [torch.empty(v.shape, dtype=v.dtype, device=v.device) for v, need in pairs if need]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.save_for_backward(*inputs[0], output[-1])


def _backward(ctx: Any, bars: Sequence[Tensor]) -> tuple[Any, ...]:
    *values, ticket = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[0])
    gradients = iter(pull_back(ticket, values, bars[:-1], needed))
    return [next(gradients) if need else None for need in needed], *[None] * 5


solve.register_autograd(_backward, setup_context=_keep)
