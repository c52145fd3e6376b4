"""Losses by differences of Lagrangians: their definitions, PyEPO's values, and what is refused."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pyepo
import pyepo.func
import pytest
import torch
from scipy.optimize import linprog

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem
from cvxlpgd.losses import FenchelYoung, SPOPlus, StructuredHinge, StructuredPerceptron
from cvxlpgd.values import targets
from tests.helpers.programs import grid
from tests.losses.pyepo_model import Grid
from tests.losses.selection import SUBSETS, N, layers, selection
from tests.losses.selection import by_both as in_both

rng = np.random.default_rng(0)


def data(batch=5):
    return rng.normal(size=(batch, N)), SUBSETS[rng.integers(len(SUBSETS), size=batch)]


def by_both(loss_class, made, *values, **options):
    """(value, gradient) by torch, checked to be NumPy's too."""
    return in_both(lambda layer: loss_class(layer, **options), made, *values)


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_structured_perceptron(sense, integer):
    """w'target - min w'x by enumeration."""
    c, target = data()
    sign = 1 if sense is cp.Minimize else -1
    made = selection(sense=sense, integer=integer)
    value, gradient = by_both(StructuredPerceptron, made, c, target, reduction="none")
    costs = sign * c @ SUBSETS.T
    expected = sign * (c * target).sum(axis=1) - costs.min(axis=1)
    assert np.allclose(value, expected, atol=1e-8)
    assert np.allclose(gradient, sign * (target - SUBSETS[costs.argmin(axis=1)]), atol=1e-8)


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_structured_hinge(sense):
    """max_x [margin |x - target|_1 - w'x] + w'target by enumeration."""
    c, target = data()
    sign, margin = (1 if sense is cp.Minimize else -1), 0.7
    value, gradient = by_both(
        StructuredHinge, selection(sense=sense), c, target, margin=margin, reduction="none"
    )
    away = np.abs(SUBSETS[None] - target[:, None]).sum(axis=2)
    inner = margin * away - sign * c @ SUBSETS.T
    expected = inner.max(axis=1) + sign * (c * target).sum(axis=1)
    assert np.allclose(value, expected, atol=1e-8)
    assert np.allclose(gradient, sign * (target - SUBSETS[inner.argmax(axis=1)]), atol=1e-8)
    assert (value >= 0).all()


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_spo_plus(sense):
    """The definition: max_x (c - 2 c_hat)'x + 2 c_hat'x*(c) - c'x*(c), by enumeration."""
    sign = 1 if sense is cp.Minimize else -1
    pred, _ = data()
    true, _ = data()
    value, gradient = by_both(SPOPlus, selection(sense=sense), pred, true, reduction="none")
    best = SUBSETS[(sign * true @ SUBSETS.T).argmin(axis=1)]
    inner = sign * (true - 2 * pred) @ SUBSETS.T
    expected = inner.max(axis=1) + sign * ((2 * pred - true) * best).sum(axis=1)
    assert np.allclose(value, expected, atol=1e-8)
    assert np.allclose(gradient, 2 * sign * (best - SUBSETS[inner.argmax(axis=1)]), atol=1e-8)
    given, _ = by_both(
        lambda layer, **o: _Given(SPOPlus(layer, **o), best), selection(sense=sense), pred, true,
        reduction="none",
    )  # fmt: skip
    assert np.allclose(given, value, atol=1e-9)


class _Given:
    """SPO+ with the true solutions handed over."""

    def __init__(self, loss, best):
        self.loss, self.best = loss, best

    def __call__(self, pred, true):
        best = torch.tensor(self.best) if isinstance(pred, torch.Tensor) else self.best
        return self.loss(pred, true, best, "ignored")

    def vjp(self, pred, true):
        return self.loss.vjp(pred, true, self.best)


