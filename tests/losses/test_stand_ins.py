"""Layers with |x|², or minus the identity for a derivative, and losses of angles."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pyepo.func
import pytest
import scipy.optimize
import scipy.sparse as sp
import torch

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd import Exact
from cvxlpgd.errors import (
    FailedSampleWarning,
    InaccurateSolutionWarning,
    InfeasibleTargetWarning,
    InvalidInput,
    InvalidOption,
    InvalidProblem,
)
from cvxlpgd.losses import ConeAligned, FenchelYoung, NegativeIdentity, Regularized
from tests.helpers.programs import grid
from tests.losses.pyepo_model import Grid
from tests.losses.selection import SUBSETS, N, by_both, layers, selection

rng = np.random.default_rng(0)
SENSES = pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
STAND_INS = (Regularized, NegativeIdentity, ConeAligned)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@SENSES
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_regularized_is_the_quadratic_program_over_the_hull(weight, integer, sense):
    """Solutions and gradients are those of the layer with the term in its objective."""
    c, bar = rng.normal(size=(2, 6, N))
    layer, in_numpy = layers(*selection(sense=sense, integer=integer))
    curved = cvxlpgd.torch.CvxpyLayer(*selection(quadratic=weight, sense=sense), derivative=Exact())
    rows = []
    for function in (Regularized(layer, weight, tol=1e-9), curved):
        cost = torch.tensor(c, requires_grad=True)
        (x,) = function(cost)
        (x * torch.tensor(bar)).sum().backward()
        rows.append((x.detach().numpy(), cost.grad.numpy()))
    assert np.allclose(rows[0][0], rows[1][0], atol=1e-6)
    assert np.allclose(rows[0][1], rows[1][1], atol=1e-6)
    (x,), pullback = Regularized(in_numpy, weight, tol=1e-9).vjp(c)
    assert np.allclose(x, rows[0][0], atol=1e-9)
    assert np.allclose(pullback(bar)[0], rows[0][1], atol=1e-9)


@SENSES
def test_fenchel_young_of_a_regularized_layer(sense):
    c, target = rng.normal(size=(4, N)), SUBSETS[[0, 3, 7, 9]]
    value, gradient = by_both(
        lambda layer: FenchelYoung(Regularized(layer, 0.7, tol=1e-9), "none"),
        selection(sense=sense, integer=True), c, target,
    )  # fmt: skip
    other, slope = by_both(
        lambda layer: FenchelYoung(layer, "none"),
        selection(quadratic=0.7, sense=sense), c, target,
    )  # fmt: skip
    assert np.allclose(value, other, atol=1e-7)
    assert np.allclose(gradient, slope, atol=1e-5)


def test_regularized_with_several_variables_and_a_variable_that_is_read_twice():
    x, y, cost = cp.Variable(3), cp.Variable(), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cost @ x + 2 * y), [cp.sum(x) + y == 1, x >= 0, y >= 0])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x, y])
    c = rng.normal(size=(5, 3))
    for k, (found_x, found_y) in enumerate(zip(*Regularized(layer, 0.5, tol=1e-9)(c), strict=True)):
        curved = cp.Problem(
            cp.Minimize(c[k] @ x + 2 * y + 0.25 * (cp.sum_squares(x) + cp.square(y))),
            problem.constraints,
        )
        curved.solve(solver="CLARABEL")
        assert np.allclose(found_x, x.value, atol=1e-5)
        assert np.allclose(found_y, y.value, atol=1e-5)


def test_few_rounds_are_told():
    layer, _ = layers(*selection())
    with pytest.warns(InaccurateSolutionWarning, match="regularized solutions are short of tol"):
        Regularized(layer, 5.0, rounds=1)(torch.rand(3, N))


@SENSES
def test_negative_identity(sense):
    """The layer's own solutions, with -g for a gradient, g where it maximizes."""
    c, bar = rng.normal(size=(2, 4, N))
    layer, in_numpy = layers(*selection(sense=sense, integer=True))
    sign = -1 if sense is cp.Minimize else 1
    cost = torch.tensor(c, requires_grad=True)
    (x,) = NegativeIdentity(layer)(cost)
    (x * torch.tensor(bar)).sum().backward()
    assert torch.equal(x.detach(), layer(torch.tensor(c))[0])
    assert np.allclose(cost.grad, sign * bar)
    (x,), pullback = NegativeIdentity(in_numpy).vjp(c)
    assert np.allclose(pullback(bar)[0], sign * bar)
    target = SUBSETS[:4]
    difference = NegativeIdentity(layer).lagrangian_difference(cost, targets=torch.tensor(target))
    assert torch.allclose(difference, layer.lagrangian_difference(cost, targets=target))


