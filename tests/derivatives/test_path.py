"""The linearized path: known gradients at wild scales, kinks, error bars, breakpoints."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest
from scipy.special import logsumexp

from cvxlpgd import LPGD, Exact, Implicit
from cvxlpgd.derivatives.path import velocity
from cvxlpgd.derivatives.registry import ROWS
from cvxlpgd.errors import (
    DegenerateGradientWarning,
    DerivativeFailed,
    InaccurateGradientWarning,
    IrregularGradientWarning,
)
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.solvers import SCS, Clarabel
from tests import zoo

ANY_SCALE = [row.examples[0] for row in ROWS if row.any_scale]  # LPGD() and Exact() among them
BOTH = pytest.mark.parametrize("derivative", ANY_SCALE, ids=lambda d: type(d).__name__)


def gradient(layer: CvxpyLayer, value, bar) -> np.ndarray:
    """The first parameter's."""
    _, pullback = layer.vjp(value)
    return pullback(bar)[0]


def projection(low: float, high: float, **options) -> CvxpyLayer:
    """(u - p)² over low <= u <= high."""
    u, p = cp.Variable(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(u - p)), [u >= low, u <= high])
    return CvxpyLayer(problem, [p], [u], **options)


@BOTH
@pytest.mark.parametrize("size", [10.0, 12.0, 16.0, 18.0])
def test_cross_entropy_of_a_small_probability(size, derivative):
    """d(-log x_0)/dc = 1 - x at 0, -x elsewhere, down to x_0 = 4e-9."""
    c, x = cp.Parameter(5), cp.Variable(5)
    problem = cp.Problem(cp.Minimize(c @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1])
    layer = CvxpyLayer(problem, [c], [x], derivative=derivative)
    value = np.array([size, 0.0, 0.3, -0.2, 0.1])
    (found,), pullback = layer.vjp(value)
    (slope,) = pullback(np.array([-1 / found[0], 0, 0, 0, 0]))
    softmax = np.exp(-value - logsumexp(-value))
    np.testing.assert_allclose(slope, np.eye(5)[0] - softmax, atol=1e-6)
    assert layer.info.regular.item() is True
    assert layer.info.gradient_error < 1e-6


@BOTH
def test_entropic_transport_of_small_regularization(derivative):
    """X = exp((f + g' - C)/e): dX = -X/e (dC - df - dg'), e = 0.05, entries down to 1e-10."""
    rng, m, e = np.random.default_rng(0), 4, 0.05
    C, X = cp.Parameter((m, m)), cp.Variable((m, m))
    cost = cp.sum(cp.multiply(C, X)) - e * cp.sum(cp.entr(X))
    rows = [cp.sum(X, axis=0) == 1 / m, cp.sum(X, axis=1) == 1 / m]
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cost), rows), [C], [X], derivative=derivative)
    value, bar = rng.uniform(size=(m, m)), rng.normal(size=(m, m))
    f, g = np.zeros(m), np.zeros(m)
    for _ in range(20_000):
        f = e * (-np.log(m) - logsumexp((g[None] - value) / e, axis=1))
        g = e * (-np.log(m) - logsumexp((f[:, None] - value) / e, axis=0))
    D = np.exp((f[:, None] + g[None] - value) / e).ravel() / e
    A = np.concatenate([np.kron(np.eye(m), np.ones(m)), np.kron(np.ones(m), np.eye(m))])[:-1]
    S = (A * D) @ A.T
    right = -(D * bar.ravel() - D * (A.T @ np.linalg.solve(S, A @ (D * bar.ravel()))))
    slope = gradient(layer, value, bar)
    np.testing.assert_allclose(slope.ravel(), right, atol=1e-6 * np.abs(right).max())


def test_diffcp_is_contradicted_where_it_is_wrong():
    """Its derivative of an exponential cone loses small entries; it says so next to the path."""
    c, x = cp.Parameter(3), cp.Variable(3)
    problem = cp.Problem(cp.Minimize(c @ x - 0.02 * cp.sum(cp.entr(x))), [cp.sum(x) == 1])
    value, bar = np.array([0.0, 0.01, 0.4]), np.array([0.0, 0.0, 4e8])
    right = gradient(CvxpyLayer(problem, [c], [x]), value, bar)
    layer = CvxpyLayer(problem, [c], [x], derivative=Implicit())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        slope = gradient(layer, value, bar)
    assert np.abs(slope - right).max() > 0.02 * np.abs(right).max()
    assert {w.category for w in caught} & {InaccurateGradientWarning, DegenerateGradientWarning}


