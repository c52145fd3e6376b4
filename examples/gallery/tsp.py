r"""
Drive round eight towns between the showers
===========================================

A van visits eight towns and comes home. Which way round is fastest depends on the weather: rain
slows every road, and gravel roads most, exponentially. A linear model predicts the hours on each
road from its length, its gravel and its rain, and an integer program finds the fastest round tour.
Can the model learn to plan when its loss is the hours that its tours take?

**What to see.** Before training the model knows lengths only, and the van drives through the
showers (vermilion, over the best tour in green). Trained by LPGD it drives around them (blue), in
nearly the best time. SPO+, which is told the best tours, gets as far by fewer integer programs.
Least squares fits the wettest roads above all, which no good tour takes, and loses more.
"""

# %%
# Each town has two roads of the tour, and no three or four towns a tour of their own. Nor have
# five or more, then: they would leave one of three or less to the others.
import warnings
from itertools import combinations

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxlpgd import LPGD
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.losses import SPOPlus
from cvxlpgd.torch import CvxpyLayer

roads = np.array(list(combinations(range(8), 2)))
x, time = cp.Variable(28, boolean=True), cp.Parameter(28)
constraints = [np.array([(roads == town).any(axis=1) for town in range(8)]) @ x == 2]
for size in (3, 4):
    between = [np.isin(roads, group).all(axis=1) for group in combinations(range(8), size)]
    constraints.append(np.array(between) @ x <= size - 1)
fastest = cp.Problem(cp.Minimize(time @ x), constraints)
round_tour = CvxpyLayer(fastest, [time], [x], derivative=LPGD(tau=0.5))

# %%
# Four showers fall each day, in other places. Towns and roads stay where they are.
rng = np.random.default_rng(4)
towns = [(2.5 * i, 3 * j) for i, j in np.ndindex(4, 2)] + rng.uniform(0.4, (2.1, 2.6), (8, 2))
gravel = rng.random(28) < 0.4
start, end = towns[roads].swapaxes(0, 1)
length = np.linalg.norm(end - start, axis=1)
places = start + np.linspace(0, 1, 25)[:, None, None] * (end - start)  # along each road


def rain(place, showers):
    return np.exp(-((place[..., None, :] - showers) ** 2).sum(axis=-1) / 1.5).sum(axis=-1)


weather = rng.uniform(0, (10, 6), (64 + 60, 4, 2))  # 64 days to train, 60 to test
wet = np.array([rain(places, showers) for showers in weather])  # (days, places, roads)
kinds = [np.ones((124, 28)), np.tile(gravel, (124, 1)), wet.mean(axis=1), wet.mean(axis=1) * gravel]
slower = np.exp((1.5 + gravel) * wet).mean(axis=1) * rng.uniform(0.9, 1.1, (124, 28))
features = torch.tensor(length[:, None] * np.stack(kinds, axis=2)).float()
hours = torch.tensor(length / 20 * slower).float()
(best,) = round_tour(hours)


# %%
# The same training with both losses, from a model that knows nothing but the lengths.
def test(weights):  # the tours of the test days, and the hours lost, in percent
    (tour,) = round_tour(features[64:] @ weights.detach())
    return tour, float(100 * (hours[64:] * tour).sum() / (hours * best)[64:].sum() - 100)


def learn(loss):
    weights, lost = torch.tensor([0.05, 0.0, 0.0, 0.0], requires_grad=True), []
    optimizer = torch.optim.Adam([weights], lr=0.004)
    for step in range(25):
        if step % 4 == 0:
            lost.append(test(weights)[1])
        batch = torch.arange(16 * step, 16 * step + 16) % 64
        optimizer.zero_grad()
        loss(features[batch] @ weights, hours[batch], best[batch]).backward()
        optimizer.step()
    return weights, lost


warnings.simplefilter("ignore", DegenerateGradientWarning)  # of days with one good tour by far
lpgd, lpgd_lost = learn(lambda pred, true, _: (true * round_tour(pred)[0]).sum())
_, spo_lost = learn(SPOPlus(round_tour))
least_squares = torch.linalg.lstsq(features[:64].flatten(0, 1), hours[:64].flatten()).solution

# %%
# The two test days on which training gains most. Dotted roads are gravel, and blue is rain.
tours = {"untrained": test(torch.tensor([0.05, 0.0, 0.0, 0.0]))[0], "LPGD": test(lpgd)[0]}
gained = (hours[64:] * (tours["untrained"] - tours["LPGD"])).sum(dim=1)
grid = np.stack(np.meshgrid(np.linspace(1.5, 10, 170), np.linspace(0, 6, 120)), axis=-1)
figure, axes = plt.subplots(2, 2, figsize=(6.4, 5.2), subplot_kw={"xticks": [], "yticks": []})
for row, day in zip(axes, (64 + gained.topk(2).indices).tolist(), strict=True):
    for axis, (name, tour) in zip(row, tours.items(), strict=True):
        axis.imshow(rain(grid, weather[day]), "Blues", extent=(1.5, 10, 0, 6), origin="lower")
        for kind, style in ((~gravel, "-"), (gravel, ":")):
            axis.plot(*towns[roads[kind]].T, color="0.6", lw=0.8, ls=style)
        driven, color = tour[day - 64], "C0" if name == "LPGD" else "C1"
        axis.plot(*towns[roads[best[day] > 0.5]].T, color="C2", lw=9, alpha=0.5)
        axis.plot(*towns[roads[driven > 0.5]].T, color=color, lw=2.5)
        axis.plot(*towns.T, "o", color="white", mec="0.2", ms=8, zorder=3)
        axis.set_title(f"{name}: {hours[day] @ driven:.1f} h, best {hours[day] @ best[day]:.1f} h")

# %%
# Hours lost on all 60 test days while training.
figure, axis = plt.subplots()
axis.plot(range(0, 25, 4), lpgd_lost, "o-", color="C0", lw=6, ms=11, label="LPGD")
axis.plot(range(0, 25, 4), spo_lost, "o-", color="C4", label="SPO+")
axis.axhline(test(least_squares)[1], color="C1", ls="--", label="least squares")
axis.set(xlabel="step of training", ylabel="hours lost on new days, %", ylim=0)
axis.legend()
plt.show()

# %%
# **Try it:** more noise than ten percent in the hours. Or a van that must be home in three hours:
# ``torch.relu((true * tour).sum(dim=1) - 3)`` is a loss of the tour, which LPGD takes and SPO+ not.
