"""Envelopes: their values, bounds, gradients, and what they refuse."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd import LPGD
from cvxlpgd.errors import CvxlpgdError, DerivativeFailed, InvalidInput, InvalidOption
from cvxlpgd.solvers import SCS

N = 5
SIDES = ("lower", "upper", "average")
rng = np.random.default_rng(0)


def quadratic(sense=cp.Minimize):
    x, c, b = cp.Variable(N), cp.Parameter(N), cp.Parameter()
    cost = c @ x + cp.sum_squares(x) + cp.sum(c)  # the last term is the objective's constant
    sign = 1 if sense is cp.Minimize else -1
    problem = cp.Problem(sense(sign * cost), [cp.sum(x) == b, x >= 0, x <= 0.5])
    return problem, [c, b], x


def linear():
    x, c = cp.Variable(N), cp.Parameter(N)
    return cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0, x <= 0.5]), [c], x


def points(batch=4):
    c = torch.tensor(rng.normal(size=(batch, N)), requires_grad=True)
    return c, torch.tensor(1.1, dtype=torch.float64, requires_grad=True)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.InaccurateSolutionWarning")
def test_the_problems_of_envelopes_have_the_layers_fallback():
    """The solver alone is off by far; the fallback solves every problem that is made of a loss."""
    problem, parameters, x = quadratic()
    values = (np.ones(N), np.array(1.1))
    loss = cp.sum_squares(x - 0.3)
    envelopes = [
        cvxlpgd.numpy.CvxpyLayer(problem, parameters, [x], **options).envelope(
            *values, loss=loss, tau=0.1, side="lower"
        )
        for options in ({"solver": SCS(max_iters=1), "fallback": "CLARABEL"}, {})
    ]
    assert envelopes[0] == pytest.approx(envelopes[1], rel=1e-6)


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_optimal_values_and_their_gradients(sense):
    problem, parameters, x = quadratic(sense)
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
    c, b = points()
    value = layer.optimal_value(c, b)
    for i in range(len(c)):
        parameters[0].value, parameters[1].value = c[i].detach().numpy(), b.item()
        assert value[i].item() == pytest.approx(problem.solve(), abs=1e-5)
    assert torch.autograd.gradcheck(layer.optimal_value, (c, b), eps=1e-4, atol=1e-4)


def test_the_value_of_a_geometric_program():
    x, a = cp.Variable(pos=True), cp.Parameter(pos=True)
    layer = cvxlpgd.torch.CvxpyLayer(cp.Problem(cp.Minimize(x + a / x)), [a], [x], gp=True)
    a_value = torch.tensor([0.5, 4.0], dtype=torch.float64, requires_grad=True)
    value = layer.optimal_value(a_value)
    assert torch.allclose(value, 2 * a_value.sqrt(), atol=1e-6)
    (grad,) = torch.autograd.grad(value.sum(), a_value)
    assert torch.allclose(grad, a_value.rsqrt(), atol=1e-5)


@pytest.mark.parametrize("tau", [1e-3, 1e-1, 1.0, 10.0])
@pytest.mark.parametrize("made", [linear, quadratic])
def test_envelopes_bound_the_loss(made, tau):
    """lower <= l(x*) <= upper; the lower one falls and the upper one rises with tau."""
    problem, parameters, x = made()
    layer = cvxlpgd.numpy.CvxpyLayer(problem, parameters, [x])
    values = [v.detach().numpy() for v in points(16)][: len(parameters)]
    bar = rng.normal(size=(16, N))
    (x_star,) = layer(*values)
    loss = (bar * x_star).sum(axis=1)
    found = {s: layer.envelope(*values, cotangents=bar, tau=tau, side=s) for s in SIDES}
    further = {s: layer.envelope(*values, cotangents=bar, tau=2 * tau, side=s) for s in SIDES}
    noise = 1e-7 / tau
    assert (found["lower"] <= loss + noise).all()
    assert (loss <= found["upper"] + noise).all()
    assert (further["lower"] <= found["lower"] + noise).all()
    assert (found["upper"] <= further["upper"] + noise).all()
    mean = (found["lower"] + found["upper"]) / 2
    assert np.allclose(found["average"], mean, atol=noise)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_the_gradient_is_lpgds(side, rho):
    problem, parameters, x = quadratic()
    c, b = points()
    bar = torch.tensor(rng.normal(size=(4, N)))
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
    same = LPGD(tau=0.1, side=side, rho=rho)
    other = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x], derivative=same)
    value = layer.envelope(c, b, cotangents=bar, tau=0.1, side=side, rho=rho)
    mine = torch.autograd.grad(value.sum(), [c, b])
    theirs = torch.autograd.grad((other(c, b)[0] * bar).sum(), [c, b])
    assert all(torch.allclose(g, h, atol=1e-9) for g, h in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("side", SIDES)
def test_gradients_against_differences(side):
    problem, parameters, x = quadratic()
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
    bar = rng.normal(size=(4, N))

    def value(c, b):
        return layer.envelope(c, b, cotangents=bar, tau=0.3, side=side)

    assert torch.autograd.gradcheck(value, points(), eps=1e-4, atol=1e-4)


def test_cotangents_of_dual_variables():
    """V(t) has b - t y_bar: the envelope of a dual variable is a difference of optimal values."""
    x, b = cp.Variable(N), cp.Parameter(2)
    A = rng.normal(size=(2, N))
    equal = A @ x == b
    layer = cvxlpgd.numpy.CvxpyLayer(
        cp.Problem(cp.Minimize(cp.sum_squares(x)), [equal]), [b], [equal.dual_variables[0]]
    )
    b_value, bar, tau = rng.normal(size=2), rng.normal(size=2), 0.2

    def optimal(right):
        return right @ np.linalg.solve(A @ A.T, right)

    found = layer.envelope(b_value, cotangents=bar, tau=tau, side="average")
    expected = (optimal(b_value - tau * bar) - optimal(b_value + tau * bar)) / (2 * tau)
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_geometric_programs_envelope_meets_the_loss():
    x, a = cp.Variable(pos=True), cp.Parameter(pos=True)
    layer = cvxlpgd.numpy.CvxpyLayer(cp.Problem(cp.Minimize(x + a / x)), [a], [x], gp=True)
    for side in SIDES:
        found = layer.envelope(4.0, cotangents=np.array(3.0), tau=1e-4, side=side)
        assert found == pytest.approx(6.0, abs=1e-2)


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_the_true_loss(sense, framework):
    """[min f + tau l - min f]/tau, solved by CVXPY, and gradients by differences."""
    problem, parameters, x = quadratic(sense)
    target = cp.Parameter(N)
    loss, tau = cp.sum_squares(x - target), 0.5
    c, b = points(2)
    t = torch.tensor(rng.uniform(size=(3, 1, N)), requires_grad=True)  # three targets for each
    if framework == "numpy":
        layer = cvxlpgd.numpy.CvxpyLayer(problem, parameters, [x])
        given = [v.detach().numpy() for v in (c, b, t)]
        found, pullback = layer.envelope_vjp(
            *given[:2], loss=loss, loss_values={target: given[2]}, tau=tau, side="lower"
        )
        bars = pullback(np.ones(found.shape))
        other = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
        value = other.envelope(c, b, loss=loss, loss_values={target: t}, tau=tau, side="lower")
        value.sum().backward()
        assert np.allclose(found, value.detach(), atol=1e-8)
        for bar, tensor in zip(bars, (c, b, t), strict=True):
            assert np.allclose(bar, tensor.grad, atol=1e-7)
        return
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])

    def value(c, b, t):
        return layer.envelope(c, b, loss=loss, loss_values={target: t}, tau=tau, side="lower")

    found = value(c, b, t)
    assert found.shape == (3, 2)
    f = problem.objective.expr * (1 if sense is cp.Minimize else -1)
    parameters[0].value, parameters[1].value = c[1].detach().numpy(), b.item()
    target.value = t[2, 0].detach().numpy()
    plain = cp.Problem(cp.Minimize(f), problem.constraints).solve(solver="CLARABEL")
    moved = cp.Problem(cp.Minimize(f + tau * loss), problem.constraints).solve(solver="CLARABEL")
    assert found[2, 1].item() == pytest.approx((moved - plain) / tau, abs=1e-5)
    assert torch.autograd.gradcheck(value, (c, b, t), eps=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_an_affine_loss_is_its_linearization(side):
    problem, parameters, x = quadratic()
    layer = cvxlpgd.numpy.CvxpyLayer(problem, parameters, [x])
    values, bar = [v.detach().numpy() for v in points()], rng.normal(size=N)
    one = layer.envelope(*values, loss=bar @ x, tau=0.3, side=side)
    other = layer.envelope(*values, cotangents=bar, tau=0.3, side=side)
    assert np.allclose(one, other, atol=1e-6)


def test_direct_loss_minimization():
    """A linear program and the true loss: [x(w, eps l) - x(w)]/eps, by another library."""
    problem, parameters, x = linear()
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
    c, target, eps = rng.normal(size=N), rng.uniform(size=N), 0.7
    cost = torch.tensor(c, requires_grad=True)
    loss = cp.norm1(x - target)
    layer.envelope(cost, loss=loss, tau=eps, side="lower").backward()
    ones, eye = np.ones((1, N)), np.eye(N)
    plain = linprog(c, A_eq=ones, b_eq=[1], bounds=(0, 0.5)).x
    moved = linprog(  # x and t >= |x - target|
        np.concatenate([c, eps * np.ones(N)]),
        A_eq=np.hstack([ones, 0 * ones]),
        b_eq=[1],
        A_ub=np.block([[eye, -eye], [-eye, -eye]]),
        b_ub=np.concatenate([target, -target]),
        bounds=[(0, 0.5)] * N + [(0, None)] * N,
    ).x[:N]
    assert np.allclose(cost.grad, (moved - plain) / eps, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either cotangents= or loss="),
        ({"cotangents": np.ones(N), "tau": -1.0}, "tau"),
        ({"cotangents": np.ones(N), "tau": np.nan}, "tau"),
        ({"cotangents": np.ones(N), "rho": -1.0}, "rho"),
        ({"cotangents": np.ones(N), "side": "left"}, "side"),
        ({"cotangents": np.ones(N + 1)}, "cotangent 0"),
        ({"cotangents": [np.ones(N), np.ones(N)]}, "received 2 cotangents"),
        ({"loss": "convex", "tau": 1.0, "side": "upper"}, "concave"),
        ({"loss": "convex", "tau": 1.0, "side": "average"}, "affine"),
        ({"loss": "concave", "tau": 1.0, "side": "lower"}, "convex"),
        ({"loss": "convex", "side": "lower"}, "tau"),
        ({"loss": "convex", "tau": 0.0, "side": "lower"}, "tau"),
        ({"loss": "convex", "tau": 1.0, "side": "left"}, "side"),
        ({"loss": "foreign", "tau": 1.0, "side": "lower"}, "problem's variables"),
        ({"loss": "vector", "tau": 1.0, "side": "lower"}, "scalar"),
        ({"loss": "number", "tau": 1.0, "side": "lower"}, "scalar"),
        ({"loss": "open", "tau": 1.0, "side": "lower"}, "no value"),
    ],
)
def test_what_is_refused(options, words):
    problem, parameters, x = linear()
    layer = cvxlpgd.numpy.CvxpyLayer(problem, parameters, [x])
    losses = {
        "convex": cp.sum_squares(x),
        "concave": -cp.sum_squares(x),
        "foreign": cp.sum_squares(cp.Variable(2)),
        "vector": cp.square(x),
        "number": 1.0,
        "open": cp.sum_squares(x - cp.Parameter(N)),
    }
    if "loss" in options:
        options = options | {"loss": losses[options["loss"]]}
    with pytest.raises((InvalidOption, InvalidInput), match=words):
        layer.envelope(np.arange(N) * 1.0, **options)


def test_cotangents_are_constants_and_copies_have_no_problem():
    import copy

    problem, parameters, x = linear()
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
    c = torch.ones(N, requires_grad=True)
    with pytest.raises(InvalidInput, match="detach"):
        layer.envelope(c, cotangents=c)
    with pytest.raises(InvalidOption, match="copy of a layer"):
        copy.deepcopy(layer).envelope(c, loss=cp.sum_squares(x), tau=1.0, side="lower")
    (grad,) = torch.autograd.grad(layer.optimal_value(c), c, create_graph=True)
    with pytest.raises(RuntimeError):  # no second derivative
        torch.autograd.grad(grad.sum(), c)


def test_failed_samples_stay_alone():
    problem, parameters, x = quadratic()
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x], on_failure="nan")
    c, _ = points(3)
    b = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64, requires_grad=True)  # the second: none
    with pytest.warns(UserWarning, match="1 of 3"):
        value = layer.envelope(c, b, cotangents=np.ones(N), tau=0.1)
    assert value.isnan().tolist() == [False, True, False]
    value[[0, 2]].sum().backward()
    assert torch.isfinite(c.grad).all()
    assert (c.grad[1] == 0).all()


def test_float32_stays_float32_and_accurate():
    problem, parameters, x = quadratic()
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, [x])
    c, b = (v.detach().float() for v in points())
    found = layer.envelope(c, b, cotangents=np.ones(N), tau=1e-3)
    exact = layer.envelope(c.double(), b.double(), cotangents=np.ones(N), tau=1e-3)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, rtol=1e-6)


def test_integer_programs_have_values_and_gradients_of_costs():
    x, c, w = cp.Variable(4, boolean=True), cp.Parameter(4), cp.Parameter(4, nonneg=True)
    layer = cvxlpgd.torch.CvxpyLayer(cp.Problem(cp.Maximize(c @ x), [w @ x <= 5]), [c, w], [x])
    c_value = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([3.0, 2.0, 2.0, 1.0], dtype=torch.float64)
    value = layer.optimal_value(c_value, weights)
    assert value.item() == pytest.approx(7.0)
    (grad,) = torch.autograd.grad(value, c_value)
    assert grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    with pytest.raises(DerivativeFailed, match="integer_constraints"):
        layer.optimal_value(c_value, weights.requires_grad_())
    assert issubclass(DerivativeFailed, CvxlpgdError)
