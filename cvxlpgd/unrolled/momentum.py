"""Momentum of an unrolled scheme, as a value: what the direction v_k makes of gradients so far.

    None                 v_k = g_k
    MovingAverage        v_k = gamma v_{k-1} + eta g_k,                  v_{-1} = 0
    RecurrentMomentum    (v_k, state_{k+1}) = Linear(LSTM(g_k, state_k))

A value describes; the module that it builds has the weights. The state travels in the iteration
and is never kept in a module, so that calls do not depend on each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from cvxlpgd.checks import check_flag, is_number, is_positive
from cvxlpgd.errors import InvalidOption
from cvxlpgd.unrolled.inputs import check_count

Tensor = torch.Tensor


class Momentum(Protocol):
    """What a scheme's `momentum=` must be, besides None."""

    def build(self, n: int) -> nn.Module:
        """A module (g (batch, n), state) -> (v (batch, n), state); the first state is None."""


@dataclass(frozen=True)
class MovingAverage:
    """A moving average of the gradients, v_k = gamma v_{k-1} + eta g_k.

    Parameters
    ----------
    gamma : float
        How much of the last direction is kept, between 0 and 1.
    eta : float
        How much of the gradient is added, > 0; 1 - gamma makes an average of weight 1.
    learned : bool
        Whether both are trained. They stay between 0 and 1, and positive.

    Raises
    ------
    InvalidOption
    """

    gamma: float = 0.8
    eta: float = 0.2
    learned: bool = True

    def __post_init__(self) -> None:
        if not (is_number(self.gamma) and 0 < self.gamma < 1):
            raise InvalidOption(f"gamma must be a number between 0 and 1, not {self.gamma!r}")
        if not is_positive(self.eta):
            raise InvalidOption(f"eta must be a number > 0, not {self.eta!r}")
        check_flag("learned", self.learned)

    def build(self, n: int) -> nn.Module:
        """The module of this description."""
        return _Averaging(self)


@dataclass(frozen=True)
class RecurrentMomentum:
    """A direction that a recurrent network makes of the gradients so far, the whole one its input.

    One LSTM serves all iterations. Its forget gates begin open (bias 1).

    Zhou, Qian, Tang, Li, "Deep unrolling networks with recurrent momentum acceleration for
    nonlinear inverse problems", Inverse Problems 2024.

    Parameters
    ----------
    hidden : int
        Units of each LSTM layer.
    layers : int
        LSTM layers, one upon the other.
    learned_start : bool
        Whether the first state is trained; otherwise it is 0.

    Raises
    ------
    InvalidOption
    """

    hidden: int = 50
    layers: int = 1
    learned_start: bool = False

    def __post_init__(self) -> None:
        for name, value in (("hidden", self.hidden), ("layers", self.layers)):
            check_count(name, value)
        check_flag("learned_start", self.learned_start)

    def build(self, n: int) -> nn.Module:
        """The module of this description, for gradients of n entries."""
        return _Recurrent(n, self)


class _Plain(nn.Module):
    """v_k = g_k."""

    def forward(self, g: Tensor, state: None) -> tuple[Tensor, None]:
        return g, None


class _Averaging(nn.Module):
    def __init__(self, of: MovingAverage) -> None:
        super().__init__()
        logit = math.log(of.gamma / (1 - of.gamma))
        # gamma = sigmoid, eta = exp of what is trained
        self.gamma_logit = nn.Parameter(torch.tensor(logit), requires_grad=of.learned)
        self.eta_log = nn.Parameter(torch.tensor(math.log(of.eta)), requires_grad=of.learned)

    def forward(self, g: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        v = self.eta_log.exp() * g
        if state is not None:
            v = v + self.gamma_logit.sigmoid() * state
        return v, v


class _Recurrent(nn.Module):
    def __init__(self, n: int, of: RecurrentMomentum) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n, of.hidden, of.layers)
        self.linear = nn.Linear(of.hidden, n)
        forget = slice(of.hidden, 2 * of.hidden)  # torch's gates: input, forget, cell, output
        for layer in range(of.layers):
            with torch.no_grad():
                getattr(self.lstm, f"bias_ih_l{layer}")[forget] = 1.0
                getattr(self.lstm, f"bias_hh_l{layer}")[forget] = 0.0
        shape = (2, of.layers, 1, of.hidden)  # hidden and cell states
        self.start = nn.Parameter(torch.zeros(shape), requires_grad=of.learned_start)

    def forward(self, g: Tensor, state: Any) -> tuple[Tensor, Any]:
        if state is None:
            batch = (-1, len(g), -1)
            state = tuple(part.expand(*batch).contiguous() for part in self.start)
        out, state = self.lstm(g[None], state)
        return self.linear(out[0]), state


def build_momentum(momentum: Momentum | None, n: int) -> nn.Module:
    """The module of a scheme's momentum."""
    if momentum is None:
        return _Plain()
    if not callable(getattr(momentum, "build", None)):
        raise InvalidOption(
            f"momentum must be None, MovingAverage(...) or RecurrentMomentum(...), not {momentum!r}"
        )
    return momentum.build(n)
