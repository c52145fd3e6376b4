"""Rows of the second-order, semidefinite, exponential and power cones."""

import cvxpy as cp
import numpy as np

from tests.zoo.row import Built, definite, normal, row, symmetric, uniform


@row(normal(7, 3), normal(7), uniform(), smooth=True)
def square_root_lasso() -> Built:
    A, b, weight = cp.Parameter((7, 3)), cp.Parameter(7), cp.Parameter(nonneg=True)
    x = cp.Variable(3)
    cost = cp.norm2(A @ x - b) + weight * cp.norm2(x - 1)
    return cp.Problem(cp.Minimize(cost)), [A, b, weight], [x]


@row(normal(5, 3), smooth=True)
def geometric_median() -> Built:
    points, x = cp.Parameter((5, 3)), cp.Variable(3)
    distances = [cp.norm2(points[i] - x) for i in range(5)]
    return cp.Problem(cp.Minimize(sum(distances))), [points], [x]


@row(normal(3), normal(4, 3), normal(4, scale=0.2), smooth=True)
def second_order_cone() -> Built:
    c, A, b, x = cp.Parameter(3), cp.Parameter((4, 3)), cp.Parameter(4), cp.Variable(3)
    cone = cp.SOC(cp.Constant(2.0), A @ x + b)
    return cp.Problem(cp.Minimize(c @ x), [cone]), [c, A, b], [x, *cone.dual_variables]


@row(normal(3, 4), uniform(3, low=1.0, high=2.0), smooth=True)
def second_order_columns() -> Built:
    C, radius, X = cp.Parameter((3, 4)), cp.Parameter(3), cp.Variable((3, 4))
    cones = cp.SOC(radius, X, axis=1)
    cost = cp.sum_squares(X - 3 * C) + cp.sum(X)
    return cp.Problem(cp.Minimize(cost), [cones]), [C, radius], [X, *cones.dual_variables]


@row(normal(3), definite(3), normal(3), smooth=True)
def quadratic_constraint() -> Built:
    c, x = cp.Parameter(3), cp.Variable(3)
    root, shift = cp.Parameter((3, 3)), cp.Parameter(3)
    ball = cp.sum_squares(root @ x) + shift @ x <= 2
    return cp.Problem(cp.Minimize(c @ x), [ball]), [c, root, shift], [x, ball.dual_variables[0]]


@row(uniform(2, 6), uniform(2, low=0.3, high=0.6), smooth=True)
def entropy() -> Built:
    A, b, x = cp.Parameter((2, 6)), cp.Parameter(2), cp.Variable(6)
    rows = [A[0] @ x == b[0], A[1] @ x <= 2 * b[1]]
    return cp.Problem(cp.Maximize(cp.sum(cp.entr(x))), rows), [A, b], [x, rows[0].dual_variables[0]]


