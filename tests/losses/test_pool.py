"""Losses over a pool of solutions: their definitions, PyEPO's values, and what is refused."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pyepo.func
import pytest
import torch
from scipy.special import log_softmax, softmax

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd.errors import (
    FailedSampleWarning,
    InfeasibleTargetWarning,
    InvalidInput,
    InvalidOption,
    InvalidProblem,
)
from cvxlpgd.losses import (
    ConeAligned,
    ContrastiveMAP,
    FenchelYoung,
    ListwiseRanking,
    NoiseContrastive,
    PairwiseRanking,
    PointwiseRanking,
    SolutionPool,
    StructuredPerceptron,
)
from tests.helpers.programs import grid
from tests.losses.pyepo_model import Grid
from tests.losses.selection import SUBSETS, N, by_both, layers, selection

rng = np.random.default_rng(0)
POOL = SUBSETS[[1, 3, 4, 8, 12]]
CONTRASTIVE = (NoiseContrastive, ContrastiveMAP)
RANKING = (PointwiseRanking, PairwiseRanking, ListwiseRanking)


def never_solving(loss_class, **options):
    return lambda layer: loss_class(layer, POOL, solve_ratio=0.0, reduction="none", **options)


def data(batch=5):
    pred, true = rng.normal(size=(2, batch, N))
    return pred, true, SUBSETS[rng.integers(len(SUBSETS), size=batch)]


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_contrastive_losses(sense, integer):
    """The mean and the largest margin of the pool's members, by their definitions."""
    pred, _, target = data()
    sign = 1 if sense is cp.Minimize else -1
    made = selection(sense=sense, integer=integer)
    margins = sign * ((pred * target).sum(axis=1)[:, None] - pred @ POOL.T)
    value, gradient = by_both(never_solving(NoiseContrastive), made, pred, target)
    assert np.allclose(value, margins.mean(axis=1))
    assert np.allclose(gradient, sign * (target - POOL.mean(axis=0)))
    value, gradient = by_both(never_solving(ContrastiveMAP), made, pred, target)
    assert np.allclose(value, margins.max(axis=1))
    assert np.allclose(gradient, sign * (target - POOL[margins.argmax(axis=1)]))


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_ranking_losses(sense):
    """Values by their definitions, gradients against central differences."""
    pred, true, _ = data()
    sign = 1 if sense is cp.Minimize else -1
    made = selection(sense=sense)

    def pointwise(pred):
        return (((pred - true) @ POOL.T) ** 2).mean(axis=1)

    def pairwise(pred, margin=0.3):
        scores, best = sign * pred @ POOL.T, (sign * true @ POOL.T).argmin(axis=1)
        wrong = margin + scores[np.arange(len(pred)), best][:, None] - scores
        wrong[np.arange(len(pred)), best] = 0.0
        return np.maximum(wrong, 0).sum(axis=1) / (len(POOL) - 1)

    def listwise(pred, temperature=0.7):
        p = softmax(-sign * true @ POOL.T / temperature, axis=1)
        return -(p * log_softmax(-sign * pred @ POOL.T / temperature, axis=1)).sum(axis=1)

    for loss_class, formula, options in (
        (PointwiseRanking, pointwise, {}),
        (PairwiseRanking, pairwise, {"margin": 0.3}),
        (ListwiseRanking, listwise, {"temperature": 0.7}),
    ):
        value, gradient = by_both(never_solving(loss_class, **options), made, pred, true)
        assert np.allclose(value, formula(pred))
        for j in range(N):
            step = 1e-6 * np.eye(N)[j]
            difference = (formula(pred + step) - formula(pred - step)) / 2e-6
            assert np.allclose(gradient[:, j], difference, atol=1e-7)


