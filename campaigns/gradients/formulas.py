"""Solutions that torch differentiates: roots, linear KKT systems, quadratic programs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.optimize
import torch

Tensor = torch.Tensor


def root(residual: Callable[..., Tensor], start: Tensor, *theta: Tensor) -> Tensor:
    """X with residual(x, *theta) = 0, by damped Newton; its last step carries the derivative.

    x = x* - J(x*)^-1 residual(x*, theta) with x* and J held fixed has the derivative of the
    implicit function, -J^-1 d residual / d theta.
    """
    fixed = [t.detach() for t in theta]
    x = start.detach().clone()
    size = residual(x, *fixed).norm()
    for _ in range(300):
        step = torch.linalg.solve(_slope(residual, x, fixed), residual(x, *fixed))
        near = step.norm() <= 1e-7 * (1e-3 + x.norm())
        share, ahead = 1.0, residual(x - step, *fixed).norm()
        while not ahead < size and share > (0.3 if near else 1e-6):
            share /= 2
            ahead = residual(x - share * step, *fixed).norm()
        if not ahead < size:
            break
        x, size = x - share * step, ahead
    if not step.norm() <= 1e-9 * (1e-3 + x.norm()):
        raise RuntimeError(f"no root: residual {float(size):.1e}, step {float(step.norm()):.1e}")
    return x - torch.linalg.solve(_slope(residual, x, fixed), residual(x, *theta))


def _slope(residual: Callable[..., Tensor], x: Tensor, fixed: list[Tensor]) -> Tensor:
    """The residual's Jacobian in x."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        values = residual(leaf, *fixed)
        return torch.stack([torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in values])


def symmetric(S: Tensor) -> Tensor:
    """(S + S')/2, as which a symmetric parameter enters."""
    return (S + S.T) / 2


def saddle(P: Tensor, q: Tensor, C: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """X and y of min 1/2 x'Px + q'x with Cx = d, from [P C'; C 0] (x, y) = (-q, d)."""
    n, m = len(q), len(d)
    K = torch.cat([torch.cat([P, C.T], 1), torch.cat([C, torch.zeros(m, m, dtype=P.dtype)], 1)])
    both = torch.linalg.solve(K, torch.cat([-q, d]))
    return both[:n], both[n:]


def quadratic_program(
    P: Tensor, q: Tensor, G: Tensor, h: Tensor, A: Tensor | None = None, b: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """x, the duals of Gx <= h and those of Ax = b, of min 1/2 x'Px + q'x, P positive definite.

    The active rows come from `active`, the numbers from one linear system on them, whose signs
    are checked.
    """
    A = torch.zeros(0, len(q), dtype=q.dtype) if A is None else A
    b = torch.zeros(0, dtype=q.dtype) if b is None else b
    rows = active(*(t.detach().numpy() for t in (P, q, G, h, A, b)))
    x, y = saddle(P, q, torch.cat([A, G[rows]]), torch.cat([b, h[rows]]))
    duals = torch.zeros(len(h), dtype=q.dtype)
    duals[rows] = y[len(b) :]
    slack = (h - G @ x).detach()
    slack[rows] = 0
    if slack.min() < 0 or duals.min() < 0:
        raise RuntimeError("these are not the active rows")
    return x, duals, y[: len(b)]


def active(
    P: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """The active rows of Gx <= h, by Lawson and Hanson's least distance program.

    With x = x0 + Zw on Ax = b and R'R = Z'PZ, z = R(w - w0) is the shortest vector with
    M z >= e. It is r[:-1] / -r[-1] for r the residual of u >= 0 minimizing |(M', e') u - (0, 1)|.
    """
    Z = scipy.linalg.null_space(A) if len(b) else np.eye(len(q))
    x0 = np.linalg.lstsq(A, b, rcond=None)[0] if len(b) else np.zeros(len(q))
    R = scipy.linalg.cholesky(Z.T @ P @ Z)
    w0 = -scipy.linalg.cho_solve((R, False), Z.T @ (q + P @ x0))
    M = -scipy.linalg.solve_triangular(R, (G @ Z).T, trans="T").T
    e = G @ (x0 + Z @ w0) - h
    size = np.linalg.norm(np.column_stack([M, e]), axis=1)
    E = np.column_stack([M, e]).T / size
    u = scipy.optimize.nnls(E, np.r_[np.zeros(len(w0)), 1.0])[0]
    return np.flatnonzero(u > 1e-13 * max(u.max(initial=0.0), 1e-300))


def margin(P: Tensor, q: Tensor, G: Tensor, h: Tensor) -> float:
    """How far the program is from a kink: the least of its positive slacks and duals, relative."""
    x, duals, _ = quadratic_program(P, q, G, h)
    slack = h - G @ x
    rows = duals > 0
    inner = slack[~rows] / (1 + h[~rows].abs())
    outer = duals[rows] / (1 + q.abs().max())
    return min(_least(inner), _least(outer))


def _least(values: Tensor) -> float:
    return float(values.min()) if len(values) else 1.0
