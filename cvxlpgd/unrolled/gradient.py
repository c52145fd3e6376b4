"""Learned proximal gradient descent, unrolled."""

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
from cvxlpgd.unrolled.operators import Operator, data_gradient
from cvxlpgd.unrolled.updates import build_update, copies

Tensor = torch.Tensor


class UnrolledGradient(nn.Module):
    """So many proximal gradient steps as a network: data y to an estimate of x, y = F(x) + noise.

        g_k = step J(x_k)'(F(x_k) - y)
        v_k = momentum(g_0, ..., g_k)
        x_{k+1} = x_k + network([x_k, v_k])    or    prox_{step g}(x_k - v_k)

    Zhou et al. (Inverse Problems 2024) call the scheme with networks learned proximal gradient
    descent.

    Parameters
    ----------
    operator : callable
        F: x (batch, n) -> (batch, m), of operations that torch differentiates, each row of its
        own. A module's weights are part of the scheme's.
    n : int
        Number of unknowns.
    prox : nn.Module, optional
        A network (batch, 2, n) -> (batch, 1, n), by default `convolutions(2, 32, 32, 32, 1)`; a
        Prox, in closed form or not; or a CvxpyLayer, whose first parameter takes x_k - v_k and
        whose first variable is x_{k+1}.
    momentum : None, MovingAverage or RecurrentMomentum
    iterations : int
    step : float
        Where the trained step size starts, > 0; `step_size` finds one for a prox. For a network it
        is the scale of what it sees: better one that makes g_0 about 1.
    bound : float, optional
        Each sample's g_k is scaled down to this root mean square where it is longer, so that no
        iterate runs away where F is steep.
    shared : bool
        Whether all iterations have the same step and prox. Otherwise each has its own, which
        start alike. The momentum is always shared.
    differentiate_operator : bool
        Whether training sees that g_k depends on x_k; otherwise g_k counts as a constant.

    Raises
    ------
    InvalidOption
    """

    __module__ = "cvxlpgd.unrolled"

    def __init__(
        self,
        operator: Operator,
        n: int,
        prox: nn.Module | None = None,
        momentum: Momentum | None = None,
        *,
        iterations: int = 20,
        step: float = 1.0,
        shared: bool = True,
        bound: float | None = None,
        differentiate_operator: bool = False,
    ) -> None:
        super().__init__()
        check_flag("shared", shared)
        check_flag("differentiate_operator", differentiate_operator)
        self.operator, self.n = operator, check_count("n", n)
        self.iterations = check_count("iterations", iterations)
        self.bound = check_bound(bound)
        self.differentiate_operator = bool(differentiate_operator)
        own = 1 if shared else iterations
        network = convolutions(2, 32, 32, 32, 1) if prox is None else prox
        self.updates = copies(build_update(network, 1), own)
        self.momentum, self.has_momentum = build_momentum(momentum, n), momentum is not None
        self.log_step = log_steps(step, own)

    def forward(
        self,
        y: Tensor,
        start: Tensor | None = None,
        *,
        weights: Sequence[Any] = (),
        iterates: bool = False,
    ) -> Tensor:
        """The last iterate (batch, n), or all of them.

        Parameters
        ----------
        y : tensor (batch, m)
        start : tensor (batch, n) or (n,), optional
            x_0; 0 by default.
        weights : sequence of tensors
            Those of the prox that are not trained, each with a batch axis or without.
        iterates : bool
            Whether to return x_0 ... x_K, (K + 1, batch, n).

        Raises
        ------
        InvalidInput
            For shapes that do not fit, or data that are not finite.
        SolveFailed
        """
        check_data(y)
        x = initial(start, y, self.n)
        every, state, memory = [x], None, None
        for k in range(self.iterations):
            x, state, memory = self.iterate(x, y, k, state, memory, weights)
            every.append(x)
        return torch.stack(every) if iterates else x

    @property
    def is_stationary(self) -> bool:
        """Whether every iteration is the same function of x alone, differentiated wholly."""
        alike = len(self.updates) == 1 and not self.has_momentum
        return alike and self.differentiate_operator

    def iterate(
        self,
        x: Tensor,
        y: Tensor,
        k: int = 0,
        state: Any = None,
        memory: Any = None,
        weights: Sequence[Any] = (),
    ) -> tuple[Tensor, Any, Any]:
        """x_k to x_{k+1}; with it go the momentum's state and what the prox remembers."""
        own = k % len(self.updates)
        step = self.log_step[own].exp()
        g = step * data_gradient(self.operator, x, y, self.differentiate_operator)
        v, state = self.momentum(shorten(g, self.bound), state)
        x, memory = self.updates[own](x[:, None], v[:, None], step, weights, memory)
        return x[:, 0], state, memory