def test_fenchel_young_of_a_projection():
    """With Omega = |x|²/2 the gradient is target - x*(c); 0 where the solution is the target."""
    c, target = data()
    made = selection(quadratic=1.0)
    value, gradient = by_both(FenchelYoung, made, c, target, reduction="none")
    (x_star,) = layers(*made)[1](c)

    def f(x):
        return (c * x).sum(axis=1) + (x**2).sum(axis=1) / 2

    assert np.allclose(value, f(target) - f(x_star), atol=1e-7)
    assert np.allclose(gradient, target - x_star, atol=1e-7)
    zero, _ = by_both(FenchelYoung, made, c, x_star, reduction="none")
    assert np.allclose(zero, 0.0, atol=1e-7)


def test_variables_that_are_not_returned_are_minimized_over():
    """min over t of a lifted norm and of a hidden variable; parameters in constraints too."""
    x, hidden = cp.Variable(3), cp.Variable(2)
    c, b = cp.Parameter(3), cp.Parameter(nonneg=True)
    problem = cp.Problem(
        cp.Minimize(c @ x + cp.norm1(x) + cp.sum_squares(hidden - x[:2]) + cp.sum(hidden)),
        [cp.norm(x) <= b, hidden >= -0.2],
    )
    layer = cvxlpgd.torch.CvxpyLayer(problem, [c, b], [x], solver_args={"eps": 1e-10})
    cost = torch.tensor(rng.normal(size=(3, 3)), requires_grad=True)
    bound = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    target = 0.3 * rng.normal(size=(3, 3))

    def loss(cost, bound):
        return FenchelYoung(layer, reduction="none")(cost, bound, torch.tensor(target))

    value = loss(cost, bound)
    for i in range(3):
        c.value, b.value, x.value = cost[i].detach().numpy(), bound.item(), target[i]
        best = problem.solve(solver="CLARABEL")
        there = cp.Problem(problem.objective, [*problem.constraints, x == target[i]])
        assert value[i].item() == pytest.approx(there.solve(solver="CLARABEL") - best, abs=1e-5)
    assert torch.autograd.gradcheck(loss, (cost, bound), eps=1e-4, atol=1e-3)


def test_reductions_and_float32():
    c, target = data()
    layer = layers(*selection())[0]
    each = FenchelYoung(layer, "none")(torch.tensor(c), target)
    assert FenchelYoung(layer)(torch.tensor(c), target).item() == pytest.approx(each.mean().item())
    total = FenchelYoung(layer, "sum")(torch.tensor(c), target)
    assert total.item() == pytest.approx(each.sum().item())
    single = torch.tensor(c, dtype=torch.float32, requires_grad=True)
    loss = SPOPlus(layer)(single, torch.tensor(c[::-1].copy(), dtype=torch.float32))
    loss.backward()
    assert loss.dtype == single.grad.dtype == torch.float32


def test_learning_a_cost_from_its_decisions():
    """Inverse optimization: after some steps the costs reproduce the targets."""
    layer = layers(*selection())[0]
    weights = torch.zeros(5, N, dtype=torch.float64, requires_grad=True)
    _, target = data()
    loss = StructuredHinge(layer)
    optimizer = torch.optim.SGD([weights], lr=1.0)
    for _ in range(30):
        value = loss(weights, torch.tensor(target))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() == pytest.approx(0.0, abs=1e-9)
    assert np.allclose(layer(weights)[0].detach(), target)


@pytest.mark.parametrize("size", [0.5, 3.0, np.nan])
def test_targets_outside_of_the_feasible_set(size):
    c, target = data(3)
    target[1] *= size
    for layer in layers(*selection()):
        with pytest.raises(InvalidInput, match="target"):
            FenchelYoung(layer)(c, target)


def test_a_hidden_variable_cannot_mend_a_target():
    x, hidden = cp.Variable(2), cp.Variable(2)
    c = cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(c @ x + cp.sum(hidden)), [hidden == x, hidden >= 0, x <= 1])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [c], [x])
    assert FenchelYoung(layer)(np.ones(2), np.array([0.5, 0.0])) == pytest.approx(1.0)
    with pytest.raises(InvalidInput, match="feasible"):
        FenchelYoung(layer)(np.ones(2), np.array([0.5, -0.5]))


def test_hinge_takes_vertices_of_a_solver():
    """They are off by rounding."""
    layer = layers(*selection())[1]
    c, target = data()
    off = StructuredHinge(layer)(c, target * (1 - 1e-12))
    assert float(off) == pytest.approx(float(StructuredHinge(layer)(c, target)))


