"""Prox: a proximal operator by a layer, against closed forms, differences and its definition."""

from __future__ import annotations

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem
from cvxlpgd.unrolled import Prox, UnrolledGradient
from tests.unrolled.problems import N, data, operator, variation

DOUBLE = torch.float64


def points(*shape, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=DOUBLE)


def layers():
    """Name -> a Prox, its closed form, and whether there is a weight to give."""
    x, weight = cp.Variable(N), cp.Parameter(nonneg=True)
    return {
        "box": (
            Prox(0, x, constraints=[x >= -0.3, x <= np.linspace(0.2, 1, N)]),
            Prox.box(-0.3, np.linspace(0.2, 1, N)),
            False,
        ),
        "l1": (Prox(weight * cp.norm1(x), x, [weight]), Prox.l1(), True),
        "simplex": (
            Prox(0, x, constraints=[x >= 0, cp.sum(x) == 1.5]),
            Prox.simplex(1.5),
            False,
        ),
    }


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", ["box", "l1", "simplex"])
def test_closed_forms_are_the_layers_answer_and_gradient(name, per_sample):
    layer, closed, weighted = layers()[name]
    v, bar = points(5, N), points(5, N, seed=5)
    size = (5,) if per_sample else ()
    step = 0.3 + 0.5 * torch.rand(size, dtype=DOUBLE, generator=torch.Generator().manual_seed(6))
    inputs = [v, step, *([2 * step.flip(0) if per_sample else 2 * step] if weighted else [])]
    inputs = [value.clone().requires_grad_() for value in inputs]
    answers, gradients = [], []
    for prox in (layer, closed):
        answers.append(prox(*inputs))
        grads = torch.autograd.grad((answers[-1] * bar).sum(), inputs, allow_unused=True)
        gradients.append(
            [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, grads, strict=True)]
        )
    torch.testing.assert_close(*answers, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)
    assert gradients[0][0].any()


