"""
Total variation with weights that are learned
=============================================

Total variation removes noise from a picture and keeps its edges. How strong it should be is
mostly found by trial, one number for the whole picture. Here 16 numbers are learned from one pair
of a clean and a noisy picture, one for each tile: strong where there is nothing to see, weak where
there are details.

**What to see.** One strength must choose: it leaves noise on the plain squares, or flattens the
fine checks. Learned strengths need not choose. The last panel shows them, darker for stronger.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxlpgd.unrolled import Prox

torch.set_default_dtype(torch.float64)
SIZE, TILE, NOISE = 24, 6, 0.25
TILES = SIZE // TILE

# %%
# The prox of a weighted total variation: the picture nearest to the noisy one, with few jumps
# between neighbours. Each jump has its own weight, which is an input of the layer.

image = cp.Variable((SIZE, SIZE))
across = cp.Parameter((SIZE, SIZE - 1), nonneg=True)
down = cp.Parameter((SIZE - 1, SIZE), nonneg=True)
variation = cp.sum(cp.multiply(across, cp.abs(cp.diff(image, axis=1))))
variation += cp.sum(cp.multiply(down, cp.abs(cp.diff(image, axis=0))))
prox = Prox(variation, image, [across, down])


def spread_out(tiles):
    return tiles.repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)


def denoise(noisy, logarithms):
    """With the weights of the tiles, spread over the jumps within them."""
    spread = spread_out(torch.exp(logarithms))
    return prox(noisy, 1.0, spread[:, 1:], spread[1:])


# %%
# A picture of fine checks on the left and plain squares on the right, and two draws of its noise:
# one to learn from, one to be judged by.

rows, columns = np.mgrid[:SIZE, :SIZE]
checks = (rows // 2 + columns // 2) % 2
squares = 0.25 + 0.5 * ((rows // 12 + columns // 6) % 2)
clean = torch.tensor(np.where(columns < SIZE // 2, checks, squares), dtype=torch.float64)
rng = np.random.default_rng(0)
training, test = (clean + NOISE * torch.tensor(rng.normal(size=clean.shape)) for _ in range(2))


def error(noisy, logarithms):
    return (denoise(noisy, logarithms) - clean).square().mean()


# %%
# The best single strength, and from there Adam on one for each tile.

with torch.no_grad():
    uniform = min(
        (torch.full((TILES, TILES), np.log(w)) for w in (0.02, 0.05, 0.1, 0.2, 0.4)),
        key=lambda logarithms: error(training, logarithms),
    )
learned = uniform.clone().requires_grad_()
optimizer = torch.optim.Adam([learned], lr=0.2)
for _ in range(25):
    optimizer.zero_grad()
    error(training, learned).backward()
    optimizer.step()
learned = learned.detach()

with torch.no_grad():
    errors = {
        "noisy": (test - clean).square().mean(),
        "one strength": error(test, uniform),
        "learned": error(test, learned),
    }
    pictures = {
        "clean": clean,
        "noisy": test,
        "one strength": denoise(test, uniform),
        "learned": denoise(test, learned),
        "strengths": spread_out(learned),
    }
assert errors["learned"] < errors["one strength"] < errors["noisy"]

figure, axes = plt.subplots(1, 5, figsize=(9, 2.3))
for ax, (name, values) in zip(axes, pictures.items(), strict=True):
    limits = {} if name == "strengths" else {"vmin": 0, "vmax": 1}
    ax.imshow(values, cmap="gray_r" if name == "strengths" else "gray", **limits)
    ax.set_title(f"{name}: {errors[name]:.4f}" if name in errors else name, fontsize=9)
    ax.axis("off")
plt.show()

# %%
# **Try:** weights that a small network reads from the noisy picture, or a second difference beside
# the first.