@BOTH
@pytest.mark.parametrize("mask", [50.0, 130.0, 300.0])
def test_a_masked_entry_of_a_softmax_does_not_spoil_the_others(mask, derivative):
    """Its probability is down to 1e-131; the others' gradient is x_i (bar_i - bar'x), negated."""
    c, x = cp.Parameter(5), cp.Variable(5)
    problem = cp.Problem(cp.Minimize(c @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1])
    layer = CvxpyLayer(problem, [c], [x], derivative=derivative)
    value, bar = np.array([0.0, 0.1, 0.3, 0.2, mask]), np.array([1.0, 2.0, 0.5, 1.0, 1.0])
    softmax = np.exp(-value - logsumexp(-value))
    right = -softmax * (bar - bar @ softmax)
    np.testing.assert_allclose(gradient(layer, value, bar), right, atol=1e-6)


@BOTH
def test_an_exponential_that_is_next_to_nothing(derivative):
    """min (u - p)² + exp(u - 200): u = p as far as doubles see."""
    u, p = cp.Variable(3), cp.Parameter(3)
    cost = cp.sum_squares(u - p) + cp.sum(cp.exp(u - 200))
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cost)), [p], [u], derivative=derivative)
    bar = np.array([0.3, -0.2, 0.6])
    np.testing.assert_allclose(gradient(layer, np.array([1.0, -2.0, 0.5]), bar), bar, rtol=1e-9)
    assert layer.info.regular.item() is True


@BOTH
@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_log_utility_in_any_unit(unit, derivative):
    """max w'log x, 1'x = unit: x = unit w / 1'w, and its gradient unit (bar - bar'w/1'w) / 1'w."""
    x, w = cp.Variable(4), cp.Parameter(4, pos=True)
    problem = cp.Problem(cp.Maximize(w @ cp.log(x)), [cp.sum(x) == unit])
    layer = CvxpyLayer(problem, [w], [x], derivative=derivative)
    rng = np.random.default_rng(0)
    values, bars = np.exp(rng.normal(size=(8, 4))), rng.normal(size=(8, 4))
    (point,), pullback = layer.vjp(values)
    shares = values / values.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(point, unit * shares, rtol=1e-9)
    mean = (bars * shares).sum(axis=1, keepdims=True)
    right = unit * (bars - mean) / values.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(pullback(bars)[0], right, rtol=1e-6, atol=1e-7 * unit)
    assert (layer.info.regular == True).all()  # noqa: E712


@BOTH
def test_a_point_inside_of_a_semidefinite_set_moves_freely(derivative):
    X, C = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), symmetric=True)
    square = cp.Variable((3, 3))
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(square - C)), [square == X, X + 5 * np.eye(3) >> 0]
    )
    layer = CvxpyLayer(problem, [C], [X], derivative=derivative)
    bar = np.array([[1.0, 2.0, 0.0], [2.0, -1.0, 0.5], [0.0, 0.5, 3.0]])
    np.testing.assert_allclose(gradient(layer, np.diag([1.0, -2.0, 0.5]), bar), bar, atol=1e-9)


@BOTH
@pytest.mark.parametrize("ratio", [1.0, 1e7, 1e17])
def test_a_small_gradient_stands_beside_a_large_one(ratio, derivative):
    """Two problems in one that share nothing."""
    u, v, p, q = cp.Variable(), cp.Variable(), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(u - p) + cp.square(v - q)))
    layer = CvxpyLayer(problem, [p, q], [u, v], derivative=derivative)
    _, pullback = layer.vjp(0.3, 0.7)
    np.testing.assert_allclose(pullback(ratio, 1.0), [ratio, 1.0], rtol=1e-9)


