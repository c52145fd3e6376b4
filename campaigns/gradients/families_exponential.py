"""Exponential cones with a linear constraint: entropies and logarithms."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, family, log_uniform, until
from campaigns.gradients.formulas import root

Tensor = torch.Tensor
Arrays = list[np.ndarray]


@family
def softmax(rng: np.random.Generator) -> Case:
    """Min c'x - sum entr(x), sum x = 1: x = softmax(-c); loss -log x_k, x_k down to 1e-8."""
    n = 4
    x, c = cp.Variable(n), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(c @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1])

    def sample(rarity: float) -> Arrays:
        c = rng.normal(size=n)
        c[1] = rarity + np.log(np.exp(-np.delete(c, 1)).sum()) * -1
        return [c + rng.choice([0, 1, 100])]

    samples = [sample(rng.uniform(0, 6)), sample(rng.uniform(6, 18.4))]
    return Case(
        problem, [c], [x], samples, lambda c: torch.softmax(-c, 0), loss=lambda x: -torch.log(x[1])
    )


@family
def optimal_transport(rng: np.random.Generator) -> Case:
    """Min <C, X> - e sum entr(X) with row sums a and column sums b, e of 0.03 to 1.

    X_ij = exp((f_i + g_j - C_ij) / e), g_last = 0, f and g from the logarithms of the sums. The
    last column's sum follows from the others and is no constraint.
    """
    m, n = 3, 3
    X, C = cp.Variable((m, n)), cp.Parameter((m, n))
    a, b, e = cp.Parameter(m), cp.Parameter(n - 1), cp.Parameter(nonneg=True)
    cost = cp.sum(cp.multiply(C, X)) - e * cp.sum(cp.entr(X))
    sums = [cp.sum(X, axis=1) == a, cp.sum(X, axis=0)[:-1] == b]
    problem = cp.Problem(cp.Minimize(cost), sums)

    def logarithms(both: Tensor, C: Tensor, e: Tensor) -> Tensor:
        """Log X, for potentials in units of e."""
        g = torch.cat([both[m:], torch.zeros_like(both[:1])])
        return both[:m, None] + g - C / e

    def residual(both: Tensor, C: Tensor, a: Tensor, b: Tensor, e: Tensor) -> Tensor:
        logs = logarithms(both, C, e)
        rows, columns = torch.logsumexp(logs, 1), torch.logsumexp(logs, 0)
        return torch.cat([rows - torch.log(a), columns[:-1] - torch.log(b)])

    def solution(C: Tensor, a: Tensor, b: Tensor, e: Tensor) -> Tensor:
        K, last = -(C / e).detach(), (a.sum() - b.sum()).detach()
        f, g = torch.zeros_like(a.detach()), torch.zeros(n, dtype=C.dtype)
        targets = torch.cat([b.detach(), last[None]])
        for _ in range(40):  # Sinkhorn's
            f = torch.log(a.detach()) - torch.logsumexp(K + g, 1)
            g = torch.log(targets) - torch.logsumexp(K + f[:, None], 0)
        both = root(residual, torch.cat([f + g[-1], g[:-1] - g[-1]]), C, a, b, e)
        return torch.exp(logarithms(both, C, e))

    def sample() -> list[np.ndarray | float]:
        marginals = rng.dirichlet(3 * np.ones(m)), rng.dirichlet(3 * np.ones(n))[:-1]
        return [rng.uniform(size=(m, n)), *marginals, log_uniform(rng, np.log10(0.03), 0)]

    return Case(problem, [C, a, b, e], [X], [sample() for _ in range(2)], solution)


@family
def mirror_step(rng: np.random.Generator) -> Case:
    """Min g'x + KL(x | r), sum x = 1: x_i proportional to r_i exp(-g_i), r down to 1e-8."""
    n = 4
    x, g, r = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
    problem = cp.Problem(cp.Minimize(g @ x + cp.sum(cp.kl_div(x, r))), [cp.sum(x) == 1])

    def sample() -> Arrays:
        shares = log_uniform(rng, -8, 0, n)
        shares[rng.integers(n)] = 1
        return [3 * rng.normal(size=n), shares / shares.sum()]

    def solution(g: Tensor, r: Tensor) -> Tensor:
        return torch.softmax(torch.log(r) - g, 0)

    return Case(problem, [g, r], [x], [sample() for _ in range(2)], solution)


@family
def maximum_entropy(rng: np.random.Generator) -> Case:
    """Max sum entr(x), sum x = 1, a'x = m: x = softmax(t a), the tilt t from the moment m."""
    n = 5
    x, a, m = cp.Variable(n), cp.Parameter(n), cp.Parameter()
    problem = cp.Problem(cp.Maximize(cp.sum(cp.entr(x))), [cp.sum(x) == 1, a @ x == m])

    def residual(t: Tensor, a: Tensor, m: Tensor) -> Tensor:
        return torch.softmax(t * a, 0) @ (a - m)[:, None]

    def solution(a: Tensor, m: Tensor) -> Tensor:
        spread = (a.max() - a.min()).detach()
        a, m = a / spread, m / spread
        return torch.softmax(root(residual, torch.zeros_like(a[:1]), a, m) * a, 0)

    def sample() -> list[np.ndarray | float]:
        a = log_uniform(rng, -3, 3) * rng.normal(size=n)
        p = rng.dirichlet(np.ones(n))
        return [a, a @ p]

    return Case(problem, [a, m], [x], [sample() for _ in range(2)], solution)


