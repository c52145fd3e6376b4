"""A layer's gradient against tau: regions, what is marked, and what is refused."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD, Exact, Implicit, compare
from cvxlpgd.analysis.tau_profile import profiles
from cvxlpgd.errors import InvalidInput, InvalidOption, SolveFailed
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.torch import CvxpyLayer as TorchLayer

COST, AMOUNT = np.array([1.0, 2.0, 4.0]), np.array(1.0)
BAR = [np.array([1.0, 0.0, -1.0])]


def problem(curvature: float = 0.0):
    x, cost, amount = cp.Variable(3), cp.Parameter(3, name="cost"), cp.Parameter(name="amount")
    objective = cost @ x + (curvature * cp.sum_squares(x) if curvature else 0)
    return cp.Problem(cp.Minimize(objective), [cp.sum(x) == amount, x >= 0]), [cost, amount], [x]


def profiles_of(curvature: float = 0.0, taus=None, **options):
    layer = CvxpyLayer(*problem(curvature), **options)._layer
    return profiles(layer, [COST, AMOUNT], BAR, None, taus, tensors=False)[1]


def texts(figure):
    return {text.get_text().replace("\n", " ") for axis in figure.axes for text in axis.texts}


def labels(figure):
    return {line.get_label().replace("\n", " ") for axis in figure.axes for line in axis.lines}


def test_a_smooth_gradient_is_exact_until_it_looks_further():
    (profile,) = profiles_of(curvature=1.0)
    first, last = profile.edges()
    inside = (profile.taus > first) & (profile.taus < last)
    apart = np.linalg.norm(profile.gradients - profile.exact, axis=1)
    close = apart <= 1e-2 * np.linalg.norm(profile.exact)
    assert close[inside].all()
    assert not close[profile.taus > last][0]
    assert profile.names == ["cost[0]", "cost[1]", "cost[2]", "amount"]
    assert not profile.own_tau.size
    assert np.allclose(profile.own, profile.exact)
    assert np.allclose(profile.cosines()[inside], 1.0)
    assert 0 < profile.floor < profile.taus[0]


def test_a_linear_programs_parameters_are_drawn_apart():
    amount, cost = profiles_of()
    assert (amount.names, cost.names) == (["amount"], ["cost[0]", "cost[1]", "cost[2]"])
    assert (amount.is_zero, cost.is_zero) == (False, True)
    edge, _ = cost.edges()
    sizes = np.linalg.norm(cost.gradients, axis=1)
    assert (sizes[cost.taus < edge] < 1e-7).all()
    assert 0.1 < edge < 10
    assert sizes[cost.taus > edge][0] > 1e-3
    assert not amount.own_tau.size  # the limit
    layer = CvxpyLayer(*problem())
    layer.vjp(COST, AMOUNT)[1](BAR[0])
    assert cost.own_tau == layer.info.tau
    assert cost.cosines()[np.isfinite(cost.cosines())].max() == pytest.approx(1.0)


@pytest.mark.parametrize("solver", [None, "HIGHS", "CLARABEL"])
def test_a_loss_of_an_entry_that_is_0_is_drawn_as_zero(solver):
    layer, dearest = CvxpyLayer(*problem(), solver=solver)._layer, [np.array([0.0, 0.0, -1.0])]
    (profile,) = profiles(layer, [COST, AMOUNT], dearest, None, None, tensors=False)[1]
    assert profile.is_zero
    assert profile.seen.any()


def test_the_noise_of_a_solver_is_a_region():
    """Central differences of inexact solutions: noise / tau."""
    x, cost = cp.Variable(3), cp.Parameter(3, name="cost")
    balls = cp.Problem(cp.Minimize(cost @ x), [cp.norm(x) <= 1, cp.sum(x) <= 1])
    layer = CvxpyLayer(balls, [cost], [x], solver="CLARABEL", derivative=LPGD(tau=1e-2))._layer
    _, (profile,) = profiles(layer, [COST], BAR, None, np.geomspace(1e-13, 1.0, 27), tensors=False)
    first, last = profile.edges()
    assert profile.taus[0] < first < last
    assert profile.own_tau == 1e-2
    assert profile.own_label == "this layer:\ntau = 1e-2"


@pytest.mark.parametrize(
    ("derivative", "label"),
    [
        (LPGD(), "this layer: the limit tau -> 0"),
        (Exact(), "this layer: the limit tau -> 0"),
        (Implicit("dense"), 'this layer: Implicit("dense")'),
        (LPGD(tau=0.25, side="lower"), "this layer: tau = 2.5e-1"),
    ],
)
def test_the_layers_own_tau_is_marked(derivative, label):
    layer = CvxpyLayer(*problem(1.0), derivative=derivative)
    figure = layer.plot_tau(COST, AMOUNT, taus=[1e-3, 1e-2, 30.0])
    assert label in labels(figure)


@pytest.mark.parametrize("curvature", [0.0, 1.0])
def test_pictures_have_labels(curvature, tmp_path):
    path = tmp_path / "tau.png"
    values = [COST, np.array([1.0, 2.0])]
    layer = CvxpyLayer(*problem(curvature))
    figure = layer.plot_tau(*values, cotangents=BAR[0], path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert figure.axes[-1].get_xlabel() == "tau"
    assert "2 samples, solved by DAQP" in figure.get_suptitle()
    names = texts(figure)
    assert {"agrees with the exact derivative", "looks further"} <= names
    assert ("zero" in names) == (curvature == 0)


def test_the_record_stays_that_of_the_last_call():
    layer = CvxpyLayer(*problem(1.0))
    layer(COST, AMOUNT)
    record = layer.info
    layer.plot_tau(COST, AMOUNT, taus=[1e-2])
    assert layer.info is record


def test_frameworks_draw_the_same():
    drawn = []
    for layer, loss in (
        (CvxpyLayer(*problem(1.0)), lambda x: np.sum(x**2)),
        (TorchLayer(*problem(1.0)), lambda x: (x**2).sum()),
    ):
        values = COST, AMOUNT
        if isinstance(layer, TorchLayer):
            values = torch.tensor(COST, requires_grad=True), torch.tensor(AMOUNT)
        figure = layer.plot_tau(*values, loss=loss, taus=[1e-2, 1.0])
        drawn.append({line.get_label(): line.get_ydata() for line in figure.axes[0].lines})
    for name in ("cost[0]", "cost[1]", "amount"):
        assert np.allclose(drawn[0][name], drawn[1][name], atol=1e-6)


def test_integers_have_no_exact_gradient():
    take, value = cp.Variable(4, boolean=True), cp.Parameter(4, name="value")
    knapsack = cp.Problem(cp.Maximize(value @ take), [np.array([3.0, 2, 2, 1]) @ take <= 5])
    figure = CvxpyLayer(knapsack, [value], [take]).plot_tau([4.0, 3, 2, 1], taus=[1e-3, 10.0])
    assert {"zero", "looks further"} <= texts(figure)


@pytest.mark.parametrize(("taus", "drawn"), [([1e-6, 10.0], [True, False]), ([10.0], [False])])
def test_a_tau_without_solutions_is_not_drawn(taus, drawn):
    """Perturbed upwards by 10 the cost is negative and the program unbounded, down to 1e-2."""
    x, c = cp.Variable(2), cp.Parameter(2, name="c")
    options = {"derivative": LPGD(side="lower")}
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [x >= 0]), [c], [x], **options)
    assert layer.plot_tau([1e-3, 1e-3], cotangents=[[-1.0, -1.0]], taus=taus).axes
    bars = [np.array([-1.0, -1.0])]
    _, (profile,) = profiles(layer._layer, [np.full(2, 1e-3)], bars, None, taus, tensors=False)
    assert np.isfinite(profile.gradients).all(axis=1).tolist() == drawn


def test_a_layer_still_warns_after_its_picture():
    layer = CvxpyLayer(*problem(), derivative=Exact())
    layer.plot_tau(COST, AMOUNT, taus=[1e-3, 10.0])
    assert not layer._layer._once.degenerate


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"taus": [0.0]}, InvalidOption, "taus"),
        ({"cotangents": [np.zeros(3)]}, InvalidInput, "nothing to draw"),
        ({"cotangents": BAR, "loss": np.sum}, InvalidInput, "not both"),
        ({"cotangents": [np.ones(5)]}, InvalidInput, "cotangent"),
    ],
)
def test_what_is_refused(options, error, match):
    with pytest.raises(error, match=match):
        CvxpyLayer(*problem()).plot_tau(COST, AMOUNT, **options)


def test_a_picture_of_no_known_format_is_refused_before_the_work(monkeypatch, tmp_path):
    path, refusal = tmp_path / "b.doc", r"b\.doc: its name must end in one of .*\.png, "
    with pytest.raises(InvalidInput, match=refusal):
        compare(*problem(), [COST, AMOUNT], [Exact()]).plot(path)
    monkeypatch.setattr("cvxlpgd.analysis.tau_plot.profiles", None)
    with pytest.raises(InvalidInput, match=refusal):
        CvxpyLayer(*problem()).plot_tau(COST, AMOUNT, path=path)


def test_a_sample_without_a_solution_is_an_error():
    with pytest.raises(SolveFailed):
        CvxpyLayer(*problem(1.0)).plot_tau(COST, -AMOUNT)