@SENSES
def test_cone_aligned_is_zero_for_optimal_decisions_and_not_for_others(sense):
    """In the cone of the tight rows' normals just where a decision is optimal."""
    c = rng.normal(size=(20, N))
    for integer in (False, True):
        in_numpy = layers(*selection(sense=sense, integer=integer))[1]
        best = in_numpy(c)[0]
        loss = ConeAligned(in_numpy, inward=0.0, reduction="none")
        assert np.allclose(loss(c, best), 0.0, atol=1e-9)
        others = SUBSETS[rng.integers(len(SUBSETS), size=20)]
        wrong = np.abs(others - best).max(axis=1) > 0.5
        assert (loss(c, others)[wrong] > 1e-3).all()
        assert np.allclose(loss(c, others)[~wrong], 0.0, atol=1e-9)


@SENSES
@pytest.mark.parametrize("inward", [0.0, 1e-3, 0.1, 1e6])
def test_the_gradient_of_cone_aligned(inward, sense):
    """It is that with the point in the cone held fixed, which for inward=0 is all of it."""
    c, target = rng.normal(size=(5, N)), SUBSETS[[0, 4, 5, 9, 13]]
    made = selection(sense=sense)
    value, gradient = by_both(lambda layer: ConeAligned(layer, inward, "none"), made, c, target)
    _, in_numpy = layers(*made)
    loss = ConeAligned(in_numpy, inward, "none")
    assert (np.abs((gradient * c).sum(axis=1)) < 1e-9).all()  # an angle knows no sizes
    assert np.allclose(loss(3 * c, target), value)
    for scale in (1e-160, 1e160):  # whose squares no number holds
        by_scale, pullback = loss.vjp(scale * c, target)
        assert np.allclose(by_scale, value)
        assert np.allclose(pullback(np.ones(5))[0] * scale, gradient)
    if inward == 0:
        for j in range(N):
            step = 1e-6 * np.eye(N)[j]
            difference = (loss(c + step, target) - loss(c - step, target)) / 2e-6
            assert np.allclose(gradient[:, j], difference, atol=1e-6)


def nearby_point(start, normals, equality, u, w):
    """t = N'y + f a by the conditions N (t - u) + w (y - 1/y) = 0, a'(t - u) = 0 near `start`."""

    def point(v):
        return v[:-1] @ normals + v[-1] * equality

    def conditions(v):
        rest = point(v) - u
        return np.append(normals @ rest / max(w, 1) + min(w, 1) * (v[:-1] - 1 / v[:-1]),
                         equality @ rest)  # fmt: skip

    found = scipy.optimize.root(conditions, start, tol=1e-13)
    assert np.abs(conditions(found.x)).max() < 1e-12
    assert (found.x[:-1] > 0).all()
    return point(found.x)


@pytest.mark.filterwarnings("default:Solution may be inaccurate:UserWarning")
@SENSES
@pytest.mark.parametrize("inward", [0.0, 1e-4, 0.1, 1e6])
def test_the_point_of_cone_aligned(inward, sense):
    """It is what CVXPY says, and the same alone as in a batch, to the bit."""
    c = rng.normal(size=(12, N))
    x, cost = cp.Variable(N), cp.Parameter(N)
    A, b = rng.normal(size=(2, N)), rng.uniform(0.5, 1.5, size=3)
    rows = [A[0] @ x == 1, A[1] @ x <= 1, x >= 0, cp.sum(x) <= 4, x[:3] <= b]
    layer = cvxlpgd.numpy.CvxpyLayer(cp.Problem(sense(cost @ x), rows), [cost], [x])
    best = layer(c)[0][rng.permutation(12)]
    G = np.concatenate([A[1:], -np.eye(N), np.ones((1, N)), np.eye(N)[:3]])
    h = np.concatenate([[1.0], np.zeros(N), [4.0], b])
    loss = ConeAligned(layer, inward, "none")
    value, pullback = loss.vjp(c, best)
    for k, (cost_of_k, decision) in enumerate(zip(c, best, strict=True)):
        u = cost_of_k / np.linalg.norm(cost_of_k) * (-1 if sense is cp.Minimize else 1)
        normals = G[h - G @ decision < 1e-6]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        y, free = cp.Variable(len(normals), nonneg=True), cp.Variable()
        t = y @ normals + free * A[0]
        inner = cp.sum_squares(y) / 2 - cp.sum(cp.log(y)) if inward else 0
        # by a weight above 1 all is divided: a problem of large numbers is solved less well
        objective = cp.sum_squares(u - t) / 2 + inward / len(normals) * inner
        cp.Problem(cp.Minimize(objective / max(inward, 1))).solve(
            solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
        )
        point = t.value
        if inward:  # to rounding: the conditions on y are smooth
            start = np.append(y.value, free.value)
            point = nearby_point(start, normals, A[0], u, inward / len(normals))
        cos = u @ point / np.linalg.norm(point)
        assert value[k] == pytest.approx(1 - cos, abs=1e-9 if inward else 1e-6)
        alone, of_alone = loss.vjp(cost_of_k, decision)
        assert alone == value[k]
        assert np.array_equal(of_alone()[0], pullback(np.eye(12)[k])[0][k])


