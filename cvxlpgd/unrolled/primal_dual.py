"""Learned primal-dual, unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from cvxlpgd.checks import check_flag
from cvxlpgd.unrolled.inputs import (
    check_bound,
    check_count,
    check_data,
    initial,
    log_steps,
    shorten,
)
from cvxlpgd.unrolled.momentum import Momentum, build_momentum
from cvxlpgd.unrolled.networks import convolutions
from cvxlpgd.unrolled.operators import Operator, adjoint, apply_operator
from cvxlpgd.unrolled.updates import apply_network, build_update, copies

Tensor = torch.Tensor


class UnrolledPrimalDual(nn.Module):
    """So many learned primal-dual steps as a network: y to an estimate of x, y = F(x) + noise.

        h_{k+1} = h_k + dual([h_k, F(x_k²), y])
        g_k = step J(x_k¹)'h_{k+1}¹
        v_k = momentum(g_0, ..., g_k)
        x_{k+1} = x_k + network([x_k, v_k])    or    prox_{step g}(x_k - v_k)

    x has channels of length n, h of length m; x¹ is the first one, and the estimate, x² the second
    one. The two meet in F and J' alone, so a convolution never mixes unknowns with data: the dual
    network runs along the data in their order, and where that means nothing a network of another
    kind is the better one.

    Adler, Öktem, "Learned primal-dual reconstruction", IEEE Transactions on Medical Imaging 2018;
    for nonlinear F with momentum Zhou et al., Inverse Problems 2024.

    Parameters
    ----------
    operator : callable
        F: x (batch, n) -> (batch, m), of operations that torch differentiates, twice where its
        derivative is trained through: J'h is differentiated in h.
    n, m : int
        Number of unknowns, and of data.
    prox : nn.Module, optional
        A network (batch, channels + 1, n) -> (batch, channels, n), by default
        `convolutions(channels + 1, 32, 32, 32, channels)`. With channels=1 it may be a Prox or a
        CvxpyLayer.
    momentum : None, MovingAverage or RecurrentMomentum
    dual : nn.Module, optional
        A network (batch, channels + 2, m) -> (batch, channels, m), by default
        `convolutions(channels + 2, 32, 32, channels)`.
    channels : int
        Of x and of h. With one, x² is x¹.
    iterations, step, shared, bound, differentiate_operator : as UnrolledGradient's

    Raises
    ------
    InvalidOption
    """

    __module__ = "cvxlpgd.unrolled"

    def __init__(
        self,
        operator: Operator,
        n: int,
        m: int,
        prox: nn.Module | None = None,
        momentum: Momentum | None = None,
        *,
        dual: nn.Module | None = None,
        channels: int = 5,
        iterations: int = 10,
        step: float = 1.0,
        shared: bool = True,
        bound: float | None = None,
        differentiate_operator: bool = False,
    ) -> None:
        super().__init__()
        check_flag("shared", shared)
        check_flag("differentiate_operator", differentiate_operator)
        self.operator, self.n, self.m = operator, check_count("n", n), check_count("m", m)
        self.channels = check_count("channels", channels)
        self.iterations = check_count("iterations", iterations)
        self.bound = check_bound(bound)
        self.differentiate_operator = bool(differentiate_operator)
        own = 1 if shared else iterations
        network = convolutions(channels + 1, 32, 32, 32, channels) if prox is None else prox
        self.updates = copies(build_update(network, channels), own)
        along = convolutions(channels + 2, 32, 32, channels) if dual is None else dual
        self.duals = copies(along, own)
        self.momentum = build_momentum(momentum, n)
        self.log_step = log_steps(step, own)

    def forward(
        self,
        y: Tensor,
        start: Tensor | None = None,
        *,
        weights: Sequence[Any] = (),
        iterates: bool = False,
    ) -> Tensor:
        """The last iterate (batch, n), or all of them; the arguments are UnrolledGradient's.

        All channels of x start alike, those of h at 0.
        """
        check_data(y, self.m)
        x = initial(start, y, self.n)[:, None].repeat(1, self.channels, 1)
        h = y.new_zeros(len(y), self.channels, self.m)
        every, state, memory = [x[:, 0]], None, None
        for k in range(self.iterations):
            own = k % len(self.updates)
            step = self.log_step[own].exp()
            h = h + apply_network(self.duals[own], h, self._data(x)[:, None], y[:, None])
            g = step * adjoint(self.operator, x[:, 0], h[:, 0], self.differentiate_operator)
            v, state = self.momentum(shorten(g, self.bound), state)
            x, memory = self.updates[own](x, v[:, None], step, weights, memory)
            every.append(x[:, 0])
        return torch.stack(every) if iterates else x[:, 0]

    def _data(self, x: Tensor) -> Tensor:
        """F at the second channel, (batch, m)."""
        at = x[:, min(1, self.channels - 1)]
        data = apply_operator(self.operator, at, self.m)
        return data if self.differentiate_operator else data.detach()
