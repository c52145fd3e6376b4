"""Derivatives against each other, against finite differences and against independent code."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from cvxlpgd import LPGD, FiniteDifference, Implicit
from cvxlpgd.cones import Pow
from cvxlpgd.derivatives.perturbation import without_slack
from cvxlpgd.derivatives.tau.sizes import cotangent_step
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.layer import compile_layer
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import Data, Point
from cvxlpgd.solvers import CVXPY
from cvxlpgd.solvers.run.solve import solve
from tests import zoo
from tests.helpers.at import FIRST_ORDER, INTERIOR, At, dot, relative
from tests.zoo.row import symmetric_quadratic

JUDGE = FiniteDifference(step=1e-3)
COARSE = FiniteDifference(step=1e-2)  # where smaller steps drown in the solver's noise
NOISY = {"box_of_largest_volume"}
# The solution does not depend on its cost here, so relative errors mean nothing.
FLAT = {"simplex_vertex", "box_vertex"}


def has_power(row) -> bool:
    return any(isinstance(cone, Pow) for cone in zoo.canonical(row).structure.cones)


MOVING = [row for row in zoo.SMOOTH if row.name not in FLAT]
ROWS = [pytest.param(row, id=row.name) for row in MOVING]
EXACT = [pytest.param(row, id=row.name) for row in MOVING if not has_power(row)]
CURVED = [
    pytest.param(zoo.row_named(name), id=name)
    for name in ("entropy", "geometric_median", "semidefinite_program", "second_order_columns")
]


def test_enough_rows_are_compared():
    assert len(ROWS) >= 20
    assert len(EXACT) >= 15


@pytest.mark.parametrize("row", ROWS)
def test_lpgd_tends_to_finite_differences(row):
    at = At(row)
    found = at.vjp(LPGD(tau=at.step(1e-4)))
    directions = [at.tangent(np.random.default_rng(seed)) for seed in range(3)]
    slopes = np.array([dot(found, d) for d in directions])
    judge = COARSE if row.name in NOISY else JUDGE
    expected = np.array([at.slope(judge, d) for d in directions])
    assert np.linalg.norm(slopes - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("row", EXACT)
def test_lpgd_tends_to_the_exact_derivative(row):
    at = At(row)
    assert relative(at.vjp(LPGD(tau=at.step(1e-4))), at.vjp(Implicit("dense"))) <= 1e-5


@pytest.mark.parametrize("row", EXACT)
def test_default_solvers_are_accurate_enough(row):
    """LPGD at a relative tau of 1e-3 with the solver and the tolerances that nobody chose."""
    at = At(row)
    exact, tau = at.vjp(Implicit("dense")), at.step(1e-3)
    layer = compile_layer(
        *row.build(), gp=row.gp, canon_backend=row.backend, derivative=LPGD(tau=tau)
    )
    call = layer.forward(at.values)
    assert relative(call.vjp(at.bars, [True] * len(at.values)), exact) <= 1e-4


@pytest.mark.parametrize("row", EXACT)
def test_iterative_modes_agree_with_the_dense_one(row):
    at = At(row)
    exact = at.vjp(Implicit("dense"))
    assert relative(at.vjp(Implicit("lsqr")), exact) <= 1e-4
    assert relative(at.vjp(Implicit("lsmr")), exact) <= 1e-4


@pytest.mark.parametrize("row", CURVED)
def test_order_of_the_error(row):
    """O(tau) one-sided, O(tau²) averaged: ten times the tau, ten and a hundred times the error."""
    at = At(row)
    exact = at.vjp(Implicit("dense"))
    sizes = (1e-3, 1e-2)
    for side, order in (("lower", 1), ("upper", 1), ("average", 2)):
        errors = [relative(at.vjp(LPGD(tau=at.step(size), side=side)), exact) for size in sizes]
        assert np.log10(errors[1] / errors[0]) == pytest.approx(order, abs=0.25), side


@pytest.mark.parametrize("row", ROWS)
def test_forward_and_backward_are_adjoint(row):
    """<vjp(z_bar), w_dot> = <z_bar, jvp(w_dot)>."""
    at = At(row)
    found = at.vjp(LPGD(tau=at.step(1e-3)))
    size = sum(np.linalg.norm(g) * np.linalg.norm(d) for g, d in zip(found, at.dots, strict=True))
    left = dot(found, at.dots)
    assert left == pytest.approx(at.slope(LPGD(), at.dots), abs=1e-3 * size)
    if not has_power(row):
        exact = Implicit("dense")
        assert dot(at.vjp(exact), at.dots) == pytest.approx(
            at.slope(exact, at.dots), abs=1e-7 * size
        )


@pytest.mark.parametrize("row", EXACT)
@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_rho_is_a_proximal_term_of_the_exact_derivative(row, rho):
    """As tau -> 0 LPGD with rho is implicit differentiation with rho Ω added to P."""
    at = At(row)
    found, exact = at.vjp(LPGD(tau=at.step(1e-4), rho=rho)), at.vjp(Implicit("dense", rho=rho))
    assert relative(found, exact) <= 1e-4


def test_gradient_of_a_quadratic_form():
    """P_bar against central differences of the whole layer, 1e-6."""
    rng = np.random.default_rng(0)
    x, P, q = cp.Variable(4), cp.Parameter((4, 4), PSD=True), cp.Parameter(4)
    A, b = rng.normal(size=(2, 4)), rng.normal(size=2)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x), [A @ x <= b, x >= -1])
    root = rng.normal(size=(4, 4))
    value, cost, bar = root @ root.T + np.eye(4), rng.normal(size=4), rng.normal(size=4)
    layer = CvxpyLayer(problem, [P, q], [x], INTERIOR, derivative=LPGD(tau=1e-4))
    _, pullback = layer.vjp(value, cost)
    P_bar, _ = pullback(bar)
    assert (P_bar == P_bar.T).all()
    expected, h = np.zeros((4, 4)), 1e-4
    for i in range(4):
        for j in range(i + 1):
            step = np.zeros((4, 4))
            step[i, j] = step[j, i] = h
            (up,), (down,) = layer(value + step, cost), layer(value - step, cost)
            slope = bar @ (up - down) / (2 * h)
            expected[i, j] = expected[j, i] = slope if i == j else slope / 2
    assert np.linalg.norm(P_bar - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["quadratic_constrained", "entropy", "semidefinite_program"])
def test_cotangents_of_all_of_a_point(name):
    """The derivatives' own vjp, with cotangents of x, y and s, against differences."""
    at = At(zoo.row_named(name))
    program, solution, solver = at.call.program, at.call.solution, at.call.solver
    rng, z = np.random.default_rng(3), at.call.solution.point
    bars = Point(*(rng.normal(size=v.shape) for v in (z.x, z.y, z.s)))
    entries, fields = program.structure.varying, ("P", "q", "A", "b")
    folded = without_slack(program, bars)
    step = cotangent_step("auto", program, z, folded, 1e-12)
    for derivative in (LPGD(tau=step / 10), Implicit("dense")):
        bound = derivative.bind(program.structure, solver, at.call.batch.shape)
        w_bar, _ = bound.vjp(program, solution, bars, entries)
        for seed in range(3):
            values = at.tangent(np.random.default_rng(seed))
            w_dot = at.call.compiled.canonical.parameters.tangent(
                at.call.flat, [v.reshape(len(v), -1) for v in values]
            )
            judge = JUDGE.bind(program.structure, solver, at.call.batch.shape)
            z_dot, _ = judge.jvp(program, solution, w_dot)
            slope = sum(np.sum(getattr(bars, k) * getattr(z_dot, k)) for k in ("x", "y", "s"))
            pairs = [(getattr(w_bar, k), getattr(w_dot, k)) for k in fields]
            found = sum(np.sum(bar * dot) for bar, dot in pairs)
            size = sum(np.linalg.norm(bar * dot) for bar, dot in pairs)
            assert found == pytest.approx(slope, abs=1e-5 * size)


