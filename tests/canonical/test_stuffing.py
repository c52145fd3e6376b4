"""What `Stuffing` changes in CVXPY: the memory of large parameters, and nothing of the program."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.canonical import Canonical, canonicalize, substitute
from cvxlpgd.canonical._target import Own
from tests.zoo import ROWS

N = 3
x, X = cp.Variable(N), cp.Variable((N, 2))
p, w, g = cp.Parameter(N), cp.Parameter(N, nonneg=True), cp.Parameter(nonneg=True)
L, P, C = cp.Parameter((N, N)), cp.Parameter((N, N), PSD=True), cp.Parameter((N, 2))
S = cp.Parameter((N, N), symmetric=True)
Q = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 3.0]])
K = np.arange(6.0).reshape(N, 2)
symmetric, semidefinite = cp.Variable((N, N), symmetric=True), cp.Variable((N, N), PSD=True)
diagonal, whole = cp.Variable((N, N), diag=True), cp.Variable(N, integer=True)

# objective and constraints, each with several quadratic terms or elementwise products
FORMS = {
    "least squares": (cp.Minimize(cp.sum_squares(L.T @ x - 1) - p @ x), [x >= 0]),
    "maximized": (cp.Maximize(p @ x - g * cp.sum_squares(x) + 3), [L @ x >= 0]),
    "weighed": (
        cp.Minimize(cp.quad_form(x, 2 * P + Q) + g * cp.quad_form(x - 1, Q) + 0.5 * (p @ x)),
        [x <= 1],
    ),
    "squares": (
        cp.Minimize(w @ cp.square(x) + cp.sum(cp.multiply(w, cp.square(x - 1))) + g + p @ x),
        [cp.multiply(p, x) <= 2],
    ),
    "by columns": (
        cp.Minimize(w[:2] @ cp.sum_squares(X, axis=0) + w @ cp.sum_squares(X, axis=1)),
        [X <= C],
    ),
    "over a number": (cp.Minimize(g * cp.quad_over_lin(x, 2.0) + cp.square(x[0] - p[0])), [x <= 1]),
    "Huber": (cp.Minimize(cp.sum(cp.huber(L @ x - p)) + g * cp.sum_squares(cp.diff(x))), [x <= 1]),
    "symmetric": (
        cp.Minimize(g * cp.sum_squares(symmetric) + cp.trace(L @ symmetric)),
        [cp.trace(symmetric) == 1, cp.multiply(S, symmetric) <= 1],
    ),
    "semidefinite": (
        cp.Minimize(cp.sum_squares(semidefinite - L) + cp.vdot(L, semidefinite)),
        [cp.trace(semidefinite) == 1],
    ),
    "diagonal": (cp.Minimize(g * cp.sum_squares(diagonal) + cp.vdot(L, diagonal)), [diagonal <= 1]),
    "integer": (cp.Minimize(cp.sum_squares(whole - p) + cp.multiply(w, whole)[0]), [whole <= 3]),
    "products": (
        cp.Minimize(cp.sum(cp.multiply(-C / 2, X @ K.T @ K)) + cp.sum(cp.exp(cp.multiply(C, X)))),
        [
            cp.multiply(C.T, X.T) >= -1,
            cp.norm(cp.multiply(3 * C, cp.multiply(K, X))) <= 2,
            cp.multiply(L[:, :2], X) <= 1,
            cp.multiply(cp.multiply(g, K), cp.multiply(K, X)) <= 5,
            cp.max(cp.multiply(p, x)) <= 4,
            cp.diag(cp.multiply(p, x)) + Q >> 0,
            cp.PowCone3D(cp.multiply(w, x), x + 2, x - 1, 0.3),
        ],
    ),
}
CASES = [
    *(pytest.param(row.build, row.gp, id=row.name) for row in ROWS),
    *(pytest.param(lambda of=of: _listed(*of), False, id=name) for name, of in FORMS.items()),
]
Build = Callable[[], tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]]


def _listed(objective, constraints):
    problem = cp.Problem(objective, constraints)
    duals = [] if problem.is_mixed_integer() else [v for c in constraints for v in c.dual_variables]
    return problem, problem.parameters(), problem.variables() + duals


def _canonical(build: Build, gp: bool, backend: str | None) -> Canonical:
    problem, parameters, variables = build()
    return canonicalize(substitute(problem, parameters), parameters, variables, gp, backend)


@pytest.mark.filterwarnings("ignore:The problem has an expression with dimension")
@pytest.mark.parametrize("backend", [None, "COO"])
@pytest.mark.parametrize(("build", "gp"), CASES)
def test_the_cone_program_is_that_of_cvxpy(build, gp, backend, monkeypatch):
    ours = _canonical(build, gp, backend)
    monkeypatch.setattr(Own, "_construct_chain", cp.Problem._construct_chain)
    theirs = _canonical(build, gp, backend)
    for name in ("P", "A"):
        mine, other = getattr(ours.structure, name), getattr(theirs.structure, name)
        np.testing.assert_array_equal(mine.flat, other.flat)
    assert ours.structure.cones == theirs.structure.cones
    for name, block in ours.parameters.blocks.items():
        other = theirs.parameters.blocks[name]
        np.testing.assert_array_equal(block.base, other.base)
        np.testing.assert_array_equal(block.varying, other.varying)
        assert (block.matrix != other.matrix).nnz == 0
    for mine, other in zip(ours.variables.outputs, theirs.variables.outputs, strict=True):
        assert (mine.matrix != other.matrix).nnz == 0


def least_squares(n: int):
    x, A, b, c = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter(n)
    return cp.Minimize(cp.sum_squares(A @ x - b) - c @ x), [x >= 0]


def quadratic(n: int):
    x, P, q = cp.Variable(n), cp.Parameter((n, n), PSD=True), cp.Parameter(n)
    return cp.Minimize(cp.quad_form(x, P) + q @ x), [x >= 0]


def squares(n: int):
    x, w, q = cp.Variable(n * n), cp.Parameter(n * n, nonneg=True), cp.Parameter(n * n)
    return cp.Minimize(w @ cp.square(x) + q @ x), [x >= 0]


def transport(n: int):
    X, C = cp.Variable((n, n)), cp.Parameter((n, n))
    return cp.Minimize(cp.sum(cp.multiply(C, X))), [X >= 0, cp.sum(X, axis=0) == 1]


def inner(n: int):
    X, C = cp.Variable((n, n)), cp.Parameter((n, n))
    return cp.Minimize(cp.vdot(C, X) + cp.sum_squares(X)), [cp.multiply(C, X) <= 1]


def norm(n: int):
    x, A, b = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    return cp.Minimize(cp.norm(A @ x - b)), [x >= 0]


@pytest.mark.parametrize("build", [least_squares, quadratic, squares, transport, inner, norm])
def test_memory_grows_with_the_entries_of_parameters(build):
    """Four times the entries, and at most five times the memory: dense arrays grow eightfold."""
    small, large = (_peak(build, n) for n in (40, 80))
    assert large <= 5 * small


def _peak(build, n: int) -> int:
    problem, parameters, variables = _listed(*build(n))
    tracemalloc.start()
    try:
        canonicalize(substitute(problem, parameters), parameters, variables)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
