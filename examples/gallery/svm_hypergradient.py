"""
Which points matter to a support-vector machine?
================================================

A support-vector machine rests on few of its points. The derivative of its loss on other data, by
the position of each point, says more: which ones matter for prediction, and which way each would
have to move for the machine to predict better. One backward pass finds that for all points. How far
can you trust it?

**What to see.** Points are tumours, benign (blue) and malignant (orange), with the machine's border
and its margins (dashed). An arrow says which way its point would help to predict 509 other tumours;
its length is the root of how much. Pale points are beyond their margin: the machine would be the
same without them. The 22 others are support vectors, and two of them, on their margins, matter
fifty times as much as any other.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)

# %%
# Two measurements of each tumour, so that everything can be drawn.

data = load_breast_cancer()
columns = [list(data.feature_names).index(name) for name in ("worst concave points", "worst area")]
X = StandardScaler().fit_transform(np.log(0.02 + data.data[:, columns]))
label = torch.tensor(2.0 * data.target - 1)
train, other = train_test_split(
    np.arange(len(label)), train_size=60, random_state=0, stratify=data.target
)

# %%
# The machine, with the points as its parameter.

C = 0.1
w, b = cp.Variable(2), cp.Variable()
points = cp.Parameter((60, 2))
hinge = cp.pos(1 - cp.multiply(label[train].numpy(), points @ w + b))
problem = cp.Problem(cp.Minimize(cp.sum_squares(w) / 2 + C * cp.sum(hinge)))
machine = CvxpyLayer(problem, parameters=[points], variables=[w, b])


def loss(w, b):
    """A smooth loss on the 509 other tumours, for one machine or a batch of them."""
    score = w @ torch.tensor(X[other]).T + b.unsqueeze(-1)
    return torch.nn.functional.softplus(-label[other] * score).mean(dim=-1)


placed = torch.tensor(X[train], requires_grad=True)
w_star, b_star = machine(placed)
before = loss(w_star, b_star)
before.backward()
arrows = -placed.grad

svc = SVC(kernel="linear", C=C).fit(X[train], label[train])
print("weights", w_star.detach().numpy().round(4), "by scikit-learn", svc.coef_[0].round(4))
print(f"{len(svc.support_)} of 60 points are support vectors")

figure, ax = plt.subplots(figsize=(6.4, 4.8))
first, second = np.meshgrid(np.linspace(-2.6, 2.4, 60), np.linspace(-2.5, 2.7, 60))
score = first * w_star[0].item() + second * w_star[1].item() + b_star.item()
ax.contourf(first, second, score, levels=[-9, 0, 9], colors=["C1", "C0"], alpha=0.1)
ax.contour(first, second, score, levels=[-1, 0, 1], colors="0.5", linestyles=["--", "-", "--"])
colors = np.where(label[train] > 0, "C0", "C1")
rests = np.isin(np.arange(60), svc.support_)
ax.scatter(*X[train].T, s=70, c=colors, edgecolors="white", alpha=np.where(rests, 1, 0.3))
drawn = (arrows / arrows.norm(dim=1, keepdim=True).clamp(min=1e-9).sqrt())[rests]
ax.quiver(
    *X[train][rests].T,
    *drawn.T,
    color="0.15",
    width=0.005,
    scale=1.3,
    headlength=4,
    headaxislength=4,
    zorder=3,
)
ax.set(xlabel="concave points", ylabel="area", title="where each point would help")
ax.grid(False)
plt.show()

# %%
# How far is that right? The two points that matter most, and the one next to them, move along their
# arrows, each alone, and the machine is trained anew at 60 places. The derivative (dashed) holds
# until another point touches its margin: there the machine begins to turn about another point. A
# derivative does not see past that; ``machine.info.breakpoints`` says how near it is.

slope = arrows.norm(dim=1)
figure, ax = plt.subplots(figsize=(6.4, 3.8))
distances = torch.linspace(0, 0.12, 60)
for point, color in zip(slope.argsort(descending=True)[:3], ["C0", "C1", "C4"], strict=True):
    moved = placed.detach().repeat(60, 1, 1)
    moved[:, point] += distances[:, None] * arrows[point] / slope[point]
    ax.plot(distances, loss(*machine(moved)).detach(), color=color)
    ax.plot(distances, (before - distances * slope[point]).detach(), "--", color=color, lw=1.2)
ax.set(xlabel="moved by (standard deviations)", ylabel="loss on the others")
plt.show()

# %%
# **Try:** a smaller ``C``, with which most points matter a little, or a larger one, with which the
# machine hangs on three.
