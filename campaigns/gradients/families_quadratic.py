"""Quadratic programs whose solutions are one linear system, or known piece by piece."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, definite, family, kink, log_uniform, matrix, until
from campaigns.gradients.formulas import saddle, symmetric

Tensor = torch.Tensor
Arrays = list[np.ndarray]


@family
def ridge(rng: np.random.Generator) -> Case:
    """Min |Ax - b|^2 + l |x|^2: x = (A'A + l I)^-1 A'b, l of 1e-3 to 1e3, b in any unit."""
    m, n = 5, 3
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    weight = cp.Parameter(nonneg=True)

    def solution(A: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return torch.linalg.solve(A.T @ A + weight * torch.eye(n, dtype=A.dtype), A.T @ b)

    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + weight * cp.sum_squares(x)))
    samples = [
        [matrix(rng, m, n), log_uniform(rng, -6, 6) * rng.normal(size=m), log_uniform(rng, -3, 3)]
        for _ in range(3)
    ]
    return Case(problem, [A, b, weight], [x], samples, solution)


@family
def least_squares(rng: np.random.Generator) -> Case:
    """Min |Ax - b|^2, columns in units of 1e-2 to 1e2: x = (A'A)^-1 A'b, through A = QR."""
    m, n = 6, 3
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)

    def solution(A: Tensor, b: Tensor) -> Tensor:
        Q, R = torch.linalg.qr(A)
        return torch.linalg.solve_triangular(R, (Q.T @ b)[:, None], upper=True)[:, 0]

    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)))
    samples = [
        [matrix(rng, m, n) * log_uniform(rng, -2, 2, n), log_uniform(rng, -2, 2, m)]
        for _ in range(2)
    ]
    return Case(problem, [A, b], [x], samples, solution)


@family
def equality(rng: np.random.Generator) -> Case:
    """Min 1/2 x'Px + q'x, Ax = b, x <= h unused: (x, y) = [P A'; A 0]^-1 (-q, b), both outputs."""
    n, m = 4, 2
    x, q = cp.Variable(n), cp.Parameter(n)
    P = cp.Parameter((n, n), PSD=True)
    A, b, h = cp.Parameter((m, n)), cp.Parameter(m), cp.Parameter(n)
    rows = A @ x == b
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x), [rows, x <= h])

    def sample() -> Arrays:
        scale = log_uniform(rng, -2, 2)
        return [
            scale * definite(rng, n),
            scale * rng.normal(size=n),
            matrix(rng, m, n),
            rng.normal(size=m),
            log_uniform(rng, 2, 6) * np.ones(n),
        ]

    def solution(P: Tensor, q: Tensor, A: Tensor, b: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return saddle(symmetric(P), q, A, b)

    samples = [sample() for _ in range(2)]
    return Case(problem, [P, q, A, b, h], [x, rows.dual_variables[0]], samples, solution)


@family
def rows(rng: np.random.Generator) -> Case:
    """Min 1/2 x'Px + q'x, Gx <= h, the first rows active: (x, y_a) = [P G_a'; G_a 0]^-1 (-q, h_a).

    x and the duals of all rows are the outputs; the other rows are unused by 0.1 to 1e6.
    """
    n, k, m = 4, 2, 7
    x, q = cp.Variable(n), cp.Parameter(n)
    G, h = cp.Parameter((m, n)), cp.Parameter(m)
    S = definite(rng, n)
    limits = G @ x <= h
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, S) / 2 + q @ x), [limits])

    def sample() -> Arrays:
        point, duals = log_uniform(rng, -1, 2) * rng.normal(size=n), rng.uniform(0.2, 3, k)
        normals = np.concatenate([matrix(rng, k, n), rng.normal(size=(m - k, n))])
        slack = np.concatenate([np.zeros(k), log_uniform(rng, -1, 6, m - k)])
        return [-S @ point - normals[:k].T @ duals, normals, normals @ point + slack]

    def solution(q: Tensor, G: Tensor, h: Tensor) -> list[Tensor]:
        x, y = saddle(torch.tensor(S), q, G[:k], h[:k])
        return [x, torch.cat([y, torch.zeros(m - k, dtype=q.dtype)])]

    samples = [sample() for _ in range(2)]
    return Case(problem, [q, G, h], [x, limits.dual_variables[0]], samples, solution)


@family
def box(rng: np.random.Generator) -> Case:
    """Min |u - p|^2, low <= u <= high: u = min(max(p, low), high), bounds to 1e6."""
    n = 5
    u, p, low, high = cp.Variable(n), cp.Parameter(n), cp.Parameter(n), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(u - p)), [u >= low, u <= high])

    def sample() -> Arrays:
        at, half = log_uniform(rng, -1, 4) * rng.normal(size=n), log_uniform(rng, -1, 6, n)
        return [at + half * rng.choice([-1.5, -0.5, 0.3, 1.2, 3], n), at - half, at + half]

    def solution(p: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(p, low), high)

    return Case(problem, [p, low, high], [u], [sample() for _ in range(3)], solution)