def cone_loss(constraints, c, target, inward=0.0):
    """The loss of a NumPy layer of linear costs, and its gradient."""
    x, cost = cp.Variable(len(target)), cp.Parameter(len(target))
    problem = cp.Problem(cp.Minimize(cost @ x), constraints(x))
    loss, pullback = ConeAligned(cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x]), inward).vjp(
        np.array(c, dtype=float), np.array(target, dtype=float)
    )
    return loss, pullback()[0]


def test_bounds_that_equalities_imply_are_no_rows():
    """The equalities fix the first entry at 0, and imply its bound, which is no row then."""

    def rows(x):
        return [cp.sum(x) == 1, cp.sum(x[1:]) == 1, x >= 0]

    c = [0, 1, 0.5, 0]
    # the cone: costs in which x1 costs least of the last three
    loss, _ = cone_loss(rows, c, [0, 1, 0, 0])
    nearest = np.array([0.0, 0.5, 0.5, 0.5])
    assert loss == pytest.approx(1 - nearest @ c / np.linalg.norm(nearest) / np.linalg.norm(c))


@pytest.mark.parametrize("bound", [1e3, 1e9, 1e12])
def test_the_cone_is_blind_to_a_bound_that_is_far_away(bound):
    def rows(x):
        return [cp.sum(x[:2]) == 1, x[0] - x[2] == 0, x >= 0, x <= bound]

    loss, gradient = cone_loss(rows, [2, 1, 1], [1, 0, 1])
    assert loss > 0.01
    assert gradient @ [1, -1, 1] > 0.01  # the decision's cost against the other one's
    assert cone_loss(rows, [2, 1, 1], [0, 1, 0])[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("nought", [0.0, 0.1 + 0.2 - 0.3])
@pytest.mark.parametrize("zero", [0.0, 5e-9, 1e-7])
def test_the_cone_takes_solvers_zeros_for_zeros(zero, nought):
    def rows(x):
        return [cp.sum(x) == 2, x >= nought, x <= 1]

    target = np.array([1 - 2 * zero, 1 - 2 * zero, zero, zero, zero, zero])
    loss, _ = cone_loss(rows, [1, 2, 3, 4, 5, 6], target)
    assert loss == pytest.approx(0, abs=1e-12)


def test_cones_of_few_rows_of_many_variables():
    n = 40
    loss, gradient = cone_loss(
        lambda x: [x >= 0, x[1:] <= 1], np.ones(n), np.append(0, [0.5] * 39), 0.1
    )
    # t is along the first row's normal, whatever its share
    assert loss == pytest.approx(1 - 1 / np.sqrt(n))
    assert gradient[0] < 0


def test_opposite_and_nearly_opposite_normals():
    def nearly(x):
        return [x[0] <= 0, -x[0] + 1e-6 * x[1] <= 0, x >= -1, x <= 1]

    c, a = np.array([1.0, 2, 3]), np.array([[1, 0, 0], [-1, 1e-6, 0]])
    a /= np.linalg.norm(a, axis=1)[:, None]
    # a large weight w = 5e5 for each of them: (y_i - 1/y_i) w = a_i (u - t), y_i close to 1
    t = (1 + a @ -c / np.linalg.norm(c) / 1e6) @ a
    expected = 1 + t @ c / np.linalg.norm(t) / np.linalg.norm(c)
    assert cone_loss(nearly, c, np.zeros(3), 1e6)[0] == pytest.approx(expected, abs=1e-5)

    # the decision's first entry is fixed; u points there in part
    def fixed(x):
        return [x[0] <= 0.5, x[0] >= 0.5, x <= 1]

    for inward in (0.0, 1e-12, 1e-3):
        assert cone_loss(fixed, [1, 1], [0.5, 0.5], inward)[0] == pytest.approx(1 - np.sqrt(0.5))


def test_the_nearest_point_at_a_degenerate_decision():
    """Where SciPy's nonnegative least squares end before the nearest point."""
    E = np.array([[1.0, 0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 1, 1, 0]])
    x, c = np.array([0.0, 0, 1, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 1, 1, 0.5])
    loss, _ = cone_loss(lambda v: [E @ v == E @ x, 2 * v[0] >= 0, v >= 0, v <= 1], c, x)
    eye = np.eye(7)
    columns = np.vstack([-eye[:1], eye * np.where(x > 0, 1, -1)[:, None], E]).T
    lower = np.append(np.zeros(8), [-np.inf] * 2)
    u = -c / np.linalg.norm(c)
    t = columns @ scipy.optimize.lsq_linear(columns, u, (lower, np.inf), method="bvls").x
    assert loss == pytest.approx(1 - u @ t / np.linalg.norm(t), abs=1e-8)


def test_costs_without_a_direction_fail_alone():
    x, cost = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x], on_failure="nan")
    with pytest.warns(FailedSampleWarning, match=r"sample \(1, 0\): the cost is 0"):
        value, pullback = ConeAligned(layer, reduction="none").vjp(
            np.array([[[1.0, 2.0]], [[0.0, 0.0]]]), np.zeros(2)
        )
    assert np.isnan(value).tolist() == [[False], [True]]
    assert (pullback(np.ones((2, 1)))[0][1] == 0).all()


