"""Rows of variables and parameters with attributes."""

import cvxpy as cp
import numpy as np

from tests.zoo.row import Built, definite, masked, normal, row, symmetric, uniform

_MASK = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype=float)


@row(symmetric(3), smooth=True)
def symmetric_variable() -> Built:
    C = cp.Parameter((3, 3), symmetric=True)
    X = cp.Variable((3, 3), symmetric=True)
    rows = [cp.sum(X) == 1, X <= 1.2]
    return cp.Problem(cp.Minimize(cp.sum_squares(X - C)), rows), [C], [X]


@row(symmetric(3), smooth=True)
def semidefinite_variable() -> Built:
    C, X = cp.Parameter((3, 3), symmetric=True), cp.Variable((3, 3), PSD=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(X - C) + X[0, 1])), [C], [X]


@row(definite(3, sign=-1.0), normal(3, 3), smooth=True)
def negative_semidefinite() -> Built:
    N, C = cp.Parameter((3, 3), NSD=True), cp.Parameter((3, 3))
    X = cp.Variable((3, 3), NSD=True)
    cost = cp.sum_squares(X - N) + cp.trace(C @ X)
    return cp.Problem(cp.Minimize(cost), [cp.trace(X) >= -4]), [N, C], [X]


@row(normal(3), definite(3, sign=-1.0), smooth=True)
def concave_quadratic() -> Built:
    c, N, x = cp.Parameter(3), cp.Parameter((3, 3), NSD=True), cp.Variable(3)
    objective = cp.Maximize(cp.quad_form(x, N) + c @ x)
    return cp.Problem(objective, [cp.sum(x) == 1]), [c, N], [x]


@row(masked(uniform(3, 3), np.eye(3)), normal(3), smooth=True)
def diagonal() -> Built:
    D, c = cp.Parameter((3, 3), diag=True), cp.Parameter(3)
    X = cp.Variable((3, 3), diag=True)
    cost = cp.sum_squares(cp.diag(X) - c) + cp.trace(D @ X)
    return cp.Problem(cp.Minimize(cost), [cp.diag(X) >= -0.5]), [D, c], [X]


@row(masked(normal(3, 3), _MASK), normal(3), smooth=True)
def sparse() -> Built:
    where = np.nonzero(_MASK)
    S, c = cp.Parameter((3, 3), sparsity=where), cp.Parameter(3)
    X = cp.Variable((3, 3), sparsity=where)
    cost = cp.sum_squares(X - S) + cp.sum_squares(cp.sum(X, axis=1) - c)
    return cp.Problem(cp.Minimize(cost), [cp.sum(X) <= 1]), [S, c], [X]


@row(uniform(4), uniform(4), smooth=True)
def nonnegative() -> Built:
    a, p = cp.Parameter(4, nonneg=True), cp.Parameter(4, pos=True)
    x, y = cp.Variable(4, nonneg=True), cp.Variable(4, pos=True)
    cost = cp.sum_squares(x - a + 1) + cp.sum_squares(y - x - p) + p @ x
    return cp.Problem(cp.Minimize(cost)), [a, p], [x, y]


@row(uniform(3, low=0.1, high=0.9), normal(3), smooth=True)
def bounded() -> Built:
    u, c = cp.Parameter(3, bounds=[0, 1]), cp.Parameter(3)
    x = cp.Variable(3, bounds=[-1, np.array([0.5, np.inf, 2.0])])
    return cp.Problem(cp.Minimize(cp.sum_squares(x - c) + u @ x)), [u, c], [x]


@row(uniform(3, low=-1.0, high=0.0), uniform(low=0.2, high=0.8), normal(3), smooth=True)
def parametric_bounds() -> Built:
    low, high, c = cp.Parameter(3), cp.Parameter(), cp.Parameter(3)
    x = cp.Variable(3, bounds=[low, high])
    return cp.Problem(cp.Minimize(cp.sum_squares(x - 2 * c))), [low, high, c], [x]


@row(normal(3), uniform(3), smooth=True)
def callback_parameter() -> Built:
    behind, c = cp.Parameter(3), cp.Parameter(3)
    scaled = cp.CallbackParam(lambda: behind.value, 3)
    scaled.behind = behind
    x = cp.Variable(3)
    cost = cp.sum_squares(x - c) + scaled @ x
    return cp.Problem(cp.Minimize(cost), [x >= 0]), [scaled, c], [x]
