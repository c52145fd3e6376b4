"""Which forecast errors cost a portfolio money? Markowitz allocation on real daily prices.

On each of eight days between 1991 and 2022 the layer allocates to 20 stocks of the S&P 500

    maximize  mu'w - GAMMA |S w|² - KAPPA |w - previous|_1    subject to  1'w = 1,  w >= 0

with mu a forecast of the next month's returns and S a root of their covariance (S'S), in percent.
The loss is minus the same utility with the returns that followed. Its gradients say how another
forecast and another risk model would have changed the outcome.

    cvxlpgd compare examples/portfolio.py --plot portfolio.png
    python examples/portfolio.py
"""

import cvxpy as cp
import numpy as np
from array_api_compat import array_namespace
from skfolio.datasets import load_sp500_dataset

MONTH, QUARTER, YEAR = 20, 60, 250  # trading days
GAMMA, KAPPA = 0.05, 0.2  # risk aversion per percent; percent of what is traded
TRUST = 0.25  # the forecast is the past quarter's mean return, shrunk towards 0

prices = load_sp500_dataset()  # packaged in skfolio: nothing is downloaded
stocks, dates = list(prices.columns), prices.index[1:]
returns = 100 * prices.pct_change().to_numpy()[1:]
days = np.linspace(2 * YEAR, len(returns) - MONTH, 8).astype(int)
followed = np.stack([returns[t : t + MONTH] for t in days])  # (days, MONTH, stocks)

grown = np.stack([np.prod(1 + returns[t - MONTH : t] / 100, axis=0) for t in days])
covariances = np.stack([MONTH * np.cov(returns[t - YEAR : t].T) for t in days])
forecasts = np.stack([TRUST * MONTH * returns[t - QUARTER : t].mean(axis=0) for t in days])
previous = grown / grown.sum(axis=1, keepdims=True)  # what equal weights became in a month

n = len(stocks)
w = cp.Variable(n, name="weights")
mu = cp.Parameter(n, name="forecast")
S = cp.Parameter((n, n), name="risk_root")
w_before = cp.Parameter(n, name="previous")
utility = mu @ w - GAMMA * cp.sum_squares(S @ w) - KAPPA * cp.norm1(w - w_before)

problem = cp.Problem(cp.Maximize(utility), [cp.sum(w) == 1, w >= 0])
parameters = [mu, S, w_before]
variables = [w]
values = [forecasts, np.linalg.cholesky(covariances).swapaxes(1, 2), previous]


def realized(weights):
    """The utility that each day's portfolio went on to have, (days,); NumPy or torch."""
    xp = array_namespace(weights)
    daily = (xp.asarray(followed) * weights[:, None, :]).sum(-1)
    traded = abs(weights - xp.asarray(previous)).sum(-1)
    return daily.sum(-1) - GAMMA * (daily**2).sum(-1) - KAPPA * traded


def loss(weights):
    """Minus the mean realized utility; `cvxlpgd compare` takes its cotangents from here."""
    return -realized(weights).sum() / len(days)


if __name__ == "__main__":
    import torch

    from cvxlpgd.torch import CvxpyLayer

    layer = CvxpyLayer(problem, parameters, variables)
    inputs = [torch.tensor(value, requires_grad=True) for value in values]
    (weights,) = layer(*inputs)
    loss(weights).backward()
    print("day           utility  |d forecast|  |d risk root|  largest holdings")
    for i, t in enumerate(days):
        gain = realized(weights.detach())[i]
        by_forecast, by_risk = inputs[0].grad[i].norm(), inputs[1].grad[i].norm()
        top = weights[i].argsort(descending=True)[:3].tolist()
        held = ", ".join(f"{stocks[j]} {100 * weights[i, j]:.0f} %" for j in top)
        print(f"{dates[t]:%Y-%m-%d} {gain:8.2f} % {by_forecast:13.4f} {by_risk:14.4f}  {held}")
    print(f"loss {loss(weights):.4f}, solved {layer.info.ok.sum()} of {len(days)}")