@pytest.mark.parametrize("ratio", [1.0, 1e4, 1e8])
def test_what_is_not_unique_is_said_however_large_the_rest_is(ratio):
    w, v, q, p = cp.Variable(2), cp.Variable(), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(cp.sum(w) - q) + cp.square(v - p)))
    layer = CvxpyLayer(problem, [q, p], [w, v], derivative=Exact())
    _, pullback = layer.vjp(1.0, 0.3)
    with pytest.warns(IrregularGradientWarning):
        pullback(np.array([1.0, 0.0]), ratio)
    assert layer.info.regular.item() is False


@BOTH
@pytest.mark.parametrize("penalty", [1e2, 1e4, 1e6])
def test_an_inactive_expensive_variable_does_not_count(penalty, derivative):
    """Dispatch with shedding: g_i = (price - b_i)/a_i, and the price moves by 1 / sum(1 / a)."""
    demand, g, shed = cp.Parameter(), cp.Variable(3), cp.Variable()
    a, b = np.array([0.5, 1.0, 2.0]), np.array([1.0, 2.0, 0.5])
    cost = cp.sum(cp.multiply(a / 2, cp.square(g))) + b @ g + penalty * shed
    problem = cp.Problem(cp.Minimize(cost), [cp.sum(g) + shed == demand, g >= 0, shed >= 0])
    layer = CvxpyLayer(problem, [demand], [g, shed], derivative=derivative)
    _, pullback = layer.vjp(10.0)
    (slope,) = pullback(np.array([1.0, 0.0, 0.0]), 0.0)
    np.testing.assert_allclose(slope, (1 / a[0]) / (1 / a).sum(), rtol=1e-9)


@BOTH
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_and_offsets_of_a_simplex_projection(unit, offset, derivative):
    c, x = cp.Parameter(4), cp.Variable(4)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == unit, x >= 0])
    layer = CvxpyLayer(problem, [c], [x], derivative=derivative)
    value, bar = unit * (np.array([0.3, 0.2, -1.0, 0.5]) + offset), np.array([1.0, 2.0, 3.0, 4.0])
    support = np.array([1.0, 1.0, 0.0, 1.0])
    right = support * (bar - (support @ bar) / 3)
    np.testing.assert_allclose(gradient(layer, value, bar), right, atol=1e-7)


@BOTH
def test_control_with_saturated_inputs(derivative):
    """The first input's gradient, by the KKT system of the inputs that are not at their bounds."""
    T, A, B = 20, np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([0.0, 0.1])
    x, u, start = cp.Variable((T + 1, 2)), cp.Variable(T), cp.Parameter(2)
    cost = cp.sum_squares(x) + 0.1 * cp.sum_squares(u)
    rows = [x[0] == start, cp.abs(u) <= 0.5]
    rows += [x[t + 1] == A @ x[t] + B * u[t] for t in range(T)]
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cost), rows), [start], [u], derivative=derivative)
    value = np.array([1.0, 0.3])
    powers = [np.linalg.matrix_power(A, t) for t in range(T + 1)]
    F = np.concatenate(powers)
    G = np.zeros((2 * (T + 1), T))
    for t in range(1, T + 1):
        for k in range(t):
            G[2 * t : 2 * t + 2, k] = powers[t - 1 - k] @ B
    (found,), pullback = layer.vjp(value)
    free = np.abs(np.abs(found) - 0.5) > 1e-6
    assert 0 < free.sum() < T
    H = G[:, free].T @ G[:, free] + 0.1 * np.eye(free.sum())
    J = np.zeros((T, 2))
    J[free] = -np.linalg.solve(H, G[:, free].T @ F)
    for k in (0, T - 1):
        bar = np.eye(T)[k]
        if J[k].any():
            np.testing.assert_allclose(pullback(bar)[0], J[k], rtol=1e-7, atol=1e-12)
        else:
            with pytest.warns(DegenerateGradientWarning):
                assert not pullback(bar)[0].any()


@BOTH
def test_a_dual_variable_beside_a_bound_that_is_far_away(derivative):
    """min ½|x|² - p'x, sum x = 1, |x| <= 1e6: the price is (sum p - 1)/n."""
    p, x = cp.Parameter(3), cp.Variable(3)
    budget = cp.sum(x) == 1
    cost = cp.sum_squares(x) / 2 - p @ x
    problem = cp.Problem(cp.Minimize(cost), [budget, cp.norm_inf(x) <= 1e6])
    layer = CvxpyLayer(problem, [p], [budget.dual_variables[0]], derivative=derivative)
    slope = gradient(layer, np.array([1.0, 2.0, 3.0]), 1.0)
    np.testing.assert_allclose(slope, np.full(3, 1 / 3), rtol=1e-9)