@row(normal(10, 3), uniform(), smooth=True)
def logistic_regression() -> Built:
    A, weight, x = cp.Parameter((10, 3)), cp.Parameter(nonneg=True), cp.Variable(3)
    labels = np.array([1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    loss = cp.sum(cp.logistic(cp.multiply(labels, A @ x)))
    return cp.Problem(cp.Minimize(loss + weight * cp.sum_squares(x))), [A, weight], [x]


@row(normal(4, 3), normal(4), smooth=True)
def soft_maximum() -> Built:
    A, b, x = cp.Parameter((4, 3)), cp.Parameter(4), cp.Variable(3)
    cost = cp.log_sum_exp(A @ x + b) + cp.sum_squares(x) / 4
    return cp.Problem(cp.Minimize(cost)), [A, b], [x]


@row(normal(3, scale=0.3), uniform(3), smooth=True)
def exponential_cone() -> Built:
    a, b = cp.Parameter(3), cp.Parameter(3, nonneg=True)
    x, y, z = cp.Variable(3), cp.Variable(3), cp.Variable(3)
    cone = cp.ExpCone(x + a, y, z)
    cost = cp.sum(z) + cp.sum_squares(x - b) + cp.sum_squares(y - 1)
    return cp.Problem(cp.Minimize(cost), [cone]), [a, b], [x, y, z, *cone.dual_variables]


@row(uniform(4), uniform(4), smooth=True)
def relative_entropy() -> Built:
    p, a, x = cp.Parameter(4, pos=True), cp.Parameter(4), cp.Variable(4)
    total = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(cp.sum(cp.rel_entr(x, p)) + a @ x), [total, x <= 0.6])
    return problem, [p, a], [x, total.dual_variables[0]]


@row(definite(3), normal(2), smooth=True)
def semidefinite_program() -> Built:
    C, b = cp.Parameter((3, 3), symmetric=True), cp.Parameter(2)
    X = cp.Variable((3, 3), symmetric=True)
    first = np.array([[1.0, 0.3, 0], [0.3, 2, 0], [0, 0, 1]])
    second = np.array([[0, 1.0, 0], [1, 0, -0.5], [0, -0.5, 0.5]])
    cone = X >> 0
    rows = [cp.trace(first @ X) == 2 + 0.2 * b[0], cp.trace(second @ X) == 0.3 * b[1]]
    problem = cp.Problem(cp.Minimize(cp.trace(C @ X)), [*rows, cone])
    return problem, [C, b], [X, rows[0].dual_variables[0], cone.dual_variables[0]]


@row(definite(3), uniform(low=0.1, high=0.2), smooth=True, symmetric_quadratic=True)
def covariance_selection() -> Built:
    S, weight = cp.Parameter((3, 3), PSD=True), cp.Parameter(nonneg=True)
    X = cp.Variable((3, 3), symmetric=True)
    cost = cp.trace(S @ X) - cp.log_det(X) + weight * cp.sum_squares(X)
    return cp.Problem(cp.Minimize(cost)), [S, weight], [X]


@row(symmetric(3), smooth=True)
def matrix_inequality() -> Built:
    C, x = cp.Parameter((3, 3), symmetric=True), cp.Variable(3)
    cone = cp.diag(x) - C >> 0
    problem = cp.Problem(cp.Minimize(cp.sum(x) + cp.sum_squares(x) / 5), [cone])
    return problem, [C], [x, cone.dual_variables[0]]


@row(uniform(3), uniform(3), smooth=True)
def power_cone() -> Built:
    c, a, x = cp.Parameter(3), cp.Parameter(3), cp.Variable(3)
    cone = cp.PowCone3D(x[0], x[1], x[2], 0.3)
    cost = cp.sum_squares(x - a) + c[:2] @ x[:2] - 3 * c[2] * x[2]
    return cp.Problem(cp.Minimize(cost), [cone]), [c, a], [x, *cone.dual_variables]


@row(uniform(2, 3), uniform(2), smooth=True)
def power_cone_many() -> Built:
    C, a = cp.Parameter((2, 3)), cp.Parameter(2)
    W, z = cp.Variable((2, 3)), cp.Variable(2)
    alpha = np.array([[0.2, 0.3, 0.5], [0.4, 0.35, 0.25]])
    cone = cp.PowConeND(W, z, alpha, axis=1)
    cost = cp.sum_squares(W - C) / 2 + cp.sum_squares(z - 3 - a)
    return cp.Problem(cp.Minimize(cost), [cone]), [C, a], [W, z]


@row(uniform(3, low=1.0, high=2.0), uniform(low=2.0, high=3.0), smooth=True)
def geometric_mean() -> Built:
    price, budget, x = cp.Parameter(3, nonneg=True), cp.Parameter(nonneg=True), cp.Variable(3)
    mean = cp.geo_mean(x, [0.2, 0.3, 0.5], approx=False)
    return cp.Problem(cp.Maximize(mean), [price @ x <= budget]), [price, budget], [x]


@row(normal(5, 3), normal(5), smooth=True)
def power_norms() -> Built:
    A, b, x = cp.Parameter((5, 3)), cp.Parameter(5), cp.Variable(3)
    cost = cp.pnorm(A @ x - b, 3, approx=False) + cp.sum(cp.power(x, 4, approx=False)) / 4
    return cp.Problem(cp.Minimize(cost)), [A, b], [x]


@row(uniform(low=1.0, high=2.0), uniform(low=1.0, high=2.0), uniform(), gp=True, smooth=True)
def log_log_convex() -> Built:
    x, y, z = cp.Variable(pos=True), cp.Variable(pos=True), cp.Variable(pos=True)
    a, b, c = cp.Parameter(pos=True), cp.Parameter(pos=True), cp.Parameter()
    rows = [a * (x * y + x * z + y * z) <= b, x >= y**c]
    return cp.Problem(cp.Minimize(1 / (x * y * z)), rows), [a, b, c], [x, y, z]


@row(uniform(low=2.0, high=3.0), uniform(2, low=1.0, high=2.0), gp=True, smooth=True)
def box_of_largest_volume() -> Built:
    area, ratio = cp.Parameter(pos=True), cp.Parameter(2, pos=True)
    h, w, d = cp.Variable(pos=True), cp.Variable(pos=True), cp.Variable(pos=True)
    rows = [2 * h * (w + d) <= area, w * d <= 0.4 * area, h <= ratio[0] * w, d <= ratio[1] * w]
    return cp.Problem(cp.Maximize(h * w * d), rows), [area, ratio], [h, w, d]
