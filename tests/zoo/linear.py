"""Rows with linear constraints: linear and quadratic programs."""

import cvxpy as cp
import numpy as np

from tests.zoo.row import Built, definite, normal, row, uniform


@row(normal(6, 3), normal(6), smooth=True)
def least_squares() -> Built:
    A, b, x = cp.Parameter((6, 3)), cp.Parameter(6), cp.Variable(3)
    return cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b))), [A, b], [x]


@row(definite(4), normal(4), smooth=True)
def quadratic_unconstrained() -> Built:
    P, q, x = cp.Parameter((4, 4), PSD=True), cp.Parameter(4), cp.Variable(4)
    return cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x)), [P, q], [x]


@row(definite(4), normal(4, scale=2.0), normal(2, 4), normal(2, scale=0.3), smooth=True)
def quadratic_constrained() -> Built:
    P, q, x = cp.Parameter((4, 4), PSD=True), cp.Parameter(4), cp.Variable(4)
    A, b = cp.Parameter((2, 4)), cp.Parameter(2)
    rows, box = A @ x == b, x <= 0.4
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) + q @ x), [rows, box])
    return problem, [P, q, A, b], [x, rows.dual_variables[0], box.dual_variables[0]]


@row(normal(5), smooth=True)
def simplex_projection() -> Built:
    c, x = cp.Parameter(5), cp.Variable(5)
    total, sign = cp.sum(x) == 1, x >= 0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [total, sign])
    return problem, [c], [x, total.dual_variables[0], sign.dual_variables[0]]


@row(normal(5, scale=0.1), normal(5, 5, scale=0.3), uniform(low=1.0, high=3.0), smooth=True)
def portfolio() -> Built:
    mu, S, x = cp.Parameter(5), cp.Parameter((5, 5)), cp.Variable(5)
    gamma = cp.Parameter(nonneg=True)
    scaled = cp.Variable(5)
    budget = [cp.sum(x) == 1, x >= 0, scaled == S @ x]
    objective = cp.Maximize(mu @ x - gamma * cp.sum_squares(scaled))
    return cp.Problem(objective, budget), [mu, S, gamma], [x]


@row(normal(4, scale=0.2), normal(4, 4, scale=0.5), uniform(4, low=0.0, high=0.4), smooth=True)
def turnover() -> Built:
    mu, S, old = cp.Parameter(4), cp.Parameter((4, 4)), cp.Parameter(4)
    x = cp.Variable(4)
    cost = cp.sum_squares(S @ x) + 0.01 * cp.norm1(x - old) - mu @ x
    return cp.Problem(cp.Minimize(cost), [cp.sum(x) == 1, x >= -1]), [mu, S, old], [x]


@row(normal(8, 4), normal(8), uniform(low=0.5, high=1.0), smooth=True)
def lasso() -> Built:
    A, b, weight = cp.Parameter((8, 4)), cp.Parameter(8), cp.Parameter(nonneg=True)
    x = cp.Variable(4)
    cost = cp.sum_squares(A @ x - b) / 2 + weight * cp.norm1(x)
    return cp.Problem(cp.Minimize(cost)), [A, b, weight], [x]


@row(normal(12, 3), normal(12, scale=2.0), smooth=True)
def huber_regression() -> Built:
    A, b, x = cp.Parameter((12, 3)), cp.Parameter(12), cp.Variable(3)
    return cp.Problem(cp.Minimize(cp.sum(cp.huber(A @ x - b, 0.5)))), [A, b], [x]


@row(normal(9, 2), smooth=True)
def support_vector_machine() -> Built:
    A, w, shift = cp.Parameter((9, 2)), cp.Variable(2), cp.Variable()
    labels = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
    hinge = cp.pos(1 - cp.multiply(labels, A @ w + shift))
    cost = cp.sum_squares(w) + 0.1 * cp.square(shift) + 0.3 * cp.sum(hinge)
    return cp.Problem(cp.Minimize(cost)), [A], [w, shift]


@row(normal(2, 2, scale=0.6), normal(2, 1), normal(2), smooth=True)
def control() -> Built:
    A, B, start = cp.Parameter((2, 2)), cp.Parameter((2, 1)), cp.Parameter(2)
    x, u = cp.Variable((2, 4)), cp.Variable((1, 3))
    steps = [x[:, 0] == start] + [x[:, k + 1] == A @ x[:, k] + B @ u[:, k] for k in range(3)]
    cost = cp.sum_squares(x) + 0.5 * cp.sum_squares(u)
    return cp.Problem(cp.Minimize(cost), [*steps, u <= 0.3, u >= -0.3]), [A, B, start], [u, x]


