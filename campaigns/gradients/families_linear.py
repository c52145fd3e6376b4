"""Linear programs: their solutions depend on the rows, their duals on the costs."""

from __future__ import annotations

from itertools import combinations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, family, log_uniform, matrix, until

Tensor = torch.Tensor
Arrays = list[np.ndarray]
solve = torch.linalg.solve


@family
def vertex(rng: np.random.Generator) -> Case:
    """Min q'x, Ax <= b: x = A_a^-1 b_a on the n active rows, which stand first."""
    n, idle = 3, 4
    x, q = cp.Variable(n), cp.Parameter(n)
    A, b = cp.Parameter((n + idle, n)), cp.Parameter(n + idle)

    def sample() -> Arrays:
        rows = np.concatenate([matrix(rng, n, n), rng.normal(size=(idle, n))])
        units = log_uniform(rng, -2, 2, n + idle)
        slack = np.concatenate([np.zeros(n), log_uniform(rng, -1, 6, idle)])
        cost = -rows[:n].T @ rng.uniform(0.2, 2, n)
        return [units[:, None] * rows, units * (rows @ rng.normal(size=n) + slack), cost]

    problem = cp.Problem(cp.Minimize(q @ x), [A @ x <= b])
    samples = [sample() for _ in range(2)]
    return Case(
        problem, [A, b, q], [x], samples, lambda A, b, q: solve(A[:n], b[:n]), unjudged=(2,)
    )


def _basic(rng: np.random.Generator, m: int, n: int) -> Arrays:
    """A, b and q of a program whose basis is its first m columns; rows in units of their own."""
    A = np.concatenate([matrix(rng, m, m), rng.normal(size=(m, n - m))], axis=1)
    b = A[:, :m] @ log_uniform(rng, -1, 1, m)
    reduced = np.concatenate([np.zeros(m), rng.uniform(0.2, 2, n - m)])
    q = A.T @ rng.normal(size=m) + reduced
    units = log_uniform(rng, -2, 2, m)
    return [units[:, None] * A, units * b, q]


@family
def basis(rng: np.random.Generator) -> Case:
    """Min q'x, Ax = b, x >= 0: x_B = A_B^-1 b, and 0 elsewhere."""
    m, n = 2, 5
    x, q = cp.Variable(n), cp.Parameter(n)
    A, b = cp.Parameter((m, n)), cp.Parameter(m)

    def solution(A: Tensor, b: Tensor, q: Tensor) -> Tensor:
        return torch.cat([solve(A[:, :m], b), torch.zeros(n - m, dtype=b.dtype)])

    problem = cp.Problem(cp.Minimize(q @ x), [A @ x == b, x >= 0])
    samples = [_basic(rng, m, n) for _ in range(3)]
    return Case(problem, [A, b, q], [x], samples, solution, unjudged=(2,))


@family
def prices(rng: np.random.Generator) -> Case:
    """The same program's duals: q_B + A_B'y = 0, and q + A'y for x >= 0."""
    m, n = 2, 4
    x, q = cp.Variable(n), cp.Parameter(n)
    A, b = cp.Parameter((m, n)), cp.Parameter(m)

    def solution(A: Tensor, b: Tensor, q: Tensor) -> list[Tensor]:
        y = -solve(A[:, :m].T, q[:m])
        rest = (q + A.T @ y)[m:]
        return [y, torch.cat([torch.zeros(m, dtype=q.dtype), rest])]

    rows, signs = A @ x == b, x >= 0
    problem = cp.Problem(cp.Minimize(q @ x), [rows, signs])
    outputs = [rows.dual_variables[0], signs.dual_variables[0]]
    samples = [_basic(rng, m, n) for _ in range(2)]
    return Case(problem, [A, b, q], outputs, samples, solution, unjudged=(1,))


