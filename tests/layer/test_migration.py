"""What is written for cvxpylayers runs here with its import line changed, and learns more."""

from __future__ import annotations

from itertools import pairwise

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.solvers import ECOS, SCS, Clarabel
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.layers import copies, gradients, layer_of, same, tensors

QUADRATIC = "quadratic_constrained"


def least_deviations(n=2, m=3):
    """The first example of cvxpylayers' README."""
    x = cp.Variable(n)
    A = cp.Parameter((m, n))
    b = cp.Parameter(m)
    constraints = [x >= 0]
    objective = cp.Minimize(0.5 * cp.pnorm(A @ x - b, p=1))
    problem = cp.Problem(objective, constraints)
    assert problem.is_dpp()

    layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
    torch.manual_seed(0)
    A_tch = torch.randn(m, n, requires_grad=True)
    b_tch = torch.randn(m, requires_grad=True)
    return layer, A_tch, b_tch, (problem, A, b, x)


def test_first_example():
    layer, A_tch, b_tch, (problem, A, b, x) = least_deviations()

    # solve the problem
    (solution,) = layer(A_tch, b_tch)

    # compute the gradient of the sum of the solution with respect to A, b
    solution.sum().backward()

    assert solution.dtype == torch.float32
    A.value, b.value = A_tch.detach().numpy(), b_tch.detach().numpy()
    problem.solve(solver="CLARABEL")
    assert solution.tolist() == pytest.approx(x.value.tolist(), abs=1e-6)
    assert A_tch.grad.shape == A_tch.shape
    assert A_tch.grad.any()
    assert b_tch.grad.any()


def test_dual_variables():
    x = cp.Variable(2)
    c = cp.Parameter(2)
    b = cp.Parameter()

    eq_con = cp.sum(x) == b
    prob = cp.Problem(cp.Minimize(c @ x), [eq_con, x >= 0])

    # Request both primal and dual variables
    layer = CvxpyLayer(prob, parameters=[c, b], variables=[x, eq_con.dual_variables[0]])

    c_tch = torch.tensor([1.0, 2.0], requires_grad=True)
    b_tch = torch.tensor(1.0, requires_grad=True)

    x_star, eq_dual = layer(c_tch, b_tch)

    assert x_star.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    c.value, b.value = np.array([1.0, 2.0]), 1.0
    prob.solve()
    assert eq_dual.item() == pytest.approx(float(eq_con.dual_value), abs=1e-6)
    eq_dual.backward()  # the dual is -c[0]
    assert c_tch.grad.tolist() == pytest.approx([-1.0, 0.0], abs=1e-5)


def test_log_log_convex_programs():
    x = cp.Variable(pos=True)
    y = cp.Variable(pos=True)
    z = cp.Variable(pos=True)

    a = cp.Parameter(pos=True, value=2.0)
    b = cp.Parameter(pos=True, value=1.0)
    c = cp.Parameter(value=0.5)

    objective_fn = 1 / (x * y * z)
    objective = cp.Minimize(objective_fn)
    constraints = [a * (x * y + x * z + y * z) <= b, x >= y**c]
    problem = cp.Problem(objective, constraints)
    assert problem.is_dgp(dpp=True)

    layer = CvxpyLayer(problem, parameters=[a, b, c], variables=[x, y, z], gp=True)
    a_tch = torch.tensor(a.value, requires_grad=True)
    b_tch = torch.tensor(b.value, requires_grad=True)
    c_tch = torch.tensor(c.value, requires_grad=True)

    x_star, y_star, z_star = layer(a_tch, b_tch, c_tch)
    sum_of_solution = x_star + y_star + z_star
    sum_of_solution.backward()

    # CVXPY's own derivative, by diffcp
    problem.solve(gp=True, requires_grad=True)
    assert [v.item() for v in (x_star, y_star, z_star)] == pytest.approx(
        [float(v.value) for v in (x, y, z)], rel=1e-3
    )
    problem.backward()
    found = [v.grad.item() for v in (a_tch, b_tch, c_tch)]
    assert found == pytest.approx([float(v.gradient) for v in (a, b, c)], rel=1e-2)


def test_solver_arguments():
    layer, A_tch, b_tch, _ = least_deviations()
    parameters = (A_tch, b_tch)
    expected = [v.tolist() for v in layer(*parameters)]

    found = layer(*parameters, solver_args={"eps": 1e-8})
    assert [v.tolist() for v in found] == [pytest.approx(v, abs=1e-5) for v in expected]

    found = layer(
        *parameters,
        solver_args={"eps": 1e-8, "max_iters": 10000, "acceleration_lookback": 0},
    )
    assert [v.tolist() for v in found] == [pytest.approx(v, abs=1e-5) for v in expected]
    # only SCS has these options
    scs = layer_of(QUADRATIC, solver_args={"max_iters": 9999, "acceleration_lookback": 0})
    assert "solver=SCS" in repr(scs)
    assert "solver=PIQP" in repr(layer_of(QUADRATIC, solver_args={"max_iter": 99}))