@family
def capped_entropy(rng: np.random.Generator) -> Case:
    """Min c'x - sum entr(x), sum x = 1, x <= u: x_i = min(u_i, k exp(-c_i)), k cap by cap."""
    n = 5
    x, c, u = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
    cost = c @ x - cp.sum(cp.entr(x))
    problem = cp.Problem(cp.Minimize(cost), [cp.sum(x) == 1, x <= u])

    def level(c: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        full = torch.zeros(n, dtype=torch.bool)
        while True:
            k = (1 - u[full].sum()) / torch.exp(-c[~full]).sum()
            more = full | (k * torch.exp(-c) > u)
            if torch.equal(more, full):
                return k, full
            full = more

    def solution(c: Tensor, u: Tensor) -> Tensor:
        k, full = level(c, u)
        return torch.where(full, u, k * torch.exp(-c))

    def away(sample: Arrays) -> bool:
        c, u = (torch.tensor(v) for v in sample)
        k, full = level(c, u)
        ratio = torch.log(k * torch.exp(-c) / u)
        return 0 < int(full.sum()) < n and bool((ratio.abs() > 0.05).all())

    def sample() -> Arrays:
        caps = log_uniform(rng, -1, 6, n)
        caps[rng.choice(n, 2, replace=False)] = rng.uniform(0.05, 0.3, 2)
        return [rng.choice([1, 3]) * rng.normal(size=n), caps]

    return Case(problem, [c, u], [x], [until(sample, away) for _ in range(2)], solution)


@family
def water_filling(rng: np.random.Generator) -> Case:
    """Max sum log(n_i + x_i), sum x = P, x >= 0: x = max(w - n, 0), the level w from P."""
    n = 5
    x, noise, P = cp.Variable(n), cp.Parameter(n, nonneg=True), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Maximize(cp.sum(cp.log(noise + x))), [cp.sum(x) == P, x >= 0])

    def solution(noise: Tensor, P: Tensor) -> Tensor:
        ordered = torch.sort(noise).values
        counts = torch.arange(1, n + 1, dtype=P.dtype)
        levels = (P + torch.cumsum(ordered, 0)) / counts
        return torch.clamp(levels[int((levels > ordered).sum()) - 1] - noise, min=0)

    def away(sample: Arrays) -> bool:
        noise, x = sample[0], solution(*(torch.tensor(v) for v in sample)).numpy()
        w = (noise + x)[x > 0][0]
        return bool(np.min(np.abs(noise - w)) > 0.05 * w and np.sum(x > 0) > 1)

    def sample() -> Arrays:
        scale = log_uniform(rng, -2, 2)
        return [scale * log_uniform(rng, -1, 1, n), scale * log_uniform(rng, 0, 1.5)]

    return Case(problem, [noise, P], [x], [until(sample, away) for _ in range(2)], solution)


@family
def kelly(rng: np.random.Generator) -> Case:
    """Max p log(1 + o f) + r log(1 - f), bet by bet: f = (p o - r) / (o (p + r))."""
    n = 3
    f, gain = cp.Variable(n), cp.Variable(n)
    p, r, o = (cp.Parameter(n, nonneg=True) for _ in range(3))
    value = p @ cp.log(gain) + r @ cp.log(1 - f)
    problem = cp.Problem(cp.Maximize(value), [gain == 1 + cp.multiply(o, f)])

    def sample() -> Arrays:
        chances, odds = rng.uniform(0.05, 0.95, n), log_uniform(rng, -1, 2, n)
        return [chances, 1 - chances, odds]

    def good(sample: Arrays) -> bool:
        p, r, o = sample
        return bool(np.all((p * o - r) / o > 0.02))

    return Case(
        problem,
        [p, r, o],
        [f],
        [until(sample, good) for _ in range(2)],
        lambda p, r, o: (p * o - r) / (o * (p + r)),
    )


@family
def log_utility(rng: np.random.Generator) -> Case:
    """Max w'log x, p'x <= m: x_i = w_i m / (p_i sum w), and the dual of the budget is sum w / m."""
    n = 4
    x, m = cp.Variable(n), cp.Parameter(nonneg=True)
    w, p = cp.Parameter(n, nonneg=True), cp.Parameter(n, nonneg=True)
    budget = p @ x <= m
    problem = cp.Problem(cp.Maximize(w @ cp.log(x)), [budget])
    samples = [
        [rng.dirichlet(np.ones(n)) + 1e-3, log_uniform(rng, -2, 2, n), log_uniform(rng, -2, 2)]
        for _ in range(2)
    ]

    def solution(w: Tensor, p: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return w * m / (p * w.sum()), w.sum() / m

    return Case(problem, [w, p, m], [x, budget.dual_variables[0]], samples, solution)
