"""Perturbed programs without a solution: the other side, a smaller tau, and then the policy."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD
from cvxlpgd.errors import FailedSampleWarning, IrregularGradientWarning, SolveFailed
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.solvers import SCS, Clarabel

SOLVERS = (None, "CLARABEL", "SCS")


def moved_cost(solver=None, **options) -> CvxpyLayer:
    """Unbounded where the cost is negative, which a cotangent of y makes it."""
    a, cost = cp.Parameter(name="a"), cp.Parameter(name="cost")
    x, y = cp.Variable(), cp.Variable(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.square(x - a) + cost * y))
    return CvxpyLayer(problem, [a, cost], [x, y], solver=solver, **options)


def moved_bound(solver=None, **options) -> CvxpyLayer:
    """Infeasible where high < low, which a cotangent of the dual variable makes it."""
    low, high, a = (cp.Parameter(name=name) for name in ("low", "high", "a"))
    x = cp.Variable()
    inside = x <= high
    problem = cp.Problem(cp.Minimize(cp.square(x - a)), [x >= low, inside])
    return CvxpyLayer(problem, [low, high, a], [inside.dual_variables[0]], solver=solver, **options)


# layer, values, cotangents; by lower (t = tau) and upper (t = -tau) the program fails or does not
CASES = {
    "unbounded below": (moved_cost, (1.0, 0.05), (1.0, -1.0), "upper"),
    "unbounded above": (moved_cost, (1.0, 0.05), (1.0, 1.0), "lower"),
    "infeasible below": (moved_bound, (0.0, 0.05, 1.0), (1.0,), "upper"),
    "infeasible above": (moved_bound, (0.0, 0.05, 1.0), (-1.0,), "lower"),
}


def gradients(layer: CvxpyLayer, values, bars) -> list[np.ndarray]:
    _, pullback = layer.vjp(*(np.asarray(v) for v in values))
    return pullback(*(np.asarray(bar) for bar in bars))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", CASES)
def test_where_one_end_fails_the_other_side_is_taken(case, solver):
    make, values, bars, side = CASES[case]
    average, one = (make(solver, derivative=LPGD(tau=0.5, side=s)) for s in ("average", side))
    found, expected = gradients(average, values, bars), gradients(one, values, bars)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.any(np.abs(found) > 0.5)
    info = average.info
    assert (info.side, info.tau, info.retries) == (side, 0.5, 1)
    assert info.differentiated
    assert (one.info.side, one.info.retries) == (side, 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("times", [1, 3])
def test_where_a_side_fails_a_smaller_tau_is_taken(case, solver, times):
    make, values, bars, side = CASES[case]
    other = {"lower": "upper", "upper": "lower"}[side]
    tau = 0.02 * 10.0**times
    layer = make(solver, derivative=LPGD(tau=tau, side=other))
    direct = make(solver, derivative=LPGD(tau=tau / 10**times, side=other))
    np.testing.assert_allclose(
        gradients(layer, values, bars), gradients(direct, values, bars), atol=1e-9
    )
    assert layer.info.tau == pytest.approx(0.02)
    assert (layer.info.side, layer.info.retries, direct.info.retries) == (other, times, 0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_where_both_ends_fail_a_smaller_tau_is_taken(solver):
    """At tau the cost of y falls below 0 at one end, that of z at the other."""
    cost, v, a, x = cp.Parameter(2), cp.Variable(2, nonneg=True), cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cost @ v + cp.square(x - a)))

    def layer(tau: float) -> CvxpyLayer:
        return CvxpyLayer(problem, [cost, a], [v, x], solver, derivative=LPGD(tau=tau))

    values, bars = ([0.05, 0.05], 1.0), ([-1.0, 1.0], 1.0)
    found, direct = layer(2.0), layer(0.02)
    np.testing.assert_allclose(
        np.hstack(gradients(found, values, bars)), np.hstack(gradients(direct, values, bars)),
        atol=1e-9,
    )  # fmt: skip
    assert found.info.tau == pytest.approx(0.02)
    assert (found.info.side, found.info.retries) == ("average", 2)
    # where one end is mended before the other: smaller first, then one-sided
    uneven = layer(2.0)
    gradients(uneven, ([0.5, 0.05], 1.0), bars)
    assert uneven.info.tau == pytest.approx(0.2)
    assert (uneven.info.side, uneven.info.retries) == ("lower", 2)


def always(policy: str) -> tuple[CvxpyLayer, list[np.ndarray], list[np.ndarray]]:
    """Three samples, of which the second is unbounded below at every tau that is tried."""
    layer = moved_cost(derivative=LPGD(tau=1.0, side="lower"), on_failure=policy)
    values = [np.array([1.0, 1.0, 1.0]), np.array([1.5, 1e-5, 2.5])]
    return layer, values, [np.ones(3), np.array([-1.0, -1.0, -1.0])]


def test_what_fails_at_every_tau_is_named_with_its_program_and_its_side():
    layer, values, bars = always("raise")
    with pytest.raises(
        SolveFailed, match=r"sample 1: .*lower side, tau = 1, is unbounded.* 0\.001"
    ):
        gradients(layer, values, bars)


def test_what_fails_at_every_tau_is_zero_and_the_others_are_untouched():
    layer, values, bars = always("nan")
    with pytest.warns(FailedSampleWarning, match="no gradient for 1 of 3 samples"):
        found = gradients(layer, values, bars)
    alone = always("raise")[0]
    others = [0, 2]
    expected = gradients(alone, [v[others] for v in values], [v[others] for v in bars])
    for value, mates in zip(found, expected, strict=True):
        assert value[1] == 0
        assert np.array_equal(value[others], mates)
    assert layer.info.differentiated.tolist() == [True, False, True]
    assert layer.info.retries.tolist() == [0, 3, 0]
    assert layer.info.side.tolist() == ["lower", "", "lower"]


def test_a_batch_may_hold_all_kinds():
    """Each sample's gradient is the one that it gets alone, down to the last bit."""
    costs, bars = np.array([5.0, 0.05, 0.05, 5.0]), [np.ones(4), np.array([1.0, -1.0, 1.0, 0.0])]
    layer = moved_cost(derivative=LPGD(tau=0.5))
    values = [np.arange(4.0), costs]
    found = gradients(layer, values, bars)
    assert layer.info.side.tolist() == ["average", "upper", "lower", "average"]
    assert layer.info.retries.tolist() == [0, 1, 1, 0]
    for i in range(4):
        alone = gradients(layer, [v[i] for v in values], [v[i] for v in bars])
        assert [v[i] for v in found] == list(alone)