def test_finite_differences_backward():
    """Entry by entry they agree with the exact derivative, P's two triangles included."""
    at = At(zoo.row_named("quadratic_constrained"), batch=1)
    assert relative(at.vjp(FiniteDifference(1e-4)), at.vjp(Implicit("dense"))) <= 1e-6


def blackbox(c, A, b, x_bar, lam, sign):
    """[x*(c + lam x_bar) - x*(c)] / lam for min or max of c'x, Ax <= b, 0 <= x <= 1."""

    def argmin(cost):
        return linprog(cost, A_ub=A, b_ub=b, bounds=(0, 1), method="highs").x

    if sign > 0:
        return (argmin(c + lam * x_bar) - argmin(c)) / lam
    # max c'x is min (-c)'x: the cost's gradient turns its sign
    return -(argmin(-c + lam * x_bar) - argmin(-c)) / lam


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("objective", [cp.Minimize, cp.Maximize])
@pytest.mark.parametrize("solver", [CVXPY("HIGHS"), INTERIOR], ids=["HIGHS", "CLARABEL"])
@pytest.mark.parametrize("lam", [0.3, 3.0, 30.0])
def test_blackbox_backpropagation_is_the_lower_side(objective, solver, lam):
    """Vlastelica et al., 2020, written independently."""
    rng = np.random.default_rng(5)
    A, b = rng.uniform(size=(4, 8)), rng.uniform(1, 2, size=4)
    c, x_bar = rng.normal(size=(6, 8)), rng.normal(size=(6, 8))
    cost, x = cp.Parameter(8), cp.Variable(8)
    problem = cp.Problem(objective(cost @ x), [A @ x <= b, x >= 0, x <= 1])
    layer = CvxpyLayer(problem, [cost], [x], solver, derivative=LPGD(tau=lam, side="lower"))
    _, pullback = layer.vjp(c)
    (found,) = pullback(x_bar)
    sign = 1 if objective is cp.Minimize else -1
    expected = [blackbox(c[i], A, b, x_bar[i], lam, sign) for i in range(6)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found).max() > 0.01