# cvxpylayers' and diffcp's spelling, and ours
SPELLINGS = [
    ({"solve_method": "SCS"}, SCS(), LPGD()),
    ({"solve_method": "ECOS"}, ECOS(), LPGD()),
    ({"solve_method": "Clarabel", "eps": 1e-9}, Clarabel(eps=1e-9), LPGD()),
    ({"solve_method": "SCS", "max_iters": 20_000, "eps": 1e-9, "n_jobs_forward": 1,
      "n_jobs_backward": -1, "acceleration_lookback": 0},
     SCS(max_iters=20_000, eps=1e-9, acceleration_lookback=0), LPGD()),
    ({"solver": "CLARABEL"}, Clarabel(), LPGD()),
    ({"mode": "lsqr"}, None, Implicit("lsqr")),
    ({"mode": "lsmr"}, None, Implicit("lsmr")),
    ({"mode": "dense"}, None, Implicit("dense")),
    ({"mode": "lpgd"}, None, LPGD(side="average")),
    ({"mode": "lpgd_right"}, None, LPGD(side="lower")),
    ({"mode": "lpgd_left"}, None, LPGD(side="upper")),
    ({"mode": "lpgd", "derivative_kwargs": {"tau": 0.1, "rho": 0.2}}, None,
     LPGD(tau=0.1, rho=0.2)),
    ({"mode": "lpgd_left", "derivative_kwargs": {"tau": 0.1}, "solve_method": "ECOS"}, ECOS(),
     LPGD(tau=0.1, side="upper")),
    ({"mode": "dense", "derivative_kwargs": {"rho": 0.5}}, None, Implicit("dense", rho=0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("solver_args", "solver", "derivative"), SPELLINGS, ids=str)
def test_spellings(solver_args, solver, derivative):
    """In the constructor and in the call, and nothing of the call's stays."""
    values = tensors(QUADRATIC, 2)
    ours = layer_of(QUADRATIC, solver=solver, derivative=derivative)
    expected = ours(*values), gradients(ours, values)
    theirs = layer_of(QUADRATIC, solver_args=solver_args)
    assert same(theirs(*values), expected[0])
    assert same(gradients(theirs, values), expected[1])
    plain = layer_of(QUADRATIC)
    before = plain(*values), gradients(plain, values)
    leaves = copies(values)
    found = plain(*leaves, solver_args=solver_args)
    assert same(found, expected[0])
    sum(torch.sin(v + 1.0 + k).sum() for k, v in enumerate(found)).backward()
    assert same([leaf.grad for leaf in leaves], expected[1])
    assert same(plain(*values), before[0])
    assert same(gradients(plain, values), before[1])


def test_a_call_overrides_the_constructor():
    values = tensors(QUADRATIC)
    layer = layer_of(QUADRATIC, solver_args={"solve_method": "SCS", "eps": 1e-4})
    found = layer(*values, solver_args={"eps": 1e-10})
    assert same(found, layer_of(QUADRATIC, solver=SCS(eps=1e-10))(*values))


def simplex(n):
    c, x = cp.Parameter(n), cp.Variable(n)
    return cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0]), [c], [x]


def box(n):
    c, x = cp.Parameter(n), cp.Variable(n)
    return cp.Problem(cp.Minimize(c @ x), [x >= -1, x <= 1]), [c], [x]


def costs_and_targets(build, n=6, count=4):
    """Costs, and vertices that these do not choose."""
    rng = np.random.default_rng(3)
    cost = rng.normal(size=(count, n))
    if build is simplex:
        wanted = np.argsort(cost, axis=1)[:, [2]]
        return torch.tensor(cost), torch.tensor(1.0 * (np.arange(n) == wanted))
    return torch.tensor(cost), torch.tensor(np.sign(rng.normal(size=(count, n))))


@pytest.mark.parametrize("solver", [None, "HIGHS", "SCS"])
@pytest.mark.parametrize("build", [simplex, box])
def test_linear_programs_learn(build, solver):
    """cvxpylayers' issue 127: every exact gradient is zero, and training stands still."""
    cost, target = costs_and_targets(build)
    layer = CvxpyLayer(*build(6), solver=solver)
    cost.requires_grad_()
    losses = []
    for _ in range(200):
        (x,) = layer(cost)
        loss = (x - target).square().sum(-1)
        losses.append(loss.detach())
        (gradient,) = torch.autograd.grad(loss.sum(), cost)
        wrong = losses[-1] > 1e-3
        # informative where the loss is not zero: it sees vertices of lower linearized loss
        assert gradient[wrong].any(-1).all()
        assert ((x - target) * gradient)[wrong].sum(-1).lt(0).all()
        if not wrong.any():
            break
        with torch.no_grad():
            cost -= 0.5 * gradient
    assert losses[0].gt(1.0).all()
    assert losses[-1].lt(1e-3).all()
    for one, after in pairwise(losses):
        assert (after <= one + 1e-3).all()


@pytest.mark.parametrize("build", [simplex, box])
def test_the_exact_gradient_is_zero_there(build):
    cost, target = costs_and_targets(build)
    layer = CvxpyLayer(*build(6), solver_args={"mode": "dense"})
    cost.requires_grad_()
    (x,) = layer(cost)
    with pytest.warns(DegenerateGradientWarning, match=r"vertex.*LPGD\(tau="):
        (x - target).square().sum().backward()
    assert cost.grad.abs().max() < 1e-6


@pytest.mark.parametrize("loss_scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("cost_scale", [1e-3, 1e3, 1e6])
@pytest.mark.parametrize("build", [simplex, box])
def test_the_automatic_tau_follows_the_scales(build, cost_scale, loss_scale):
    """The gradient is another multiple of the same."""
    layer, (cost, target) = CvxpyLayer(*build(6)), costs_and_targets(build)
    found = []
    for a, b in ((1.0, 1.0), (cost_scale, loss_scale)):
        scaled = (a * cost).requires_grad_()
        (b * (layer(scaled)[0] - target).square().sum()).backward()
        found.append(scaled.grad * a / b)
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-6)
