r"""
The softmax family, three lines each
====================================

Your network ends in scores, and something must be shared out by them: attention, a budget, places
on a list. Softmax gives everybody a little. What if most should get nothing, or if two may win?
Each answer is a small convex problem, so each is a layer, with its gradient, once you have written
down what you want.

**What to see.** Each plane holds all scores of a blue and a pink option beside a yellow one whose
score is 0. The colour is the mixture that the layer answers. Softmax blends everywhere and never
arrives at a pure colour. Sparsemax has the same middle, and regions where one option takes all. Two
winners leave regions of two options mixed in halves. A budget that need not be spent stays white
where no score is above 0.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.isotonic import isotonic_regression

from cvxlpgd.numpy import CvxpyLayer

# %%
# Six layers on the same variable: what is wanted, and the constraints. All but softmax are the
# feasible point nearest to the scores. With ``from cvxlpgd.torch import CvxpyLayer`` the same lines
# are modules for the end of a network.

p, scores = cp.Variable(3), cp.Parameter(3)


def layer(objective, constraints):
    return CvxpyLayer(cp.Problem(objective, constraints), parameters=[scores], variables=[p])


nearest = cp.Minimize(cp.sum_squares(p - scores))
entropic = cp.Maximize(scores @ p + cp.sum(cp.entr(p)))
ranks_of_three = [cp.sum_largest(p, 1) <= 3, cp.sum_largest(p, 2) <= 5, cp.sum(p) == 6]

layers = {
    "softmax": layer(entropic, [cp.sum(p) == 1]),
    "sparsemax": layer(nearest, [cp.sum(p) == 1, p >= 0]),
    "two winners": layer(nearest, [cp.sum(p) == 2, p >= 0, p <= 1]),
    "a budget": layer(nearest, [cp.sum(p) <= 1, p >= 0]),
    "in order": layer(nearest, [cp.diff(p) >= 0]),
    "soft ranks": layer(nearest, ranks_of_three),
}

# %%
# One call answers the whole plane: the scores are a batch of 100 by 140. White lines run where an
# option drops out.

inks = np.array([[0, 150, 220], [220, 60, 140], [245, 197, 24]]) / 255  # blue, pink, yellow
x, y = np.meshgrid(np.linspace(-3.1, 3.1, 140), np.linspace(-2.2, 2.2, 100))
plane = np.stack([x, y, 0 * x], axis=-1)

figure, axes = plt.subplots(2, 2, figsize=(6.4, 5.3), sharex=True, sharey=True)
for ax, name in zip(axes.flat, layers, strict=False):
    (share,) = layers[name](plane)
    for option in range(3):
        ax.contour(x, y, share[..., option], levels=[0.004], colors="white", linewidths=1)
    share = share / np.maximum(1, share.sum(axis=-1, keepdims=True))
    picture = np.clip(share @ inks + 1 - share.sum(axis=-1, keepdims=True), 0, 1)
    ax.imshow(picture, extent=(-3.1, 3.1, -2.2, 2.2), origin="lower", interpolation="bilinear")
    ax.set(title=name, xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.spines[:].set_visible(False)
    ax.grid(False)
figure.supxlabel("score of blue", fontsize=12)
figure.supylabel("score of pink", fontsize=12)
plt.show()

# %%
# Blue's score rises while the others stay at 0 and 1. Lines are what the layers answer, dots are
# closed forms, and slopes are from ``layer.jvp``. Softmax always has one. The others are straight
# lines with corners: where an answer rests at its bound, its slope is 0.


def threshold(s, total, upper=np.inf):
    """The numbers clip(s - t, 0, upper) that add up to the total."""
    t = brentq(lambda t: np.clip(s - t, 0, upper).sum() - total, s.min() - total, s.max())
    return np.clip(s - t, 0, upper)


def ranks(s):
    order = np.argsort(-s)
    return s - isotonic_regression(s[order] - [3, 2, 1], increasing=False)[np.argsort(order)]


closed_forms = {
    "softmax": softmax,
    "sparsemax": lambda s: threshold(s, 1),
    "two winners": lambda s: threshold(s, 2, upper=1),
    "a budget": lambda s: threshold(s, min(1, np.maximum(s, 0).sum())),
    "in order": isotonic_regression,
    "soft ranks": ranks,
}

blue_score = np.linspace(-2, 3, 200)
line = np.stack([blue_score, 0 * blue_score, 0 * blue_score + 1], axis=-1)

figure, axes = plt.subplots(4, 3, figsize=(6.4, 7.6), sharex=True, height_ratios=[3, 2] * 2)
for i, name in enumerate(layers):
    (answer,), (slope,) = layers[name].jvp((line,), (0 * line + [1, 0, 0],))
    expected = np.array([closed_forms[name](s) for s in line])
    print(f"{name:12} differs from its closed form by {np.abs(answer - expected).max():.0e}")
    top, bottom = axes[i // 3 * 2, i % 3], axes[i // 3 * 2 + 1, i % 3]
    for option, ink in enumerate(inks):
        top.plot(blue_score, answer[:, option], color=ink)
        top.plot(blue_score[::20], expected[::20, option], "o", color=ink, ms=5)
        bottom.plot(blue_score, slope[:, option], color=ink, lw=1.6)
    top.set_title(name)
figure.supxlabel("score of blue", fontsize=12)
figure.supylabel("answers, and below them their slopes", fontsize=12)
plt.show()

# %%
# **Try:** let ``two winners`` share 1.5, or add a rule of your own, such as ``p[0] <= 2 * p[1]``.