@family
def makespan(rng: np.random.Generator) -> Case:
    """Min max_i c_i x_i, sum x = D: all machines finish together, x_i = D (1/c_i) / sum_j 1/c_j."""
    n = 4
    x, c, D = cp.Variable(n), cp.Parameter(n, nonneg=True), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.max(cp.multiply(c, x))), [cp.sum(x) == D])
    samples = [[log_uniform(rng, -1, 1, n), log_uniform(rng, -3, 4)] for _ in range(3)]
    return Case(problem, [c, D], [x], samples, lambda c, D: D / c / (1 / c).sum())


@family
def merit_order(rng: np.random.Generator) -> Case:
    """Min c'g + V s, sum g + s = D, 0 <= g <= cap: the cheapest run full, one meets the rest."""
    n = 4
    g, s = cp.Variable(n), cp.Variable()
    cap, D = cp.Parameter(n, nonneg=True), cp.Parameter()
    c, V = cp.Parameter(n), cp.Parameter(nonneg=True)

    def sample() -> list[np.ndarray]:
        limits = log_uniform(rng, 0, 2, n)
        costs = rng.permutation(np.linspace(1, 5, n)) + rng.uniform(-0.3, 0.3, n)
        ordered = np.concatenate([[0], np.cumsum(limits[np.argsort(costs)]), [2 * limits.sum()]])
        k = rng.integers(n + 1)
        share = rng.uniform(0.1, 0.9)
        demand = (1 - share) * ordered[k] + share * ordered[k + 1]
        return [limits, demand, costs, log_uniform(rng, 2, 6)]

    def solution(cap: Tensor, D: Tensor, c: Tensor, V: Tensor) -> list[Tensor]:
        parts, left = [torch.zeros_like(D)] * n, D
        for i in torch.argsort(c):
            parts[int(i)] = torch.minimum(cap[i], left)
            left = left - parts[int(i)]
        return [torch.stack(parts), left]

    problem = cp.Problem(cp.Minimize(c @ g + V * s), [cp.sum(g) + s == D, g >= 0, g <= cap, s >= 0])
    samples = [sample() for _ in range(2)]
    return Case(problem, [cap, D, c, V], [g, s], samples, solution, unjudged=(2, 3))


def _interpolating(A: Tensor, b: Tensor, high: float, low: float) -> Tensor:
    """The best of all x with as many zeros of b - Ax as x has entries, at slopes high and low."""
    m, n = A.shape
    sets = np.array(list(combinations(range(m), n)))
    r = b - solve(A[sets], b[sets]).detach() @ A.detach().T
    best = int(torch.maximum(high * r, -low * r).sum(1).argmin())
    return solve(A[sets[best]], b[sets[best]])


def _spread(rng: np.random.Generator, m: int, n: int, offset: float) -> Arrays:
    """Rows, any n of which are well conditioned, and an offset line with noise."""

    def good(A: np.ndarray) -> bool:
        return max(np.linalg.cond(A[list(rows)]) for rows in combinations(range(m), n)) < 40

    A = until(lambda: np.column_stack([np.ones(m), rng.normal(size=(m, n - 1))]), good)
    return [A, A @ np.concatenate([[offset], rng.normal(size=n - 1)]) + rng.normal(size=m)]


@family
def least_deviations(rng: np.random.Generator) -> Case:
    """Min |Ax - b|_1: x interpolates n of the points, the best n of them."""
    m, n = 7, 2
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    problem = cp.Problem(cp.Minimize(cp.norm1(A @ x - b)))
    samples = [_spread(rng, m, n, float(log_uniform(rng, -1, 2))) for _ in range(2)]
    return Case(problem, [A, b], [x], samples, lambda A, b: _interpolating(A, b, 1, 1))


@family
def quantile(rng: np.random.Generator) -> Case:
    """Min sum max(t r, (t - 1) r), r = b - Ax, t = 0.73: n residuals are zero, offsets to 1e4."""
    m, n, t = 6, 2, 0.73
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    r = b - A @ x
    problem = cp.Problem(cp.Minimize(cp.sum(cp.maximum(t * r, (t - 1) * r))))
    samples = [_spread(rng, m, n, float(log_uniform(rng, 2, 4)))]
    return Case(problem, [A, b], [x], samples, lambda A, b: _interpolating(A, b, t, 1 - t))
