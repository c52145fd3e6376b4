r"""
Learn the rules of Sudoku
=========================

Can a layer find the rules of a puzzle from solved examples alone? The layer is a linear program,

.. math:: \text{maximize}\ g^\top x \quad\text{subject to}\quad A x = A z,\ \ 0 \le x \le 1,

where x has one entry for each cell and digit, and g marks the digits that are given. A and the
feasible point z start without any knowledge of rows, columns and boxes, and are learned.

**What to see.** With LPGD the layer solves nearly every test puzzle after 4000 examples, though no
test grid occurs in training. The exact derivative says how a vertex moves with A and z, but not
which vertex comes next; 4000 examples do not get it anywhere. With a quadratic term in the
objective, the usual remedy, it learns too, a little more slowly.
"""

# %%
# There are 288 complete 4x4 grids, and 29 of them are kept for the test. A puzzle shows seven cells
# of a grid; those with more than one solution are left out.
import itertools
import warnings

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxlpgd import LPGD, Exact
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.torch import CvxpyLayer

rng = np.random.default_rng(0)
rows = np.array(list(itertools.permutations(range(4))))
grids = rows[list(itertools.product(range(24), repeat=4))]
boxes = grids.reshape(-1, 2, 2, 2, 2).swapaxes(2, 3).reshape(-1, 4, 4)
columns_differ = (np.sort(grids, axis=1) == np.arange(4)[:, None]).all(axis=(1, 2))
boxes_differ = (np.sort(boxes, axis=2) == np.arange(4)).all(axis=(1, 2))
grids = rng.permutation(grids[columns_differ & boxes_differ].reshape(-1, 16))


def puzzles(grids_to_use, count):
    """One-hot givens and solutions, both (puzzles, 64)."""
    solutions = rng.choice(grids_to_use, count)
    given = rng.random((count, 16)).argsort(axis=1) < 7
    fits = (solutions[:, None] == grids) | ~given[:, None]
    unique = fits.all(axis=2).sum(axis=1) == 1
    x = np.eye(4)[solutions[unique]]
    givens = x * given[unique, :, None]
    return torch.tensor(givens).flatten(1), torch.tensor(x).flatten(1)


train_givens, train_solutions = puzzles(grids[29:], 6300)
test_givens, test_solutions = puzzles(grids[:29], 300)


# %%
# The same training for each derivative: 40 batches of 100 puzzles, squared error.
def learn(derivative, curvature=0.0):
    """Answers to the test puzzles, untrained and after every fifth batch."""
    x, g = cp.Variable(64), cp.Parameter(64)
    A, b = cp.Parameter((40, 64)), cp.Parameter(40)
    objective = cp.Maximize(g @ x - curvature / 2 * cp.sum_squares(x))
    problem = cp.Problem(objective, [A @ x == b, x >= 0, x <= 1])
    layer = CvxpyLayer(problem, [g, A, b], [x], derivative=derivative)

    torch.manual_seed(0)
    rules = torch.rand(40, 64, dtype=torch.float64, requires_grad=True)
    logits = torch.full((64,), -np.log(3), dtype=torch.float64, requires_grad=True)  # z = 1/4
    optimizer = torch.optim.Adam([rules, logits], lr=0.1)
    answers = []
    for step in range(41):
        point = rules @ logits.sigmoid()
        if step % 5 == 0:
            answers.append(layer(test_givens, rules, point)[0].detach())
        batch = slice(100 * step, 100 * step + 100)
        (x_star,) = layer(train_givens[batch], rules, point)
        optimizer.zero_grad()
        ((x_star - train_solutions[batch]) ** 2).sum().backward()
        optimizer.step()
    return torch.stack(answers).reshape(9, -1, 16, 4)


learned = {"LPGD": learn(LPGD(tau=1.0))}
learned["exact, with a quadratic term"] = learn(Exact(), curvature=0.3)  # best of 0.1, 0.3, 1
with warnings.catch_warnings():  # that no gradient reaches z at times is the point here
    warnings.simplefilter("ignore", DegenerateGradientWarning)
    learned["exact"] = learn(Exact())

# %%
# One puzzle on its way (vermilion: wrong, pale: unsure), and the share of all that is solved.
figure = plt.figure(figsize=(6.4, 5.4))
axes = figure.subplot_mosaic("abcd;eeee", height_ratios=[2, 3])
given = test_givens[0].reshape(16, 4).any(dim=1)
digits = test_solutions.reshape(-1, 16, 4).argmax(dim=2)
for board, k in zip("abcd", (0, 2, 4, 8), strict=True):
    for cell, x in enumerate(learned["LPGD"][k, 0].clip(0, 1)):
        color = "0.2" if given[cell] else "C0" if x.argmax() == digits[0, cell] else "C1"
        text = axes[board].text(cell % 4, cell // 4, int(x.argmax()) + 1, size=17, color=color)
        text.set(ha="center", va="center_baseline", alpha=float(x.max()))
    axes[board].hlines([-0.5, 1.5, 3.5], -0.5, 3.5, color="0.6", lw=1.2)
    axes[board].vlines([-0.5, 1.5, 3.5], -0.5, 3.5, color="0.6", lw=1.2)
    axes[board].set_title(f"{500 * k} seen" if k else "untrained", loc="center")
    axes[board].set(aspect="equal", ylim=(3.6, -0.6))
    axes[board].set_axis_off()
for (name, x), color in zip(learned.items(), ("C0", "C4", "C1"), strict=True):
    solved = (x.argmax(dim=3) == digits).all(dim=2).sum(dim=1)
    axes["e"].plot(500 * np.arange(9), 100 * solved / len(digits), "o-", color=color, label=name)
    print(f"{name}: {solved[-1]} of {len(digits)} test puzzles solved")
axes["e"].set(xlabel="puzzles seen in training", ylabel="test puzzles solved, %")
axes["e"].legend()
plt.show()

# %%
# **Try it:** ``LPGD(tau=1.0, side="lower")`` solves one perturbed program for each gradient instead
# of two. With ``tau=0.1`` or ``10.0`` learning is slower. How few givens and rows of A are enough?