def test_objectives_with_constants_and_curvature():
    """Terms without the cost count: f = cost'x + x'x/2 - x_0 + 3 + sum(cost)."""
    x, cost = cp.Variable(3), cp.Parameter(3)
    objective = cp.Minimize(cost @ x + cp.sum_squares(x) / 2 - x[0] + 3 + cp.sum(cost))
    made = cp.Problem(objective, [cp.sum(x) == 1, x >= 0]), [cost], [x]
    pool = rng.dirichlet(np.ones(3), size=4)
    pred, target = rng.normal(size=(2, 3)), rng.dirichlet(np.ones(3), size=2)

    def f(c, x):
        return c @ x + x @ x / 2 - x[0] + 3 + c.sum()

    value, _ = by_both(
        lambda layer: NoiseContrastive(layer, pool, solve_ratio=0.0, reduction="none"),
        made, pred, target,
    )  # fmt: skip
    expected = [
        f(c, t) - np.mean([f(c, v) for v in pool]) for c, t in zip(pred, target, strict=True)
    ]
    assert np.allclose(value, expected)


def test_a_pool_of_all_solutions_is_the_perceptron():
    pred, _, target = data()
    value, gradient = by_both(
        lambda layer: ContrastiveMAP(layer, SUBSETS, solve_ratio=0.0), selection(), pred, target
    )
    other, slope = by_both(StructuredPerceptron, selection(), pred, target)
    assert np.allclose(value, other, atol=1e-7)
    assert np.allclose(gradient, slope, atol=1e-7)


def test_the_pool_grows_by_solving():
    """Each solution is kept once; a ratio of 1 makes the largest margin the perceptron's."""
    layer, in_numpy = layers(*selection())
    loss = ContrastiveMAP(layer, POOL)
    pred, _, target = (torch.tensor(v) for v in data(40))
    assert torch.allclose(loss(pred, target), StructuredPerceptron(layer)(pred, target), atol=1e-7)
    size = len(loss.pool)
    assert len(POOL) < size <= len(SUBSETS)
    assert len(np.unique(loss.pool.solutions[0].round(6), axis=0)) == size
    loss(pred, target)
    assert len(loss.pool) == size
    pool = SolutionPool(in_numpy, np.concatenate([POOL, POOL + 1e-9, POOL[:2]]))
    assert len(pool) == len(POOL)
    assert np.allclose(pool.solutions[0], POOL)
    shared = NoiseContrastive(in_numpy, pool), PairwiseRanking(in_numpy, pool)
    shared[0](pred.numpy(), target.numpy())
    assert shared[1].pool is pool
    assert len(pool) > len(POOL)
    seldom = NoiseContrastive(layer, POOL, solve_ratio=0.3, seed=1)
    sizes = [
        seldom(torch.randn(2, N), target[:2]) is not None and len(seldom.pool) for _ in range(20)
    ]
    assert 2 <= len(set(sizes)) <= 12


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_pyepo_over_the_same_pool(sense):
    """Contrastive and ranking losses: values and gradients."""
    side = 4
    A, b = grid(side)
    n = A.shape[1]
    x, c = cp.Variable(n), cp.Parameter(n)
    problem = cp.Problem(sense(c @ x), [A @ x == b, x >= 0, x <= 1])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [c], [x], solver="HIGHS")
    optimizer = Grid(side)
    optimizer.modelSense = pyepo.EPO.MINIMIZE if sense is cp.Minimize else pyepo.EPO.MAXIMIZE
    pred, true, others = (torch.tensor(rng.uniform(0.5, 3, size=(6, n))) for _ in range(3))
    (pool,), (target,) = layer(others), layer(true)
    pool = torch.unique(pool.round(decimals=9), dim=0)

    class Data:
        """What PyEPO reads of a dataset."""

        sols = pool.numpy()

    for ours, theirs, label in (
        (NoiseContrastive, pyepo.func.noiseContrastiveEstimation, target),
        (ContrastiveMAP, pyepo.func.contrastiveMAP, target),
        (PointwiseRanking, pyepo.func.pointwiseLearningToRank, true),
        (PairwiseRanking, pyepo.func.pairwiseLearningToRank, true),
        (ListwiseRanking, pyepo.func.listwiseLearningToRank, true),
    ):
        rows = []
        other = theirs.__new__(theirs)
        torch.nn.Module.__init__(other)
        other.optmodel, other.solve_ratio, other.reduction = optimizer, -1.0, "none"
        other.solpool, other._branch_rng = pool, np.random.RandomState(0)
        other.processes, other.pool, other.relu = 1, None, torch.nn.ReLU()
        mine = ours(layer, pool, solve_ratio=0.0, reduction="none")
        for loss in (mine, other):
            cost = pred.clone().requires_grad_()
            value = loss(cost, label)
            value.sum().backward()
            rows.append((value.detach(), cost.grad))
        # PyEPO's listwise loss takes probabilities of at least 1e-8
        assert torch.allclose(rows[0][0], rows[1][0], atol=1e-5)
        assert torch.allclose(rows[0][1], rows[1][1], atol=1e-5)


