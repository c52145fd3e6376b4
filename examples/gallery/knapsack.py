r"""
Learn what matters from what was packed
=======================================

A hiker packs a rucksack that holds 20 kg: the best items that fit, which is an integer program. Can
a network learn what the hiker values, when all it sees is what was packed? It rates each item by
its features, an integer program packs by these ratings, and the loss is the number of items on
which the rucksacks differ. The loss jumps from value to value, so its derivative would be zero.

**What to see.** Each bar is a rucksack of a trip that was not used for training, and each block an
item as wide as its weight: blue if the hiker packed it too, vermilion if not. After 24 steps of
LPGD nearly all are blue, and the network's values have the order and the signs of the hiker's. A
structured hinge loss needs one integer program for each gradient where LPGD needs two, and does as
well or better here: where good decisions are known, such a loss is the one to try first.
"""

# %%
# The hiker's values are known here, so that the result can be judged. The layer never sees them.
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxlpgd import LPGD
from cvxlpgd.losses import StructuredHinge
from cvxlpgd.torch import CvxpyLayer

torch.manual_seed(0)

taken = cp.Variable(12, boolean=True)
rating, weight = cp.Parameter(12), cp.Parameter(12, nonneg=True)
problem = cp.Problem(cp.Maximize(rating @ taken), [weight @ taken <= 20])
pack = CvxpyLayer(problem, [rating, weight], [taken], derivative=LPGD(side="lower"))

true_values = torch.tensor([3.0, 2.0, 1.0, -1.0])  # of warmth, food, fun and noise
features = torch.rand(136, 12, 4)  # of 12 items for each of 136 trips, 96 of them for training
weights = torch.randint(1, 9, (136, 12)).float()
(packed,) = pack(features @ true_values, weights)

# %%
# The same training with both losses: a linear network, 24 steps of 16 trips.
hinge = StructuredHinge(pack, margin=0.5)


def difference(ratings, weights, packed):
    (ours,) = pack(ratings, weights)
    return (ours - packed).abs().sum(dim=1).mean()


def learn(loss):
    """The network's rucksacks on the test trips, every fourth step, and its values in the end."""
    values, rucksacks = torch.ones(4, requires_grad=True), []
    optimizer = torch.optim.Adam([values], lr=0.1)
    for step in range(25):
        if step % 4 == 0:
            rucksacks.append(pack(features[96:] @ values.detach(), weights[96:])[0])
        batch = torch.arange(16 * step, 16 * step + 16) % 96
        optimizer.zero_grad()
        loss(features[batch] @ values, weights[batch], packed[batch]).backward()
        optimizer.step()
    return torch.stack(rucksacks), values.detach()


lpgd, lpgd_values = learn(difference)
structured, _ = learn(hinge)
print("the hiker's values, over the first:", (true_values / true_values[0]).numpy().round(2))
print("learned by LPGD:                   ", (lpgd_values / lpgd_values[0]).numpy().round(2))

# %%
# The rucksacks of twelve test trips, before and after training.
figure, axes = plt.subplots(1, 2, figsize=(6.4, 4.2), sharey=True)
for axis, step, title in zip(axes, (0, -1), ("untrained", "trained by LPGD"), strict=True):
    for trip in range(12):
        left = 0.0
        for item in (lpgd[step, trip] > 0.5).nonzero():
            kilograms = float(weights[96 + trip, item])
            color = "C0" if packed[96 + trip, item] else "C1"
            axis.barh(trip, kilograms, left=left, color=color, edgecolor="white", lw=1.5)
            left += kilograms
    axis.axvline(20, color="0.4", lw=1.2)
    axis.set(title=title, xlabel="kg", yticks=[], xlim=(0, 20.5))
    axis.grid(False)
    axis.spines["left"].set_visible(False)

# %%
# Items on which the rucksacks of all 40 test trips differ from the hiker's.
figure, axis = plt.subplots()
for name, rucksacks, color in (("LPGD", lpgd, "C0"), ("structured hinge", structured, "C4")):
    wrong = (rucksacks - packed[96:]).abs().mean(dim=(1, 2))
    axis.plot(range(0, 25, 4), 100 * wrong, "o-", color=color, label=name)
axis.set(xlabel="step of training", ylabel="items packed otherwise, %", ylim=0)
axis.legend()
plt.show()

# %%
# **Try it:** other ``true_values``, or a limit of 10 kg. LPGD takes any loss of what was packed:
# what does it learn if the hiker reports nothing but the weight of the rucksack?
