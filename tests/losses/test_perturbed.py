"""Noise in costs: its gradients by enumeration and closed form, PyEPO's, and what is refused."""

from __future__ import annotations

import math
import pickle

import cvxpy as cp
import numpy as np
import pyepo.func
import pytest
import torch

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd import LPGD, Exact
from cvxlpgd.errors import (
    DerivativeFailed,
    InvalidInput,
    InvalidOption,
    InvalidProblem,
    SolveFailed,
)
from cvxlpgd.losses import (
    AdaptiveImplicitMLE,
    FenchelYoung,
    Gumbel,
    ImplicitMLE,
    Normal,
    Perturbed,
    SumOfGamma,
)
from cvxlpgd.schedules import Adaptive, Relative
from tests.helpers.programs import grid
from tests.losses.pyepo_model import Grid
from tests.losses.selection import SUBSETS, N, by_both, layers, selection

rng = np.random.default_rng(0)


class Given:
    """Noise that was drawn before, (samples, *batch, *shape)."""

    symmetric = False

    def __init__(self, draws, law=None):
        self.draws, self.law = np.asarray(draws, dtype=float), law or Normal()

    def draw(self, rng, shape):
        assert self.draws.shape == shape
        return self.draws

    def score(self, draws):
        return self.law.score(draws)


def choice(costs):
    return SUBSETS[(costs @ SUBSETS.T).argmin(axis=-1)]


@pytest.mark.parametrize("law", [Normal(), Gumbel()])
@pytest.mark.parametrize("control_variate", [False, True])
@pytest.mark.parametrize("multiplicative", [False, True])
@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_the_formulas(sense, multiplicative, control_variate, law):
    """The mean of solutions and the score's estimate of its gradient, from the same draws."""
    samples, batch, sigma = 7, 3, 0.6
    c, bar = rng.normal(size=(2, batch, N))
    noise = Given(law.draw(rng, (samples, batch, N)), law)
    perturb = sigma * noise.draws
    moved = c * np.exp(perturb - sigma**2 / 2) if multiplicative else c + perturb
    x = choice(moved if sense is cp.Minimize else -moved)
    rewards = (x * bar).sum(axis=2)
    if control_variate:
        others = (rewards.sum(axis=0) - rewards) / (samples - 1)
        rewards = rewards - others
    gradient = (law.score(noise.draws) * rewards[..., None]).mean(axis=0) / sigma
    options = {"multiplicative": multiplicative, "control_variate": control_variate, "noise": noise}
    in_torch, in_numpy = (
        Perturbed(layer, samples, sigma, **options) for layer in layers(*selection(sense=sense))
    )
    (mean,), pullback = in_numpy.vjp(c)
    assert np.allclose(mean, x.mean(axis=0), atol=1e-7)
    expected = gradient / c if multiplicative else gradient
    assert np.allclose(pullback(bar)[0], expected, atol=1e-6)
    cost = torch.tensor(c, requires_grad=True)
    (solution,) = in_torch(cost)
    (solution * torch.tensor(bar)).sum().backward()
    assert np.allclose(solution.detach(), mean, atol=1e-9)
    assert np.allclose(cost.grad, pullback(bar)[0], atol=1e-9)


@pytest.mark.parametrize("multiplicative", [False, True])
@pytest.mark.parametrize("antithetic", [False, True])
def test_the_gradient_of_an_expectation_in_closed_form(antithetic, multiplicative):
    """min cx over [0, 1]: E x = P(c + sigma ξ < 0), whose derivative is a normal density."""
    x, cost = cp.Variable(), cp.Parameter()
    problem = cp.Problem(cp.Minimize((cost - 1) * x), [x >= 0, x <= 1])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x])
    sigma, samples, c = 0.8, 40_000, np.array([0.7, 1.4])
    perturbed = Perturbed(
        layer, samples, sigma, multiplicative=multiplicative, antithetic=antithetic
    )
    (mean,), pullback = perturbed.vjp(c)
    edge = (sigma**2 / 2 - np.log(c)) / sigma if multiplicative else (1 - c) / sigma
    phi = np.exp(-(edge**2) / 2) / math.sqrt(2 * math.pi)
    slope = -phi / sigma / (c if multiplicative else 1.0)
    below = 0.5 * (1 + np.array([math.erf(e / math.sqrt(2)) for e in edge]))
    error = 5 / math.sqrt(samples)  # five standard deviations of a mean of what is at most 1
    assert np.allclose(mean, below, atol=error)
    assert np.allclose(pullback(np.ones(2))[0], slope, atol=error / sigma / c.min())