@BOTH
def test_a_bound_that_holds_is_a_zero_and_a_kink_the_mean_of_both_sides(derivative):
    layer = projection(-1.0, 1.0, derivative=derivative)
    assert gradient(layer, 0.3, 1.0) == pytest.approx(1.0)
    assert layer.info.regular.item() is True
    with pytest.warns(DegenerateGradientWarning, match="informative"):
        assert gradient(layer, 2.0, 1.0) == 0
    assert layer.info.gradient_error == 0
    with pytest.warns(IrregularGradientWarning, match="kink"):
        assert gradient(layer, 1.0, 1.0) == pytest.approx(0.5)
    assert layer.info.regular.item() is False
    assert layer.info.kink == pytest.approx(1.0)
    with pytest.warns(IrregularGradientWarning):
        assert layer.jvp([1.0], [1.0])[1][0] == pytest.approx(0.5)


def test_breakpoints_are_where_a_row_changes():
    """u(t) = p - t/2 reaches low = -1 at t = 2 (p + 1), and high = 3 at t = -2 (3 - p)."""
    layer = projection(-1.0, 3.0)
    gradient(layer, np.array([0.5, 2.0]), np.ones(2))
    np.testing.assert_allclose(layer.info.breakpoints, [[3.0, 5.0], [6.0, 2.0]], rtol=1e-9)
    gradient(layer, 0.5, 10.0)
    np.testing.assert_allclose(layer.info.breakpoints, [0.3, 0.5], rtol=1e-9)


def test_a_degenerate_vertex_has_the_least_path_and_a_warning():
    """A transport program of whole numbers: duals are not unique; no difference of size 1 / tau."""
    supply, X = cp.Parameter(3), cp.Variable((3, 3), nonneg=True)
    C = np.array([[1.0, 2, 3], [2, 1, 2], [3, 2, 1]])
    rows = [cp.sum(X, axis=1) == supply, cp.sum(X, axis=0) == np.ones(3)]
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(C, X))), rows)
    layer = CvxpyLayer(problem, [supply], [X])
    with pytest.warns(IrregularGradientWarning):
        slope = gradient(layer, np.ones(3), np.random.default_rng(0).normal(size=(3, 3)))
    assert np.abs(slope).max() < 10
    assert layer.info.regular.item() is False


def test_a_linear_programs_parameters_are_differentiated_each_by_its_fields():
    """Min c'x, Gx <= h: c at tau = sum|c x_bar| / sum x_bar²; h and G exactly."""
    n = 4
    c, h, G, x = cp.Parameter(n), cp.Parameter(n), cp.Parameter((n, n)), cp.Variable(n)
    both = cp.Parameter(name="both")
    problem = cp.Problem(cp.Minimize(c @ x + both * x[0]), [G @ x <= h + both])
    layer = CvxpyLayer(problem, [c, h, G, both], [x])
    rng = np.random.default_rng(1)
    G_value = rng.normal(size=(n, n)) + 3 * np.eye(n)
    h_value = rng.normal(size=n)
    c_value = -G_value.T @ rng.uniform(0.5, 1.5, n)
    bar = rng.normal(size=n)
    (found,), pullback = layer.vjp(c_value, h_value, G_value, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateGradientWarning)
        _, h_bar, G_bar, both_bar = pullback(bar)
    inverse = np.linalg.inv(G_value)
    np.testing.assert_allclose(h_bar, inverse.T @ bar, rtol=1e-8)
    np.testing.assert_allclose(G_bar, -np.outer(inverse.T @ bar, found), rtol=1e-8)
    np.testing.assert_allclose(both_bar, (inverse.T @ bar).sum(), rtol=1e-8)
    size = np.abs(c_value * bar).sum() / (bar @ bar)
    assert layer.info.tau == pytest.approx(100 * size)  # there is no other vertex, however far
    assert layer.info.method.item() == "path and differences"