def test_what_is_refused():
    linear, curved = layers(*selection())[1], layers(*selection(quadratic=1.0))[1]
    c, target = data()
    with pytest.raises(InvalidOption, match="reduction"):
        FenchelYoung(linear, "max")
    with pytest.raises(InvalidOption, match="CvxpyLayer"):
        SPOPlus(lambda c: c)
    with pytest.raises(InvalidOption, match="margin"):
        StructuredHinge(linear, margin=0.0)
    with pytest.raises(InvalidProblem, match="FenchelYoung"):
        StructuredPerceptron(curved)
    with pytest.raises(InvalidInput, match="zeros and ones"):
        StructuredHinge(linear)(c, target / 2 + 1 / 6)
    with pytest.raises(InvalidInput, match="expected 1 parameters and 1 targets"):
        FenchelYoung(linear)(c)
    with pytest.raises(InvalidInput, match="target 0 has shape"):
        FenchelYoung(linear)(c, target[:, :3])
    with pytest.raises(InvalidOption, match="NumPy"):
        FenchelYoung(layers(*selection())[0]).vjp(torch.tensor(c), target)
    x, b = cp.Variable(2), cp.Parameter(2)
    rows = [x >= b]
    problem = cp.Problem(cp.Minimize(cp.sum(x)), rows)
    with pytest.raises(InvalidProblem, match="objective alone"):
        SPOPlus(cvxlpgd.numpy.CvxpyLayer(problem, [b], [x]))
    dual = cvxlpgd.numpy.CvxpyLayer(problem, [b], [rows[0].dual_variables[0]])
    with pytest.raises(InvalidOption, match="dual"):
        FenchelYoung(dual)(np.zeros(2), np.ones(2))
    symmetric, S = cp.Variable((2, 2), symmetric=True), cp.Parameter((2, 2))
    fit = cp.Problem(cp.Minimize(cp.sum_squares(symmetric - S)))
    with pytest.raises(InvalidInput, match="symmetric"):
        FenchelYoung(cvxlpgd.numpy.CvxpyLayer(fit, [S], [symmetric]))(
            np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]])
        )
    whole = layers(*selection(integer=True))[1]
    with pytest.raises(InvalidInput, match="not an integer"):
        StructuredPerceptron(whole)(c, np.full((5, N), 1 / 3))


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_pyepo_on_the_same_shortest_paths():
    """SPO+, blackbox backpropagation, and its Fenchel-Young loss all but without perturbation."""
    A, b = grid(4)
    pred, true = rng.uniform(0.5, 3.0, size=(2, 8, 24))
    bar = rng.normal(size=pred.shape)
    solutions = np.stack([linprog(c, A_eq=A, b_eq=b, bounds=(0, 1)).x for c in true])
    sols, objs = torch.tensor(solutions), torch.tensor((solutions * true).sum(1, keepdims=True))
    x, c = cp.Variable(24), cp.Parameter(24)
    made = cp.Problem(cp.Minimize(c @ x), [A @ x == b, x >= 0, x <= 1]), [c], [x]
    cost = torch.tensor(pred, requires_grad=True)

    def gradient_of(value):
        return torch.autograd.grad(value.sum(), cost)[0].numpy()

    value, gradient = by_both(SPOPlus, made, pred, true, reduction="none")
    spo = pyepo.func.SPOPlus(Grid(), reduction="none")(cost, torch.tensor(true), sols, objs)
    assert np.allclose(value, spo.detach().numpy().ravel(), atol=1e-5)
    assert np.allclose(gradient, gradient_of(spo), atol=1e-6)
    value, gradient = by_both(FenchelYoung, made, pred, solutions, reduction="none")
    loss = pyepo.func.perturbedFenchelYoung(Grid(), n_samples=2, sigma=1e-9, reduction="none")
    assert np.allclose(gradient, gradient_of(loss(cost, sols)), atol=1e-6)
    layer = cvxlpgd.numpy.CvxpyLayer(*made, derivative=cvxlpgd.LPGD(tau=5.0, side="lower"))
    (found,), pullback = layer.vjp(pred)
    theirs = pyepo.func.blackboxOpt(Grid(), lambd=5.0)(cost)
    assert np.allclose(found, theirs.detach(), atol=1e-6)
    assert np.allclose(pullback(bar)[0], gradient_of(theirs * torch.tensor(bar)), atol=1e-5)