def test_perturbed_fenchel_young_is_the_mean_of_fenchel_young():
    """Its gradient is target - x̄, with the factors where costs are multiplied."""
    samples, sigma = 5, 0.5
    c, target = rng.normal(size=(3, N)), SUBSETS[[0, 4, 9]]
    draws = rng.normal(size=(samples, 3, N))
    for multiplicative in (False, True):
        factor = np.exp(sigma * draws - sigma**2 / 2) if multiplicative else np.ones_like(draws)
        moved = c * factor if multiplicative else c + sigma * draws
        x = choice(moved)
        value, gradient = by_both(
            lambda layer, m=multiplicative: FenchelYoung(
                Perturbed(layer, samples, sigma, multiplicative=m, noise=Given(draws)), "none"
            ),
            selection(), c, target,
        )  # fmt: skip
        assert np.allclose(value, (moved * (target - x)).sum(axis=2).mean(axis=0), atol=1e-7)
        assert np.allclose(gradient, (factor * (target - x)).mean(axis=0), atol=1e-7)
        assert (value >= 0).all()


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("side", ["lower", "upper", "average"])
def test_implicit_mle_is_a_mean_of_differences(side):
    samples, batch, sigma, tau = 6, 3, 0.4, 1.5
    c, bar = rng.normal(size=(2, batch, N))
    noise = Given(SumOfGamma(2.0).draw(rng, (samples, batch, N)))
    moved = c + sigma * noise.draws
    hi, lo = {"lower": (1, 0), "upper": (0, -1), "average": (1, -1)}[side]
    x, up, down = (choice(moved + t * tau * bar) for t in (0, hi, lo))
    in_torch, in_numpy = layers(*selection())
    (mean,), pullback = ImplicitMLE(in_numpy, samples, sigma, tau, side, noise=noise).vjp(c)
    assert np.allclose(mean, x.mean(axis=0), atol=1e-7)
    expected = (up - down).mean(axis=0) / (tau * (hi - lo))
    assert np.allclose(pullback(bar)[0], expected, atol=1e-6)
    cost = torch.tensor(c, requires_grad=True)
    (solution,) = ImplicitMLE(in_torch, samples, sigma, tau, side, noise=noise)(cost)
    (solution * torch.tensor(bar)).sum().backward()
    assert np.allclose(cost.grad, expected, atol=1e-6)