def test_large_tau_is_a_perceptron():
    """tau ∇l_tau -> ∇L(x_hat) - ∇L(x*), x_hat the minimizer of the linearized loss."""
    rng = np.random.default_rng(3)
    c, x_bar, cost, x = rng.normal(size=6), rng.normal(size=6), cp.Parameter(6), cp.Variable(6)
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0])
    layer = CvxpyLayer(problem, [cost], [x], derivative=LPGD(tau=1e6, side="lower"))
    (found,), pullback = layer.vjp(c)
    expected = np.eye(6)[np.argmin(x_bar)] - found
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(1e6 * pullback(x_bar)[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", ["simplex", "box"])
def test_defaults_inform_where_every_exact_gradient_is_zero(shape):
    """A linear cost over a simplex or a box: the gradient leads to the target vertex."""
    rng = np.random.default_rng(4)
    cost, x = cp.Parameter(6), cp.Variable(6)
    region = [cp.sum(x) == 1, x >= 0] if shape == "simplex" else [x >= 0, x <= 1]
    problem = cp.Problem(cp.Minimize(cost @ x), region)
    layer = CvxpyLayer(problem, [cost], [x])
    target = np.eye(6)[2] if shape == "simplex" else np.array([1.0, 0, 0, 1, 0, 1])
    c, losses = rng.normal(size=6), []
    for _ in range(40):
        (found,), pullback = layer.vjp(c)
        losses.append((1 - 2 * target) @ found + target.sum())  # 0 at the target, linear
        if losses[-1] < 1e-9:
            break
        (gradient,) = pullback(1 - 2 * target)
        assert np.linalg.norm(gradient) > 1e-3
        c = c - gradient * np.linalg.norm(c) / np.linalg.norm(gradient) / 2
    assert losses[-1] < 1e-9 < losses[0]

    exact = CvxpyLayer(problem, [cost], [x], derivative=Implicit())
    _, pullback = exact.vjp(rng.normal(size=6))
    with pytest.warns(DegenerateGradientWarning, match="vertex"):
        assert np.linalg.norm(pullback(rng.normal(size=6))[0]) < 1e-6


def test_rho_does_not_depend_on_how_the_problem_is_written():
    """The proximal term weighs the user's variables, not the columns that CVXPY adds."""
    rng = np.random.default_rng(6)
    A, b, x_bar = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3)
    gradients = []
    for written in (
        lambda x, p: cp.norm1(A @ x - p) + cp.sum_squares(x),
        lambda x, p: cp.sum(cp.abs(A @ x - p)) + cp.sum_squares(x),
        lambda x, p: cp.sum(cp.maximum(A @ x - p, p - A @ x)) + cp.quad_form(x, np.eye(3)),
    ):
        x, p = cp.Variable(3), cp.Parameter(5)
        problem = cp.Problem(cp.Minimize(written(x, p)))
        derivative = LPGD(tau=0.5, rho=0.7)
        _, pullback = CvxpyLayer(problem, [p], [x], INTERIOR, derivative=derivative).vjp(b)
        gradients.append(pullback(x_bar)[0])
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-7)
    np.testing.assert_allclose(gradients[2], gradients[0], atol=1e-7)


