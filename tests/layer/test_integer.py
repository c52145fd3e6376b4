"""Integer programs: gradients of costs against blackbox backpropagation by another library."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, milp

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd import LPGD, FiniteDifference, Implicit
from cvxlpgd.errors import (
    CvxlpgdError,
    CvxlpgdWarning,
    DegenerateGradientWarning,
    DerivativeFailed,
    InvalidProblem,
    UnsuitableSolver,
)
from tests.helpers.programs import grid

rng = np.random.default_rng(0)


class Instance:
    """minimize or maximize c'x subject to low <= Ax <= high, x in {0, 1}^n."""

    def __init__(self, A, low, high, sense=cp.Minimize):
        self.A, self.low, self.high, self.sense = A, low, high, sense
        self.x, self.c = cp.Variable(A.shape[1], boolean=True), cp.Parameter(A.shape[1])
        rows = A @ self.x
        if np.array_equal(low, high):
            constraints = [rows == high]
        else:
            constraints = [rows <= high]
            finite = np.isfinite(low)
            if finite.any():
                constraints.append(rows[finite] >= low[finite])
        self.problem = cp.Problem(sense(self.c @ self.x), constraints)

    def solved(self, c):
        """By scipy.optimize.milp."""
        sign = 1 if self.sense is cp.Minimize else -1
        constraint = LinearConstraint(self.A, self.low, self.high)
        found = milp(
            sign * c, constraints=constraint, integrality=np.ones(len(c)), bounds=(0, 1),
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
        return np.rint(found.x)


def knapsack():
    weights = rng.integers(3, 12, size=(2, 10)).astype(float)
    return Instance(weights, np.full(2, -np.inf), weights.sum(axis=1) // 3, cp.Maximize)


def shortest_path(side=4):
    A, b = grid(side)
    return Instance(A, b, b)


def matching(nodes=6):
    pairs = [(i, j) for i in range(nodes) for j in range(i)]
    A = np.zeros((nodes, len(pairs)))
    for k, (i, j) in enumerate(pairs):
        A[[i, j], k] = 1
    return Instance(A, np.ones(nodes), np.ones(nodes))


INSTANCES = [knapsack, shortest_path, matching]
SOLVERS = ["HIGHS", "SCIPY"]


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", INSTANCES)
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_blackbox_backpropagation(make, solver, framework):
    """[x*(w + lambda g) - x*(w)]/lambda, for a maximization [x*(w) - x*(w - lambda g)]/lambda."""
    instance, strength = make(), 3.0
    c = rng.uniform(1.0, 5.0, size=(4, instance.A.shape[1]))
    bar = rng.normal(size=c.shape)
    options = {"solver": solver, "derivative": LPGD(tau=strength, side="lower")}
    if framework == "torch":
        layer = cvxlpgd.torch.CvxpyLayer(instance.problem, [instance.c], [instance.x], **options)
        cost = torch.tensor(c, requires_grad=True)
        (x_star,) = layer(cost)
        x_star.backward(torch.tensor(bar))
        found, gradient = x_star.detach().numpy(), cost.grad.numpy()
    else:
        layer = cvxlpgd.numpy.CvxpyLayer(instance.problem, [instance.c], [instance.x], **options)
        (found,), pullback = layer.vjp(c)
        (gradient,) = pullback(bar)
    sign = 1 if instance.sense is cp.Minimize else -1
    for i in range(len(c)):
        plain = instance.solved(c[i])
        moved = instance.solved(c[i] + sign * strength * bar[i])
        assert np.allclose(found[i], plain, atol=1e-9)
        assert np.allclose(gradient[i], sign * (moved - plain) / strength, atol=1e-9)
    assert (gradient != 0).any()


def unit_commitment():
    """A mixed-integer program: machines that cost to run, and what they then deliver."""
    on, out = cp.Variable(3, boolean=True), cp.Variable(3)
    demand, capacity = cp.Parameter(), cp.Parameter(3)
    fixed, each = np.array([9.0, 6.0, 1.0]), np.array([1.0, 2.0, 5.0])
    problem = cp.Problem(
        cp.Minimize(fixed @ on + each @ out + 0.1 * cp.sum(out)),
        [cp.sum(out) >= demand, out <= cp.multiply(capacity, on), out >= 0],
    )
    return problem, [demand, capacity], [on, out]


def test_multipliers_of_the_program_with_its_integers_fixed():
    """Within one choice of integers the objective is linear in demand and capacity."""
    problem, parameters, variables = unit_commitment()
    values = [torch.tensor(5.0), torch.tensor([4.0, 4.0, 4.0])]
    values = [v.double().requires_grad_() for v in values]
    layer = cvxlpgd.torch.CvxpyLayer(
        problem, parameters, variables, derivative=LPGD(tau=1e-3, integer_constraints=True)
    )
    (on, out) = layer(*values)
    assert on.tolist() == [1.0, 0.0, 1.0]
    bar = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    demand_bar, capacity_bar = torch.autograd.grad(out, values, bar)
    # out_2 = demand - capacity_0: the continuous program's own exact derivative
    inner = cp.Variable(3)
    continuous = cp.Problem(
        cp.Minimize(np.array([1.1, 2.1, 5.1]) @ inner),
        [cp.sum(inner) >= parameters[0], inner <= cp.multiply(parameters[1], [1.0, 0.0, 1.0]),
         inner >= 0],
    )  # fmt: skip
    other = cvxlpgd.torch.CvxpyLayer(continuous, parameters, [inner], derivative=FiniteDifference())
    expected = torch.autograd.grad(other(*values)[0], values, bar)
    assert demand_bar.item() == pytest.approx(expected[0].item(), abs=1e-6)
    assert torch.allclose(capacity_bar, expected[1], atol=1e-6)
    assert demand_bar.item() == pytest.approx(1.0, abs=1e-6)
    assert capacity_bar[0].item() == pytest.approx(-1.0, abs=1e-6)


def test_a_program_of_integers_alone_has_no_multipliers():
    """The heuristic says nothing there, and says so."""
    x, c, w = cp.Variable(4, boolean=True), cp.Parameter(4), cp.Parameter(4, nonneg=True)
    layer = cvxlpgd.torch.CvxpyLayer(
        cp.Problem(cp.Maximize(c @ x), [w @ x <= 5]), [c, w], [x],
        derivative=LPGD(tau=10.0, integer_constraints=True),
    )  # fmt: skip
    cost = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([3.0, 2.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    (x_star,) = layer(cost, weights)
    x_star[2].backward()
    assert (cost.grad != 0).any()
    assert (weights.grad == 0).all()


def test_constraint_parameters_are_refused_at_the_call():
    problem, parameters, variables = unit_commitment()
    layer = cvxlpgd.torch.CvxpyLayer(problem, parameters, variables)
    demand, capacity = torch.tensor(5.0), torch.tensor([4.0, 4.0, 4.0], requires_grad=True)
    with pytest.raises(DerivativeFailed, match="integer_constraints=True"):
        layer(demand, capacity)
    layer(demand, capacity.detach())
    with torch.no_grad():
        layer(demand, capacity)
    other = cvxlpgd.numpy.CvxpyLayer(problem, parameters, variables)
    other(5.0, np.full(3, 4.0))
    with pytest.raises(DerivativeFailed, match="detach"):
        other.vjp(5.0, np.full(3, 4.0))


def test_dual_outputs_and_exact_derivatives_are_refused():
    problem, parameters, variables = unit_commitment()
    dual = problem.constraints[0].dual_variables[0]
    with pytest.raises(InvalidProblem, match="no dual variables"):
        cvxlpgd.torch.CvxpyLayer(problem, parameters, [dual])
    with pytest.raises(CvxlpgdError, match="integer"):
        cvxlpgd.torch.CvxpyLayer(problem, parameters, variables, derivative=Implicit())
    with pytest.raises(UnsuitableSolver, match="integer"):
        cvxlpgd.torch.CvxpyLayer(problem, parameters, variables, solver="SCS")


def test_a_tau_that_sees_no_other_integers_is_said():
    instance = shortest_path()
    layer = cvxlpgd.numpy.CvxpyLayer(
        instance.problem, [instance.c], [instance.x], derivative=LPGD(tau=1e-6)
    )
    _, pullback = layer.vjp(np.arange(1.0, 25.0))
    with pytest.warns(DegenerateGradientWarning, match="informative"):
        pullback(np.ones(24))
    assert not layer.info.informative


def test_fractional_bounds_of_booleans_lose_no_optimal_point():
    """The larger of two, both 0, was 0.09 for these values."""
    x, top = cp.Variable(2, boolean=True), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(1.6 * cp.max(x) + 0.1 * cp.sum(x)), [x <= top])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [top], [x])
    layer(np.array([[1.1, 0.1], [0.1, 0.1]]))
    assert layer.info.objective == pytest.approx([0.0, 0.0], abs=1e-9)


def test_fractional_bounds_of_integers_lose_no_optimal_point():
    """The presolve of an integer solver may: |x| was 1 at x = 0 for these values."""
    x, on = cp.Variable(integer=True), cp.Variable(2, boolean=True)
    a, low, high = cp.Parameter(), cp.Parameter(), cp.Parameter()
    cost = cp.abs(x - a) + 1.5 * cp.abs(x) + 0.2 * on[0]
    problem = cp.Problem(cp.Minimize(cost), [x <= high, x >= low])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [a, low, high], [x], on_failure="nan")
    values = (
        np.array([-0.08, 0.0, 0.0, 0.0, 2.9]),
        np.array([-4.99, 0.2, -3.3, 1 + 1e-12, 2.0]),
        np.array([0.1848, 0.8, 0.8, 3 - 1e-12, 2.0]),
    )
    with pytest.warns(CvxlpgdWarning, match="sample 1: infeasible"):
        (found,) = layer(*values)
    assert found == pytest.approx([0.0, np.nan, 0.0, 1.0, 2.0], nan_ok=True)
    assert layer.info.objective == pytest.approx([0.08, np.nan, 0.0, 2.5, 3.9], nan_ok=True)
