"""Second-order cones."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, definite, family, log_uniform, matrix, until
from campaigns.gradients.formulas import root

Tensor = torch.Tensor
Arrays = list[np.ndarray]


def direction(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random unit vector."""
    v = rng.normal(size=n)
    return v / np.linalg.norm(v)


@family
def linear_ball(rng: np.random.Generator) -> Case:
    """Min c'x, |x| <= r: x = -r c / |c|, and the dual of the bound is |c|."""
    n = 4
    x, c, r = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    bound = cp.norm(x) <= r
    problem = cp.Problem(cp.Minimize(c @ x), [bound])
    samples = [
        [log_uniform(rng, -2, 2) * rng.normal(size=n), log_uniform(rng, -2, 2)] for _ in range(3)
    ]

    def solution(c: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        return -r * c / c.norm(), c.norm()

    return Case(problem, [c, r], [x, bound.dual_variables[0]], samples, solution)


@family
def ball_projection(rng: np.random.Generator) -> Case:
    """Min 1/2 |x - p|^2, |x| <= r: x = p min(1, r / |p|), and the dual is max(|p| - r, 0)."""
    n = 3
    x, p, r = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    bound = cp.norm(x) <= r
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p) / 2), [bound])

    def sample() -> Arrays:
        radius = log_uniform(rng, -2, 2)
        return [radius * rng.choice([0.5, 1.5, 10, 100]) * direction(rng, n), radius]

    def solution(p: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        return p * torch.clamp(r / p.norm(), max=1), torch.clamp(p.norm() - r, min=0)

    outputs = [x, bound.dual_variables[0]]
    return Case(problem, [p, r], outputs, [sample() for _ in range(3)], solution)


@family
def cone_projection(rng: np.random.Generator) -> Case:
    """Min (s - t)^2 + |x - p|^2, |x| <= s: (t, p) itself, or (t + |p|) / 2 (1, p / |p|)."""
    n = 3
    s, x, t, p = cp.Variable(), cp.Variable(n), cp.Parameter(), cp.Parameter(n)
    cost = cp.square(s - t) + cp.sum_squares(x - p)
    problem = cp.Problem(cp.Minimize(cost), [cp.SOC(s, x)])

    def sample(ratio: float) -> list[np.ndarray | float]:
        size = log_uniform(rng, -3, 3)
        return [size * ratio, size * direction(rng, n)]

    def solution(t: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        if p.norm() <= t:
            return t, p
        half = (t + p.norm()) / 2
        return half, half * p / p.norm()

    samples = [sample(0.0), sample(rng.uniform(-0.8, 0.8)), sample(rng.choice([1.5, -0.95, 0.9]))]
    return Case(problem, [t, p], [s, x], samples, solution)


@family
def group_threshold(rng: np.random.Generator) -> Case:
    """Min 1/2 |x - p|^2 + l sum_g |x_g|: x_g = p_g max(1 - l / |p_g|, 0)."""
    groups, size = 3, 2
    x, p = cp.Variable((groups, size)), cp.Parameter((groups, size))
    weight = cp.Parameter(nonneg=True)
    norms = cp.sum(cp.norm(x, axis=1))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p) / 2 + weight * norms))

    def sample() -> Arrays:
        level = log_uniform(rng, -3, 2)
        lengths = level * np.array([rng.choice([1.5, 5]), *rng.choice([0.5, 2, 30], groups - 1)])
        rows = np.array([direction(rng, size) for _ in range(groups)])
        return [lengths[:, None] * rows, level]

    def solution(p: Tensor, weight: Tensor) -> Tensor:
        return p * torch.clamp(1 - weight / p.norm(dim=1, keepdim=True), min=0)

    return Case(problem, [p, weight], [x], [sample() for _ in range(2)], solution)