def test_adaptive_implicit_mle_adapts():
    """Kappa grows while gradients are zero; as big as kappa, tau follows the cost and the loss."""
    layer, _ = layers(*selection())
    usual = AdaptiveImplicitMLE(layer).schedule
    assert (usual().kappa, usual.factor, usual.target) == (1.0, 1.001, 0.5)
    schedule = Adaptive(start=1e-4, factor=2.0, target=0.9, rate=1.0)
    loss = AdaptiveImplicitMLE(layer, 4, 0.1, schedule)
    cost = torch.tensor(rng.uniform(1, 2, size=(5, N)), requires_grad=True)
    sizes = []
    for _ in range(30):
        cost.grad = None
        loss(cost)[0][:, 0].sum().backward()
        sizes.append((schedule().kappa, float(cost.grad.abs().sum())))
    assert sizes[0][0] == 2e-4
    assert sizes[0][1] < 1e-9
    assert sizes[-1][0] > 0.05
    assert sizes[-1][1] > 0


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_pyepo_with_the_same_noise():
    """Its perturbed optimizers, their Fenchel-Young losses, and I-MLE: values and gradients."""
    side, samples, sigma = 4, 3, 0.5
    A, b = grid(side)
    n = A.shape[1]
    x, c = cp.Variable(n), cp.Parameter(n)
    made = cp.Problem(cp.Minimize(c @ x), [A @ x == b, x >= 0, x <= 1]), [c], [x]
    layer, _ = layers(*made, solver="HIGHS")
    costs = torch.tensor(rng.uniform(0.5, 3.0, size=(4, n)))
    bar = torch.tensor(rng.normal(size=(4, n)))
    (target,) = layer(torch.tensor(rng.uniform(0.5, 3.0, size=(4, n))))
    optimizer = Grid(side)

    def normal():
        """The first draws of PyEPO's generator."""
        draws = torch.randn(
            (4, samples, n), generator=torch.Generator().manual_seed(135), dtype=torch.float64
        )
        return Given(draws.permute(1, 0, 2))

    def gradients(ours, theirs, *more):
        rows = []
        for function in (ours, theirs):
            cost = costs.clone().requires_grad_()
            out = function(cost, *more)
            value = out[0] if isinstance(out, tuple) else out
            (value * bar if value.shape == bar.shape else value).sum().backward()
            rows.append((value.detach(), cost.grad))
        return rows

    for multiplicative, theirs in (
        (False, pyepo.func.perturbedOpt), (True, pyepo.func.perturbedOptMul),
    ):  # fmt: skip
        ours = Perturbed(layer, samples, sigma, multiplicative=multiplicative, noise=normal())
        mine, other = gradients(ours, theirs(optimizer, n_samples=samples, sigma=sigma))
        assert torch.allclose(mine[0], other[0], atol=1e-6)
        assert torch.allclose(mine[1], other[1], atol=1e-4)

    for multiplicative, theirs in (
        (False, pyepo.func.perturbedFenchelYoung), (True, pyepo.func.perturbedFenchelYoungMul),
    ):  # fmt: skip
        noise = normal()
        ours = FenchelYoung(
            Perturbed(layer, samples, sigma, multiplicative=multiplicative, noise=noise), "none"
        )
        mine, other = gradients(
            ours, theirs(optimizer, n_samples=samples, sigma=sigma, reduction="none"), target
        )
        # PyEPO takes the target's cost without noise: differences of mean 0, in the value and,
        # where costs are multiplied, in the gradient
        factor = np.exp(sigma * noise.draws - sigma**2 / 2)
        moved = costs.numpy() * factor if multiplicative else costs.numpy() + sigma * noise.draws
        without = ((moved.mean(axis=0) - costs.numpy()) * target.numpy()).sum(axis=1)
        assert np.allclose(mine[0].numpy() - without, other[0].numpy(), atol=1e-5)
        slope = (factor.mean(axis=0) - 1) * target.numpy() if multiplicative else 0.0
        assert np.allclose(mine[1].numpy() - slope, other[1].numpy(), atol=1e-5)

    theirs = pyepo.func.implicitMLE(optimizer, n_samples=samples, sigma=sigma, lambd=4.0)
    theirs.distribution.sample = lambda size, **_: torch.tensor(gumbels)
    gumbels = np.random.default_rng(2).gumbel(size=(4, samples, n))
    ours = ImplicitMLE(layer, samples, sigma, 4.0, noise=Given(gumbels.transpose(1, 0, 2)))
    mine, other = gradients(ours, theirs)
    assert torch.allclose(mine[0], other[0], atol=1e-6)
    assert torch.allclose(mine[1], other[1], atol=1e-6)


def test_parameters_of_constraints_have_the_layers_own_derivative():
    """Noise in the cost alone; the gradient in a bound is the mean of the layer's own."""
    x, cost, bound = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    problem = cp.Problem(
        cp.Minimize(cost @ x + 0.5 * cp.sum_squares(x)), [x >= -1, cp.sum(x) <= bound]
    )
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost, bound], [x], derivative=Exact())
    draws = rng.normal(size=(4, 2, 3))
    c, bar = rng.normal(size=(2, 2, 3))
    perturbed = Perturbed(layer, 4, 0.3, noise=Given(draws))
    b = torch.tensor(-1.5, dtype=torch.float64, requires_grad=True)
    (mean,) = perturbed(torch.tensor(c), b)
    (mean * torch.tensor(bar)).sum().backward()
    own = torch.tensor(-1.5, dtype=torch.float64, requires_grad=True)
    (each,) = layer(torch.tensor(c + 0.3 * draws), own)
    (each.mean(dim=0) * torch.tensor(bar)).sum().backward()
    assert torch.allclose(mean, each.mean(dim=0), atol=1e-9)
    assert torch.allclose(b.grad, own.grad, atol=1e-8)
    assert b.grad != 0


