"""Sizes of perturbations: who reads them, who changes them, what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import cvxpy as cp
import numpy as np
import pytest
import torch

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd import LPGD, FiniteDifference
from cvxlpgd.errors import InvalidOption
from cvxlpgd.schedules import Adaptive, Exponential, Relative, Schedule

C = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 4.0]])


def simplex(derivative, framework=cvxlpgd.numpy):
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0])
    return framework.CvxpyLayer(problem, [c], [x], derivative=derivative)


def gradient(layer, bar, c=C):
    _, pullback = layer.vjp(c)
    return pullback(bar)[0]


def test_a_relative_tau_follows_cost_and_cotangent():
    """Scaling the loss or the cost scales tau; the gradient is homogeneous in both."""
    layer = simplex(LPGD(tau=Relative(0.8)))
    bar = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    g = gradient(layer, bar)
    tau = layer.info.tau.copy()
    assert np.allclose(tau, 0.8 * np.abs(C).max(axis=1))
    assert np.allclose(gradient(layer, 100 * bar), 100 * g)
    assert np.allclose(layer.info.tau, tau / 100)
    assert np.allclose(gradient(layer, bar, 10 * C), g / 10)
    assert np.allclose(layer.info.tau, tau * 10)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("units", [1e-6, 1.0, 1e6])
def test_a_relative_tau_of_small_costs(units):
    """Prices that bounds and a sum share cancel to the costs, however small these are."""
    x, c = cp.Variable(6), cp.Parameter(6)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 2, x >= 0, x <= 1])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [c], [x], derivative=LPGD(tau=Relative(1.0)))
    costs = units * np.random.default_rng(0).normal(size=(20, 6))
    gradient(layer, np.ones((20, 6)) * np.arange(6.0), costs)
    assert np.allclose(layer.info.tau / units, np.abs(costs).max(axis=1) / 5 / units)


def test_a_schedule_is_read_once_per_forward_and_changed_by_its_owner():
    calls = []
    schedule = Schedule(lambda k: calls.append(k) or 10.0 * 0.5**k)
    layer = simplex(LPGD(tau=schedule))
    for k in range(3):
        _, pullback = layer.vjp(C)
        pullback(np.ones((2, 3)) * [1.0, 0.0, 0.0])
        pullback(np.ones((2, 3)) * [1.0, 0.0, 0.0])
        assert calls == list(range(k + 1))
        assert (layer.info.tau == 10.0 * 0.5**k).all()
        schedule.step()
    state = schedule.state_dict()
    other = Schedule(lambda k: float(k))
    other.load_state_dict(state)
    assert other() == 3.0
    with pytest.raises(InvalidOption, match="steps"):
        other.load_state_dict({"kappa": 1.0})
    with pytest.raises(InvalidOption, match="steps"):
        other.load_state_dict({"steps": -1})


def test_exponential():
    tau = Exponential(start=1.0, factor=0.1, least=1e-2)
    assert [tau(k) for k in range(4)] == pytest.approx([1.0, 0.1, 0.01, 0.01])
    assert Exponential(1.0, 0.5, relative=True)(1) == Relative(0.5)


@pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0, math.inf, "large", None, [1.0, -1.0]])
def test_a_schedule_that_returns_no_tau(bad):
    layer = simplex(LPGD(tau=Schedule(lambda k: bad)))
    with pytest.raises(InvalidOption, match=r"tau must be .*read from Schedule at step 0"):
        layer(C)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Relative(0.0),
        lambda: Relative(math.nan),
        lambda: Relative(True),
        lambda: Exponential(-1.0, 0.5),
        lambda: Exponential(1.0, 0.0),
        lambda: Schedule(0.1),
        lambda: Adaptive(target=0.0),
        lambda: Adaptive(target=1.5),
        lambda: Adaptive(start=-1.0),
        lambda: Adaptive(factor=1.0),
        lambda: Adaptive(rate=2.0),
        lambda: Adaptive().load_state_dict({"kappa": -1.0, "share": 0.5}),
        lambda: Adaptive().load_state_dict({"steps": 1}),
        lambda: LPGD(tau=0.0),
        lambda: LPGD(rho=-1.0),
    ],
)
def test_what_is_refused(make):
    with pytest.raises(InvalidOption):
        make()


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_adaptive_holds_the_share_of_informative_gradients():
    """Of a linear program's gradients: too small a tau finds too few, and is enlarged."""
    rng = np.random.default_rng(0)
    tau = Adaptive(target=0.5, start=1e-4, factor=1.2, rate=0.2)
    x, c = cp.Variable(6), cp.Parameter(6)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 2, x >= 0, x <= 1])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [c], [x], derivative=LPGD(tau=tau))
    shares = []
    for _ in range(150):
        cost = torch.tensor(rng.normal(size=(32, 6)), requires_grad=True)
        (x_star,) = layer(cost)
        (x_star * torch.tensor(rng.normal(size=6))).sum().backward()
        info = layer.info
        assert (info.informative == (cost.grad.abs() > 1e-6).any(1).numpy()).all()
        shares.append(info.informative.mean())
        tau.update(info)
    assert shares[0] < 0.1
    assert np.mean(shares[-50:]) == pytest.approx(0.5, abs=0.1)
    again = Adaptive()
    again.load_state_dict(tau.state_dict())
    assert again() == tau()


def test_adaptive_shrinks_again_and_stays_in_its_range():
    tau = Adaptive(target=0.5, start=1.0, rate=1.0, least=0.5, most=2.0)
    some = SimpleNamespace(tau=np.ones(4), informative=np.ones(4, dtype=bool))
    none = SimpleNamespace(tau=np.ones(4), informative=np.zeros(4, dtype=bool))
    nothing = SimpleNamespace(tau=np.full(4, np.nan), informative=np.zeros(4, dtype=bool))
    tau.update(nothing)
    assert tau() == Relative(1.0)
    for _ in range(50):
        tau.update(some)
    assert tau() == Relative(0.5)
    for _ in range(50):
        tau.update(none)
    assert tau() == Relative(2.0)


def test_forward_mode_takes_a_relative_tau():
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(c @ x + cp.sum_squares(x)), [cp.sum(x) == 1])
    dot = np.array([1.0, -0.5, 0.3])
    found = []
    for derivative in (LPGD(tau=Relative(1e-3)), FiniteDifference()):
        layer = cvxlpgd.numpy.CvxpyLayer(problem, [c], [x], derivative=derivative)
        found.append(layer.jvp((C[0],), (dot,))[1][0])
    assert np.allclose(found[0], found[1], atol=1e-6)
    assert np.allclose(found[1], (dot.mean() - dot) / 2, atol=1e-6)