def test_closed_forms_by_hand():
    v = torch.tensor([[2.0, -0.5, 0.1]])
    assert torch.equal(Prox.box(0, 1)(v, 0.3), torch.tensor([[1.0, 0.0, 0.1]]))
    assert torch.equal(Prox.box(lower=0.0)(v), torch.tensor([[2.0, 0.0, 0.1]]))
    assert torch.equal(Prox.l1()(v, 0.5, 0.5), torch.tensor([[1.75, -0.25, 0.0]]))
    assert torch.equal(Prox.simplex()(v), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(Prox.simplex(2.6)(v), torch.tensor([[2.25, 0.0, 0.35]]))


def test_it_minimizes_what_it_says():
    """No point nearby, and none of CVXPY's, has a smaller step g(x) + ½|x - v|²."""
    x, weight = cp.Variable(N), cp.Parameter(nonneg=True)
    prox = Prox(weight * cp.tv(x) + cp.max(x), x, [weight])
    v, step, weights = points(3, N), torch.tensor([0.2, 1.0, 5.0]), torch.tensor([0.1, 0.3, 1.0])
    answer = prox(v, step, weights)
    for i in range(3):
        weight.value = float(weights[i])
        g = float(step[i]) * (weight * cp.tv(x) + cp.max(x))
        problem = cp.Problem(cp.Minimize(g + cp.sum_squares(x - v[i].numpy()) / 2))
        problem.solve(cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12)
        torch.testing.assert_close(answer[i], torch.tensor(x.value), rtol=1e-5, atol=1e-6)


def test_any_shape_and_any_batch_axes():
    picture, weight = cp.Variable((3, 4)), cp.Parameter((3, 4), nonneg=True)
    prox = Prox(cp.sum(cp.multiply(weight, cp.abs(picture))), picture, [weight])
    v, step, weights = points(2, 5, 3, 4), torch.full((2, 5), 0.3), abs(points(3, 4, seed=9))
    expected = torch.sign(v) * torch.relu(abs(v) - 0.3 * weights)
    torch.testing.assert_close(prox(v, step, weights), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(prox(v[0, 0], 0.3, weights), expected[0, 0], rtol=1e-6, atol=1e-6)
    assert prox(v[:, :0], step[:, :0], weights).shape == (2, 0, 3, 4)
    number = cp.Variable()
    soft = Prox(cp.abs(number), number)
    assert soft(torch.tensor(2.0, dtype=DOUBLE), 0.5) == pytest.approx(1.5, abs=1e-6)


@pytest.mark.parametrize("step", [1e-6, 1.0, 1e4])
def test_steps_of_any_size(step):
    x = cp.Variable(N)
    prox, v = Prox(0.7 * cp.norm1(x), x), points(4, N)
    expected = Prox.l1()(v, step, 0.7)
    torch.testing.assert_close(prox(v, step), expected, rtol=1e-6, atol=1e-6)


def test_trained_weights_start_where_they_are_told_and_keep_their_sign():
    x = cp.Variable(N)
    scale, shift = cp.Parameter(nonneg=True, name="scale"), cp.Parameter(N, name="shift")
    limit = cp.Parameter(nonpos=True, name="limit")
    parameters = {scale: 0.2, shift: np.arange(N) / 10, limit: -0.4}
    prox = Prox(scale * cp.norm1(x) + shift @ x, x, parameters, constraints=[x >= limit])
    prox = prox.double()
    values = [0.2, np.arange(N) / 10, -0.4]
    for weight, value in zip(prox.weights, values, strict=True):
        assert np.allclose(weight.detach(), value, rtol=1e-6, atol=1e-7)
    v = points(3, N)
    by_hand = torch.clamp(Prox.l1()(v - 0.5 * torch.arange(N) / 10, 0.5, 0.2), min=-0.4)
    torch.testing.assert_close(prox(v, 0.5), by_hand, rtol=1e-5, atol=1e-6)
    optimizer = torch.optim.SGD(prox.parameters(), lr=100.0)  # far too large, for any sign to flip
    prox(v, 0.5).sum().backward()
    assert all(parameter.grad.any() for parameter in prox.parameters())
    optimizer.step()
    assert prox.weights[0] >= 0
    assert prox.weights[2] <= 0


def test_given_and_trained_weights_together():
    x, first, second = cp.Variable(N), cp.Parameter(nonneg=True), cp.Parameter(N)
    v, slope = points(4, N), points(4, N, seed=10)
    prox = Prox(first * cp.norm1(x) + second @ x, x, {second: None, first: 0.3}).double()
    torch.testing.assert_close(
        prox(v, 0.5, slope), Prox.l1()(v - 0.5 * slope, 0.5, 0.3), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(InvalidInput, match="received 0 weights, expected 1"):
        prox(v, 0.5)
    with pytest.raises(InvalidInput, match="received 1 weights, expected 0"):
        Prox.l1(0.3)(v, 0.5, 1.0)


def test_through_twenty_iterations_of_total_variation():
    """Gradients of the step and of the weight against central differences, to 1e-5."""
    made = UnrolledGradient(operator, N, variation(), iterations=20, step=0.5).double()
    y, target = data(6, seed=21), points(6, N, seed=22)
    parameters = [made.log_step, *made.updates.parameters()]

    def loss():
        return (made(y) - target).square().mean()

    made.differentiate_operator = True
    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        ends = []
        for shift in (1e-5, -2e-5):
            with torch.no_grad():
                parameter += shift
                ends.append(float(loss()))
        with torch.no_grad():
            parameter += 1e-5
        difference = (ends[0] - ends[1]) / 2e-5
        assert abs(difference) > 1e-3
        assert float(gradient.sum()) == pytest.approx(difference, rel=1e-5)


def test_warm_starts_change_nothing_but_the_way():
    """SCS starts from points: the same answers to its accuracy, in fewer iterations."""
    y = data()
    cold, warm = (variation(solver="SCS", warm_start=flag) for flag in (False, True))
    made = [
        UnrolledGradient(operator, N, prox, iterations=6, step=0.5).double()
        for prox in (cold, warm)
    ]
    outputs = [each(y) for each in made]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)
    assert torch.equal(made[1](y), outputs[1])  # each call starts cold
    v = points(4, N)
    answer, solution = warm.from_solution(None, v, 0.5)
    before = warm.layer.info.iterations
    nearby, _ = warm.from_solution(solution, v, 0.5)
    assert (warm.layer.info.iterations < before).all()
    torch.testing.assert_close(nearby, answer, rtol=1e-5, atol=1e-6)
    assert cold.from_solution(None, v, 0.5)[1] is None


def test_options_are_the_layers():
    from cvxlpgd import LPGD

    prox = variation(solver="CLARABEL", derivative=LPGD(tau=1e-3), on_failure="nan")
    v = points(2, N)
    v[1, 0] = torch.nan
    with pytest.warns(UserWarning, match="failed"):
        answer = prox.double()(v, 0.5)
    assert prox.layer.info.solver == "CLARABEL"
    assert answer[0].isfinite().all()
    assert answer[1].isnan().all()


def test_copies_share_nothing():
    prox, v = variation().double(), points(2, N)
    expected = prox(v, 0.5)
    twins = copy.deepcopy(prox), pickle.loads(pickle.dumps(prox))
    with torch.no_grad():
        prox.trained[0] += 1.0
    assert not torch.equal(prox(v, 0.5), expected)
    assert all(torch.equal(twin(v, 0.5), expected) for twin in twins)


X, WEIGHT, OTHER = cp.Variable(N), cp.Parameter(nonneg=True, name="weight"), cp.Parameter()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Prox(-cp.norm1(X), X), InvalidProblem, "is not convex by CVXPY's rules"),
        (lambda: Prox(WEIGHT**2 * cp.norm1(X), X, [WEIGHT]), InvalidProblem, "DPP"),
        (lambda: Prox(OTHER * cp.norm1(X), X, [OTHER]), InvalidProblem, "not convex"),
        (lambda: Prox(cp.abs(X), X), InvalidProblem, "scalar CVXPY expression"),
        (lambda: Prox("total variation", X), InvalidProblem, "scalar CVXPY expression"),
        (lambda: Prox(cp.norm1(X), WEIGHT), InvalidProblem, "variable must be a cp.Variable"),
        (
            lambda: Prox(WEIGHT * cp.norm1(X), X, {WEIGHT: 0.0}),
            InvalidOption,
            "weight must start positive, not at 0.0",
        ),
        (
            lambda: Prox(OTHER * cp.sum(X), X, {OTHER: np.nan}),
            InvalidOption,
            "must start finite",
        ),
        (
            lambda: Prox(cp.norm1(cp.Parameter((N, N), name="S") @ X), X),
            InvalidProblem,
            "'S' of shape .* is not listed in parameters and has no value",
        ),
        (lambda: Prox(cp.norm1(X), X, solvr="SCS"), TypeError, "solvr"),
        (lambda: Prox.l1(0), InvalidOption, "weight must be a number > 0"),
        (lambda: Prox.box(1, 0), InvalidOption, "lower must be at most upper"),
        (lambda: Prox.box("low", 0), InvalidOption, "lower must be a number or an array"),
        (lambda: Prox.simplex(-1), InvalidOption, "total must be a number > 0"),
    ],
)
def test_what_has_no_prox_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_parameters_of_other_kinds_are_given_and_not_trained():
    S = cp.Parameter((N, N), PSD=True, name="S")
    g = cp.quad_form(X, S)
    with pytest.raises(InvalidOption, match="a parameter that is PSD is not trained here"):
        Prox(g, X, {S: np.eye(N)})
    v, matrix = points(2, N), torch.eye(N, dtype=DOUBLE)
    torch.testing.assert_close(Prox(g, X, [S])(v, 0.5, matrix), v / 2, rtol=1e-6, atol=1e-6)


def test_steps_that_are_none_and_data_that_are_not_finite():
    prox, v = variation(), points(2, N)
    for step in (0.0, -1.0, torch.tensor([1.0, torch.nan])):
        with pytest.raises(InvalidInput, match="step must be > 0"):
            prox(v, step)
    v[1, 0] = torch.inf
    with pytest.raises(InvalidInput):
        prox(v, 0.5)
