"""
Repaint a photograph by optimal transport
=========================================

Two photographs, each summed up by thirty colours and how often they occur. The optimal transport
plan says which colour of the one should become which of the other, so that together they move the
least. What would the first photograph look like, on its way to the colours of the second?

**What to see.** A temple in a bright sky, and the same temple after its colours have followed the
gradient of the transport cost for 4 and 16 steps. Much of the sky turns to the petals' orange, the
rest to the dark green of the leaves, in the proportions of the flower's photograph. The strips are
the thirty colours, as wide as they are frequent.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_image

from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)
COLORS, STEPS, RATE = 30, 17, 0.06

# %%
# The thirty colours of a photograph are the centres of its pixels' clusters.


def palette(photo):
    pixels = photo.reshape(-1, 3)
    clusters = KMeans(COLORS, n_init=1, random_state=0).fit(pixels[::10])
    frequency = np.bincount(clusters.predict(pixels), minlength=COLORS) / len(pixels)
    dark_first = clusters.cluster_centers_.sum(axis=1).argsort()
    return torch.tensor(clusters.cluster_centers_[dark_first]), torch.tensor(frequency[dark_first])


temple, flower = (load_sample_image(name)[::2, ::2] / 255.0 for name in ("china.jpg", "flower.jpg"))
start, temple_frequency = palette(temple)
target, flower_frequency = palette(flower)

# %%
# The plan moves every colour's share somewhere, at least cost: a linear program.

plan = cp.Variable((COLORS, COLORS), nonneg=True)
cost = cp.Parameter((COLORS, COLORS))
supply, demand = cp.Parameter(COLORS), cp.Parameter(COLORS)
moved = [cp.sum(plan, axis=1) == supply, cp.sum(plan, axis=0) == demand]
problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(cost, plan))), moved)
transport = CvxpyLayer(problem, parameters=[cost, supply, demand], variables=[plan])


def distance(colors):
    """The transport cost between these colours and the flower's."""
    squares = (colors[:, None] - target).square().sum(dim=-1)
    return transport.optimal_value(squares, temple_frequency, flower_frequency)


# %%
# Colours walk down the gradient of the transport cost, each as fast as if it were alone. The
# gradient of an optimal value needs no derivative of the plan.

path = [start]
for step in range(STEPS):
    colors = path[-1].clone().requires_grad_()
    cost_now = distance(colors)
    cost_now.backward()
    path.append(path[-1] - RATE * colors.grad / temple_frequency[:, None])
    if step % 8 == 0:
        print(f"step {step:2}  root-mean-square distance {cost_now.sqrt():.3f}")

# %%
# The usual shortcut gives each channel the mean and the spread of the other photograph. It is as
# near as the flow after six steps, and does not know which colours belong together.


def mean_and_spread(colors, frequency):
    mean = frequency @ colors
    return mean, (frequency @ (colors - mean).square()).sqrt()


mean, spread = mean_and_spread(start, temple_frequency)
target_mean, target_spread = mean_and_spread(target, flower_frequency)
matched = target_mean + (start - mean) * target_spread / spread
print(f"means and spreads matched: root-mean-square distance {distance(matched).sqrt():.3f}")

# %%
# A pixel moves as the nearby colours of its palette do.


def repaint(photo, colors):
    apart = ((photo[..., None, :] - start.numpy()) ** 2).sum(axis=-1)
    near = np.exp(-(apart - apart.min(axis=-1, keepdims=True)) / 0.004)
    near /= near.sum(axis=-1, keepdims=True)
    return np.clip(photo + near @ (colors - start).numpy(), 0, 1)


def draw(ax, photo, colors, frequency, title):
    ax.imshow(photo)
    height, width, _ = photo.shape
    bars = frequency.numpy() * width
    left = bars.cumsum() - bars
    ax.bar(left, 20, bars, height + 6, color=colors.clamp(0, 1).numpy(), align="edge")
    ax.set(title=title, ylim=(height + 26, 0))
    ax.set_axis_off()


figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.9))
for ax, step in zip(axes.flat, (0, 4, 16), strict=False):
    draw(ax, repaint(temple, path[step]), path[step], temple_frequency, f"step {step}")
draw(axes[1, 1], flower, target, flower_frequency, "where the colours are from")
plt.show()

# %%
# **Try:** ``RATE = 0.5`` jumps in one step to where the first plan points. Let the flower have the
# temple's colours, or read a photograph of yours with ``plt.imread``.
