"""PyEPO's own models as CVXPY problems, of each back end that is installed."""

from __future__ import annotations

import numpy as np
import pyepo
import pytest
import torch

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd.errors import InvalidProblem
from cvxlpgd.losses import SPOPlus
from cvxlpgd.pyepo import LayerModel, problem_of
from tests.pyepo.backends import BACKENDS, LIBRARIES, require
from tests.pyepo.problems import CASES, Enumerated

rng = np.random.default_rng(0)


# PyEPO has no other models for OR-Tools
PAIRS = [
    pytest.param(backend, case, id=f"{backend}, {case.name}")
    for backend in LIBRARIES for case in CASES
    if backend != "ortools" or case.backend in ("shortestPathModel", "knapsackModel")
]  # fmt: skip
# HiGHS, which Pyomo's models are solved by here, takes no quadratic constraint
SOLVED = [pair for pair in PAIRS if pair.id != "pyomo, portfolio"]


def build(backend, case):
    """PyEPO's own model of a case."""
    require(backend)
    options = {"solver": "appsi_highs"} if backend == "pyomo" else {}
    model = getattr(pyepo.model, case.backend)(**case.arguments, backend=backend, **options)
    if backend == "pyomo":
        model._solverfac.options |= {
            "mip_rel_gap": 0.0,  # not 1e-4
            "threads": 1,  # of which a forked child of a later test would inherit none
        }
    return model


def layer_of(model):
    return cvxlpgd.numpy.CvxpyLayer(*problem_of(model))


@pytest.mark.parametrize(("backend", "case"), PAIRS)
def test_decisions_and_values_are_the_optimal_ones(backend, case):
    model = build(backend, case)
    layer, theirs = layer_of(model), case.theirs()
    (x,) = layer(case.costs.astype(float))
    objectives = np.array(layer.info.objective)
    for k, cost in enumerate(case.costs):
        theirs.setObj(cost)
        best, value = theirs.solve()
        assert np.allclose(x[k], best, atol=case.close)
        assert objectives[k] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("backend", "case"), SOLVED)
def test_decisions_and_values_are_those_of_the_model(backend, case):
    model = build(backend, case)
    layer = layer_of(model)
    for cost in case.costs:
        model.setObj(cost)
        solution, value = model.solve()
        assert np.allclose(layer(cost.astype(float))[0], solution, atol=10 * case.close)
        assert float(layer.info.objective) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("backend", "case"), SOLVED)
def test_spo_plus_there_and_back(backend, case):
    """PyEPO's loss on its model, on a layer of it as a model, and our loss on that layer."""
    model = build(backend, case)
    made = problem_of(model)
    pred = torch.tensor(case.costs * rng.uniform(0.5, 1.5, case.costs.shape), requires_grad=True)
    c = torch.tensor(case.costs, dtype=torch.float64)
    sols, objs = [], []
    for cost in case.costs:
        model.setObj(cost)
        x, value = model.solve()
        sols.append(x)
        objs.append([value])
    w, z = (torch.tensor(np.array(each), dtype=torch.float64) for each in (sols, objs))
    losses = [
        pyepo.func.SPOPlus(each, reduction="none")(pred, c, w, z).ravel()
        for each in (model, LayerModel(cvxlpgd.torch.CvxpyLayer(*made)))
    ]
    losses.append(SPOPlus(cvxlpgd.torch.CvxpyLayer(*made), reduction="none")(pred, c))
    bars = [torch.autograd.grad(loss.sum(), pred)[0].numpy() for loss in losses]
    size = abs(case.costs).max()
    for k in (1, 2):
        assert np.allclose(losses[0].detach(), losses[k].detach(), atol=1e-3 * size)
        assert np.allclose(bars[0], bars[k], atol=40 * case.close)
    assert abs(bars[0]).max() > 0.1


@BACKENDS
def test_the_model_is_left_as_it_was(backend):
    model = build(backend, CASES[0])
    cost = CASES[0].costs[0]
    model.setObj(cost)
    before = model.solve()
    problem_of(model)
    after = model.solve()
    assert before[1] == after[1] == pytest.approx(cost @ before[0])
    assert np.array_equal(before[0], after[0])


@BACKENDS
def test_relaxations_and_further_constraints(backend):
    """A capacity cut in half, and items that may be divided."""
    case = CASES[1]
    cut = build(backend, case).addConstr(np.ones(len(case.costs[0])), 2.0)
    cut_and_divided = cut.relax()
    for model in (cut, cut_and_divided):
        model.setObj(case.costs[0])
        _, value = model.solve()
        (ours,) = layer_of(model)(case.costs[0].astype(float))
        assert case.costs[0] @ ours == pytest.approx(value, rel=1e-6)
        assert ours.sum() <= 2.0 + 1e-6


def test_lazy_constraints_are_refused():
    require("gurobi")
    from pyepo.model import tspModel, vrpModel

    for model in (tspModel(5), vrpModel(4, [1.0, 1.0, 1.0], 2.0, 2)):
        with pytest.raises(InvalidProblem, match=r"while it is solved.*GG"):
            problem_of(model)


def test_vehicle_routes():
    require("gurobi")
    model = pyepo.model.vrpModel(5, [1.0, 2.0, 1.0, 2.0], 4.0, 2, formulation="MTZ")
    costs = rng.uniform(1.0, 3.0, (3, model.num_cost)).astype(np.float32)
    (x,) = layer_of(model)(costs.astype(float))
    for k, cost in enumerate(costs):
        model.setObj(cost)
        assert np.allclose(x[k], model.solve()[0], atol=1e-6)


def test_models_that_are_not_read():
    with pytest.raises(InvalidProblem, match="NoneType, which is not read"):
        problem_of(Enumerated(np.eye(3)))
    with pytest.raises(InvalidProblem, match=r"optModel or a dsl\.Problem"):
        problem_of(np.eye(3))
    layer = cvxlpgd.numpy.CvxpyLayer(*CASES[0].lists)
    with pytest.raises(InvalidProblem, match="Layer, which is not read"):
        problem_of(LayerModel(layer))