def test_an_informative_tau_grows_where_the_limit_is_zero():
    layer = projection(-1.0, 1.0, derivative=LPGD(tau="informative"))
    assert gradient(layer, 2.0, 1.0) > 0.1
    assert layer.info.tau > 1.0
    assert gradient(layer, 0.3, 1.0) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e12, 1e300])
def test_a_cotangent_of_any_size(size):
    layer = projection(-1.0, 1.0)
    assert gradient(layer, 0.3, size) == pytest.approx(size)


def test_the_error_bar_of_a_rough_solution_tells_its_error():
    """Of 40 gradients of points that are off by 1e-3 none is off by ten times its bar."""
    c, x = cp.Parameter(6), cp.Variable(6)
    problem = cp.Problem(cp.Minimize(c @ x + cp.norm(x - 1) ** 4), [cp.sum(x) == 1])
    rng = np.random.default_rng(5)
    value, bar = rng.normal(size=(2, 40, 6))
    right = gradient(CvxpyLayer(problem, [c], [x]), value, bar)
    rough = CvxpyLayer(problem, [c], [x], solver=SCS(eps=1e-3), derivative=Exact())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slope = gradient(rough, value, bar)
    error = np.abs(slope - right).max(axis=1) / np.abs(right).max(axis=1)
    bars = rough.info.gradient_error
    known = np.isfinite(bars)
    assert known.mean() > 0.5
    assert (error[known] <= 10 * bars[known] + 1e-6).all()


def test_too_large_a_system_is_left_to_resolves(monkeypatch):
    monkeypatch.setattr(velocity, "ENTRIES", 3)
    with pytest.raises(DerivativeFailed, match="too much; use LPGD"):
        projection(-1.0, 1.0, derivative=Exact())
    layer = projection(-1.0, 1.0)
    assert gradient(layer, 0.3, 1.0) == pytest.approx(1.0, abs=1e-5)
    info = layer.info
    assert (info.method.item(), info.regular.item()) == ("differences", None)
    assert info.tau > 0
    assert np.isnan(info.gradient_error)


def test_many_equations_are_not_too_large_a_system():
    """A system is as large as its entries, not as the square of its rows."""
    x, b = cp.Variable(2000), cp.Parameter(2000)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [x == b])
    layer = CvxpyLayer(problem, [b], [x], derivative=Exact())
    bar = np.arange(2000.0)
    np.testing.assert_allclose(gradient(layer, np.ones(2000), bar), bar)


SMOOTH = [pytest.param(row, id=row.name) for row in zoo.SMOOTH]


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("row", SMOOTH)
def test_backward_is_adjoint_to_forward(row):
    """<z_bar, J w_dot> = <J'z_bar, w_dot>, to rounding."""
    problem, parameters, variables = row.build()
    layer = CvxpyLayer(
        problem, parameters, variables, gp=row.gp, canon_backend=row.backend, derivative=Exact()
    )
    values, rng = row.inputs(), np.random.default_rng(6)
    outputs, pullback = layer.vjp(*values)
    bars = [rng.normal(size=o.shape) for o in outputs]
    slopes = pullback(*bars)
    dots = [draw - value for draw, value in zip(row.values(rng, 2), values, strict=True)]
    _, moved = layer.jvp(values, dots)
    pairs = [(a * b).ravel() for a, b in zip(bars, moved, strict=True)]
    there = np.concatenate(pairs)
    back = np.concatenate([(a * b).ravel() for a, b in zip(slopes, dots, strict=True)])
    size = np.abs(there).sum() + np.abs(back).sum()
    assert abs(there.sum() - back.sum()) <= 1e-7 * size


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.CvxlpgdWarning")
@pytest.mark.parametrize(
    "name", ["simplex_projection", "portfolio", "second_order_cone", "entropy",
             "semidefinite_program", "power_cone", "linear_program"],
)  # fmt: skip
def test_a_gradient_does_not_depend_on_its_batch(name):
    row = zoo.row_named(name)
    problem, parameters, variables = row.build()
    layer = CvxpyLayer(problem, parameters, variables, derivative=Exact())
    values, rng = row.inputs(4), np.random.default_rng(7)
    outputs, pullback = layer.vjp(*values)
    bars = [rng.normal(size=o.shape) for o in outputs]
    together = pullback(*bars)
    for i in range(4):
        _, alone = layer.vjp(*(v[i] for v in values))
        for whole, one in zip(together, alone(*(bar[i] for bar in bars)), strict=True):
            assert np.array_equal(whole[i], one)


