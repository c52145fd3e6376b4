"""Larger quadratic programs in a second, condensed or dual formulation: control, fits, machines."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, family, log_uniform, matrix, until
from campaigns.gradients.formulas import margin, quadratic_program

Tensor = torch.Tensor
Arrays = list[np.ndarray]


def _rolled(A: Tensor, B: Tensor, start: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Free (T, n) and forced (T, n, T): x_t = free_t + forced_t u for x_t+1 = A x_t + B u_t."""
    free, forced = [], []
    x, effect = start, torch.zeros(len(start), horizon, dtype=A.dtype)
    unit = torch.eye(horizon, dtype=A.dtype)
    for t in range(horizon):
        x, effect = A @ x, A @ effect + torch.outer(B, unit[t])
        free.append(x)
        forced.append(effect)
    return torch.stack(free), torch.stack(forced)


def _system(rng: np.random.Generator) -> Arrays:
    """An oscillator or integrator in discrete time."""
    step = rng.uniform(0.1, 0.4)
    A = np.array([[1, step], [-step * rng.uniform(0, 0.5), 1 - 0.1 * step]])
    return [A, np.array([step**2 / 2, step]) * rng.uniform(0.5, 2)]


@family
def control(rng: np.random.Generator) -> Case:
    """Min sum |x_t|^2 + r u_t^2, x_t+1 = A x_t + B u_t, |u| <= c: model predictive control.

    Condensed to u: P = 2 (sum F_t'F_t + r I), q = 2 sum F_t'f_t, the saturated inputs at +-c.
    """
    T, r = int(rng.choice([5, 10, 15])), float(log_uniform(rng, -2, 0))
    x, u = cp.Variable((T + 1, 2)), cp.Variable(T)
    A, B, start = cp.Parameter((2, 2)), cp.Parameter(2), cp.Parameter(2)
    c = cp.Parameter(nonneg=True)
    moves = [x[t + 1] == A @ x[t] + B * u[t] for t in range(T)]
    cost = cp.sum_squares(x[1:]) + r * cp.sum_squares(u)
    problem = cp.Problem(cp.Minimize(cost), [x[0] == start, *moves, cp.abs(u) <= c])

    def condensed(A: Tensor, B: Tensor, start: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        free, forced = _rolled(A, B, start, T)
        F, f, eye = forced.reshape(2 * T, T), free.reshape(2 * T), torch.eye(T, dtype=A.dtype)
        return 2 * (F.T @ F + r * eye), 2 * F.T @ f, torch.cat([eye, -eye]), c.expand(2 * T)

    def solution(A: Tensor, B: Tensor, start: Tensor, c: Tensor) -> Tensor:
        return quadratic_program(*condensed(A, B, start, c))[0]

    def sample() -> Arrays:
        scale = log_uniform(rng, -1, 3)
        return [*_system(rng), scale * rng.normal(size=2), scale * rng.uniform(0.2, 1)]

    def away(sample: Arrays) -> bool:
        unit = [*sample[:2], sample[2] / sample[3], 1.0]
        data = condensed(*(torch.tensor(v, dtype=torch.float64) for v in unit))
        return margin(*data) > 2e-3 and bool((quadratic_program(*data)[1] > 0).any())

    samples = [until(sample, away) for _ in range(2)]
    return Case(problem, [A, B, start, c], [u], samples, solution)


@family
def soft_control(rng: np.random.Generator) -> Case:
    """The same with a softened bound on the position, x_t0 - e_t <= top at p |e|^2, p to 1e6.

    A program in the inputs and the excesses, those in units of 1 / sqrt(2p): P = diag(.., I),
    rows |u| <= 1 and x_t0 - e_t / sqrt(2p) <= top. Both are outputs.
    """
    T, r = 6, 0.1
    x, u, e = cp.Variable((T + 1, 2)), cp.Variable(T), cp.Variable(T)
    start, top, p = cp.Parameter(2), cp.Parameter(), cp.Parameter(nonneg=True)
    A, B = _system(rng)
    moves = [x[t + 1] == A @ x[t] + B * u[t] for t in range(T)]
    cost = cp.sum_squares(x[1:]) + r * cp.sum_squares(u)
    cost += p * cp.sum_squares(e)
    rows = [x[0] == start, *moves, cp.abs(u) <= 1, x[1:, 0] - e <= top]
    problem = cp.Problem(cp.Minimize(cost), rows)

    def condensed(start: Tensor, top: Tensor, p: Tensor) -> tuple[Tensor, ...]:
        free, forced = _rolled(torch.tensor(A), torch.tensor(B), start, T)
        F, f, eye = forced.reshape(2 * T, T), free.reshape(2 * T), torch.eye(T, dtype=p.dtype)
        zero = torch.zeros_like(eye)
        P = torch.block_diag(2 * (F.T @ F + r * eye), eye)
        G = torch.cat(
            [torch.cat([torch.cat([eye, -eye]), torch.cat([zero, zero])], 1),
             torch.cat([forced[:, 0], -eye / torch.sqrt(2 * p)], 1)]
        )  # fmt: skip
        h = torch.cat([torch.ones(2 * T, dtype=p.dtype), top - free[:, 0]])
        return P, torch.cat([2 * F.T @ f, torch.zeros_like(f[:T])]), G, h

    def solution(start: Tensor, top: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        both = quadratic_program(*condensed(start, top, p))[0]
        return both[:T], both[T:] / torch.sqrt(2 * p)

    def sample() -> list[np.ndarray | float]:
        return [rng.uniform(-3, 3, 2), rng.uniform(-0.5, 1), log_uniform(rng, 2, 6)]

    def away(sample: list[np.ndarray | float]) -> bool:
        data = condensed(*(torch.tensor(v, dtype=torch.float64) for v in sample))
        x, duals, _ = quadratic_program(*data)
        free = int((x[:T].abs() < 0.99).sum())
        soft = int((duals[2 * T :] > 0).sum())
        return margin(*data) > 1e-5 and free >= 2 and soft >= 1

    return Case(problem, [start, top, p], [u, e], [until(sample, away) for _ in range(2)], solution)


@family
def vector_machine(rng: np.random.Generator) -> Case:
    """Min 1/2 |w|^2 + C sum max(0, 1 - z_i'w), z_i the labelled points: w = Z'a from the dual.

    min 1/2 a'ZZ'a - sum a, 0 <= a <= C.
    """
    m, n = 5, 6
    w, e = cp.Variable(n), cp.Variable(m)
    Z, C = cp.Parameter((m, n)), cp.Parameter(nonneg=True)
    cost = cp.sum_squares(w) / 2 + C * cp.sum(e)
    problem = cp.Problem(cp.Minimize(cost), [e >= 1 - Z @ w, e >= 0])

    def dual(Z: Tensor, C: Tensor) -> tuple[Tensor, ...]:
        eye, one = torch.eye(m, dtype=Z.dtype), torch.ones(m, dtype=Z.dtype)
        return Z @ Z.T, -one, torch.cat([eye, -eye]), torch.cat([C * one, 0 * one])

    def solution(Z: Tensor, C: Tensor) -> Tensor:
        return Z.T @ quadratic_program(*dual(Z, C))[0]

    def sample() -> Arrays:
        side = rng.uniform(0, 1) * rng.normal(size=n)
        return [matrix(rng, m, n) + side, log_uniform(rng, -2, 3)]

    def away(sample: Arrays) -> bool:
        return margin(*dual(*(torch.tensor(v, dtype=torch.float64) for v in sample))) > 1e-3

    return Case(problem, [Z, C], [w], [until(sample, away) for _ in range(2)], solution)


@family
def huber(rng: np.random.Generator) -> Case:
    """Min sum huber(Ax - b): r^2 inside |r| <= 1, 2 |r| - 1 outside, outliers to 1e4.

    With the outliers' signs s fixed, x = (A_i'A_i)^-1 (A_i'b_i - A_o's), repeated until they stay.
    """
    m, n = 8, 2
    x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.huber(A @ x - b))))

    def solution(A: Tensor, b: Tensor) -> Tensor:
        inner, s = torch.ones(m, dtype=torch.bool), torch.zeros(m, dtype=A.dtype)
        inner[-2:], s[-2:] = False, torch.sign(-b[-2:]).detach()
        for _ in range(50):
            if int(inner.sum()) <= n:
                break
            Ai = A[inner]
            x = torch.linalg.solve(Ai.T @ Ai, Ai.T @ b[inner] - A[~inner].T @ s[~inner])
            r = (A @ x - b).detach()
            if torch.equal(inner, r.abs() < 1) and torch.equal(s[~inner], torch.sign(r[~inner])):
                return x
            inner, s = r.abs() < 1, torch.sign(r)
        raise RuntimeError("the outliers change")

    def sample() -> Arrays:
        A = matrix(rng, m, n, 5)
        b = A @ rng.normal(size=n) + 0.5 * rng.normal(size=m)
        b[-2:] += log_uniform(rng, 1, 4, 2) * rng.choice([-1, 1], 2)
        return [A, b]

    def away(sample: Arrays) -> bool:
        A, b = (torch.tensor(v) for v in sample)
        try:
            r = A @ solution(A, b) - b
        except RuntimeError:
            return False
        return bool(((r.abs() - 1).abs() > 0.05).all())

    return Case(problem, [A, b], [x], [until(sample, away) for _ in range(2)], solution)
