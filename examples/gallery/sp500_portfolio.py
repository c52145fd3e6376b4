r"""
Train a portfolio by its own returns
====================================

Can a forecast be trained by the returns of the portfolio that it leads to? Each month a layer
divides the money between 20 stocks of the S&P 500,

.. math:: \text{maximize}\ \mu^\top w - \gamma\, w^\top \Sigma\, w \quad\text{subject to}\quad
          \textstyle\sum_i w_i = 1,\ \ w \geq 0.

:math:`\Sigma` is the covariance of the past year. The forecast :math:`\mu` weighs the returns of
the past month, quarter and year. The three numbers that it needs for this are learned from the
months before 2008.

**What to see.** In the months of training the learned portfolios grow most, far above the untrained
one, which has no forecast and minimizes variance. In the years after it, equal weights, without any
model, grow more. Measured by their utility (printed below) the learned portfolios are even behind
the untrained one: what was learned does not last. LPGD and the exact derivative end up almost
alike, as they should, since this program is smooth.
"""

# %%
# Prices are packaged with skfolio. These stocks are known to have done well until 2022, so all
# curves look better than those of an investor who had to choose stocks in 1990.
import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.dates import DateFormatter, YearLocator
from skfolio.datasets import load_sp500_dataset

from cvxlpgd import LPGD, Exact
from cvxlpgd.torch import CvxpyLayer

MONTH, QUARTER, YEAR = 20, 60, 250  # trading days
GAMMA = 0.03  # for returns in percent

prices = load_sp500_dataset()
daily = 100 * prices.pct_change().to_numpy()[1:]
months = range(YEAR, len(daily) - MONTH, MONTH)
dates = prices.index[[t + 1 for t in months]]
past = [[daily[t - days : t].mean(axis=0) for days in (MONTH, QUARTER, YEAR)] for t in months]
features = torch.tensor(MONTH * np.array(past)).mT  # (months, stocks, 3)
following = 100 * (prices.shift(-MONTH) / prices - 1).to_numpy()
following = torch.tensor(following[list(months)])
covariances = [np.cov(daily[t - YEAR : t].T) for t in months]
roots = torch.tensor(np.linalg.cholesky(MONTH * np.array(covariances))).mT
train = int((dates < "2008").sum())

# %%
# The layer, and the same training for both derivatives: 60 steps with 40 months each.
w, mu, root = cp.Variable(20), cp.Parameter(20), cp.Parameter((20, 20))
utility = mu @ w - GAMMA * cp.sum_squares(root @ w)
problem = cp.Problem(cp.Maximize(utility), [cp.sum(w) == 1, w >= 0])


def learn(derivative, steps=60):
    layer = CvxpyLayer(problem, [mu, root], [w], derivative=derivative)
    trust = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([trust], lr=0.02)
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = torch.randperm(train, generator=random)[:40]
        (holdings,) = layer(features[batch] @ trust, roots[batch])
        returns = (holdings * following[batch]).sum(dim=1)
        optimizer.zero_grad()
        (GAMMA * returns.var() - returns.mean()).backward()
        optimizer.step()
    return layer(features @ trust.detach(), roots)[0]


portfolios = {
    "LPGD": learn(LPGD(tau=1.0)),
    "exact derivative": learn(Exact()),
    "untrained": learn(Exact(), steps=0),
    "equal weights": torch.full_like(following, 1 / 20),
}

# %%
# What one dollar becomes in the months of training, and another one in the months after them.
figure, axes = plt.subplots(1, 2, sharey=True)
styles = ("C0", "-"), ("C1", "--"), ("0.6", "-"), ("C2", "-")
for axis, title in zip(axes, ("in training", "after training"), strict=True):
    part = slice(train) if title == "in training" else slice(train, None)
    for (name, holdings), (color, line) in zip(portfolios.items(), styles, strict=True):
        returns = (holdings * following).sum(dim=1)[part]
        wealth = (1 + returns / 100).cumprod(dim=0)
        axis.plot(dates[part], wealth, line, color=color, lw=1.8, label=name)
        gain = returns.mean() - GAMMA * returns.var()
        print(f"{title:14}  {name:17} utility {gain:.2f} % a month")
    axis.set(title=title, yscale="log", yticks=[1, 3, 10, 30], yticklabels=[1, 3, 10, 30])
    axis.xaxis.set_major_locator(YearLocator(5))
axes[0].set_ylabel("dollars")
axes[0].legend()

# %%
# What the portfolio trained by LPGD holds in the last five years: one colour for each stock.
figure, axis = plt.subplots(figsize=(6.4, 3))
axis.stackplot(dates[-60:], portfolios["LPGD"][-60:].T, colors=plt.cm.tab20.colors, step="mid")
axis.set(ylabel="share", ylim=(0, 1), xlim=(dates[-60], dates[-1]))
axis.xaxis.set_major_locator(YearLocator())
axis.xaxis.set_major_formatter(DateFormatter("%Y"))
plt.show()

# %%
# **Try it:** give the forecast something to find, and replace one of the features by ``following``
# plus noise. How much noise can it bear before equal weights are better?