def test_a_solution_of_an_interior_point_is_polished_before_it_is_differentiated():
    """Clarabel's point is off by 1e-5 next to a nearly active row; the gradient is not."""
    layer = projection(-1.0, 1.0, solver=Clarabel())
    exact = projection(-1.0, 1.0)
    for value in (0.999, 1.001, 0.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateGradientWarning)
            assert gradient(layer, value, 1.0) == pytest.approx(gradient(exact, value, 1.0))


@BOTH
@pytest.mark.parametrize(("cost", "low"), [(1e6, 1e-6), (1e6, 1e-8), (1e8, 1e-6), (1e4, 1e-10)])
def test_a_small_gradient_that_is_known_is_not_zero(cost, low, derivative):
    """x = low / a beside a multiplier cost / a that is 1e16 times as large."""
    x, (a, h, c) = cp.Variable(), (cp.Parameter() for _ in range(3))
    problem = cp.Problem(cp.Minimize(c * x), [a * x >= h])
    _, pullback = CvxpyLayer(problem, [a, h, c], [x], derivative=derivative).vjp(2.0, low, cost)
    np.testing.assert_allclose(pullback(1.0)[0], -low / 4, rtol=1e-6)


def test_a_weakly_active_row_keeps_its_multiplier():
    """A row within its noise of a bound, in units of 1e-5 to 1e8: A_bar = y_dot x' + y x_dot'."""
    P = np.diag([0.026840669567845827, 0, 0, 175118536.4434874])
    q = np.array([0.5170898881980937, 0.016971439220171063, 0.04094194703774726, 14006.13207224939])
    G = np.zeros((4, 4))
    G[0, 0] = -17430.582924087084
    G[1:, 2] = [7.068298315563775e-05, -3.827853327070678e-06, -0.3616406293001408]
    h = np.array(
        [182814.92863184583, -0.00014391013226042806, 4.4017524490904655e-05, 3.1249213407]
    )
    A, b = np.array([[0, -0.012843383109827175, -0.09823211478636648, 0]]), np.array([-2.5])
    x, names = cp.Variable(4), [cp.Parameter(np.shape(v)) for v in (q, G, h, A, b)]
    root = cp.Parameter((4, 4), PSD=True)
    row = names[1] @ x <= names[2]
    cost = 0.5 * cp.quad_form(x, root) + names[0] @ x
    problem = cp.Problem(cp.Minimize(cost), [row, names[3] @ x == names[4]])
    outputs = [x, row.dual_variables[0]]
    layer = CvxpyLayer(problem, [*names, root], outputs, derivative=Exact())
    (found, z), pullback = layer.vjp(q, G, h, A, b, P)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        q_bar, G_bar, h_bar, *_ = pullback(rng.normal(size=4), rng.normal(size=4))
    np.testing.assert_allclose(G_bar[1, 1], z[1] * q_bar[1] - h_bar[1] * found[1], rtol=1e-6)


@pytest.mark.parametrize("last", [1.0, 2.0])
def test_bits_do_not_depend_on_a_mate_with_a_duplicate_row(last):
    rng, x, p, h = np.random.default_rng(0), cp.Variable(6), cp.Parameter(6), cp.Parameter()
    M = rng.normal(size=(6, 6))
    H = M @ M.T + np.eye(6)
    cost = 0.5 * cp.quad_form(x, H) + p @ x
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cost), [x <= 1, x[0] <= h]), [p, h], [x])
    values, bars = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    values[3], highs = -H @ np.ones(6) - 1, np.array([2.0, 2.0, 2.0, last])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = layer.vjp(values, highs)[1](bars)[0]
        for i in range(4):
            alone = layer.vjp(values[i], highs[i])[1](bars[i])[0]
            assert np.array_equal(together[i], alone)


