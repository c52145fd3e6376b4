"""Unrolled schemes: what they compute, what they train, what they refuse."""

from __future__ import annotations

import copy
import pickle

import cvxpy as cp
import pytest
import torch

from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.torch import CvxpyLayer
from cvxlpgd.unrolled import (
    MovingAverage,
    Prox,
    RecurrentMomentum,
    UnrolledGradient,
    UnrolledPrimalDual,
    convolutions,
)
from tests.unrolled.problems import KINDS, MATRIX, MOMENTA, M, N, data, operator, scheme, variation


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def linear(x):
    return x @ MATRIX.to(x).T


def residual_gradient(x, y):
    """J'(F - y), written by hand."""
    z = x @ MATRIX.T
    return ((z + 0.1 * z**2 - y) * (1 + 0.2 * z)) @ MATRIX


class Descent(torch.nn.Module):
    """The network [x, v] -> -v: with it a scheme is gradient descent."""

    def forward(self, signals):
        return -signals[:, 1:]


def test_the_gradient_scheme_is_what_its_equations_say():
    y = data()
    plain = UnrolledGradient(operator, N, Descent(), iterations=3, step=0.4).double()
    heavy = UnrolledGradient(
        operator, N, Descent(), MovingAverage(0.7, 0.6), iterations=3, step=0.4
    ).double()
    x = torch.zeros(4, N, dtype=torch.float64)
    z, v = x.clone(), torch.zeros_like(x)
    for _ in range(3):
        x = x - 0.4 * residual_gradient(x, y)
        v = 0.7 * v + 0.6 * 0.4 * residual_gradient(z, y)
        z = z - v
    # steps and coefficients start in single precision
    torch.testing.assert_close(plain(y), x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(heavy(y), z, rtol=1e-6, atol=1e-6)


def test_the_primal_dual_scheme_is_what_its_equations_say():
    made = scheme("primal_dual", iterations=2)
    y, (update,), (dual,) = data(), made.updates, made.duals
    x = torch.zeros(4, 5, N, dtype=torch.float64)
    h = torch.zeros(4, 5, M, dtype=torch.float64)
    for _ in range(2):
        h = h + dual(torch.cat([h, operator(x[:, 1])[:, None], y[:, None]], 1))
        z = x[:, 0] @ MATRIX.T
        g = made.log_step.exp() * ((h[:, 0] * (1 + 0.2 * z)) @ MATRIX)
        x = x + update.network(torch.cat([x, g[:, None]], 1))
    torch.testing.assert_close(made(y), x[:, 0], rtol=1e-12, atol=1e-12)


def test_long_gradients_are_shortened_sample_by_sample():
    y = data()
    y[0] *= 1e-3  # short: it stays as it is
    bound = UnrolledGradient(operator, N, Descent(), iterations=1, bound=0.2).double()
    g = residual_gradient(torch.zeros(4, N, dtype=torch.float64), y)
    size = g.square().mean(1, keepdim=True).sqrt()
    assert size[0] < 0.2
    assert (size[1:] > 0.2).all()
    torch.testing.assert_close(bound(y)[0], -g[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(bound(y)[1:], -(0.2 / size * g)[1:], rtol=1e-6, atol=1e-9)
    zero = UnrolledGradient(linear, N, Descent(), bound=0.2, differentiate_operator=True).double()
    start = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(zero(0 * y, start).sum(), start)  # of sizes that are 0
    assert gradient.isfinite().all()
    dual = scheme("primal_dual", bound=1e-9)
    free = scheme("primal_dual")
    assert not torch.equal(dual(y), free(y))


def test_an_untrained_network_returns_the_start():
    start = torch.linspace(0, 1, N)
    for made in (UnrolledGradient(operator, N), UnrolledPrimalDual(operator, N, M)):
        assert torch.equal(made(data(dtype=torch.float32), start), start.expand(4, N))


def test_recurrent_momentum_is_an_lstm_of_whole_gradients():
    made = scheme("gradient", RecurrentMomentum(5, 2, learned_start=True), iterations=3)
    y, (update,), lstm = data(), made.updates, made.momentum.lstm
    x, gs = torch.zeros(4, N, dtype=torch.float64), []
    start = [part.repeat(1, 4, 1) for part in made.momentum.start]
    for _ in range(3):
        gs.append(made.log_step.exp() * residual_gradient(x, y))
        out, _ = lstm(torch.stack(gs), start)  # over all of them at once
        v = made.momentum.linear(out[-1])
        x = x + update.network(torch.stack([x, v], 1))[:, 0]
    torch.testing.assert_close(made(y), x, rtol=1e-10, atol=1e-10)


def test_forget_gates_begin_open_and_the_first_state_is_zero():
    lstm = RecurrentMomentum(4, 2).build(N)
    for layer in (0, 1):
        into, within = (lstm.lstm.get_parameter(f"bias_{b}_l{layer}") for b in ("ih", "hh"))
        assert torch.equal((into + within)[4:8], torch.ones(4))
    assert not lstm.start.any()
    assert not lstm.start.requires_grad
    assert not MovingAverage(learned=False).build(N).gamma_logit.requires_grad


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind, momentum, shared):
    made = scheme(kind, momentum, shared=shared)
    made(data()).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def smooth_network(into, out):
    first, last = (torch.nn.Conv1d(a, b, 3, padding=1) for a, b in ((into, 4), (4, out)))
    return torch.nn.Sequential(first, torch.nn.Tanh(), last)


@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_differences(kind, momentum):
    """With the operator differentiated they are the whole derivative, along a random direction.

    The networks are smooth, as a PReLU that changes its side between two points is none.
    """
    smooth = {
        "gradient": {"prox": smooth_network(2, 1)},
        "primal_dual": {"prox": smooth_network(6, 5), "dual": smooth_network(7, 5)},
        "prox": {},
    }[kind]
    made = scheme(kind, momentum, differentiate_operator=True, **smooth)
    y, parameters = data(), list(made.parameters())
    gradients = torch.autograd.grad(made(y).square().sum(), parameters)
    generator = torch.Generator().manual_seed(3)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-5 * direction
                ends.append(made(y).square().sum())
                parameter -= sign * 1e-5 * direction
        difference = (ends[0] - ends[1]) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(float(difference), rel=1e-5, abs=1e-7)


def test_without_the_operator_its_gradient_is_a_constant():
    """One step x_1 = x_0 - step g(x_0), so that dx_1/dx_0 is I, or I - step J'J for a linear F."""
    y, start = data(1), torch.zeros(N, dtype=torch.float64, requires_grad=True)
    for through in (False, True):
        made = UnrolledGradient(
            linear, N, Descent(), iterations=1, step=0.5, differentiate_operator=through
        ).double()
        rows = [
            torch.autograd.grad(made(y, start)[0, i], start, retain_graph=True)[0] for i in range(N)
        ]
        expected = torch.eye(N, dtype=torch.float64) - through * 0.5 * MATRIX.T @ MATRIX
        torch.testing.assert_close(torch.stack(rows), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("kind", KINDS)
def test_calls_do_not_depend_on_each_other(kind, momentum):
    made, y = scheme(kind, momentum), data()
    first = made(y)
    made(data(3, seed=5))
    assert torch.equal(made(y), first)
    with torch.no_grad():
        assert torch.equal(made(y), first)
    with torch.inference_mode():
        assert torch.equal(made.eval()(y), first)
        assert torch.equal(made(data()), first)  # of data that autograd may not see


@pytest.mark.parametrize("kind", KINDS)
def test_all_iterates(kind):
    made, y = scheme(kind, MovingAverage()), data()
    start = torch.full((N,), 0.1, dtype=torch.float64)
    every = made(y, start, iterates=True)
    assert every.shape == (made.iterations + 1, 4, N)
    assert torch.equal(every[0], start.expand(4, N))
    assert torch.equal(every[-1], made(y, start))
    every[1:].square().mean().backward()  # deep supervision
    assert all(parameter.grad.any() for parameter in made.parameters())


@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_samples(kind, momentum):
    made, y = scheme(kind, momentum), data(5)
    alone = torch.cat([made(row[None]) for row in y])
    torch.testing.assert_close(made(y), alone, rtol=1e-9, atol=1e-9)
    assert made(y[:0]).shape == (0, N)


def test_weights_of_their_own_for_each_iteration():
    for kind, own in (("gradient", 6532), ("primal_dual", 11599), ("prox", 1)):
        shared, each = (scheme(kind, iterations=4, shared=flag) for flag in (True, False))
        assert count(shared) == own + 1
        assert count(each) == 4 * count(shared)
    recurrent = MOMENTA["recurrent"]
    more = count(scheme("gradient", recurrent)) - count(scheme("gradient"))
    assert more == count(recurrent.build(N))
    # momentum is shared all the same, and the steps are each iteration's own
    assert count(scheme("gradient", recurrent, shared=False).momentum) == more
    made = scheme("prox", iterations=3, shared=False)
    assert len({float(step) for step in made.log_step.detach()}) == 3


@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_states(kind, momentum):
    made, y = scheme(kind, momentum), data()
    expected = made(y)
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(twin(y), expected)
    other = scheme(kind, momentum, seed=7)
    assert not torch.equal(other(y), expected)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(y), expected)


@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("kind", KINDS)
def test_single_and_double_precision(kind, momentum):
    made, y = scheme(kind, momentum), data()
    expected = made(y)
    single = made.float()(y.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


def test_any_layer_is_a_prox():
    """A box around zero, by a layer of its own and by a Prox with the same constraint."""
    x, point, radius = cp.Variable(N), cp.Parameter(N), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - point)), [cp.norm_inf(x) <= radius])
    layer = CvxpyLayer(problem, [point, radius], [x])
    prox = Prox(0, x, [radius], constraints=[cp.norm_inf(x) <= radius])
    y, radii = data(), torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=torch.float64)
    made = [
        UnrolledGradient(operator, N, p, iterations=3, step=0.5).double() for p in (layer, prox)
    ]
    outputs = [each(y, weights=(radii,)) for each in made]
    assert (outputs[0].abs().amax(1) <= radii + 1e-6).all()
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)


