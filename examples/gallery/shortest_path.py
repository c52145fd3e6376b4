r"""
Find the fastest path through the mountains
===========================================

Which errors of a forecast cost a hiker time? A linear model predicts how long each step across a
map takes, from its length, its forest and its climb, and the hiker follows the shortest path, found
by a linear program. True times grow exponentially with the slope, as in Tobler's hiking function,
so no linear model fits them: it has to choose where to be wrong.

**What to see.** Least squares fits the steepest steps, because the largest times are there, and
pays on easy ground, which it believes to take less than no time: its hiker makes detours. SPO+ and
a Fenchel-Young loss go on from the same weights, and care about the steps that decide which path is
best. The time lost on new maps falls to a third, with either loss.
"""

# %%
# A map has 16 x 9 places, one kilometre apart. Each step leads one column to the east: straight on,
# or diagonally. The hiker crosses from the middle of the west edge to the middle of the east edge.
import cvxpy as cp
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
from matplotlib.colors import LightSource

from cvxlpgd.losses import FenchelYoung, SPOPlus
from cvxlpgd.torch import CvxpyLayer

graph = nx.DiGraph()
for i, j in np.ndindex(15, 9):
    graph.add_edges_from(((i, j), (i + 1, k)) for k in (j - 1, j, j + 1) if 0 <= k < 9)
start, end = np.array(graph.edges).swapaxes(0, 1)
length = np.linalg.norm(end - start, axis=1)
flow = [(place == (15, 4)) - (place == (0, 4)) for place in graph]

x, time = cp.Variable(len(length)), cp.Parameter(len(length))
constraints = [nx.incidence_matrix(graph, oriented=True) @ x == flow, x >= 0, x <= 1]
shortest_path = CvxpyLayer(cp.Problem(cp.Minimize(time @ x), constraints), [time], [x])
smooth = cp.Minimize(time @ x + 0.05 * cp.sum_squares(x))
smooth_path = CvxpyLayer(cp.Problem(smooth, constraints), [time], [x])

# %%
# Altitude is a sum of hills, and forests are discs. A step into a forest takes twice as long.
rng = np.random.default_rng(2)


def terrain(place, hills, peaks, forests):
    """The altitude, and whether there is forest."""
    squares = ((place[..., None, :] - np.concatenate([hills, forests])) ** 2).sum(axis=-1)
    return np.exp(-squares[..., :30] / 2.4) @ peaks, squares[..., 30:].min(axis=-1) < 1


maps, features, hours = [], [], []
for _ in range(64 + 50):  # to train and to test
    hills, forests = rng.uniform(0, (15, 8), (30, 2)), rng.uniform(0, (15, 8), (12, 2))
    maps.append((hills, rng.uniform(0.2, 0.8, 30), forests))
    (low, _), (high, forest) = terrain(start, *maps[-1]), terrain(end, *maps[-1])
    climb = abs(high - low)
    features.append(np.stack([length, length * forest, climb], axis=1))
    hours.append(length / 6 * np.exp(3.5 * climb / length) * (1 + forest))
features, hours = torch.tensor(np.array(features)), torch.tensor(np.array(hours))
(fastest,) = shortest_path(hours)

# %%
# Least squares first. Then each loss goes on from there, by 24 steps with 16 maps each.
least_squares = torch.linalg.lstsq(features[:64].flatten(0, 1), hours[:64].flatten()).solution


def test(weights):  # the paths on new maps, and the time lost, in percent
    (path,) = shortest_path(features[64:] @ weights.detach())
    return path, float(100 * (hours[64:] * path).sum() / (hours * fastest)[64:].sum() - 100)


def learn(loss):
    weights = least_squares.clone().requires_grad_()
    optimizer, lost = torch.optim.Adam([weights], lr=0.03), []
    for step in range(24):
        lost.append(test(weights)[1])
        batch = torch.arange(16 * step, 16 * step + 16) % 64
        optimizer.zero_grad()
        loss(features[batch] @ weights, hours[batch], fastest[batch]).backward()
        optimizer.step()
    return weights, lost


spo_plus, spo_lost = learn(SPOPlus(shortest_path))
_, fenchel_young_lost = learn(lambda predicted, _, path: FenchelYoung(smooth_path)(predicted, path))

# %%
# The test map on which SPO+ gains most.
paths = torch.stack([fastest[64:], test(least_squares)[0], test(spo_plus)[0]])
k = int((hours[64:] * (paths[1] - paths[2])).sum(dim=1).argmax())
squares = np.stack(np.mgrid[-0.5:15.5:0.02, -0.5:8.5:0.02], axis=-1).swapaxes(0, 1)
trees = rng.uniform(-0.5, (15.5, 8.5), (3000, 2))
(altitude, _), (_, forest) = terrain(squares, *maps[64 + k]), terrain(trees, *maps[64 + k])
figure, axis = plt.subplots(figsize=(6.4, 4.1))
relief = LightSource().hillshade(altitude, dx=0.02, dy=0.02)
axis.imshow(relief, extent=(-0.5, 15.5, 8.5, -0.5), cmap="gray", vmin=-1, vmax=1.1)
axis.contour(*squares.transpose(2, 0, 1), altitude, 12, colors="sienna", linewidths=0.5)
axis.scatter(*trees[forest].T, marker="^", s=14, color="#2f6b4f", lw=0)
styles = ("fastest", "white", 9), ("least squares", "C1", 5), ("SPO+", "C0", 2.5)
for path, (name, color, width) in zip(paths[:, k] > 0.5, styles, strict=True):
    label = f"{name}: {hours[64 + k, path].sum():.1f} h"
    axis.plot(*np.vstack([start[path], [15, 4]]).T, color=color, lw=width, label=label)
axis.set_axis_off()
axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, facecolor="0.8", frameon=True)

# %%
# Time lost on all 50 test maps while training.
figure, axis = plt.subplots()
lost = np.transpose([spo_lost, 24 * spo_lost[:1], fenchel_young_lost])
axis.plot(lost, label=["SPO+", "least squares", "Fenchel-Young"])
axis.set(xlabel="step of training", ylabel="time lost on new maps, %", ylim=0)
axis.legend()
plt.show()

# %%
# **Try it:** divide features and hours by the hours: least squares of relative errors loses nearly
# as little time as the decision losses. Which features would make plain least squares as good?
