"""Quadratic programs with absolute values or signs: a pattern, and a linear system on it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, definite, family, log_uniform, matrix, until
from campaigns.gradients.formulas import quadratic_program

Tensor = torch.Tensor
Arrays = list[np.ndarray]


@family
def soft_threshold(rng: np.random.Generator) -> Case:
    """Min 1/2 |x - p|^2 + l |x|_1: x = sign(p) max(|p| - l, 0), l of 1e-3 to 1e3."""
    n = 5
    x, p, weight = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p) / 2 + weight * cp.norm1(x)))

    def sample() -> Arrays:
        level = log_uniform(rng, -3, 3)
        return [level * rng.choice([-20, -3, -0.7, 0.1, 1.5, 100], n), level]

    def solution(p: Tensor, weight: Tensor) -> Tensor:
        return torch.sign(p) * torch.clamp(p.abs() - weight, min=0)

    good = lambda sample: bool(np.any(np.abs(sample[0]) > sample[1]))  # noqa: E731
    return Case(problem, [p, weight], [x], [until(sample, good) for _ in range(3)], solution)


@family
def fused(rng: np.random.Generator) -> Case:
    """Min 1/2 |x - p|^2 + l sum |x_i+1 - x_i|: on a block, the mean of p moved by its edges' signs.

    Of all sign patterns of the differences, the block means with the least objective.
    """
    n = 5
    x, p, weight = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    cost = cp.sum_squares(x - p) / 2 + weight * cp.norm1(cp.diff(x))
    patterns = [_fusing(signs) for signs in product((-1, 0, 1), repeat=n - 1)]
    means = torch.tensor(np.array([M for M, _ in patterns]))
    shifts = torch.tensor(np.array([v for _, v in patterns]))

    def costs(p: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        x = means @ p + weight * shifts
        return x, ((x - p) ** 2).sum(1) / 2 + weight * torch.diff(x).abs().sum(1)

    def solution(p: Tensor, weight: Tensor) -> Tensor:
        x, values = costs(p, weight)
        return x[int(values.argmin())]

    def away(sample: Arrays) -> bool:
        """A pattern of every kind, well apart from the next best point."""
        x, values = costs(*(torch.tensor(v) for v in sample))
        best = x[int(values.argmin())]
        near = values < values.min() + 1e-3 * sample[1] ** 2
        same = (x[near] - best).abs().max() < 1e-9 * best.abs().max()
        return bool(same) and 1 <= int((torch.diff(best) == 0).sum()) < n - 1

    def sample() -> Arrays:
        level, base = log_uniform(rng, -2, 2), log_uniform(rng, -1, 4)
        return [level * rng.choice([1.0, 3.0]) * rng.normal(size=n) + level * base, level]

    samples = [until(sample, away) for _ in range(2)]
    return Case(cp.Problem(cp.Minimize(cost)), [p, weight], [x], samples, solution)


def _fusing(signs: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """M and v with x = M p + l v where the differences have these signs."""
    edges = [0, *signs, 0]
    n = len(edges) - 1
    M, v, start = np.zeros((n, n)), np.zeros(n), 0
    for i in range(n):
        if i == n - 1 or edges[i + 1] != 0:
            block = slice(start, i + 1)
            M[block, block] = 1 / (i + 1 - start)
            v[block] = (edges[i + 1] - edges[start]) / (i + 1 - start)
            start = i + 1
    return M, v


@family
def isotonic(rng: np.random.Generator) -> Case:
    """Min sum w_i (x_i - p_i)^2, x increasing: weighted means of blocks, pooled while they fall."""
    n = 6
    x, p = cp.Variable(n), cp.Parameter(n)
    w = np.linspace(0.5, 2, n)
    problem = cp.Problem(cp.Minimize(w @ cp.square(x - p)), [cp.diff(x) >= 0])

    def blocks(p: np.ndarray) -> list[tuple[float, float, list[int]]]:
        pooled: list[tuple[float, float, list[int]]] = []
        for i in range(n):
            block = (p[i], w[i], [i])
            while pooled and pooled[-1][0] >= block[0]:
                mean, weight, items = pooled.pop()
                total = weight + block[1]
                block = ((mean * weight + block[0] * block[1]) / total, total, items + block[2])
            pooled.append(block)
        return pooled

    def solution(p: Tensor) -> Tensor:
        parts, weights = [], torch.tensor(w)
        for _, _, items in blocks(p.detach().numpy()):
            mean = (weights[items] * p[items]).sum() / weights[items].sum()
            parts.append(mean.expand(len(items)))
        return torch.cat(parts)

    def away(p: np.ndarray) -> bool:
        """Means apart, and every pooled block pooled with force."""
        pooled = blocks(p)
        gaps = np.diff([mean for mean, _, _ in pooled])
        forces = [
            np.cumsum((w * (p - mean))[items])[:-1] for mean, _, items in pooled if len(items) > 1
        ]
        return len(gaps) > 0 and gaps.min() > 0.1 and np.min(np.concatenate([[1], *forces])) > 0.1

    offset = log_uniform(rng, -1, 4)
    samples = [[until(lambda: rng.normal(size=n), away) + offset] for _ in range(2)]
    return Case(problem, [p], [x], samples, solution)


@family
def lasso(rng: np.random.Generator) -> Case:
    """Min 1/2 |Ax - b|^2 + l |x|_1: on the signs s of x, x = (A_s'A_s)^-1 (A_s'b - l s).

    Of all sign patterns, the point with the least objective.
    """
    m, n = 6, 3
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    weight = cp.Parameter(nonneg=True)
    cost = cp.sum_squares(A @ x - b) / 2 + weight * cp.norm1(x)
    signs = torch.tensor(list(product((-1, 0, 1), repeat=n)), dtype=torch.float64)

    def points(s: Tensor, A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        """One for each row of s."""
        on = s.abs()
        H = A.T @ A * on[:, :, None] * on[:, None, :] + torch.diag_embed(1 - on)
        return torch.linalg.solve(H, A.T @ b * on - weight * s)

    def solution(A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        x = points(signs, A, b, weight).detach()
        values = ((x @ A.T - b) ** 2).sum(1) / 2 + weight * x.abs().sum(1)
        best = int(values.argmin())
        return points(signs[best : best + 1], A, b, weight)[0]

    def away(sample: Arrays) -> bool:
        A, b, level = (torch.tensor(v) for v in sample)
        x = solution(A, b, level)
        forces = (A.T @ (b - A @ x)).abs() / level
        on = x != 0
        far = (x[on].abs() * (A.T @ A).diag()[on] > 0.1 * level).all() and (forces[~on] < 0.9).all()
        return bool(far) and 0 < int(on.sum()) < n

    def sample() -> Arrays:
        A, level = matrix(rng, m, n), log_uniform(rng, -3, 3)
        return [A, level * rng.normal(size=m) * rng.choice([1, 3]), level]

    samples = [until(sample, away) for _ in range(2)]
    return Case(cp.Problem(cp.Minimize(cost)), [A, b, weight], [x], samples, solution)


@family
def nonnegative_least_squares(rng: np.random.Generator) -> Case:
    """Min |Ax - b|^2, x >= 0, x and its duals: one KKT system on the active rows."""
    m, n = 6, 4
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    signs = x >= 0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [signs])

    def solution(A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        x, duals, _ = quadratic_program(
            2 * A.T @ A, -2 * A.T @ b, -torch.eye(n, dtype=A.dtype), torch.zeros(n, dtype=A.dtype)
        )
        return x, duals

    def away(sample: Arrays) -> bool:
        x, duals = solution(*(torch.tensor(v) for v in sample))
        scale = np.abs(sample[1]).max()
        inside = x > 1e-9 * scale  # not by rounding alone
        return bool(torch.all(x + duals > 0.05 * scale)) and bool(0 < inside.sum() < n)

    def sample() -> Arrays:
        return [matrix(rng, m, n), log_uniform(rng, -4, 4) * rng.normal(size=m)]

    samples = [until(sample, away) for _ in range(2)]
    return Case(problem, [A, b], [x, signs.dual_variables[0]], samples, solution)


@family
def turnover(rng: np.random.Generator) -> Case:
    """Min g/2 w'Sw - m'w + k |w - w0|_1, sum w = 1, w >= 0: an allocation that costs to change.

    Each weight is 0, kept, bought or sold; each pattern is a linear KKT system, and of the feasible
    ones the least objective is the solution.
    """
    n, risk = 3, float(rng.choice([1.0, 5.0, 50.0]))
    S = definite(rng, n)
    w, trade = cp.Variable(n), cp.Variable(n)
    m, w0, k = cp.Parameter(n), cp.Parameter(n, nonneg=True), cp.Parameter(nonneg=True)
    cost = risk / 2 * cp.quad_form(w, S) - m @ w + k * cp.norm1(trade)
    problem = cp.Problem(cp.Minimize(cost), [trade == w - w0, cp.sum(w) == 1, w >= 0])
    P = risk * torch.tensor(S)
    kinds = torch.tensor([p for p in product((0, 1, 2, 3), repeat=n) if max(p) > 1])
    sign = (kinds == 2).double() - (kinds == 3).double()
    pinned, kept = (kinds < 2).double(), (kinds == 1).double()

    def points(rows: slice, m: Tensor, w0: Tensor, k: Tensor) -> Tensor:
        """Kinds 0 to 3: zero, kept, bought, sold. In (w, y): Pw + y = m - k sign, or w fixed."""
        free = 1 - pinned[rows]
        K = torch.zeros(len(free), n + 1, n + 1, dtype=m.dtype)
        K[:, :n, :n] = free[:, :, None] * P + torch.diag_embed(pinned[rows])
        K[:, :n, n], K[:, n, :n] = free, 1.0
        right = free * (m - k * sign[rows]) + kept[rows] * w0
        return torch.linalg.solve(K, torch.cat([right, torch.ones_like(right[:, :1])], 1))[:, :n]

    def values(m: Tensor, w0: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        x = points(slice(None), m, w0, k).detach()
        cost = ((x @ P) * x).sum(1) / 2 - x @ m + k * (x - w0).abs().sum(1)
        return x, torch.where(x.min(1).values > -1e-12, cost, torch.inf)

    def solution(m: Tensor, w0: Tensor, k: Tensor) -> Tensor:
        best = int(values(m, w0, k)[1].argmin())
        return points(slice(best, best + 1), m, w0, k)[0]

    def away(sample: Arrays) -> bool:
        x, costs = values(*(torch.tensor(v) for v in sample))
        best = x[int(costs.argmin())]
        other = costs[(x - best).abs().max(1).values > 1e-9].min()
        moved = (best - torch.tensor(sample[1])).abs()
        clear = ((moved < 1e-12) | (moved > 0.02)) & ((best < 1e-12) | (best > 0.02))
        # one moved alone: dependent rows; one held alone: a vertex that depends on nothing
        several = int((moved > 0.02).sum()) > 1 and int((best > 0.02).sum()) > 1
        return (
            bool(clear.all()) and several and float(other - costs.min()) > 2e-3 * float(sample[2])
        )

    def sample() -> Arrays:
        return [rng.normal(size=n), rng.dirichlet(np.ones(n)), log_uniform(rng, -2, 0)]

    return Case(problem, [m, w0, k], [w], [until(sample, away) for _ in range(2)], solution)