def test_several_variables_batch_axes_and_shared_costs():
    x, y = cp.Variable((2, 2), nonneg=True), cp.Variable()
    cost = cp.Parameter((2, 2))
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(cost, x)) + y), [cp.sum(x) == y, y >= 1])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost], [x, y])
    corners = np.eye(4).reshape(4, 2, 2)
    loss = NoiseContrastive(layer, [corners, np.ones(4)], reduction="none", solve_ratio=0.0)
    shared = torch.randn(2, 2, requires_grad=True)
    target = torch.tensor(corners[[0, 2, 3]]), torch.ones(3, dtype=torch.float64)
    with pytest.raises(InvalidInput, match="target 0 has shape"):
        loss(shared, target)
    value = loss(shared.expand(3, 2, 2), target)
    assert value.shape == (3,)
    value.sum().backward()
    assert torch.allclose(shared.grad.double(), sum(target[0]) - 3 * 0.25)


def test_labels_that_are_not_feasible_are_told():
    """The loss is what it is, and the violation is said."""
    layer, _ = layers(*selection())
    loss = NoiseContrastive(layer, POOL, solve_ratio=0.0)
    target = torch.tensor(SUBSETS[:3])
    target[1] *= 1.5
    with pytest.warns(InfeasibleTargetWarning, match="1 of 3 targets .* sample 1, "):
        loss(torch.randn(3, N), target)
    with pytest.raises(InvalidInput, match="outside of the feasible set"):
        FenchelYoung(layer)(torch.randn(3, N), target)


def test_hidden_variables_of_constraints():
    """Tours have other variables; the pool needs those of the objective alone."""
    x, flow, cost = cp.Variable(3), cp.Variable(3), cp.Parameter(3)
    constraints = [cp.sum(x) == 1, x >= 0, flow <= x, cp.sum(flow) == 1, flow >= 0]
    layer = cvxlpgd.numpy.CvxpyLayer(cp.Problem(cp.Minimize(cost @ x), constraints), [cost], [x])
    loss = ContrastiveMAP(layer, np.eye(3)[:2])
    assert loss(np.array([[1.0, 2.0, 0.5]]), np.eye(3)[[0]]) == pytest.approx(0.5)
    assert len(loss.pool) == 3


def test_failed_solves_do_not_enter_the_pool():
    x, cost = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0, x[0] <= 1])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x], on_failure="nan")
    loss = NoiseContrastive(layer, np.array([[1.0, 0.0]]))
    costs = np.array([[1.0, 1.0], [1.0, -1.0]])
    with pytest.warns(cvxlpgd.errors.FailedSampleWarning):
        loss(costs, np.zeros((2, 2)))
    assert len(loss.pool) == 2