def test_a_prox_of_a_picture_and_in_a_primal_dual_scheme():
    picture = cp.Variable((3, 3))
    prox = Prox(0.1 * cp.norm1(picture), picture)
    y = data()
    flat = UnrolledGradient(operator, N, Prox.l1(0.1), iterations=3, step=0.5).double()
    made = UnrolledGradient(operator, N, prox, iterations=3, step=0.5).double()
    torch.testing.assert_close(made(y), flat(y), rtol=1e-6, atol=1e-6)
    dual = UnrolledPrimalDual(operator, N, M, variation(), channels=1, iterations=2).double()
    assert dual(y).shape == (4, N)


class Wide(torch.nn.Module):
    def forward(self, signals):
        return signals


def rank_one(x):
    return x.sum(dim=1)


def constant(x):
    return torch.ones(len(x), M, dtype=x.dtype)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: UnrolledGradient(lambda x: x[:, :3], N), r"data \(4, 6\), .* returned \(4, 3\)"),
        (lambda: UnrolledGradient(rank_one, N), r"returned \(4,\)"),
        (lambda: UnrolledGradient(lambda x: x.tolist(), N), "return a tensor, not list"),
        (lambda: UnrolledGradient(constant, N), "does not depend on x"),
        (lambda: UnrolledGradient(operator, N, Wide()), r"\(4, 2, 9\) to \(4, 1, 9\); it returned"),
        (lambda: UnrolledPrimalDual(operator, N, M + 1), r"y must be \(batch, 7\), not \(4, 6\)"),
        (lambda: UnrolledPrimalDual(rank_one, N, M), r"returned \(4,\)"),
        (
            lambda: UnrolledPrimalDual(operator, N, M, dual=Wide()),
            r"\(4, 7, 6\) to \(4, 5, 6\); it returned \(4, 7, 6\)",
        ),
        (
            lambda: UnrolledGradient(operator, N, Prox(0, cp.Variable(4))),
            r"variable of shape \(4,\), the scheme of 9 unknowns",
        ),
    ],
)
def test_what_does_not_fit_is_said_at_the_call(made, message):
    with pytest.raises(InvalidInput, match=message):
        made().double()(data())


