"""
The lasso's penalties, tuned by gradient descent
================================================

The lasso has one penalty for all coefficients, since two would be a search over a plane. A layer
gives the derivative of the cross-validation error by every penalty, so you can descend instead.
Should products of features be penalized more than the features themselves? And how many penalties
can the data of 300 patients pay for?

**What to see.** The colour is the cross-validation error over two penalties: one for 10 features
and one for their 45 products. To search one penalty for both is to search the dashed diagonal. The
arrows point down the layer's gradients, and the orange path follows them from the best point of the
diagonal: the features want a tenth of the penalty that their products want.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LassoCV
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)

# %%
# The target is the progress of diabetes within a year. Predicting its mean has an error of 1.

features, y = load_diabetes(return_X_y=True)
products = PolynomialFeatures(2, interaction_only=True, include_bias=False)
X = products.fit_transform(StandardScaler().fit_transform(features))
is_product = torch.tensor(products.powers_.sum(axis=1) == 2)

X, X_test, y, y_test = train_test_split(X, y, train_size=300, random_state=0)
scale = StandardScaler().fit(X)
X, X_test = torch.tensor(scale.transform(X)), torch.tensor(scale.transform(X_test))
y_test, y = torch.tensor((y_test - y.mean()) / y.std()), torch.tensor((y - y.mean()) / y.std())

# %%
# The lasso with a penalty for each coefficient. Of its data it needs ``c`` = X'y and a triangular
# root ``R`` of X'X, both divided by the number of patients. Five folds are a batch of the layer.
# The test error is that of a fit to all 300 patients, for the 142 others.

n = X.shape[1]
beta = cp.Variable(n)
R, c, penalty = cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter(n, nonneg=True)
fit = cp.sum_squares(R @ beta) / 2 - c @ beta
lasso = CvxpyLayer(cp.Problem(cp.Minimize(fit + penalty @ cp.abs(beta))), [R, c, penalty], [beta])

X_fold, y_fold = X.reshape(5, 60, n), y.reshape(5, 60, 1)
R_folds = torch.linalg.cholesky((X.T @ X - X_fold.mT @ X_fold) / 240).mT
c_folds = (X.T @ y - (X_fold.mT @ y_fold).squeeze(-1)) / 240


def validation_error(log_penalty):
    (betas,) = lasso(R_folds, c_folds, log_penalty.exp().unsqueeze(-2))
    return (X_fold @ betas.unsqueeze(-1) - y_fold).square().mean((-1, -2, -3))


def test_error(log_penalty):
    (beta,) = lasso(torch.linalg.cholesky(X.T @ X / 300).T, X.T @ y / 300, log_penalty.exp())
    return (X_test @ beta - y_test).square().mean()


def two_penalties(theta):
    return torch.where(is_product, theta[..., 1:], theta[..., :1])


# %%
# LassoCV searches the diagonal, over the same folds. The descent begins at its optimum: with two
# penalties, and with 55.

start = float(np.log(LassoCV(cv=5, max_iter=100_000).fit(X, y).alpha_))


def descend(theta, expand):
    optimizer, path = torch.optim.Adam([theta.requires_grad_()], lr=0.12), []
    for _ in range(30):
        path.append(theta.detach().clone())
        optimizer.zero_grad()
        validation_error(expand(theta)).backward()
        optimizer.step()
    return torch.stack(path)


path = descend(torch.full((2,), start), two_penalties)
path_of_all = descend(torch.full((n,), start), lambda theta: theta)

print("penalties  validation  test error")
for name, theta in (("1", path_of_all[0]), ("2", two_penalties(path[-1])), ("55", path_of_all[-1])):
    print(f"{name:9}  {validation_error(theta):10.3f}  {test_error(theta):10.3f}")

# %%
# The landscape is one call, and all its arrows are one backward pass.

ticks = torch.linspace(-6, -1.3, 13)
grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).requires_grad_()
landscape = validation_error(two_penalties(grid))
landscape.sum().backward()
excess = (landscape - landscape.min() + 1e-3).log().detach()
down = -grid.grad / grid.grad.norm(dim=-1, keepdim=True)

_, ax = plt.subplots(figsize=(6.4, 5.4))
ax.contourf(ticks.exp(), ticks.exp(), excess, levels=18, cmap="GnBu_r", vmax=0)
ax.plot(ticks.exp(), ticks.exp(), "--", color="white")
ax.quiver(*grid.detach().exp().unbind(-1), *down.unbind(-1), color="white", alpha=0.6, scale=30)
ax.plot(*path.exp().T, "o-", color="C1", ms=3)
ax.plot(*path[0].exp(), "X", color="C1", mec="white", ms=12)
ax.annotate("LassoCV", path[0].exp(), (12, -16), textcoords="offset points", color="C1")
ax.set(xscale="log", xlabel="penalty of the features", title="cross-validation error, dark is low")
ax.set(yscale="log", ylabel="penalty of the products")
plt.show()

# %%
# **Try:** 200 steps with 55 penalties, or penalties for each kind of feature: body, blood.
