r"""
Undo a sensor that blurs and bends
==================================

A sensor reads a signal of 53 values through 12 windows. It adds up what is in a window, and its
answer is bent: there are products of neighbouring values in it. To find the signal is a nonlinear
inverse problem with four unknowns for each datum, so one must know what signals look like. Here
they are piecewise constant, between 0 and 1. An iteration knows that by its proximal step, which
is two lines of CVXPY, and training tunes the iteration.

**What to see.** Six iterations with the usual step and one weight are still on their way. With
trained ones, a pair for each iteration, they follow the signal: twelve numbers, learned from 64
examples. A network in place of the proximal step has a thousand times as many, and needs more
examples than these to do as well.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxlpgd.unrolled import Prox, RecurrentMomentum, UnrolledGradient, step_size

torch.manual_seed(0)
N, WIDTH, STRIDE, NOISE = 53, 9, 4, 0.01

# %%
# The sensor: a linear and a quadratic form of each window, and signals with a few jumps.

linear = torch.rand(WIDTH)
quadratic = torch.rand(WIDTH, WIDTH).triu()
linear, quadratic = linear / linear.sum(), quadratic / quadratic.sum()


def sensor(x):
    windows = x.unfold(-1, WIDTH, STRIDE)
    return windows @ linear + 2 * torch.einsum("...i,ij,...j", windows, quadratic, windows)


levels = torch.rand(128, N)
jumps = torch.rand(128, N) < 0.08
jumps[:, 0] = True
last = torch.where(jumps, torch.arange(N), 0).cummax(dim=1).values  # where each value began
signals = levels.gather(1, last)
data = sensor(signals) + NOISE * torch.randn(128, 12)
train, test = slice(64), slice(64, 128)

# %%
# Two schemes: one ends an iteration with the nearest signal between 0 and 1 that has little total
# variation, the other with what a network adds.

x, weight = cp.Variable(N), cp.Parameter(nonneg=True)
variation = Prox(weight * cp.tv(x), x, {weight: 0.02}, constraints=[x >= 0, x <= 1])
step = step_size(sensor, signals[train])
options = {"iterations": 6, "step": step, "shared": False, "differentiate_operator": True}
by_variation = UnrolledGradient(sensor, N, variation, **options)
by_network = UnrolledGradient(
    sensor, N, momentum=RecurrentMomentum(hidden=20), iterations=20, step=step, bound=1.0
)


def learn(scheme, rate, epochs):
    optimizer = torch.optim.Adam(scheme.parameters(), lr=rate)
    for _ in range(epochs):
        for batch in torch.randperm(64).split(16):
            optimizer.zero_grad()
            (scheme(data[batch]) - signals[batch]).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(scheme.parameters(), 1.0)
            optimizer.step()


@torch.no_grad()
def estimate(scheme):
    return scheme(data[test])


estimates = {"untrained": estimate(by_variation)}
learn(by_variation, 0.1, 4)
learn(by_network, 3e-3, 30)
estimates |= {"total variation": estimate(by_variation), "network": estimate(by_network)}
errors = {n: (v - signals[test]).square().mean().item() for n, v in estimates.items()}
counts = {"total variation": by_variation, "network": by_network}
for name, scheme in counts.items():
    count = sum(p.numel() for p in scheme.parameters())
    print(f"{name}: {count} numbers trained, error {errors[name]:.3f}")

# %%
# Three signals that were not used for training.

figure, axes = plt.subplots(3, 1, figsize=(6.4, 4.8), sharex=True, sharey=True)
for i, axis in enumerate(axes):
    axis.step(range(N), signals[64 + i], color="0.6", lw=3, where="mid", label="signal")
    for name, color in (("untrained", "C4"), ("total variation", "C0"), ("network", "C1")):
        axis.plot(estimates[name][i], color=color, lw=1.5, label=name)
    axis.set(ylim=(-0.08, 1.08), yticks=(0, 0.5, 1))
axes[0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
axes[-1].set_xlabel("place")
plt.show()

# %%
# **Try it:** a sensor that bends more, with 4 in place of 2; or both, ``prox=variation`` together
# with ``momentum=RecurrentMomentum(20)``.