def test_the_derivative_of_each_program_in_place_of_draws():
    """A smooth program: the mean of exact gradients has less spread than the score's."""
    layer, _ = layers(*selection(quadratic=1.0))
    c, bar = rng.normal(size=(2, 2, N))
    draws = rng.normal(size=(5, 2, N))
    cost = torch.tensor(c, requires_grad=True)
    (mean,) = Perturbed(layer, 5, 0.2, noise=Given(draws), derivative=Exact())(cost)
    (mean * torch.tensor(bar)).sum().backward()
    own = torch.tensor(c, requires_grad=True)
    (each,) = layer(own + torch.tensor(0.2 * draws))
    (each.mean(dim=0) * torch.tensor(bar)).sum().backward()
    assert torch.allclose(cost.grad, own.grad, atol=1e-8)


def test_shapes_of_costs_batches_and_variables():
    """A matrix of costs, two variables, several batch axes, and costs that a batch shares."""
    x, y = cp.Variable((2, 3)), cp.Variable()
    cost, least = cp.Parameter((2, 3)), cp.Parameter()
    problem = cp.Problem(
        cp.Minimize(cp.sum(cp.multiply(cost, x)) + y), [cp.sum(x) == 1, x >= 0, y >= least]
    )
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost, least], [x, y])
    perturbed = Perturbed(layer, 3, 0.5)
    shared = torch.rand(2, 3, requires_grad=True)
    out_x, out_y = perturbed(shared, torch.rand(4, 5))
    assert out_x.shape == (4, 5, 2, 3)
    assert out_y.shape == (4, 5)
    assert len({tuple(v.flatten().tolist()) for v in out_x.reshape(20, 6).detach()}) > 1
    (out_x[..., 0, 0].sum() + out_y.sum()).backward()
    assert shared.grad.shape == (2, 3)
    assert shared.grad.abs().sum() > 0
    single = cvxlpgd.torch.CvxpyLayer(*selection(), single=True)
    assert Perturbed(single, 2)(torch.rand(3, N)).shape == (3, N)


def test_draws_are_new_in_each_call_and_the_same_for_a_seed():
    layer, _ = layers(*selection())
    cost = torch.zeros(8, N, dtype=torch.float64)
    one, other = Perturbed(layer, 2, seed=3), Perturbed(layer, 2, seed=3)
    first, second = one(cost)[0], one(cost)[0]
    assert torch.equal(first, other(cost)[0])
    assert not torch.equal(first, second)
    copy = pickle.loads(pickle.dumps(Perturbed(layers(*selection())[1], 2, seed=3)))
    assert np.array_equal(copy(cost.numpy())[0], first.numpy())


def test_integer_programs():
    layer, _ = layers(*selection(integer=True))
    cost = torch.tensor(rng.normal(size=(3, N)), requires_grad=True)
    FenchelYoung(Perturbed(layer, 3))(cost, torch.tensor(SUBSETS[:3])).backward()
    assert cost.grad.abs().sum() > 0


def test_a_gradient_of_zero_is_told_once():
    """Where no copy's solution moves; one that moves is enough."""
    layer, _ = layers(*selection())
    cost = torch.arange(1.0, N + 1).repeat(2, 1).requires_grad_()
    near = ImplicitMLE(layer, 3, 1e-3, 1e-3, noise=Normal())
    with pytest.warns(cvxlpgd.errors.DegenerateGradientWarning, match="2 of 2|all 2"):
        near(cost)[0][:, 0].sum().backward()
    assert cost.grad.abs().sum() < 1e-9
    near(cost)[0][:, 0].sum().backward()
    far, _ = layers(*selection())
    ImplicitMLE(far, 3, 1e-3, 10.0, noise=Normal())(cost)[0][:, 0].sum().backward()
    assert cost.grad.abs().sum() > 0