@pytest.mark.parametrize("rows", [(1.0, 1.0), (1.0, 3.0), (1.0, 1.0, 1.0)])
def test_a_constraint_written_twice_is_no_kink(rows):
    """x = min(p, h): only how the rows share the dual variable is not known."""
    x, p, h = cp.Variable(3), cp.Parameter(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [k * x <= k * h for k in rows])
    layer = CvxpyLayer(problem, [p, h], [x])
    rng = np.random.default_rng(0)
    for _ in range(10):
        point, high = rng.normal(size=3), rng.normal(size=3) * 10.0 ** rng.uniform(-3, 3)
        bar = np.eye(3)[0] * 10.0 ** rng.uniform(-6, 6)
        p_bar, h_bar = layer.vjp(point, high)[1](bar)
        np.testing.assert_allclose(p_bar, bar * (point < high), rtol=1e-9)
        np.testing.assert_allclose(h_bar, bar * (point > high), rtol=1e-9)
        assert layer.info.kink == 0


@pytest.mark.parametrize("angle", [1e-8, 3e-9])
def test_rows_that_are_nearly_parallel_are_right_or_said(angle):
    """(G G')⁻¹ G x_bar of two active rows: 1e8 times as large as G."""
    x, p, h, G = cp.Variable(3), cp.Parameter(3), cp.Parameter(2), cp.Parameter((2, 3))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [G @ x <= h])
    layer = CvxpyLayer(problem, [p, h, G], [x])
    for seed in range(10, 20):
        rng = np.random.default_rng(seed)
        row = rng.normal(size=3)
        rows, at = np.array([row, row + angle * rng.normal(size=3)]), rng.normal(size=3)
        bar = rng.normal(size=3)
        d = rows[1] - rows[0]  # the same two rows, combined without cancellation
        basis = np.array([rows[0], d])
        u = np.linalg.solve(basis @ basis.T * np.outer([1, 1 / angle], [1, 1 / angle]),
                            basis @ bar * [1, 1 / angle]) * [1, 1 / angle]  # fmt: skip
        right = np.array([u[0] - u[1], u[1]])
        _, pullback = layer.vjp(at + rows.T @ np.array([2.0, 1.0]), rows @ at, rows)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            h_bar = pullback(bar)[1]
        assert caught or np.abs(h_bar - right).max() <= 0.01 * np.abs(right).max()


@pytest.mark.parametrize("unit", [1.0, 1e5, 1e7])
def test_what_has_no_derivative_is_said_whatever_the_other_entries_units(unit):
    x, w, p = cp.Variable(), cp.Variable(), cp.Parameter(3)
    cost = cp.square(x - unit * p[0]) + cp.square(w)
    problem = cp.Problem(cp.Minimize(cost), [w == p[1], w == p[2]])
    layer = CvxpyLayer(problem, [p], [x, w])
    _, pullback = layer.vjp(np.ones(3))
    with pytest.warns(IrregularGradientWarning):
        pullback(0.0, 1.0)
    assert layer.info.regular.item() is False


@pytest.mark.filterwarnings("error")
def test_a_cotangent_next_to_nothing():
    assert gradient(projection(-1.0, 1.0), 0.5, 1e-310) == 1e-310


@BOTH
@pytest.mark.parametrize("curvature", [1e4, 1e6, 1e8, 1e9])
def test_a_small_entry_beside_another_ones_unit_is_right_or_said(curvature, derivative):
    """x_0 = -q_0 / K, whose gradient -1 / K stands in one parameter with that of x_1 = 1e4 b."""
    x, q, b = cp.Variable(2), cp.Parameter(2), cp.Parameter()
    cost = 0.5 * curvature * cp.square(x[0]) + 0.5e-9 * cp.square(x[1]) + q @ x
    problem = cp.Problem(cp.Minimize(cost), [1e-4 * x[1] == b])
    layer = CvxpyLayer(problem, [q, b], [x], derivative=derivative)
    _, pullback = layer.vjp(np.array([-1e-5 * curvature, 0.0]), 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InaccurateGradientWarning)
        q_bar, b_bar = pullback(np.ones(2))
    np.testing.assert_allclose(q_bar, [-1 / curvature, 0.0], rtol=1e-6, atol=1e-18)
    np.testing.assert_allclose(b_bar, 1e4)
