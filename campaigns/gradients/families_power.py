"""Power cones, and geometric programs."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, family, log_uniform, matrix
from campaigns.gradients.formulas import root

Tensor = torch.Tensor
Arrays = list[np.ndarray]


@family
def cobb_douglas(rng: np.random.Generator) -> Case:
    """Max x^a y^(1-a), p x + r y <= m, a of 0.2 to 0.8: x = a m / p, y = (1 - a) m / r."""
    a = float(rng.uniform(0.2, 0.8))
    x, y, z = cp.Variable(), cp.Variable(), cp.Variable()
    p, r, m = (cp.Parameter(nonneg=True) for _ in range(3))
    constraints = [cp.PowCone3D(x, y, z, a), p * x + r * y <= m]
    problem = cp.Problem(cp.Maximize(z), constraints)

    def solution(p: Tensor, r: Tensor, m: Tensor) -> list[Tensor]:
        x, y = a * m / p, (1 - a) * m / r
        return [x, y, x**a * y ** (1 - a)]

    samples = [list(log_uniform(rng, -2, 2, 3)) for _ in range(3)]
    return Case(problem, [p, r, m], [x, y, z], samples, solution)


@family
def norm_ball(rng: np.random.Generator) -> Case:
    """Max c'x, |x|_3 <= r: x_i = r sign(c_i) |c_i|^1/2 / (sum |c_j|^3/2)^1/3."""
    n = 3
    x, c, r = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Maximize(c @ x), [cp.pnorm(x, 3, approx=False) <= r])

    def solution(c: Tensor, r: Tensor) -> Tensor:
        return r * torch.sign(c) * c.abs().sqrt() / (c.abs() ** 1.5).sum() ** (1 / 3)

    samples = [
        [log_uniform(rng, -1, 1, n) * rng.choice([-1, 1], n), log_uniform(rng, -2, 2)]
        for _ in range(2)
    ]
    return Case(problem, [c, r], [x], samples, solution)


@family
def substitution(rng: np.random.Generator) -> Case:
    """Max sum a_i x_i^0.3, p'x <= m: x_i = m s_i / p's, s_i = (a_i / p_i)^(1 / 0.7)."""
    n, power = 3, 0.3
    x, m = cp.Variable(n), cp.Parameter(nonneg=True)
    a, p = cp.Parameter(n, nonneg=True), cp.Parameter(n, nonneg=True)
    utility = a @ cp.power(x, power, approx=False)
    problem = cp.Problem(cp.Maximize(utility), [p @ x <= m])

    def solution(a: Tensor, p: Tensor, m: Tensor) -> Tensor:
        s = (a / p) ** (1 / (1 - power))
        return m * s / (p @ s)

    samples = [
        [log_uniform(rng, -0.5, 0.5, n), log_uniform(rng, -1, 1, n), log_uniform(rng, -2, 2)]
        for _ in range(2)
    ]
    return Case(problem, [a, p, m], [x], samples, solution)


@family
def power_prox(rng: np.random.Generator) -> Case:
    """Min sum w_i |x_i|^1.5 + 1/2 |x - p|^2: x = sign(p) s^2, s^2 + 1.5 w s - |p| = 0."""
    n = 3
    x, p, w = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
    lengths = cp.power(cp.abs(x), 1.5, approx=False)
    problem = cp.Problem(cp.Minimize(w @ lengths + cp.sum_squares(x - p) / 2))

    def solution(p: Tensor, w: Tensor) -> Tensor:
        b = 0.75 * w
        return torch.sign(p) * (p.abs() / (b + torch.sqrt(b**2 + p.abs()))) ** 2

    samples = [
        [log_uniform(rng, -1, 1, n) * rng.choice([-1, 1], n), log_uniform(rng, -2, 1, n)]
        for _ in range(2)
    ]
    return Case(problem, [p, w], [x], samples, solution)


