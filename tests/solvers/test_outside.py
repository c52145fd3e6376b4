"""What people do with a layer that its authors had not thought of; each was seen to go wrong."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import compare
from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption, UnsuitableSolver
from cvxlpgd.numpy import CvxpyLayer as NumpyLayer
from cvxlpgd.solvers import ECOS, OSQP, PIQP, SCS, Clarabel, HiGHS
from cvxlpgd.torch import CvxpyLayer

TWO = np.array([1.0, -1.0])


def projection(make=NumpyLayer, **options):
    """The nearest nonnegative point."""
    x, p = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0])
    return make(problem, [p], [x], **options)


def test_gradients_that_torch_batches_itself_are_refused():
    value = torch.tensor(TWO, requires_grad=True)
    (found,) = projection(CvxpyLayer)(value)
    with pytest.raises(CvxlpgdError, match="is_grads_batched=True"):
        torch.autograd.grad(found, value, torch.eye(2).double(), is_grads_batched=True)


@pytest.mark.filterwarnings("ignore:The PyTorch API of:UserWarning")
@pytest.mark.parametrize("kind", ["nested", "masked"])
def test_tensors_with_gaps_are_refused(kind):
    whole = torch.ones(2)
    gaps = torch.tensor([True, False])
    value = (
        torch.nested.nested_tensor([whole, whole])
        if kind == "nested"
        else torch.masked.masked_tensor(whole, gaps)
    )
    with pytest.raises(InvalidInput, match=f"{kind} tensor"):
        projection(CvxpyLayer)(value)


def test_masked_arrays_are_refused_unless_nothing_is_masked():
    with pytest.raises(InvalidInput, match="masked entries"):
        projection()(np.ma.masked_array(TWO, mask=[0, 1]))
    (found,) = projection()(np.ma.masked_array(TWO))
    np.testing.assert_allclose(found, [1.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("make", [
    lambda: SCS(max_iters=0), lambda: Clarabel(max_iter=0), lambda: OSQP(max_iter=-1),
    lambda: ECOS(max_iters=0), lambda: PIQP(max_iter=0),
    lambda: projection(solver="SCS", solver_args={"max_iters": 0}),
])  # fmt: skip
def test_no_iterations_are_no_option(make):
    with pytest.raises(InvalidOption, match="must be at least 1"):
        make()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cotangents_to_compare_are_numbers(bad):
    x, p = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0])
    with pytest.raises(InvalidInput, match="cotangent 0 has NaN or infinite entries"):
        compare(problem, [p], [x], [TWO], cotangents=[np.array([bad, 1.0])])


@pytest.mark.parametrize("solver", ["HIGHS", HiGHS()])
def test_quadratic_costs_of_integers_are_refused_when_the_layer_is_made(solver):
    z, p = cp.Variable(2, integer=True), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(z - p)))
    with pytest.raises(UnsuitableSolver, match="quadratic objective of integer variables"):
        NumpyLayer(problem, [p], [z], solver=solver)


@pytest.mark.parametrize("seed", [1, 5, 7])
def test_highs_solves_quadratics_that_are_flat_in_a_direction(seed):
    rng, n = np.random.default_rng(seed), 5
    root = rng.normal(size=(2, n))
    Q, y, cost = cp.Parameter((n, n), PSD=True), cp.Variable(n), rng.normal(size=n)
    problem = cp.Problem(
        cp.Minimize(cp.quad_form(y, Q) + cost @ y), [y >= -1, y <= 1, cp.sum(y) == 0.5]
    )
    value = root.T @ root
    (found,) = NumpyLayer(problem, [Q], [y], solver=HiGHS())(value)
    (other,) = NumpyLayer(problem, [Q], [y])(value)
    at = [v @ value @ v + cost @ v for v in (found, other)]
    np.testing.assert_allclose(at[0], at[1], atol=1e-5)


def test_a_program_that_is_never_strictly_convex_is_not_an_active_sets():
    """Five factors' variance of thirty assets."""
    rng = np.random.default_rng(0)
    F, w, mu = rng.normal(size=(30, 5)), cp.Variable(30), cp.Parameter(30)
    cost = mu @ w - cp.sum_squares(F.T @ w)
    layer = NumpyLayer(cp.Problem(cp.Maximize(cost), [w >= 0, cp.sum(w) == 1]), [mu], [w])
    layer(rng.normal(size=(4, 30)))
    assert "DAQP" not in layer.info.solver
    assert layer.info.solver == layer._layer.solvers[0]