def test_points_that_are_not_found_are_told(monkeypatch):
    monkeypatch.setattr("cvxlpgd.losses.cone_aligned.STEPS", 2)
    with pytest.warns(InaccurateSolutionWarning, match="of 1 targets is inaccurate after 2 steps"):
        cone_loss(lambda x: [x >= 0, cp.sum(x) <= 1], [1, 2], [1, 0], 1e-3)


def test_the_cone_of_a_decision_that_equalities_leave_no_choice():
    x, cost = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cost @ x), [x == [1.0, 0.0], x >= 0])
    loss = ConeAligned(cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x]))
    assert loss(rng.normal(size=(3, 2)), np.array([1.0, 0.0])) == pytest.approx(0.0, abs=1e-12)


def test_cone_aligned_learns():
    """Descent along its gradient makes decisions right."""
    layer = layers(*selection())[0]
    cost = torch.tensor(rng.normal(size=(8, N)), requires_grad=True)
    target = torch.tensor(SUBSETS[rng.integers(len(SUBSETS), size=8)])
    optimizer = torch.optim.Adam([cost], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        ConeAligned(layer)(cost, target).backward()
        optimizer.step()
    assert torch.allclose(layer(cost.detach())[0], target, atol=1e-6)


def test_pyepo_on_the_same_shortest_paths():
    """Regularized solutions with their gradients, the Fenchel-Young loss, minus the identity."""
    side = 4
    A, b = grid(side)
    n = A.shape[1]
    x, c = cp.Variable(n), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(c @ x), [A @ x == b, x >= 0, x <= 1])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [c], [x], solver="HIGHS")
    costs = torch.tensor(rng.uniform(0.5, 3.0, size=(4, n)))
    bar = torch.tensor(rng.normal(size=(4, n)))
    (target,) = layer(torch.tensor(rng.uniform(0.5, 3.0, size=(4, n))))

    def gradient(function, *more):
        cost = costs.clone().requires_grad_()
        out = function(cost, *more)
        value = out[0] if isinstance(out, tuple) else out
        (value * bar if value.shape == bar.shape else value).sum().backward()
        return value.detach(), cost.grad

    for ours, theirs, more in (
        (Regularized(layer, 2.0, tol=1e-9), pyepo.func.regularizedFrankWolfeOpt(Grid(), 2.0), ()),
        (
            FenchelYoung(Regularized(layer, 2.0, tol=1e-9), "none"),
            pyepo.func.regularizedFrankWolfeFenchelYoung(Grid(), 2.0, reduction="none"),
            (target,),
        ),
        (NegativeIdentity(layer), pyepo.func.negativeIdentity(Grid()), ()),
    ):
        for mine, other in zip(gradient(ours, *more), gradient(theirs, *more), strict=True):
            assert torch.allclose(mine, other, atol=2e-3)


