"""What only some machines, options or data lead to."""

from __future__ import annotations

import pickle

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD, Implicit, compare
from cvxlpgd.analysis import cotangents
from cvxlpgd.cones import NonNeg
from cvxlpgd.errors import (
    CvxlpgdError,
    InvalidInput,
    InvalidOption,
    InvalidProblem,
    SolveFailed,
    SolverNotInstalled,
    UnsuitableSolver,
)
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.solution import Status
from cvxlpgd.solvers import OSQP, PIQP, Clarabel, HiGHS
from cvxlpgd.solvers.choose import choice
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense, orthant

a, x = cp.Parameter(3, name="a"), cp.Variable(3, name="x")
SQUARE = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [cp.sum(x) == 1, x >= 0])
VALUE = np.array([0.2, 0.9, -0.4])


def test_a_loss_is_differentiated_without_torch_too(monkeypatch):
    """By differences, where torch is not installed: the same numbers."""

    def compared():
        rows = compare(
            SQUARE, [a], [x], [VALUE], [LPGD(tau=1e-3)], loss=lambda x: (x**2).sum() + 3 * x[0]
        ).rows
        return [(row.derivative, row.error_fd, row.cosine_fd) for row in rows]

    with_torch = compared()
    monkeypatch.setattr(cotangents, "find_spec", lambda name: None if name == "torch" else name)
    for one, other in zip(with_torch, compared(), strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], rel=1e-3, abs=1e-6)


WRONG = {
    "HiGHS, a text": (lambda: HiGHS(simplex_iteration_limit="many"), ["HIGHS", "many"]),
    "HiGHS, an object": (lambda: HiGHS(presolve=[1]), ["HIGHS", "presolve"]),
    "Clarabel, a dictionary": (lambda: Clarabel(max_iter={}), ["CLARABEL", "max_iter"]),
    "PIQP, its backend": (lambda: PIQP(backend="both"), ["PIQP", "backend", "'both'"]),
    "PIQP, a text": (lambda: PIQP(max_iter="many"), ["PIQP", "max_iter", "'many'"]),
    "OSQP, a text": (lambda: OSQP(max_iter="many"), ["OSQP"]),
    "OSQP, a negative number": (lambda: OSQP(max_iter=-3), ["OSQP"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_of_a_solvers_options_are_errors_of_ours(name):
    make, parts = WRONG[name]
    with pytest.raises(CvxlpgdError) as caught:
        CvxpyLayer(SQUARE, [a], [x], solver=make())(VALUE)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize("presolve", ["on", "off"])
def test_highs_tells_unbounded_from_infeasible_whatever_its_presolve_says(presolve):
    solver = HiGHS(presolve=presolve)
    infeasible = orthant([[1, 0]], [[-1, 0, 1]], quadratic=False)
    assert list(solve(solver, infeasible).status) == [Status.INFEASIBLE]
    nothing = np.zeros((1, 0, 2)), np.zeros((1, 0))
    unbounded = dense(np.array([[1.0, -1.0]]), *nothing, ())
    assert list(solve(solver, unbounded).status) == [Status.UNBOUNDED]
    flat = dense(np.zeros((1, 2)), *nothing, ())
    assert list(solve(solver, flat).status) == [Status.SOLVED]


def test_highs_that_is_stopped_at_a_feasible_point_has_it():
    """Primal simplex, one step: the point is used, and said to be inaccurate."""
    A = np.vstack([np.eye(4), -np.eye(4), np.tril(np.ones((4, 4)))])[None]
    b = np.append(np.ones(4), [*np.zeros(4), *np.full(4, 1.7)])[None]
    program = dense(-np.arange(1.0, 5.0)[None], A, b, (NonNeg(12),))
    settings = {"presolve": "off", "simplex_strategy": 4, "simplex_iteration_limit": 1}
    stopped = solve(HiGHS(**settings), program)
    assert list(stopped.status) == [Status.INACCURATE]
    assert (A[0] @ stopped.point.x[0] <= b[0] + 1e-9).all()
    whole = solve(HiGHS(), program)
    assert list(whole.status) == [Status.SOLVED]
    assert program.objective(whole.point.x) < program.objective(stopped.point.x)


def test_no_installed_solver_suits(monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda solver: False)
    with pytest.raises(UnsuitableSolver, match="no installed solver"):
        CvxpyLayer(SQUARE, [a], [x])


def test_the_exact_derivative_without_diffcp_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SolverNotInstalled, match="pip install"):
        Implicit().check(CvxpyLayer(SQUARE, [a], [x], solver=Clarabel())._layer.structure, None)


def test_an_infinite_constant_is_refused():
    low = cp.Constant(np.array([-np.inf, 0.0, 0.0]))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= low])
    with pytest.raises(InvalidProblem, match="infinite"):
        CvxpyLayer(problem, [a], [x])


def test_bounds_of_every_sign_are_watched():
    """Attributes of variables are constraints of the user's: the witness passes over none."""
    low = cp.Variable(2, nonpos=True)
    square = cp.Variable((2, 2), NSD=True)
    target = cp.Parameter(2)
    cost = cp.sum_squares(low - target) + cp.sum_squares(square + np.eye(2)) + cp.sum(square)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cost)), [target], [low])
    np.testing.assert_allclose(layer(np.array([1.0, -1.0]))[0], [0.0, -1.0], atol=1e-6)


def test_optimal_values_alone_and_with_their_pullback():
    layer = CvxpyLayer(SQUARE, [a], [x])
    values = np.stack([VALUE, VALUE + 0.3])
    alone = layer.optimal_value(values)
    again, pullback = layer.optimal_value_vjp(values)
    np.testing.assert_array_equal(alone, again)
    (x_star,) = layer(values)
    np.testing.assert_allclose(alone, ((x_star - values) ** 2).sum(axis=1), atol=1e-8)
    (bar,) = pullback(np.array([1.0, 2.0]))
    np.testing.assert_allclose(bar, 2 * (values - x_star) * [[1.0], [2.0]], atol=1e-6)


c = cp.Parameter(3, name="c")
LOSS = {
    "of no variable": ({"loss": cp.Constant(1.0) + 0 * cp.sum(c)}, InvalidOption, "it has none"),
    "of a stranger": ({"loss": cp.sum(cp.Variable(2, name="z"))}, InvalidOption, "z"),
    "no value": ({"loss": c @ x}, InvalidInput, "c"),
    "a value of no parameter": (
        {"loss": cp.sum(x), "loss_values": {c: VALUE}}, InvalidInput, "not a parameter of loss"),
    "tau as text": ({"loss": cp.sum(x), "tau": "auto"}, InvalidOption, "'auto'"),
    "tau as an object": ({"loss": cp.sum(x), "tau": object()}, InvalidOption, "object"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSS)
def test_losses_that_no_envelope_can_take(name):
    options, error, word = LOSS[name]
    with pytest.raises(error, match=word):
        CvxpyLayer(SQUARE, [a], [x]).envelope(VALUE, **({"tau": 1.0} | options))


def test_a_failure_survives_its_way_from_another_process():
    error = pickle.loads(pickle.dumps(SolveFailed("sample 1", (1,), ("infeasible",))))
    assert (str(error), error.samples, error.statuses) == ("sample 1", (1,), ("infeasible",))