@symmetric_quadratic
def test_rho_weighs_a_symmetric_variable_in_the_frobenius_norm():
    """A symmetric variable and a full one with X == X' have the same gradients."""
    rng = np.random.default_rng(7)
    C, X_bar = (m + m.T for m in rng.normal(size=(2, 3, 3)))
    gradients = []
    for symmetric in (True, False):
        X, c = cp.Variable((3, 3), symmetric=symmetric), cp.Parameter((3, 3), symmetric=True)
        region = [cp.trace(X) == 1, cp.norm_inf(cp.vec(X, order="F")) <= 1]
        region += [] if symmetric else [X == X.T]
        problem = cp.Problem(cp.Minimize(cp.trace(c @ X) + cp.sum_squares(X)), region)
        layer = CvxpyLayer(problem, [c], [X], INTERIOR, derivative=LPGD(tau=0.3, rho=0.5))
        _, pullback = layer.vjp(C)
        gradients.append(pullback(X_bar)[0])
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-7)


@pytest.mark.parametrize("name", ["quadratic_constrained", "entropy", "second_order_columns"])
def test_derivatives_work_on_torch_arrays(name):
    """The same numbers from tensors: nothing but what NumPy and torch share is used."""
    torch = pytest.importorskip("torch")
    at = At(zoo.row_named(name))
    program, solution, solver = at.call.program, at.call.solution, at.call.solver
    rng, z = np.random.default_rng(3), solution.point
    bars = Point(*(rng.normal(size=v.shape) for v in (z.x, z.y, z.s)))
    entries = program.structure.varying
    bound = LPGD(tau=1e-3, rho=0.1).bind(program.structure, solver, at.call.batch.shape)
    expected, _ = bound.vjp(program, solution, bars, entries)

    def tensors(vector):
        return type(vector)(*(torch.tensor(v) for _, v in vector.items()))

    program = type(program)(program.structure, tensors(program.data))
    solution = solve(solver, program)
    found, _ = bound.vjp(program, solution, tensors(bars), entries)
    assert isinstance(found, Data)
    for field in ("P", "q", "A", "b"):
        value = getattr(found, field)
        assert isinstance(value, torch.Tensor)
        np.testing.assert_allclose(value.numpy(), getattr(expected, field), atol=1e-6)


def test_another_solver_for_the_perturbed_programs():
    at = At(zoo.row_named("quadratic_constrained"))
    found = at.vjp(LPGD(tau=at.step(1e-3), solver=FIRST_ORDER))
    assert relative(found, at.vjp(Implicit("dense"))) <= 1e-4
    named = at.vjp(LPGD(tau=at.step(1e-3), solver="clarabel"))
    assert relative(named, at.vjp(Implicit("dense"))) <= 1e-4


@pytest.mark.parametrize("side", ["average", "lower", "upper"])
@pytest.mark.parametrize("multiple", [1.0, 3.0, 1e-6])
def test_a_loss_that_is_the_objective_of_a_linear_program(side, multiple):
    """The solution is the best one for it, so that it need not move."""
    x, cost = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0, x <= 0.6])
    layer = CvxpyLayer(problem, [cost], [x], derivative=LPGD(side=side))
    costs = np.array([[1.0, 2.0, 3.0, 4.0], [0.1, 0.3, 0.2, 5.0]])
    _, pullback = layer.vjp(costs)
    (bar,) = pullback(multiple * costs)  # without a warning: 0 is right
    np.testing.assert_allclose(bar, 0, atol=1e-9)
    assert not layer.info.retries.any()
    # the worst one: a step leads away from it
    if side != "upper":
        _, pullback = layer.vjp(costs)
        (bar,) = pullback(-multiple * costs)
        assert (np.abs(bar).max(axis=1) > 0).all()


@pytest.mark.parametrize("tau", ["auto", "informative"])
def test_a_dual_variable_beside_the_objective_keeps_its_gradient(tau):
    """The price of the budget is minus the least cost, whatever the rest of the loss is."""
    x, cost = cp.Variable(3), cp.Parameter(3)
    budget = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(cost @ x), [budget, x >= 0])
    price = budget.dual_variables[0]
    layer = CvxpyLayer(problem, [cost], [x, price], derivative=LPGD(tau=tau))
    costs = np.array([1.0, 2.0, 4.0])
    (_, price_star), pullback = layer.vjp(costs)
    (bar,) = pullback(costs, 3.0)
    assert price_star == pytest.approx(-1.0)
    np.testing.assert_allclose(bar, [-3.0, 0.0, 0.0], atol=1e-12)