@row(uniform(), normal(), smooth=True)
def scalars() -> Built:
    a, b, x = cp.Parameter(), cp.Parameter(), cp.Variable()
    return cp.Problem(cp.Minimize(cp.square(x - a) + b * x), [x >= -5]), [a, b], [x]


@row(normal(5, 3), normal(5, 2), smooth=True)
def matrix_least_squares() -> Built:
    A, B, X = cp.Parameter((5, 3)), cp.Parameter((5, 2)), cp.Variable((3, 2))
    return cp.Problem(cp.Minimize(cp.sum_squares(A @ X - B)), [X <= 0.2]), [A, B], [X]


@row(normal(2, 3, 2), backend="SCIPY", smooth=True)
def many_axes() -> Built:
    C, X = cp.Parameter((2, 3, 2)), cp.Variable((2, 3, 2))
    total = cp.sum(X, axis=1) == 1.0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [total, X >= 0])
    return problem, [C], [X, total.dual_variables[0]]


@row(normal(3, 3), normal(3), normal(), smooth=True)
def constant_objective() -> Built:
    A, b, c, x = cp.Parameter((3, 3)), cp.Parameter(3), cp.Parameter(), cp.Variable(3)
    return cp.Problem(cp.Minimize(2 * c + 3), [A @ x == b]), [A, b, c], [x]


@row(normal(3), frozen=True, smooth=True)
def frozen_parameters() -> Built:
    a, c, x = cp.Parameter(3, value=np.array([1.0, 2.0, 3.0])), cp.Parameter(3), cp.Variable(3)
    size = cp.Parameter(nonneg=True, value=1.5)
    cost = cp.sum_squares(cp.multiply(a, x) - c)
    return cp.Problem(cp.Minimize(cost), [cp.sum(x) <= a[0] * size * 0.2]), [c], [x]


@row()
def no_parameters() -> Built:
    x = cp.Variable(2)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - 1)), [x[0] + x[1] == 1]), [], [x]


@row(normal(6), smooth=True, vertex=True)
def simplex_vertex() -> Built:
    c, x = cp.Parameter(6), cp.Variable(6)
    return cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0]), [c], [x]


@row(normal(4), smooth=True, vertex=True)
def box_vertex() -> Built:
    c, x = cp.Parameter(4), cp.Variable(4)
    low, high = x >= -1, x <= 2
    problem = cp.Problem(cp.Maximize(c @ x), [low, high])
    return problem, [c], [x, low.dual_variables[0], high.dual_variables[0]]


@row(normal(6, scale=0.5, shift=1.0), uniform(2, 6), uniform(2, low=2.0, high=3.0),
     smooth=True, vertex=True)  # fmt: skip
def linear_program() -> Built:
    c, A, b = cp.Parameter(6), cp.Parameter((2, 6)), cp.Parameter(2)
    x = cp.Variable(6, nonneg=True)
    rows = A @ x >= b
    return cp.Problem(cp.Minimize(c @ x), [rows, x <= 2]), [c, A, b], [x, rows.dual_variables[0]]


@row(normal(7, 2), normal(7), smooth=True, vertex=True)
def least_absolute_deviations() -> Built:
    A, b, x = cp.Parameter((7, 2)), cp.Parameter(7), cp.Variable(2)
    return cp.Problem(cp.Minimize(cp.norm1(A @ x - b))), [A, b], [x]


@row(normal(7, 2), normal(7), smooth=True, vertex=True)
def chebyshev_regression() -> Built:
    A, b, x = cp.Parameter((7, 2)), cp.Parameter(7), cp.Variable(2)
    return cp.Problem(cp.Minimize(cp.norm_inf(A @ x - b))), [A, b], [x]


@row(normal(3), degenerate=True)
def redundant_rows() -> Built:
    c, x = cp.Parameter(3), cp.Variable(3)
    same = [cp.sum(x) == 1, 2 * cp.sum(x) == 2, x[0] - x[1] == 0.5, x[0] <= 3, x[0] <= 3]
    return cp.Problem(cp.Minimize(cp.sum_squares(x - c)), same), [c], [x]


@row(uniform(5, low=1.0, high=3.0), uniform(5, low=1.0, high=2.0))
def knapsack() -> Built:
    gain, weight, x = cp.Parameter(5), cp.Parameter(5), cp.Variable(5, boolean=True)
    return cp.Problem(cp.Maximize(gain @ x), [weight @ x <= 4.0]), [gain, weight], [x]


@row(normal(3, scale=3.0))
def integer_least_distance() -> Built:
    c, x, y = cp.Parameter(3), cp.Variable(2, integer=True), cp.Variable()
    cost = cp.norm1(cp.hstack([x, y]) - c)
    return cp.Problem(cp.Minimize(cost), [cp.sum(x) + y <= 2]), [c], [x, y]