def test_an_automatic_gradient_needs_no_perturbed_program():
    """Where one end would be unbounded at any tau above 2e-4."""
    layer = moved_cost(derivative=LPGD(side="lower"))
    (a_bar, _) = gradients(layer, (1.0, 2e-4), (1.0, -1.0))
    assert a_bar == pytest.approx(1.0, abs=1e-9)
    assert layer.info.retries == 0
    assert layer.info.tau == 0


@pytest.mark.parametrize("solver", [SCS(), Clarabel()], ids=lambda s: s.name)
def test_forward_mode_does_the_same(solver):
    """x = high, and low = high already: only moving apart, on one side, leaves a program."""
    low, high, x = cp.Parameter(), cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x - 3)), [x >= low, x <= high])
    layer = CvxpyLayer(problem, [low, high], [x], solver, derivative=LPGD(tau=0.5))
    _, (x_dot,) = layer.jvp([np.zeros(2), np.full(2, 0.1)], [np.zeros(2), np.array([1.0, 0.1])])
    assert x_dot.tolist() == pytest.approx([1.0, 0.1], abs=1e-6)
    assert layer.info.side.tolist() == ["lower", "average"]
    assert layer.info.retries.tolist() == [1, 0]


def box(n: int, **options) -> tuple[CvxpyLayer, np.ndarray]:
    """Minimize s_i x_i²/2 + q_i x_i in [-1, 1], s_i from 1e-3 to 100: x_i = -q_i / s_i inside."""
    scale = np.logspace(-3, 2, n)
    q, x = cp.Parameter(n), cp.Variable(n)
    cost = cp.sum_squares(cp.multiply(np.sqrt(scale), x)) / 2 + q @ x
    return CvxpyLayer(cp.Problem(cp.Minimize(cost), [x >= -1, x <= 1]), [q], [x], **options), scale


@pytest.mark.parametrize("seed", range(6))
def test_the_limit_is_right_where_small_entries_change_their_active_set(seed):
    rng, n = np.random.default_rng(seed), 20
    layer, scale = box(n)
    value, bar = rng.uniform(-0.9, 0.9, (3, n)) * scale, rng.normal(size=(3, n))
    (found,) = gradients(layer, [value], [bar])
    right = -bar / scale
    np.testing.assert_allclose(found, right, rtol=1e-9)
    fixed, _ = box(n, derivative=LPGD(tau=1.0))
    (far,) = gradients(fixed, [value], [bar])
    assert np.abs(far - right).max() > 0.3 * np.abs(right).max()
    assert (fixed.info.retries == 0).all()


def test_a_solution_that_bends_at_its_own_point_has_the_mean_of_both_sides():
    q, x = cp.Parameter(), cp.Variable()
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.square(x - q)), [x >= 0]), [q], [x])
    with pytest.warns(IrregularGradientWarning, match="kink"):
        (found,) = gradients(layer, [0.0], [1.0])
    np.testing.assert_allclose(found, 0.5)
    assert layer.info.kink == pytest.approx(1.0)


def test_linear_programs_see_a_vertex_of_the_costs_own_size():
    c, x = cp.Parameter(3), cp.Variable(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0]), [c], [x])
    value, bar = np.array([1.0, 1.0005, 2.0]), np.array([1.0, 0.0, 0.0])
    (found,) = gradients(layer, [value], [bar])
    assert layer.info.retries == 0
    assert layer.info.tau == pytest.approx(1.0)  # |c_0|
    np.testing.assert_allclose(found, [-0.5, 0.5, 0.0], atol=1e-9)


def test_a_linear_programs_tau_grows_while_it_sees_nothing():
    c, x = cp.Parameter(3), cp.Variable(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0]), [c], [x])
    (found,) = gradients(layer, [np.array([-1.0, 3.0, 5.0])], [np.array([1.0, 0.0, 0.0])])
    assert layer.info.retries == 1
    assert layer.info.tau == pytest.approx(10.0)
    np.testing.assert_allclose(found, [-0.05, 0.05, 0.0], atol=1e-9)


def test_an_indefinite_program_has_failed_and_says_so():
    """P - tau P_dot at tau = 2e6, and at a thousandth of it: its solver may call it anything."""
    x, P = cp.Variable(2), cp.Parameter((2, 2), PSD=True)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 - cp.sum(x)), [cp.norm(x, "inf") <= 9])
    layer = CvxpyLayer(problem, [P], [x], derivative=LPGD(tau=2e6, side="upper"))
    words = r"upper side, tau = 2e\+06, is failed \(its P is indefinite\)"
    with pytest.raises(SolveFailed, match=words):
        layer.jvp([np.eye(2)], [np.eye(2)])