def test_a_warm_start_is_given_to_a_solver_that_uses_it():
    rng = np.random.default_rng(0)
    A, b, x, c = rng.normal(size=(40, 30)), rng.uniform(1, 2, 40), cp.Variable(30), cp.Parameter(30)
    problem = cp.Problem(cp.Minimize(c @ x), [A @ x <= b, cp.abs(x) <= 3])
    layer, value = NumpyLayer(problem, [c], [x]), rng.normal(size=(8, 30))
    layer(value, warm_start=True)
    first = layer.info.iterations.sum()
    layer(value + 1e-4, warm_start=True)
    assert layer.info.iterations.sum() < first / 10


def test_losses_written_where_they_are_used_do_not_pile_up():
    layer = projection()
    problem, variable = layer._layer.origin.problem, layer._layer.origin.problem.variables()[0]
    assert problem.variables() == [variable]
    for k in range(20):
        layer.envelope(TWO, loss=cp.sum_squares(variable - k), tau=0.1, side="lower")
    gc.collect()
    assert len(layer._layer.origin.layers_of_losses) <= 8


def test_warm_starts_of_many_batch_sizes_do_not_pile_up():
    layer = projection()
    for size in range(1, 30):
        layer(np.ones((size, 2)), warm_start=True)
    assert len(layer._layer._memory.starts) <= 8
    layer(np.ones((29, 2)), warm_start=True)
    assert layer.info.status.shape == (29,)


@pytest.mark.parametrize("size", [20, 60])
@pytest.mark.parametrize("inactive", [None, 1.0])
def test_small_units_are_no_excuse(size, inactive):
    """A quadratic program in units of 1e-6: a point is right, or said to be inaccurate."""
    rng, unit = np.random.default_rng(0), 1e-6
    root = rng.normal(size=(size, size)) / np.sqrt(size) + np.eye(size)
    x, p = cp.Variable(size), cp.Parameter(size)
    rows = [x >= 0, cp.sum(x) == unit, *([x <= inactive] if inactive else [])]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(root @ x) - p @ x), rows)
    value = unit * rng.normal(size=size)
    (right,) = NumpyLayer(problem, [p], [x])(value)
    wrong = 0
    for solver in (Clarabel(), PIQP(), SCS(), OSQP()):
        layer = NumpyLayer(problem, [p], [x], solver=solver)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (found,) = layer(value)
        off = np.abs(found - right).max() > 0.02 * np.abs(right).max()
        assert not off or layer.info.status == "inaccurate", solver
        wrong += off
    assert wrong  # else the units are not small enough to test anything


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_wait_for_the_parents_threads():
    """The caller's own run of HiGHS has threads, which a forked process does not inherit."""
    code = (
        "import os, warnings, cvxpy as cp, numpy as np\n"
        "from cvxlpgd.numpy import CvxpyLayer\n"
        "x, c = cp.Variable(30, boolean=True), cp.Parameter(30)\n"
        "weights = np.random.default_rng(0).uniform(1, 9, (3, 30))\n"
        "problem = cp.Problem(cp.Maximize(c @ x), [weights @ x <= 60])\n"
        "layer = CvxpyLayer(problem, [c], [x])\n"
        "c.value = np.random.default_rng(1).uniform(1, 9, 30)\n"
        "value = problem.solve(solver='HIGHS', highs_options={'threads': 2})\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if abs(c.value @ layer(c.value)[0] - value) < 1e-6 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
