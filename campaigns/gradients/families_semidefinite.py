"""Semidefinite cones; distinct eigenvalues, so that torch differentiates the decompositions."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, family, log_uniform, until
from campaigns.gradients.families_quadratic import simplex_point
from campaigns.gradients.formulas import root, symmetric

Tensor = torch.Tensor
Arrays = list[np.ndarray]


def with_eigenvalues(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """A symmetric matrix with these eigenvalues along random axes."""
    Q = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    S = (Q * values) @ Q.T
    return (S + S.T) / 2


def apart(rng: np.random.Generator, n: int) -> np.ndarray:
    """N numbers of size 1, of both signs, no two within 0.2 and none within 0.1 of zero."""

    def good(v: np.ndarray) -> bool:
        gaps = np.min(np.diff(np.sort(v)))
        return bool(gaps > 0.2 and np.min(np.abs(v)) > 0.1 and v.min() < 0 < v.max())

    return until(lambda: 1.5 * rng.normal(size=n), good)


@family
def semidefinite_projection(rng: np.random.Generator) -> Case:
    """Min |X - C|^2, X psd: C's eigenvectors with max(eigenvalue, 0), sizes of 1e-3 to 1e3."""
    n = 3
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)))

    def solution(C: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetric(C))
        return (vectors * torch.clamp(values, min=0)) @ vectors.T

    samples = [[log_uniform(rng, -3, 3) * with_eigenvalues(rng, apart(rng, n))] for _ in range(2)]
    return Case(problem, [C], [X], samples, solution)


@family
def spectraplex(rng: np.random.Generator) -> Case:
    """Min |X - C|^2, X psd, trace X = 1: C's eigenvalues projected on the simplex."""
    n = 3
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [cp.trace(X) == 1])

    def solution(C: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetric(C))
        return (vectors * simplex_point(values, 1.0)) @ vectors.T

    def away(values: np.ndarray) -> bool:
        x = simplex_point(torch.tensor(values), 1.0).numpy()
        level = (values - x)[x > 0][0]
        return bool(np.min(np.abs(values - level)) > 0.1)

    samples = [
        [
            with_eigenvalues(rng, until(lambda: rng.choice([0.4, 2]) * apart(rng, n), away))
            + log_uniform(rng, -1, 3) * np.eye(n)
        ]
        for _ in range(2)
    ]
    return Case(problem, [C], [X], samples, solution)


@family
def leading_eigenvector(rng: np.random.Generator) -> Case:
    """Max <C, X>, X psd, trace X = 1: X = vv', v the leading eigenvector of C."""
    n = 3
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    problem = cp.Problem(cp.Maximize(cp.trace(C @ X)), [cp.trace(X) == 1])

    def solution(C: Tensor) -> Tensor:
        v = torch.linalg.eigh(symmetric(C)).eigenvectors[:, -1]
        return torch.outer(v, v)

    samples = [[log_uniform(rng, -2, 2) * with_eigenvalues(rng, apart(rng, n))] for _ in range(2)]
    return Case(problem, [C], [X], samples, solution)


@family
def leading_eigenvalue(rng: np.random.Generator) -> Case:
    """Min t, t I - C psd: the largest eigenvalue, and vv' as the dual of the constraint."""
    n = 3
    t, C = cp.Variable(), cp.Parameter((n, n), symmetric=True)
    bound = t * np.eye(n) >> C
    problem = cp.Problem(cp.Minimize(t), [bound])

    def solution(C: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(symmetric(C))
        v = vectors[:, -1]
        return values[-1], torch.outer(v, v)

    samples = [[log_uniform(rng, -2, 2) * with_eigenvalues(rng, apart(rng, n))] for _ in range(2)]
    return Case(problem, [C], [t, bound.dual_variables[0]], samples, solution)


@family
def nearest_correlation(rng: np.random.Generator) -> Case:
    """Min |X - C|^2, X psd, diag X = 1: X = max(C + diag y, 0) with diag X = 1 for the shift y."""
    n = 3
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [cp.diag(X) == 1])

    def shifted(y: Tensor, C: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetric(C) + torch.diag(y))
        return (vectors * torch.clamp(values, min=0)) @ vectors.T

    def solution(C: Tensor) -> Tensor:
        start = 1 - C.detach().diag()
        return shifted(root(lambda y, C: shifted(y, C).diag() - 1, start, C), C)

    def away(C: np.ndarray) -> bool:
        """A clear negative eigenvalue of the shifted matrix."""
        try:
            X = solution(torch.tensor(C)).numpy()
        except RuntimeError:
            return False
        rest = np.linalg.eigvalsh(C - X - np.diag(np.diag(C - X)))
        return bool(np.sort(np.linalg.eigvalsh(X))[1] > 0.1) and bool(np.ptp(rest) > 0.3)

    def draw() -> np.ndarray:
        C = rng.choice([1, 3]) * rng.normal(size=(n, n))
        np.fill_diagonal(C, 1)
        return (C + C.T) / 2

    return Case(problem, [C], [X], [[until(draw, away)] for _ in range(2)], solution)


@family
def singular_value_threshold(rng: np.random.Generator) -> Case:
    """Min 1/2 |X - M|^2 + l sum of X's singular values: M's, reduced by l or 0."""
    m, n = 2, 3
    X, M, weight = cp.Variable((m, n)), cp.Parameter((m, n)), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - M) / 2 + weight * cp.normNuc(X)))

    def solution(M: Tensor, weight: Tensor) -> Tensor:
        U, values, V = torch.linalg.svd(M, full_matrices=False)
        return (U * torch.clamp(values - weight, min=0)) @ V

    def sample() -> Arrays:
        level = log_uniform(rng, -2, 2)
        U = np.linalg.qr(rng.normal(size=(m, m)))[0]
        V = np.linalg.qr(rng.normal(size=(n, n)))[0][:m]
        values = level * np.array([rng.uniform(2, 5), rng.choice([0.5, 1.4])])
        return [(U * values) @ V, level]

    return Case(problem, [M, weight], [X], [sample() for _ in range(2)], solution)
