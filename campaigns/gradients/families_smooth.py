"""Exponential cones without an active constraint: losses and barriers, all of them roots."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, family, log_uniform, matrix
from campaigns.gradients.formulas import root

Tensor = torch.Tensor
Arrays = list[np.ndarray]


@family
def logistic_prox(rng: np.random.Generator) -> Case:
    """Min sum w_i log(1 + exp x_i) + 1/2 |x - p|^2: w_i sigmoid(x_i) + x_i - p_i = 0, |p| to 20."""
    n = 4
    x, p, w = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
    cost = cp.sum(cp.multiply(w, cp.logistic(x))) + cp.sum_squares(x - p) / 2
    samples = [
        [log_uniform(rng, -1, 1.3) * rng.uniform(-1, 1, n), log_uniform(rng, -3, 3, n)]
        for _ in range(2)
    ]

    def residual(x: Tensor, p: Tensor, w: Tensor) -> Tensor:
        return (w * torch.sigmoid(x) + x - p) / (1 + w)

    def solution(p: Tensor, w: Tensor) -> Tensor:
        low, high = (p - w).detach(), p.detach()
        for _ in range(30):
            middle = (low + high) / 2
            above = residual(middle, p.detach(), w.detach()) > 0
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return root(residual, middle, p, w)

    return Case(cp.Problem(cp.Minimize(cost)), [p, w], [x], samples, solution)


@family
def logistic_regression(rng: np.random.Generator) -> Case:
    """Min sum log(1 + exp(-z_i'w)) + l/2 |w|^2: l w = sum z_i sigmoid(-z_i'w), l of 1e-3 to 1e3."""
    m, n = 8, 2
    w, Z, weight = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(nonneg=True)
    cost = cp.sum(cp.logistic(-Z @ w)) + weight / 2 * cp.sum_squares(w)
    samples = [
        [matrix(rng, m, n) * log_uniform(rng, -0.5, 0.5), log_uniform(rng, -3, 3)] for _ in range(2)
    ]

    def residual(w: Tensor, Z: Tensor, weight: Tensor) -> Tensor:
        return weight * w - Z.T @ torch.sigmoid(-Z @ w)

    def solution(Z: Tensor, weight: Tensor) -> Tensor:
        return root(residual, torch.zeros_like(Z[0]), Z, weight)

    return Case(cp.Problem(cp.Minimize(cost)), [Z, weight], [w], samples, solution)


@family
def smooth_maximum(rng: np.random.Generator) -> Case:
    """Min log sum exp(Ax + b) + l/2 |x|^2: A' softmax(Ax + b) + l x = 0, b offset by up to 1e3."""
    m, n = 4, 2
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    weight = cp.Parameter(nonneg=True)
    cost = cp.log_sum_exp(A @ x + b) + weight / 2 * cp.sum_squares(x)
    samples = [
        [
            matrix(rng, m, n) * log_uniform(rng, -0.5, 0.5),
            rng.choice([1, 3]) * rng.normal(size=m) + log_uniform(rng, -1, 3),
            log_uniform(rng, -1, 2),
        ]
        for _ in range(2)
    ]

    def residual(x: Tensor, A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return A.T @ torch.softmax(A @ x + b, 0) + weight * x

    def solution(A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return root(residual, torch.zeros_like(A[0]), A, b, weight)

    return Case(cp.Problem(cp.Minimize(cost)), [A, b, weight], [x], samples, solution)


@family
def poisson_regression(rng: np.random.Generator) -> Case:
    """Min sum exp(z_i'w) - y_i z_i'w + l/2 |w|^2: Z'(exp(Zw) - y) + l w = 0, rates to 1e3."""
    m, n = 6, 2
    w, s = cp.Variable(n), cp.Variable(m)
    Z, y, weight = cp.Parameter((m, n)), cp.Parameter(m), cp.Parameter(nonneg=True)
    cost = cp.sum(cp.exp(s)) - y @ s + weight / 2 * cp.sum_squares(w)
    problem = cp.Problem(cp.Minimize(cost), [s == Z @ w])

    def sample() -> Arrays:
        Z = np.column_stack([np.ones(m), rng.normal(size=m)])
        means = np.exp(Z @ [rng.uniform(-1, 4), 0.6 * rng.normal()])
        return [Z, means * rng.uniform(0.7, 1.4, m), log_uniform(rng, -3, 3)]

    def residual(w: Tensor, Z: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return Z.T @ (torch.exp(Z @ w) - y) + weight * w

    def solution(Z: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        start = torch.stack([torch.log(y.detach().mean()), torch.zeros_like(weight)])
        return root(residual, start, Z, y, weight)

    return Case(problem, [Z, y, weight], [w], [sample() for _ in range(2)], solution)


@family
def analytic_center(rng: np.random.Generator) -> Case:
    """Max sum log(b - Ax): A'(1 / (b - Ax)) = 0, bounds of different sizes and one far one."""
    m, n = 7, 2
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    problem = cp.Problem(cp.Maximize(cp.sum(cp.log(b - A @ x))))

    def sample() -> Arrays:
        pair = matrix(rng, n, n)
        rows = np.concatenate([pair, -pair, rng.normal(size=(m - 2 * n, n))])
        return [rows, np.append(log_uniform(rng, -1, 1, m - 1), log_uniform(rng, 0, 3))]

    def residual(x: Tensor, A: Tensor, b: Tensor) -> Tensor:
        slack = b - A @ x
        return torch.where((slack > 0).all(), A.T @ (1 / slack), torch.inf)

    def solution(A: Tensor, b: Tensor) -> Tensor:
        return root(residual, torch.zeros_like(A[0]), A, b)

    return Case(problem, [A, b], [x], [sample() for _ in range(2)], solution)
