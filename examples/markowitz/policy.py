"""The policy as a layer, and the utility of its rollouts."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import torch

from examples.markowitz.market import ASSETS, Market

TRADING = HOLDING = 1e-3  # cost of a trade, and of a short position for a month
GAMMA = 15.0


def problem() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """Maximize mu'h+ - |R h+|² over trades u = h+ - h that pay for themselves.

    R = sqrt(gamma) S is one parameter, and h+ the variable, so that the problem is DPP.
    """
    after = cp.Variable(ASSETS, name="after")
    mu, R = cp.Parameter(ASSETS, name="mu"), cp.Parameter((ASSETS, ASSETS), name="R")
    h = cp.Parameter(ASSETS, name="holdings")
    trades = after - h
    costs = TRADING * cp.norm1(trades) + HOLDING * cp.sum(cp.neg(after))
    utility = mu @ after - cp.sum_squares(R @ after)
    return cp.Problem(cp.Maximize(utility), [cp.sum(trades) + costs <= 0]), [mu, R, h], [after]


class Policy(torch.nn.Module):
    """Holdings -> holdings after trading, learned mu, S and gamma; `layer` is one of `problem`."""

    def __init__(self, market: Market, layer: torch.nn.Module) -> None:
        super().__init__()
        self.mu = torch.nn.Parameter(torch.tensor(market.mean))
        self.S = torch.nn.Parameter(torch.tensor(market.root))
        self.root_gamma = torch.nn.Parameter(torch.tensor(GAMMA, dtype=torch.float64).sqrt())
        self.layer = layer

    def forward(self, holdings: torch.Tensor) -> torch.Tensor:
        """Trade (rollouts, ASSETS), whose sums are 1."""
        (after,) = self.layer(self.mu, self.root_gamma * self.S, holdings)
        return after


def utility(policy: Any, returns: torch.Tensor) -> torch.Tensor:
    """Mean of min(2 (r - 1), r - 1), r the return of a stage, (rollouts,).

    Parameters
    ----------
    policy : holdings (rollouts, ASSETS) -> those after trading
    returns : tensor (months, rollouts, ASSETS)
    """
    rollouts, assets = returns.shape[1:]
    holdings = torch.full((rollouts, assets), 1.0 / assets, dtype=returns.dtype)
    total = torch.zeros(rollouts, dtype=returns.dtype)
    for month in returns:
        grown = month * policy(holdings)
        value = grown.sum(1)
        gain = value - 1.0
        total = total + torch.minimum(2 * gain, gain)
        holdings = grown / value[:, None]  # the policy decides on fractions
    return total / len(returns)
