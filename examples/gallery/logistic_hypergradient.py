"""
Which columns are noise? Ask the validation loss
================================================

You have 60 labelled tumours and 30 columns: ten are measurements, and twenty are the same
measurements of other patients, shuffled, so that they mean nothing. A ridge penalty holds all 30
coefficients back alike. Give each column a penalty of its own, follow the gradient of the loss on
250 other tumours, and see which columns it trusts.

**What to see.** Each line is the penalty of one column. All start together, and nobody says which
are shuffled (orange). The penalties that rise are mostly theirs. The measurements that tell
something (blue) keep low penalties and large coefficients, on the right. A few shuffled columns
slip through, most of them with small coefficients.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import StandardScaler

from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)

# %%
# The ten columns called "worst" of the breast-cancer data, and each of them shuffled twice.

X, y = load_breast_cancer(return_X_y=True)
worst = X[:, 20:]
rng = np.random.default_rng(0)
X = np.hstack([worst, rng.permuted(worst, axis=0), rng.permuted(worst, axis=0)])
X = torch.tensor(StandardScaler().fit_transform(X))
sign = torch.tensor(2.0 * y - 1)

train, rest = train_test_split(np.arange(len(y)), train_size=60, random_state=0, stratify=y)
valid, test = train_test_split(rest, train_size=250, random_state=0, stratify=y[rest])

# %%
# Logistic regression with one penalty for each column. The training data are constants of the
# problem; the penalties are its only parameter.

w, b = cp.Variable(30), cp.Variable()
root_penalty = cp.Parameter(30, nonneg=True)
margins = cp.multiply(sign[train].numpy(), X[train].numpy() @ w + b)
ridge = cp.sum_squares(cp.multiply(root_penalty, w)) / 2
problem = cp.Problem(cp.Minimize(cp.sum(cp.logistic(-margins)) / 60 + ridge))
regression = CvxpyLayer(problem, parameters=[root_penalty], variables=[w, b])


def fit(log_penalty):
    return regression((log_penalty / 2).exp())


def loss(w, b, rows):
    return torch.nn.functional.softplus(-sign[rows] * (X[rows] @ w + b)).mean()


# %%
# Twenty steps of Adam, with one penalty for all columns and with thirty.


def descend(log_penalty):
    optimizer = torch.optim.Adam([log_penalty], lr=0.5)
    path = []
    for _ in range(20):
        path.append(log_penalty.detach().exp().expand(30).numpy())
        optimizer.zero_grad()
        loss(*fit(log_penalty.expand(30)), valid).backward()
        optimizer.step()
    return np.array(path), *(z.detach() for z in fit(log_penalty.expand(30)))


one = descend(torch.full((1,), -2.0, requires_grad=True))
thirty = descend(torch.full((30,), -2.0, requires_grad=True))

both = np.concatenate([train, valid])
model = LogisticRegression(max_iter=1000)
search = GridSearchCV(model, {"C": np.logspace(-4, 4, 17)}, scoring="neg_log_loss")
model = search.fit(X[both], y[both]).best_estimator_

fits = {
    "one penalty, 60 + 250 tumours": one[1:],
    "thirty penalties, 60 + 250 tumours": thirty[1:],
    "one by cross-validation of all 310": (torch.tensor(model.coef_[0]), model.intercept_[0]),
}
for name, (w_star, b_star) in fits.items():
    wrong = (sign[test] * (X[test] @ w_star + b_star) < 0).sum()
    print(f"{name:35} test loss {loss(w_star, b_star, test):.3f}, {wrong} of {len(test)} wrong")

# %%
path, w_star, _ = thirty
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 4.6), sharey=True, width_ratios=[3, 2])
for name, columns, color in (("shuffled", slice(10, 30), "C1"), ("measured", slice(0, 10), "C0")):
    lines = left.plot(path[:, columns], color=color, lw=1.8, alpha=0.8)
    lines[0].set_label(name)
    right.hlines(path[-1, columns], 0, w_star[columns], color=color, lw=1.8, alpha=0.8)
    right.plot(w_star[columns], path[-1, columns], "o", color=color, ms=6)
left.set(yscale="log", xlabel="step", xticks=[0, 10, 19], title="penalties", xlim=(0, 19))
right.set(xlabel="coefficient", title="what they leave")
left.legend(loc="lower left")
plt.show()

# %%
# The split is one of many, and small. **Try:** other seeds, 10 or 60 shuffled columns, or so many
# steps that the thirty penalties fit the 250 tumours too well.