@pytest.mark.parametrize("loss_class", CONTRASTIVE + RANKING)
def test_arguments_are_refused(loss_class):
    layer, _ = layers(*selection())
    other, _ = layers(*selection())
    label = torch.zeros(2, N) if loss_class in RANKING else torch.tensor(SUBSETS[:2])
    with pytest.raises(InvalidInput, match="the pool is empty"):
        loss_class(layer, np.zeros((0, N)))
    with pytest.raises(InvalidInput, match="solution 0 has shape"):
        loss_class(layer, np.zeros((3, N - 1)))
    with pytest.raises(InvalidOption, match="pool is of another layer"):
        loss_class(layer, SolutionPool(other, POOL))
    with pytest.raises(InvalidOption, match="solve_ratio"):
        loss_class(layer, POOL, solve_ratio=1.5)
    with pytest.raises(InvalidOption, match="reduction"):
        loss_class(layer, POOL, reduction="max")
    with pytest.raises(InvalidOption, match="CvxpyLayer"):
        loss_class("layer", POOL)
    loss = loss_class(layer, POOL)
    with pytest.raises(InvalidInput, match="has shape"):
        loss(torch.zeros(2, N), label[:, :-1])
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        loss(torch.full((2, N), torch.nan), label)
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        loss(torch.zeros(2, N), label * torch.nan)
    with pytest.raises(InvalidInput, match="detach"):
        loss(torch.zeros(2, N), label.clone().requires_grad_())
    with pytest.raises(InvalidOption, match="vjp is for NumPy layers"):
        loss.vjp(torch.zeros(2, N), label)


def test_problems_are_refused():
    x, cost, bound = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    two = cp.Problem(cp.Minimize(cost @ x), [x >= bound])
    layer = cvxlpgd.numpy.CvxpyLayer(two, [cost, bound], [x])
    with pytest.raises(InvalidProblem, match="one parameter, the cost"):
        NoiseContrastive(layer, np.zeros((1, 3)))
    bounded = cp.Problem(cp.Minimize(cp.sum(x)), [x >= bound])
    with pytest.raises(InvalidProblem, match="one parameter, the cost"):
        NoiseContrastive(cvxlpgd.numpy.CvxpyLayer(bounded, [bound], [x]), np.zeros((1, 3)))
    hidden = cp.Problem(cp.Minimize(cost @ x + cp.norm1(x)), [cp.sum(x) == 1])
    with pytest.raises(InvalidProblem, match="variables that the layer does not return"):
        NoiseContrastive(cvxlpgd.numpy.CvxpyLayer(hidden, [cost], [x]), np.zeros((1, 3)))
    constraint = cp.sum(x) == 1
    dual = cp.Problem(cp.Minimize(cost @ x), [constraint, x >= 0])
    with pytest.raises(InvalidOption, match="primal variables"):
        NoiseContrastive(
            cvxlpgd.numpy.CvxpyLayer(dual, [cost], [constraint.dual_variables[0]]), np.zeros((1, 1))
        )
    for option in ({"margin": -1.0}, {"margin": "x"}):
        with pytest.raises(InvalidOption, match="margin"):
            PairwiseRanking(cvxlpgd.numpy.CvxpyLayer(*selection()), POOL, **option)
    with pytest.raises(InvalidOption, match="temperature"):
        ListwiseRanking(cvxlpgd.numpy.CvxpyLayer(*selection()), POOL, temperature=0.0)