@pytest.mark.parametrize("solver", ["SCS", "CLARABEL", "ECOS"])
def test_targets_on_the_boundary_up_to_rounding(solver):
    """Single precision leaves a target outside by 1e-7: hidden variables have nothing between."""
    x, cost = cp.Variable(7), cp.Parameter(7)
    problem = cp.Problem(cp.Maximize(cost @ x), [cp.norm1(x) <= 5, cp.norm(x) <= 2.1])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost], [x], solver=solver)
    costs = torch.tensor(rng.normal(size=(20, 7)), dtype=torch.float32)
    best = layer(costs)[0] * (1 + 3e-7)
    cost_of = costs.clone().requires_grad_()
    loss = SPOPlus(layer)(cost_of, costs, best)
    loss.backward()
    assert abs(loss) < 1e-5
    with pytest.raises(InvalidInput, match="outside of the feasible set"):
        SPOPlus(layer)(costs, costs, best * 1.01)


def test_targets_that_are_known_to_be_feasible_are_not_solved_for(monkeypatch):
    """Hidden flows matter for feasibility alone, which depends on the target alone."""
    x, flow, cost = cp.Variable(4), cp.Variable(4), cp.Parameter(4)
    constraints = [cp.sum(x) == 1, x >= 0, flow <= x, cp.sum(flow) == 1, flow >= 0]
    layer = cvxlpgd.torch.CvxpyLayer(cp.Problem(cp.Minimize(cost @ x), constraints), [cost], [x])
    solves, solve = [], targets.solve
    monkeypatch.setattr(targets, "solve", lambda *given: solves.append(0) or solve(*given))
    costs, best = torch.rand(5, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    rows = []
    for count, chosen in ((1, [0, 1, 2, 3, 0]), (1, [3, 3, 1, 0, 2])):
        cost_of = costs.clone().requires_grad_()
        loss = SPOPlus(layer, reduction="none")(cost_of, costs, best[chosen])
        loss.sum().backward()
        assert len(solves) == count
        spread = 2 * costs - costs
        expected = (spread * best[chosen]).sum(dim=1) - spread.min(dim=1).values
        assert torch.allclose(loss, expected, atol=1e-7)
        rows.append(cost_of.grad)
    assert not torch.equal(*rows)
    with pytest.raises(InvalidInput, match="outside of the feasible set"):
        SPOPlus(layer)(costs, costs, best[[0, 1, 2, 3, 3]] * 2)
    priced = cp.Problem(cp.Minimize(cost @ x + cp.sum(flow)), constraints)
    layer = cvxlpgd.torch.CvxpyLayer(priced, [cost], [x])
    solves.clear()
    for _ in range(2):
        SPOPlus(layer)(costs, costs, best[[0, 1, 2, 3, 3]])
    assert len(solves) == 2


@pytest.mark.parametrize("never", [10.0, 1e5, 1e9])
def test_a_bound_that_is_never_active_hides_no_infeasible_target(never):
    x, cost = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cost @ x), [x >= 0, cp.sum(x) == 1, x <= never])
    layer = cvxlpgd.torch.CvxpyLayer(problem, [cost], [x])
    c = torch.tensor([-0.3, -0.5, -0.35])
    for wrong in ([0.0, 1.5, 0.0], [3.0, 3.0, 3.0], [0.5, 0.6, -0.1]):
        with pytest.raises(InvalidInput, match="outside of the feasible set"):
            FenchelYoung(layer)(c, torch.tensor(wrong))
    right = torch.tensor([0.2, 0.3, 0.5]) * (1 + 2e-7) - torch.tensor([0.0, 0.0, 1e-7])
    assert FenchelYoung(layer)(c, right) > 0