def test_a_sum_of_gammas_is_nearly_a_gumbel_variable():
    """Sums of `size` of them: mean Euler's constant, variance pi²/6, up to the terms left out."""
    noise = SumOfGamma(3.0, terms=200)
    sums = noise.draw(np.random.default_rng(0), (200_000, 3)).sum(axis=1)
    assert abs(sums.mean() - np.euler_gamma) < 0.02
    assert abs(sums.var() - math.pi**2 / 6) < 0.05


def test_failed_samples_are_nan_and_count_nothing():
    """A cost without bound below: the mean of its sample is NaN, and its gradient 0."""
    x, cost = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0, x[0] <= 1])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost], [x], on_failure="nan")
    costs = torch.tensor([[0.5, 30.0], [0.5, -30.0]], requires_grad=True)
    with pytest.warns(cvxlpgd.errors.FailedSampleWarning):
        (mean,) = Perturbed(layer, 4)(costs)
    assert mean[0].isfinite().all()
    assert mean[1].isnan().all()
    mean[0, 0].backward()
    assert costs.grad[0, 0] != 0
    assert (costs.grad[1] == 0).all()
    # a sample of which some copies fail has no gradient by a derivative either
    costs = torch.tensor([[0.5, 0.5], [0.5, 0.5]], requires_grad=True)
    with pytest.warns(cvxlpgd.errors.FailedSampleWarning):
        (mean,) = AdaptiveImplicitMLE(layer, 8, sigma=0.5, noise=Normal(), seed=7)(costs)
    assert mean.isfinite().all(dim=1).tolist() == [True, False]
    mean.nansum().backward()
    assert (costs.grad[1] == 0).all()
    strict = cvxlpgd.torch.CvxpyLayer(problem, [cost], [x])
    costs = torch.tensor([[0.5, 30.0], [0.5, -30.0], [0.5, -40.0]])
    with pytest.raises(SolveFailed, match=r"\(3, 2\).*number is that of the copy") as caught:
        Perturbed(strict, 4)(costs)
    assert caught.value.samples == (1, 2)
    assert caught.value.statuses == ("unbounded", "unbounded")
    with pytest.raises(InvalidInput, match="1 of 3 samples cannot be solved: sample 1: parameter"):
        Perturbed(strict, 4)(torch.tensor([[0.5, 30.0], [0.5, torch.nan], [0.5, 30.0]]))
    loss = FenchelYoung(Perturbed(strict, 4))
    with pytest.raises(SolveFailed) as caught:
        loss(costs[1], torch.zeros(2))
    assert caught.value.samples == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be an integer >= 1"),
        ({"samples": 2.0}, "samples must be an integer >= 1"),
        ({"sigma": 0.0}, "sigma must be a number > 0"),
        ({"samples": 3, "antithetic": True}, "samples must be even"),
        ({"noise": Gumbel(), "antithetic": True}, "symmetric"),
        ({"noise": SumOfGamma(3.0)}, "density"),
        ({"noise": "normal"}, "noise must be"),
        ({"multiplicative": 1}, "multiplicative must be True or False"),
        ({"derivative": "lpgd"}, "derivative must be a value"),
        ({"parameters": [cp.Parameter(6)]}, "not among the layer's parameters"),
    ],
)  # fmt: skip
def test_options_are_refused(options, message):
    layer, _ = layers(*selection())
    with pytest.raises(InvalidOption, match=message):
        Perturbed(layer, **options)