@family
def geometric_mean(rng: np.random.Generator) -> Case:
    """Max (x_1 - b_1)^.5 (x_2 - b_2)^.5 on p'x <= m by second-order cones: a Stone-Geary demand.

    x_i = b_i + (m - p'b) / (2 p_i).
    """
    n = 2
    x, b, m = cp.Variable(n), cp.Parameter(n), cp.Parameter()
    p = cp.Parameter(n, nonneg=True)
    problem = cp.Problem(cp.Maximize(cp.geo_mean(x - b)), [p @ x <= m])

    def sample() -> list[np.ndarray | float]:
        costs, least = log_uniform(rng, -1, 1, n), rng.uniform(0, 1, n)
        return [costs, least, costs @ least + log_uniform(rng, -1, 2)]

    def solution(p: Tensor, b: Tensor, m: Tensor) -> Tensor:
        return b + (m - p @ b) / (n * p)

    return Case(problem, [p, b, m], [x], [sample() for _ in range(2)], solution)


@family
def order_quantity(rng: np.random.Generator) -> Case:
    """Geometric program min a / x + b x: x = sqrt(a / b)."""
    x, a, b = cp.Variable(pos=True), cp.Parameter(pos=True), cp.Parameter(pos=True)
    problem = cp.Problem(cp.Minimize(a / x + b * x))
    samples = [list(log_uniform(rng, -3, 3, 2)) for _ in range(3)]
    return Case(problem, [a, b], [x], samples, lambda a, b: torch.sqrt(a / b), gp=True)


@family
def monomials(rng: np.random.Generator) -> Case:
    """Geometric program min x y, x y^2 >= a, x^2 y >= b: x^3 = b^2 / a, y^3 = a^2 / b."""
    x, y = cp.Variable(pos=True), cp.Variable(pos=True)
    a, b = cp.Parameter(pos=True), cp.Parameter(pos=True)
    problem = cp.Problem(cp.Minimize(x * y), [x * y**2 >= a, x**2 * y >= b])

    def solution(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return (b**2 / a) ** (1 / 3), (a**2 / b) ** (1 / 3)

    samples = [list(log_uniform(rng, -2, 2, 2)) for _ in range(2)]
    return Case(problem, [a, b], [x, y], samples, solution, gp=True)


@family
def crate(rng: np.random.Generator) -> Case:
    """Geometric program max x y z, a x y + b y z + c x z <= m: a x y = b y z = c x z = m / 3.

    x = sqrt(m b / (3 a c)), and the others likewise.
    """
    x, y, z = (cp.Variable(pos=True) for _ in range(3))
    a, b, c, m = (cp.Parameter(pos=True) for _ in range(4))
    limit = a * x * y + b * y * z + c * x * z <= m
    problem = cp.Problem(cp.Maximize(x * y * z), [limit])

    def solution(a: Tensor, b: Tensor, c: Tensor, m: Tensor) -> list[Tensor]:
        third = m / 3
        return [
            torch.sqrt(third * b / (a * c)),
            torch.sqrt(third * c / (a * b)),
            torch.sqrt(third * a / (b * c)),
        ]

    samples = [list(log_uniform(rng, -1.5, 1.5, 4)) for _ in range(2)]
    return Case(problem, [a, b, c, m], [x, y, z], samples, solution, gp=True)


@family
def quartic(rng: np.random.Generator) -> Case:
    """Min sum (Ax - b)^4 + l/2 |x|^2: 4 A'(Ax - b)^3 + l x = 0, second-order cones."""
    m, n = 4, 2
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    weight = cp.Parameter(nonneg=True)
    cost = cp.sum(cp.power(A @ x - b, 4)) + weight / 2 * cp.sum_squares(x)
    samples = [
        [matrix(rng, m, n), log_uniform(rng, -1, 0.5) * rng.normal(size=m), log_uniform(rng, -2, 2)]
        for _ in range(2)
    ]

    def residual(x: Tensor, A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return 4 * A.T @ (A @ x - b) ** 3 + weight * x

    def solution(A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        start = torch.linalg.lstsq(A.detach(), b.detach()[:, None]).solution[:, 0]
        return root(residual, start, A, b, weight)

    return Case(cp.Problem(cp.Minimize(cost)), [A, b, weight], [x], samples, solution)