def test_arguments_are_refused():
    layer, _ = layers(*selection())
    for weight in (0.0, -1.0, "one"):
        with pytest.raises(InvalidOption, match="weight must be a number > 0"):
            Regularized(layer, weight)
    with pytest.raises(InvalidOption, match="rounds must be"):
        Regularized(layer, rounds=0)
    with pytest.raises(InvalidOption, match="tol must be"):
        Regularized(layer, tol=0)
    with pytest.raises(InvalidOption, match="inward must be"):
        ConeAligned(layer, 1e-15)
    with pytest.raises(InvalidOption, match="no margins"):
        Regularized(layer).lagrangian_difference(
            torch.rand(N), targets=SUBSETS[:1], margin=SUBSETS[:1]
        )
    with pytest.raises(InvalidInput, match="sample 1: the cost is 0"):
        ConeAligned(layer)(torch.tensor([[1.0] * N, [0.0] * N]), SUBSETS[:2])
    with pytest.warns(InfeasibleTargetWarning, match="1 of 2 targets"):
        ConeAligned(layer)(torch.rand(2, N), SUBSETS[:2] * np.array([[1.0], [1.2]]))
    for stand_in in STAND_INS:
        with pytest.raises(InvalidOption, match="CvxpyLayer of torch or NumPy"):
            stand_in("layer")


@pytest.mark.parametrize("stand_in", STAND_INS)
def test_problems_are_refused(stand_in):
    x, cost, bound = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    for problem, parameters, message in (
        (cp.Problem(cp.Minimize(cost @ x), [x >= bound]), [cost, bound], "one parameter, the cost"),
        (cp.Problem(cp.Minimize(cp.sum(x)), [x >= bound]), [bound], "one parameter, the cost"),
        (cp.Problem(cp.Minimize(cost @ x + cp.norm1(x))), [cost], "does not return"),
        (cp.Problem(cp.Minimize(cost @ x + cp.sum_squares(x))), [cost], "linear objective"),
    ):
        layer = cvxlpgd.numpy.CvxpyLayer(problem, parameters, [x])
        with pytest.raises(InvalidProblem, match=message):
            stand_in(layer)
    if stand_in is Regularized:
        ball = cp.Problem(cp.Minimize(cost @ x), [cp.norm(x) <= 1])
        layer = cvxlpgd.numpy.CvxpyLayer(ball, [cost], [x])
        with pytest.raises(InvalidProblem, match="quadratic term into the objective"):
            stand_in(layer)
    if stand_in is ConeAligned:
        for constraint, message in (
            (cp.norm(x) <= 1, "ConeAligned"),
            (cp.norm1(x) <= 1, "all variables of the constraints"),
        ):
            layer = cvxlpgd.numpy.CvxpyLayer(
                cp.Problem(cp.Minimize(cost @ x), [constraint]), [cost], [x]
            )
            with pytest.raises(InvalidProblem, match=message):
                stand_in(layer)


@pytest.mark.parametrize("shift", [0.0, 1e4, 1e6])
def test_a_cost_that_all_decisions_bear_does_not_end_the_search(shift):
    x, cost = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost], [x])
    c = torch.tensor([0.0, 0.1, 0.3, 0.05], dtype=torch.float64) + shift
    c.requires_grad_()
    (found,) = Regularized(layer)(c)
    (found @ torch.arange(1.0, 5.0, dtype=torch.float64)).backward()
    expected = [0.3625, 0.2625, 0.0625, 0.3125]
    assert found.tolist() == pytest.approx(expected, abs=1e-4 if shift == 1e6 else 1e-6)
    assert c.grad.tolist() == pytest.approx([1.5, 0.5, -0.5, -1.5], abs=1e-6)


@pytest.mark.filterwarnings("default::cvxlpgd.errors.InaccurateSolutionWarning")  # of its programs
def test_solutions_at_vertices_are_no_late_ones(recwarn):
    x, cost = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0, x <= 1e6])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x], solver="HIGHS")
    for c in ([-0.3, -0.6, -0.2], [1.0, 2.0, 3.0]):
        found = Regularized(layer)(np.array(c))[0]
        assert np.allclose(found, np.maximum(-np.array(c), 0), atol=1e-6)
    assert not [w for w in recwarn if "regularized solutions" in str(w.message)]