@pytest.mark.parametrize(
    ("y", "start", "message"),
    [
        (data()[0], None, r"y must be \(batch, [m6]\), not \(6,\)"),
        (data().numpy(), None, "tensor of real numbers, not ndarray"),
        (data() * torch.tensor([[1], [torch.nan], [1], [torch.inf]]), None, r"samples \[1, 3\]"),
        (data(), torch.zeros(3, N), r"start must be a tensor \(4, 9\) or \(9,\), not \(3, 9\)"),
        (data(), torch.full((N,), torch.nan), r"start has values that are not finite"),
    ],
)
def test_data_that_cannot_be_are_refused(y, start, message):
    for kind in KINDS:
        with pytest.raises(InvalidInput, match=message):
            scheme(kind)(y, start)


def test_a_network_takes_no_weights():
    with pytest.raises(InvalidInput, match="received 1 weights, but a network takes none"):
        scheme("gradient")(data(), weights=(1.0,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be a whole number > 0, not 0"),
        ({"iterations": 2.0}, "iterations must be a whole number"),
        ({"step": -1.0}, "step must be a number > 0"),
        ({"bound": 0}, "bound must be None or a number > 0"),
        ({"shared": 1}, "shared must be True or False"),
        ({"prox": torch.relu}, "prox must be a network, a Prox or a CvxpyLayer"),
        ({"momentum": 0.9}, "momentum must be None, MovingAverage"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InvalidOption, match=message):
        UnrolledGradient(operator, **{"n": N, **options})
    with pytest.raises(InvalidOption, match=message):
        UnrolledPrimalDual(operator, m=M, **{"n": N, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MovingAverage(gamma=1.0), "gamma must be a number between 0 and 1"),
        (lambda: MovingAverage(eta=0.0), "eta must be a number > 0"),
        (lambda: MovingAverage(learned="no"), "learned must be True or False"),
        (lambda: RecurrentMomentum(hidden=0), "hidden must be a whole number > 0"),
        (lambda: RecurrentMomentum(layers=True), "layers must be a whole number > 0"),
        (lambda: convolutions(2), "two channels or more"),
        (lambda: convolutions(2, 1, kernel=4), "odd kernel"),
        (
            lambda: UnrolledPrimalDual(operator, N, M, Prox.box(0, 1)),
            "channels must be 1, not 5",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(make, message):
    with pytest.raises(InvalidOption, match=message):
        make()