@family
def simplex(rng: np.random.Generator) -> Case:
    """Min |x - p|^2, sum x = 1, x >= 0: x = max(p - l, 0), with a common offset of p to 1e4."""
    n = 5
    x, p = cp.Variable(n), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.sum(x) == 1, x >= 0])

    def away(p: np.ndarray) -> bool:
        x = simplex_point(torch.tensor(p), 1.0).numpy()
        level = (p - x)[x > 0][0]
        return bool(np.min(np.abs(p - level)) > 0.05 and np.sum(x > 0) > 1)

    spread = rng.choice([0.3, 1.0, 3.0])
    samples = [
        [until(lambda: spread * rng.normal(size=n), away) + log_uniform(rng, -1, 4)]
        for _ in range(2)
    ]
    return Case(problem, [p], [x], samples, lambda p: simplex_point(p, 1.0))


def simplex_point(p: Tensor, total: Tensor | float) -> Tensor:
    """The projection on sum x = total, x >= 0, from the sorted entries."""
    ordered = torch.sort(p, descending=True).values
    counts = torch.arange(1, len(p) + 1, dtype=p.dtype)
    levels = (torch.cumsum(ordered, 0) - total) / counts
    return torch.clamp(p - levels[int((ordered > levels).sum()) - 1], min=0)


@family
def dispatch(rng: np.random.Generator) -> Case:
    """Min c'g + 1/2 a'g^2 + V s, sum g + s = D, 0 <= g <= cap, s >= 0: power with shedding at V.

    At price l, g_i = min(max((l - c_i) / a_i, 0), cap_i); l balances the demand, or it is V
    and s the rest. The dual of the balance, -l, is an output.
    """
    n = 4
    g, s, D = cp.Variable(n), cp.Variable(), cp.Parameter()
    a, c, cap = (cp.Parameter(n, nonneg=True) for _ in range(3))
    V = cp.Parameter(nonneg=True)
    cost = c @ g + a @ cp.square(g) / 2 + V * s
    balance = cp.sum(g) + s == D
    problem = cp.Problem(cp.Minimize(cost), [balance, g >= 0, g <= cap, s >= 0])

    def solution(D: Tensor, a: Tensor, c: Tensor, cap: Tensor, V: Tensor) -> list[Tensor]:
        if (torch.clamp((V - c) / a, min=0).minimum(cap)).sum() < D:
            g = torch.clamp((V - c) / a, min=0).minimum(cap)
            return [g, D - g.sum(), -V]
        corners = torch.sort(torch.cat([c, c + a * cap])).values.detach()
        loads = torch.stack([torch.clamp((z - c) / a, min=0).minimum(cap).sum() for z in corners])
        k = int((loads < D).sum())
        middle = (corners[k - 1] + corners[k]) / 2
        free = (middle > c) & (middle < c + a * cap)
        full = middle >= c + a * cap
        price = (D - cap[full].sum() + (c / a)[free].sum()) / (1 / a)[free].sum()
        g = torch.where(free, (price - c) / a, torch.where(full, cap, torch.zeros_like(cap)))
        return [g, torch.zeros_like(D), -price]

    def sample() -> list[np.ndarray | float]:
        limits, short = log_uniform(rng, 0, 2, n), rng.random() < 0.4
        demand = limits.sum() * rng.uniform(*((1.05, 1.5) if short else (0.3, 0.9)))
        slopes, bases = 10 / limits * log_uniform(rng, -1, 0, n), rng.uniform(1, 20, n)
        return [demand, slopes, bases, limits, log_uniform(rng, 2, 6)]

    def away(sample: list[np.ndarray | float]) -> bool:
        _, a, c, cap, _ = (np.asarray(v) for v in sample)
        price = -float(solution(*(torch.tensor(v, dtype=torch.float64) for v in sample))[2])
        return bool(np.min(np.abs(np.concatenate([c, c + a * cap]) - price)) > 0.05)

    samples = [until(sample, away) for _ in range(2)]
    outputs = [g, s, balance.dual_variables[0]]
    return Case(problem, [D, a, c, cap, V], outputs, samples, solution)


@family
def minimum_variance(rng: np.random.Generator) -> Case:
    """Min w'Sw, sum w = 1: w = S^-1 1 / 1'S^-1 1, variances of 1e-6 to 1."""
    n = 4
    w, S = cp.Variable(n), cp.Parameter((n, n), PSD=True)
    problem = cp.Problem(cp.Minimize(cp.quad_form(w, S)), [cp.sum(w) == 1])

    def solution(S: Tensor) -> Tensor:
        v = torch.linalg.solve(symmetric(S), torch.ones(n, dtype=S.dtype))
        return v / v.sum()

    samples = [[log_uniform(rng, -6, 0) * definite(rng, n)] for _ in range(2)]
    return Case(problem, [S], [w], samples, solution)


@kink
def box_kink(rng: np.random.Generator) -> Case:
    """Min (u - p)^2, u <= 1, at p = 1 exactly: the mean of u = p and u = 1."""
    u, p, high = cp.Variable(), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(u - p)), [u <= high, u >= -high])
    at = log_uniform(rng, 0, 3)
    return Case(problem, [p, high], [u], [[at, at]], lambda p, high: (p + high) / 2)