def test_other_arguments_are_refused():
    layer, in_numpy = layers(*selection())
    with pytest.raises(InvalidOption, match="CvxpyLayer of torch or NumPy"):
        Perturbed("layer")
    with pytest.raises(InvalidOption, match="CvxpyLayer of torch or NumPy"):
        Perturbed(Perturbed(layer))
    with pytest.raises(InvalidOption, match="vjp is for NumPy layers"):
        Perturbed(layer).vjp(torch.zeros(N))
    with pytest.raises(InvalidOption, match="schedule must be Adaptive"):
        AdaptiveImplicitMLE(layer, schedule=Relative(1.0))
    with pytest.raises(InvalidOption, match="size must be"):
        SumOfGamma(0)
    with pytest.raises(InvalidOption, match="terms must be"):
        SumOfGamma(2.0, terms=0)
    with pytest.raises(InvalidInput, match="entries that are 0"):
        Perturbed(layer, multiplicative=True)(torch.zeros(N))
    _, pullback = Perturbed(in_numpy).vjp(np.zeros(N))
    with pytest.raises(InvalidInput, match="received 2 cotangents, expected 1"):
        pullback(np.zeros(N), np.zeros(N))
    x, bound = cp.Variable(2), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum(x)), [x >= bound])
    constrained = cvxlpgd.numpy.CvxpyLayer(problem, [bound], [x])
    with pytest.raises(InvalidProblem, match="no parameter of this layer enters the objective"):
        Perturbed(constrained)
    with pytest.raises(InvalidOption, match="multiplicative=True keeps signs"):
        Perturbed(constrained, parameters=[bound])
    named = Perturbed(constrained, parameters=[bound], multiplicative=True)
    assert named(np.ones(()))[0].shape == (2,)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_it_is_lpgd_at_one_sample_without_noise():
    """Noise of next to nothing leaves blackbox backpropagation."""
    _, layer = layers(*selection(), derivative=LPGD(tau=1.0, side="lower"))
    c, bar = rng.normal(size=(2, 3, N))
    _, pullback = ImplicitMLE(layer, 1, 1e-9, 1.0).vjp(c)
    _, own = layer.vjp(c)
    assert np.allclose(pullback(bar)[0], own(bar)[0], atol=1e-6)


def test_labels_belong_to_samples_and_not_to_their_copies():
    in_numpy = layers(*selection())[1]
    for samples in (2, 3):
        loss = FenchelYoung(Perturbed(in_numpy, samples), "none")
        with pytest.raises(InvalidInput, match="target 0 has shape"):
            loss(rng.normal(size=N), SUBSETS[:3])
        assert loss(rng.normal(size=(3, N)), SUBSETS[:3]).shape == (3,)


def test_costs_that_are_written_to_between_the_passes():
    layer, gradients = layers(*selection())[0], []
    c = torch.tensor(rng.uniform(1, 2, size=N))
    for factor in (1.0, 10.0):
        cost = c.clone().requires_grad_()
        (mean,) = Perturbed(layer, samples=20, sigma=0.5, multiplicative=True)(cost)
        with torch.no_grad():
            cost.mul_(factor)
        mean[0].backward()
        gradients.append(cost.grad)
    assert torch.equal(*gradients)
    assert gradients[0].any()


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("by_draws", [False, True])
def test_gradients_of_an_integer_programs_constraints(by_draws):
    """They are the layer's own, as those of a fixed integer part."""
    y, z = cp.Variable(3, integer=True), cp.Variable()
    cost, b = cp.Parameter(3), cp.Parameter()
    problem = cp.Problem(
        cp.Minimize(cost @ y + z), [cp.sum(y) + z == b, y >= 0, y <= 3, z >= 0, z <= 0.9]
    )
    derivative = LPGD(tau=1.0, integer_constraints=True)
    for heuristic in (True, False):
        own = derivative if heuristic else LPGD(tau=1.0)
        layer = cvxlpgd.torch.CvxpyLayer(problem, [cost, b], [y, z], derivative=own)
        noisy = Perturbed(layer, samples=4, derivative=None if by_draws else own)
        given = torch.tensor(2.5, requires_grad=True)
        if heuristic:
            noisy(torch.tensor([1.0, 2.0, 3.0]), given)[1].sum().backward()
            assert given.grad == pytest.approx(1.0)
        else:
            with pytest.raises(DerivativeFailed, match="no dual variables"):
                noisy(torch.tensor([1.0, 2.0, 3.0]), given)