def test_solutions_are_told_apart_by_each_columns_own_size():
    """A constant term, a dear slack, and a first solution of zeros do not make others alike."""
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, 8).T
    for constant in (0.0, 1e7):
        x, cost = cp.Variable(3, boolean=True), cp.Parameter(3)
        problem = cp.Problem(cp.Minimize(cost @ x + constant), [cp.sum(x) <= 3])
        layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x])
        loss = ContrastiveMAP(layer, corners, solve_ratio=0.0)
        assert len(loss.pool) == 8
        value = loss(np.array([0.5, -0.2, -0.4]), np.array([1.0, 0.0, 0.0]))
        assert value == pytest.approx(1.1, abs=1e-7)
    x, slack, cost = cp.Variable(3), cp.Variable(), cp.Parameter(3)
    priced = cp.Problem(cp.Minimize(cost @ x + 1e4 * slack), [x >= 0, x <= 1 + slack, slack >= 0])
    layer = cvxlpgd.numpy.CvxpyLayer(priced, [cost], [x, slack])
    first = np.array([[1.0, 1.0, 0.0], [1.0, 0.99, 0.015], [0.0, 0.0, 0.0]])
    assert len(SolutionPool(layer, [first, np.array([0.0, 0.0, 2.0])])) == 3
    x = cp.Variable(3)
    small = cp.Problem(cp.Minimize(cost @ x), [x >= 0, x <= 1e-6])
    pool = SolutionPool(cvxlpgd.numpy.CvxpyLayer(small, [cost], [x]), np.zeros((1, 3)))
    pool.extend([1e-6 * corners])
    pool.extend([1e-6 * corners + 1e-19])
    assert len(pool) == 8


@pytest.mark.parametrize("loss", [*CONTRASTIVE, *RANKING, ConeAligned])
def test_costs_with_a_pattern_are_as_those_without(loss):
    x, diagonal, whole = cp.Variable((2, 2)), cp.Parameter((2, 2), diag=True), cp.Parameter((2, 2))
    simplex = [x >= 0, cp.sum(x) == 1]
    rows = []
    for cost, price in (
        (diagonal, cp.sum(cp.multiply(diagonal, x))),
        (whole, whole[0, 0] * x[0, 0] + whole[1, 1] * x[1, 1]),
    ):
        layer = cvxlpgd.numpy.CvxpyLayer(cp.Problem(cp.Minimize(price), simplex), [cost], [x])
        pool = np.array([np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), np.eye(2) / 2])
        made = loss(layer) if loss is ConeAligned else loss(layer, pool, solve_ratio=0.0)
        label = np.diag([1.5, 0.5]) if loss in RANKING else np.diag([0.75, 0.25])
        value, pullback = made.vjp(np.diag([1.0, 2.0]), label)
        rows.append((value, pullback()[0]))
    assert rows[0][0] == pytest.approx(rows[1][0])
    assert rows[0][0] != 0
    assert np.allclose(rows[0][1], rows[1][1])


@pytest.mark.parametrize("loss", [*CONTRASTIVE, *RANKING, ConeAligned])
def test_a_cost_with_nan_fails_alone(loss):
    layer = cvxlpgd.numpy.CvxpyLayer(*selection(), on_failure="nan")
    made = loss(layer) if loss is ConeAligned else loss(layer, POOL)
    made.reduction = "none"
    pred, true, target = data(4)
    label = true if loss in RANKING else target
    pred[1] = np.nan
    with pytest.warns(FailedSampleWarning, match="has NaN"):
        value, pullback = made.vjp(pred, label)
    assert np.isfinite(value).tolist() == [True, False, True, True]
    gradient = pullback(np.ones(4))[0]
    assert np.isfinite(gradient).all()
    assert not gradient[1].any()
    assert gradient.any()


@pytest.mark.parametrize("loss", CONTRASTIVE + RANKING)
def test_a_batch_of_none(loss):
    made = never_solving(loss)(layers(*selection())[1])
    value, pullback = made.vjp(np.zeros((0, N)), np.zeros((0, N)))
    assert value.shape == (0,)
    assert pullback(value)[0].shape == (0, N)


def test_solutions_that_are_not_feasible_are_told():
    with pytest.warns(InfeasibleTargetWarning, match="1 of 5 solutions of the pool .* number 2, "):
        SolutionPool(layers(*selection())[1], POOL * [[1.0], [1.0], [1.1], [1.0], [1.0]])