@pytest.mark.parametrize("units", [1e-6, 1.0, 1e6])
def test_targets_are_judged_by_their_own_size(units):
    x, cost = cp.Variable(2), cp.Parameter(2)
    layer = cvxlpgd.torch.CvxpyLayer(
        cp.Problem(cp.Minimize(cost @ x), [x >= 0, x <= units]), [cost], [x]
    )
    c = torch.tensor([-1.0, -1.0], dtype=torch.float64)
    with pytest.raises(InvalidInput, match="outside of the feasible set"):
        FenchelYoung(layer)(c, units * torch.tensor([1.1, 1.0]))
    corner = units * torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert FenchelYoung(layer)(c, corner).item() == pytest.approx(units, rel=1e-6)
    assert abs(FenchelYoung(layer)(-c, 0 * corner).item()) < 1e-8 * units
    S = cp.Variable((2, 2), symmetric=True)
    matrix, price = cp.Problem(cp.Minimize(cp.trace(S)), [S >= 0, units >= S]), cp.Parameter((2, 2))
    matrix = cp.Problem(cp.Minimize(cp.sum(cp.multiply(price, S))), matrix.constraints)
    layer = cvxlpgd.torch.CvxpyLayer(matrix, [price], [S])
    with pytest.raises(InvalidInput, match="not symmetric"):
        FenchelYoung(layer)(torch.eye(2), units * torch.tensor([[0.0, 1.0], [0.0, 0.0]]))


def test_integers_neither_wrap_around_nor_overflow():
    in_torch, in_numpy = layers(*selection())
    cost = np.arange(1.0, N + 1)
    pred, true = 40 * np.arange(1, N + 1), np.arange(100, 100 - N, -1)
    hinge = StructuredHinge(in_numpy, 200.0)(cost, SUBSETS[3])
    spo = SPOPlus(in_numpy)(pred.astype(float), true.astype(float))
    for kind in (np.uint8, np.int8, np.int64, bool):
        target = SUBSETS[3].astype(kind)
        assert StructuredHinge(in_numpy, 200.0)(cost, target) == pytest.approx(hinge)
        tensors = torch.tensor(cost), torch.tensor(target)
        assert StructuredHinge(in_torch, 200.0)(*tensors).item() == pytest.approx(hinge)
    for kind in (np.uint8, np.int64, np.float16):
        values = pred.astype(kind), true.astype(kind)
        assert SPOPlus(in_numpy)(*values) == pytest.approx(spo)
        assert SPOPlus(in_torch)(*map(torch.tensor, values)).item() == pytest.approx(spo)
    half = torch.tensor([4e4, 1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float16, requires_grad=True)
    SPOPlus(in_torch)(half, half.detach()).backward()
    assert half.grad.dtype == torch.float16


def test_the_gradient_of_a_shared_prediction_has_its_shape():
    in_torch, in_numpy = layers(*selection())
    pred, true = rng.normal(size=(1, N)), rng.normal(size=(5, N))
    tensor = torch.tensor(pred, requires_grad=True)
    SPOPlus(in_torch)(tensor, torch.tensor(true)).backward()
    for given in (pred, pred[0], pred.astype(np.float32)):
        (gradient,) = SPOPlus(in_numpy).vjp(given, true)[1]()
        assert (gradient.shape, gradient.dtype) == (given.shape, given.dtype)
        assert np.allclose(gradient, tensor.grad, atol=1e-6)


def test_spo_plus_says_why_a_cost_has_another_sign():
    x, cost = cp.Variable(3), cp.Parameter(3, nonneg=True, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [cost], [x])
    close = np.array([1.0, 2.0, 3.0])
    assert SPOPlus(layer)(close, close) == pytest.approx(0.0, abs=1e-9)
    for call in (SPOPlus(layer), SPOPlus(layer).vjp):
        with pytest.raises(InvalidInput, match="2 pred_cost - true_cost, which may leave"):
            call(close, close[::-1])
    with pytest.raises(InvalidInput) as refused:
        SPOPlus(layer)(close, close, np.array([2.0, 0.0, 0.0]))
    assert "pred_cost" not in str(refused.value)
