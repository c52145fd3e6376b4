"""The derivative of a loss with respect to a layer's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Call, Layer, spread

SEED = 20240721  # no seed that a caller draws values from: a cotangent equal to a cost is special


def loss_cotangents(
    layer: Layer,
    call: Call,
    given: Sequence[Any] | None,
    loss: Callable[..., Any] | None,
    tensors: bool | None = None,
) -> list[np.ndarray]:
    """The loss' derivative for each output, (batch, size).

    `tensors` says whether the loss is a function of torch tensors, by default where torch is
    installed.
    """
    if given is not None and loss is not None:
        raise InvalidInput("give cotangents or a loss, not both")
    outputs = [
        value.reshape(call.batch.shape + shape)
        for value, shape in zip(call.outputs, layer.shapes, strict=True)
    ]
    if loss is not None:
        tensors = find_spec("torch") is not None if tensors is None else tensors
        bars = _torch_gradient(loss, outputs) if tensors else _slopes(loss, outputs)
    elif given is not None:
        if len(given) != len(outputs):
            raise InvalidInput(f"received {len(given)} cotangents, expected {len(outputs)}")
        pairs = enumerate(zip(given, outputs, strict=True))
        bars = [spread(bar, o.shape, f"cotangent {i}").astype(float) for i, (bar, o) in pairs]
        for i, bar in enumerate(bars):
            if not np.isfinite(bar).all():
                raise InvalidInput(f"cotangent {i} has NaN or infinite entries")
    else:
        rng = np.random.default_rng(SEED)
        bars = [rng.normal(size=output.shape) for output in outputs]
    return [bar.reshape(v.shape) for bar, v in zip(bars, call.outputs, strict=True)]


def _torch_gradient(loss: Callable[..., Any], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    import torch

    tensors = [torch.tensor(output, requires_grad=True) for output in outputs]
    value = loss(*tensors)
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        raise InvalidInput("loss must return a torch tensor that is computed from the variables")
    gradients = torch.autograd.grad(value.sum(), tensors, allow_unused=True)
    return [np.zeros(o.shape) if g is None else g.numpy()
            for o, g in zip(outputs, gradients, strict=True)]  # fmt: skip


def _slopes(loss: Callable[..., Any], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Central differences of the loss, entry by entry, where torch is not installed."""
    slopes = []
    for k, output in enumerate(outputs):
        slope = np.zeros(output.size)
        for i in range(output.size):
            ends = []
            for h in (1e-6, -1e-6):
                moved = [o.copy() for o in outputs]
                moved[k].reshape(-1)[i] += h
                ends.append(float(np.sum(loss(*moved))))
            slope[i] = (ends[0] - ends[1]) / 2e-6
        slopes.append(slope)
    return slopes
