"""
How much caution pays: a sweep shared by two processes
======================================================

A portfolio that trusts its estimates too much holds few assets, and is disappointed. A robust one
subtracts from each portfolio's expected return what the estimate may be off by, and limits the
risk. Two numbers say how careful it is. Which ones would have paid? A sweep of both is one batch of
400 cone programs, and ``executor=`` shares it with two processes.

**What to see.** Left, the return over risk in months that the portfolios did not see. In the lower
right corner they trust their estimates, and are paid half of what a tight risk limit earns, at the
left edge. Caution does the same work: above 2.5 the limit no longer matters on the right. Right,
the pieces that the batch was cut in, at most 16 programs each, in the colour of how long their
programs took. A worker that is done takes the next piece, so that slow ones hold nobody up.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np

from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.solvers import Clarabel, Processes

# %%
# Returns of 20 assets in a market of 4 factors, 60 months to learn from and 240 to test.

random = np.random.default_rng(5)
n, months = 20, 60
loadings = random.normal(size=(n, 4))
mean = 0.4 + 0.5 * random.uniform(size=n)


def returns(count):
    factors = random.normal(size=(count, 4))
    return mean + factors @ loadings.T + 2.0 * random.normal(size=(count, n))


past, future = returns(months), returns(240)
estimate, covariance = past.mean(axis=0), np.cov(past.T)
root = np.linalg.cholesky(covariance).T

# %%
# ``caution`` weighs how far the estimate may be off, ``limit`` bounds the risk.

w, caution, limit = cp.Variable(n), cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
doubt = cp.norm(root @ w) / np.sqrt(months)
problem = cp.Problem(
    cp.Maximize(estimate @ w - caution * doubt),
    [cp.sum(w) == 1, w >= 0, cp.norm(root @ w) <= limit],
)
least = cp.Variable(n)
safest = cp.Problem(cp.Minimize(cp.norm(root @ least)), [cp.sum(least) == 1, least >= 0])
cautions = np.linspace(0, 4, 20)
limits = np.linspace(1.05, 2.5, 20) * safest.solve(solver="CLARABEL")

# %%
# The workers import this script, and must not sweep themselves.

if __name__ == "__main__":
    workers = Processes(2)
    layer = CvxpyLayer(problem, [caution, limit], [w], Clarabel(), executor=workers, single=True)
    weights = layer(*np.meshgrid(cautions, limits, indexing="ij"))
    seconds = layer.info.seconds
    workers.close()

    alone = CvxpyLayer(problem, [caution, limit], [w], Clarabel(), single=True)
    same = np.array_equal(alone(*np.meshgrid(cautions, limits, indexing="ij")), weights)
    print(f"bitwise as without an executor: {same}")

    months_after = weights @ future.T
    ratio = months_after.mean(axis=-1) / months_after.std(axis=-1)
    _, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.2), sharey=True)
    edges = limits[0], limits[-1], cautions[0], cautions[-1]
    picture = left.imshow(ratio, origin="lower", extent=edges, aspect="auto", cmap="viridis")
    plt.colorbar(picture, ax=left)
    left.set(title="return over risk, unseen months", xlabel="risk limit", ylabel="caution")

    count = -(-seconds.size // 16)
    piece = np.arange(seconds.size) * count // seconds.size
    each = np.array([np.median(seconds.flat[piece == k]) for k in range(count)])
    shown = 1e3 * each[piece].reshape(seconds.shape)
    picture = right.imshow(shown, origin="lower", extent=edges, aspect="auto", cmap="magma")
    plt.colorbar(picture, ax=right)
    right.set(title="pieces, by ms for a program", xlabel="risk limit")
    for axes in (left, right):
        axes.grid(visible=False)
    plt.show()

# %%
# **Try:** more months to learn from, or ``executor=None``: Clarabel shares its samples with threads
# by itself.
