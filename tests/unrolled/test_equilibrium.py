"""Fixed points of schemes: what they solve, their gradients, and what is said without one."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch

from cvxlpgd.errors import InaccurateGradientWarning, InaccurateSolutionWarning, InvalidOption
from cvxlpgd.unrolled import Equilibrium, MovingAverage, Prox, UnrolledGradient
from tests.unrolled.problems import MATRIX, M, N, data, operator


def ridged(x):
    """Strongly convex, so that descent is a contraction: F(x) and x as data."""
    return torch.cat([operator(x), x], dim=1)


def ridged_data(batch=3):
    return torch.cat([data(batch), torch.zeros(batch, N, dtype=torch.float64)], dim=1)


def scheme(**options):
    x, weight = cp.Variable(N), cp.Parameter(nonneg=True)
    prox = Prox(weight * cp.tv(x), x, {weight: 0.05})
    defaults = {"prox": prox, "step": 0.4, "differentiate_operator": True}
    return UnrolledGradient(ridged, N, **{**defaults, **options}).double()


def test_it_is_the_solution_of_the_whole_problem():
    """With a linear operator the fixed point is that of ½|Ax - y|² + weight TV(x), by CVXPY."""
    made = scheme()
    made.operator = lambda x: torch.cat([x @ MATRIX.T, x], dim=1)
    y = ridged_data()
    answer = Equilibrium(made, tol=1e-10)(y)
    weight = float(made.updates[0].prox.weights[0].detach())
    x = cp.Variable(N)
    for row, values in zip(y.numpy(), answer, strict=True):
        misfit = cp.sum_squares(MATRIX.numpy() @ x - row[:M]) + cp.sum_squares(x)
        cp.Problem(cp.Minimize(misfit / 2 + weight * cp.tv(x))).solve(cp.CLARABEL)
        torch.testing.assert_close(values, torch.tensor(x.value), rtol=1e-4, atol=1e-5)


def test_its_gradient_is_that_of_differences_and_of_many_iterations():
    made, y = scheme(iterations=40), ridged_data()
    made.log_step.requires_grad_(False)  # a fixed point does not depend on its step
    (weight,) = made.updates.parameters()
    fixed = Equilibrium(made, tol=1e-10)
    (gradient,) = torch.autograd.grad(fixed(y).square().sum(), weight)
    (unrolled,) = torch.autograd.grad(made(y).square().sum(), weight)
    ends = []
    for shift in (1e-5, -2e-5):
        with torch.no_grad():
            weight += shift
            ends.append(float(fixed(y).square().sum()))
    assert abs(float(gradient)) > 1e-3
    assert float(gradient) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
    assert float(gradient) == pytest.approx(float(unrolled), rel=1e-6)


def test_it_does_not_depend_on_the_step_and_trains_a_network():
    fixed, y = Equilibrium(scheme(), tol=1e-10), ridged_data()
    (by_step,) = torch.autograd.grad(fixed(y).square().sum(), fixed.scheme.log_step)
    assert abs(float(by_step)) < 1e-8
    torch.manual_seed(0)
    network = torch.nn.Conv1d(2, 1, 3, padding=1)
    with torch.no_grad():
        network.weight *= 0.05
        network.weight[0, 1, 1] = -1.0  # descent, nearly
    made = Equilibrium(
        UnrolledGradient(ridged, N, network, step=0.4, differentiate_operator=True).double()
    )
    made(y).square().sum().backward()
    assert all(parameter.grad.any() for parameter in made.parameters())
    with torch.no_grad():
        assert not made(y).requires_grad
        assert made(y[:0]).shape == (0, N)


def test_what_has_not_converged_is_said():
    made, y = scheme(prox=Prox.l1(0.05)), ridged_data()
    y[1] = 0.0  # its fixed point is 0, where it starts
    with pytest.warns(InaccurateSolutionWarning, match=r"samples \[0, 2\] have no fixed point"):
        output = Equilibrium(made, max_iterations=2)(y)
    with pytest.warns(InaccurateGradientWarning, match="after 2 iterations"):
        output.sum().backward()


@pytest.mark.parametrize(
    "options",
    [{"momentum": MovingAverage()}, {"shared": False}, {"differentiate_operator": False}],
)
def test_schemes_whose_iterations_differ_have_none(options):
    with pytest.raises(InvalidOption, match="momentum=None, shared=True"):
        Equilibrium(scheme(**options))
    with pytest.raises(InvalidOption, match="tol must be a number > 0"):
        Equilibrium(scheme(), tol=0)