@pytest.mark.parametrize("units", [1e-6, 1.0, 1e6])
def test_tight_rows_are_those_of_each_variables_own_size(units):
    """Two variables of other units, and a bound that is never active."""
    x, cost = cp.Variable(2), cp.Parameter(2)
    high = np.array([units, 1e-4])
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0, x <= high, x[1] <= 1e9])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x])
    loss = ConeAligned(layer, inward=0.0)
    c = np.array([-1.0, 0.5])
    assert loss(c, high) == pytest.approx(1 - 1 / np.sqrt(1.25))
    assert loss(c, high * np.array([1.0, 0.0])) == pytest.approx(0.0, abs=1e-12)


TIED = np.array([
    [0.0] * N, [0.3] * N, [0.2, -0.4, 0.2, 0.6, -0.4, 0.2], [0.6, -0.5, 0.6, 0.6, -0.3, 1.0],
    [0.3, 0.30001, 0.29999, 0.30001, 0.3, 0.3], [1.2, 1.2, 1.2 + 1e-3, 1.2, 1.2 - 1e-3, 1.2],
])  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("integer", [False, True])
def test_regularized_at_costs_that_tie(integer):
    """The face that a solution is inside of is larger than the span of a few vertices."""
    bar = rng.normal(size=TIED.shape)
    made = layers(*selection(integer=integer))[1]
    curved = cvxlpgd.numpy.CvxpyLayer(*selection(quadratic=1.0), derivative=Exact())
    (x,), pullback = Regularized(made).vjp(TIED)
    (expected,), exact = curved.vjp(TIED)
    assert not curved.info.kink.any()
    assert np.allclose(x, expected, atol=1e-8)
    gradient = pullback(bar)[0]
    assert np.allclose(gradient, exact(bar)[0], atol=1e-6)
    for k in (0, 3):
        alone = Regularized(made).vjp(TIED[k])[1](bar[k])[0]
        assert np.array_equal(alone, gradient[k])
    if not integer:  # whose targets are integers
        loss = FenchelYoung(Regularized(made), "none")(TIED, expected)
        assert np.allclose(loss, 0.0, atol=1e-12)


def test_regularized_within_a_box():
    """Where the minimum of the whole objective is feasible, it is the solution."""
    x, cost = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= -1, x <= 1])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x])
    c, bar = np.array([[0.0] * 4, [0.3] * 4, [0.2, -0.4, 3.0, 0.2]]), rng.normal(size=(3, 4))
    (found,), pullback = Regularized(layer, 0.5).vjp(c)
    assert np.allclose(found, np.clip(-2 * c, -1, 1), atol=1e-9)
    assert np.allclose(pullback(bar)[0], np.where(np.abs(2 * c) < 1, -2 * bar, 0), atol=1e-9)


def test_regularized_takes_sparse_costs():
    x, cost = cp.Variable((2, 2)), cp.Parameter((2, 2), diag=True)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(cost, x))), [x >= 0, cp.sum(x) == 1])
    loss = Regularized(cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x]))
    c, bar = np.diag([0.1, 0.2]), np.array([[1.0, 0.0], [0.0, 0.0]])
    (dense,), pullback = loss.vjp(c)
    (found,), of_sparse = loss.vjp(sp.coo_array(c))
    assert np.array_equal(found, dense)
    assert pullback(bar)[0] == pytest.approx(np.diag([-0.75, 0.25]))  # all four entries move
    assert of_sparse(bar)[0].toarray() == pytest.approx(np.diag([-0.75, 0.25]))


@pytest.mark.parametrize(
    ("high", "even"),
    [([1, 1, 1e4], True), ([1, 1, 1e7], False), ([1e-6, 1, 1], False), ([1e-6] * 3, True)],
)
def test_variables_of_very_different_sizes_are_told(high, even):
    """A bound that is never active is a vertex of the linear program all the same."""
    x, cost = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0, x <= high])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x])
    c = -np.array([0.3, 0.6, 0.4]) * np.minimum(high, 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (found,), pullback = Regularized(layer, tol=1e-9).vjp(c)
    assert bool([w for w in told if "differ by more than 1e5" in str(w.message)]) is not even
    if even:
        assert found == pytest.approx(-c)
        assert pullback(np.ones(3))[0] == pytest.approx(-np.ones(3))