@family
def trust_region(rng: np.random.Generator) -> Case:
    """Min 1/2 x'Px + q'x, |x| <= r: (P + l I) x = -q and |x|^2 = r^2 for (x, l), both outputs.

    The dual of |x| <= r is l r.
    """
    n = 3
    x, q, r = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    P = cp.Parameter((n, n), PSD=True)
    bound = cp.norm(x) <= r
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x), [bound])

    def sample() -> Arrays:
        scale, radius, shift = (log_uniform(rng, -1, 1) for _ in range(3))
        S = scale * definite(rng, n)
        return [S, -(S + scale * shift * np.eye(n)) @ (radius * direction(rng, n)), radius]

    def residual(both: Tensor, P: Tensor, q: Tensor, r: Tensor) -> Tensor:
        x = both[:n]
        return torch.cat([(P + P.T) @ x / 2 + both[n] * x + q, ((x @ x - r**2) / 2)[None]])

    def solution(P: Tensor, q: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh((P.detach() + P.detach().T) / 2)
        low, high = 0.0, float(q.detach().norm() / r.detach())
        for _ in range(40):
            shift = (low + high) / 2
            start = -vectors @ ((vectors.T @ q.detach()) / (values + shift))
            low, high = (shift, high) if start.norm() > r.detach() else (low, shift)
        both = root(residual, torch.cat([start, torch.tensor([shift]).double()]), P, q, r)
        return both[:n], both[n] * r

    outputs = [x, bound.dual_variables[0]]
    return Case(problem, [P, q, r], outputs, [sample() for _ in range(2)], solution)


@family
def ellipsoid(rng: np.random.Generator) -> Case:
    """Max c'x, |Lx| <= 1: x = S^-1 c / sqrt(c'S^-1 c), S = L'L, axes of 1e-2 to 1e2."""
    n = 3
    x, c, L = cp.Variable(n), cp.Parameter(n), cp.Parameter((n, n))
    problem = cp.Problem(cp.Maximize(c @ x), [cp.norm(L @ x) <= 1])

    def solution(c: Tensor, L: Tensor) -> Tensor:
        half = torch.linalg.solve(L.T, c)
        return torch.linalg.solve(L, half) / half.norm()

    samples = [
        [rng.normal(size=n), matrix(rng, n, n, 10) * log_uniform(rng, -1, 1, n)] for _ in range(2)
    ]
    return Case(problem, [c, L], [x], samples, solution)


@family
def geometric_median(rng: np.random.Generator) -> Case:
    """Min sum_i |x - a_i|: sum_i (x - a_i) / |x - a_i| = 0, points offset by up to 1e3."""
    m, n = 6, 2
    x, a = cp.Variable(n), cp.Parameter((m, n))
    problem = cp.Problem(cp.Minimize(sum(cp.norm(x - a[i]) for i in range(m))))

    def residual(x: Tensor, a: Tensor) -> Tensor:
        return ((x - a) / (x - a).norm(dim=1, keepdim=True)).sum(0)

    def solution(a: Tensor) -> Tensor:
        center = a.detach().mean(0)
        x = torch.zeros_like(center)
        for _ in range(60):  # Weiszfeld's
            weights = 1 / (x - a.detach() + center).norm(dim=1)
            x = (weights @ (a.detach() - center)) / weights.sum()
        return center + root(residual, x, a - center)

    def away(a: np.ndarray) -> bool:
        try:
            x = solution(torch.tensor(a)).numpy()
        except RuntimeError:  # the median is one of the points
            return False
        return bool(np.linalg.norm(a - x, axis=1).min() > 0.1)

    points = until(lambda: rng.normal(size=(m, n)), away)
    return Case(
        problem, [a], [x], [[points + log_uniform(rng, -1, 3) * direction(rng, n)]], solution
    )


@family
def square_root_rule(rng: np.random.Generator) -> Case:
    """Min sum a_i / x_i, sum x = B: x_i = B sqrt(a_i) / sum_j sqrt(a_j)."""
    n = 4
    x, a, B = cp.Variable(n), cp.Parameter(n, nonneg=True), cp.Parameter(nonneg=True)
    cost = cp.sum(cp.multiply(a, cp.inv_pos(x)))
    problem = cp.Problem(cp.Minimize(cost), [cp.sum(x) == B])

    def solution(a: Tensor, B: Tensor) -> Tensor:
        return B * torch.sqrt(a) / torch.sqrt(a).sum()

    samples = [[log_uniform(rng, -2, 2, n), log_uniform(rng, -1, 1)] for _ in range(2)]
    return Case(problem, [a, B], [x], samples, solution)
