"""The last part of an iteration, x and the direction v to the next x: what `prox=` may be.

    a network       x + network([x, v])
    a Prox          prox_{step g}(x - v)
    a CvxpyLayer    layer(x - v, weights)

x has the channels of its scheme, (batch, channels, n), v one, (batch, 1, n).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.torch import CvxpyLayer
from cvxlpgd.unrolled.closed import CLOSED
from cvxlpgd.unrolled.prox import Prox

Tensor = torch.Tensor


class Increment(nn.Module):
    """x + network([x, v])."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, x: Tensor, v: Tensor, step: Tensor, weights: Sequence[Any], memory: None
    ) -> tuple[Tensor, None]:
        """Weights are for the other updates."""
        if weights:
            raise InvalidInput(f"received {len(weights)} weights, but a network takes none")
        return x + apply_network(self.network, x, v), None


class ProximalStep(nn.Module):
    """prox_{step g}(x - v); from one iteration to the next it remembers the solution."""

    def __init__(self, prox: Prox | nn.Module) -> None:
        super().__init__()
        self.prox = prox

    def forward(
        self, x: Tensor, v: Tensor, step: Tensor, weights: Sequence[Any], memory: Any
    ) -> tuple[Tensor, Any]:
        """The memory is the earlier solution, if solves are to start warm."""
        point = (x - v)[:, 0]
        if not isinstance(self.prox, Prox):
            return self.prox(point, step, *weights)[:, None], None
        shape = self.prox.shape
        if shape.numel() != point.shape[1]:
            raise InvalidInput(
                f"the Prox is of a variable of shape {tuple(shape)}, the scheme of "
                f"{point.shape[1]} unknowns"
            )
        point = point.reshape(-1, *shape)
        x, memory = self.prox.from_solution(memory, point, step, *weights)
        return x.flatten(1)[:, None] if shape else x[:, None, None], memory


class LayerStep(nn.Module):
    """The layer's first variable for its first parameter at x - v and the others at the weights."""

    def __init__(self, layer: CvxpyLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, x: Tensor, v: Tensor, step: Tensor, weights: Sequence[Any], memory: None
    ) -> tuple[Tensor, None]:
        """The step has no part in it."""
        outputs = self.layer((x - v)[:, 0], *weights)
        moved = outputs if isinstance(outputs, Tensor) else outputs[0]
        if moved.shape != (len(x), x.shape[2]):
            raise InvalidInput(
                f"the layer of a scheme must return an iterate {(len(x), x.shape[2])}; its first "
                f"variable is {tuple(moved.shape)}"
            )
        return moved[:, None], None


def apply_network(network: nn.Module, *signals: Tensor) -> Tensor:
    """What the network makes of these channels: (batch, those of the first signal, its length)."""
    out = network(torch.cat(signals, dim=1))
    if not isinstance(out, Tensor) or out.shape != signals[0].shape:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        channels = sum(signal.shape[1] for signal in signals)
        raise InvalidInput(
            f"a network of this scheme must map {(len(out), channels, signals[0].shape[2])} to "
            f"{tuple(signals[0].shape)}; it returned {got}"
        )
    return out


def build_update(prox: Any, channels: int) -> nn.Module:
    """The update that a scheme's `prox=` stands for.

    Raises
    ------
    InvalidOption
        For another type, or one that is for a single channel.
    """
    if not isinstance(prox, nn.Module):
        raise InvalidOption(
            f"prox must be a network, a Prox or a CvxpyLayer, all modules, not {prox!r}"
        )
    if not isinstance(prox, CvxpyLayer | Prox | CLOSED):
        return Increment(prox)
    if channels != 1:
        raise InvalidOption(
            f"a proximal operator maps one iterate to the next: channels must be 1, not {channels}"
        )
    return LayerStep(prox) if isinstance(prox, CvxpyLayer) else ProximalStep(prox)


def copies(module: nn.Module, count: int) -> nn.ModuleList:
    """The module and copies of it, which begin with its weights and have their own."""
    return nn.ModuleList([module, *(copy.deepcopy(module) for _ in range(count - 1))])
