"""Layers as PyEPO's models: its losses, data sets and metrics on them, and what is refused."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cvxpy as cp
import jax
import numpy as np
import pyepo
import pyepo.func.jax
import pytest
import torch
from pyepo import EPO
from pyepo.data.dataset import optDataset

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem, SolveFailed
from cvxlpgd.losses import SPOPlus
from cvxlpgd.pyepo import LayerModel
from tests.pyepo.problems import CASES, Enumerated

ANY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
FRAMEWORKS = cvxlpgd.torch.CvxpyLayer, cvxlpgd.numpy.CvxpyLayer
F = pyepo.func
rng = np.random.default_rng(0)


def predictions(case):
    """Costs that are up to 70 % off, in single precision, as PyEPO's data sets are."""
    off = case.costs * rng.uniform(0.3, 1.7, case.costs.shape)
    return torch.tensor(off, dtype=torch.float32, requires_grad=True)


def gradient(loss, pred):
    """The loss, and its gradient in the prediction."""
    (bar,) = torch.autograd.grad(loss.sum(), pred)
    return loss.detach().numpy(), bar.numpy()


@ANY
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_solutions_and_objectives_are_theirs(case, framework):
    ours, theirs = LayerModel(framework(*case.lists)), case.theirs()
    assert (ours.num_cost, ours.modelSense) == (theirs.num_cost, theirs.modelSense)
    for cost in case.costs:
        for model in (ours, theirs):
            model.setObj(cost)
        (x, value), (x_theirs, value_theirs) = ours.solve(), theirs.solve()
        assert isinstance(x, np.ndarray)
        assert isinstance(value, float)
        assert np.allclose(x, x_theirs, atol=case.close)
        assert value == pytest.approx(value_theirs, rel=1e-6)


@ANY
def test_spo_plus_and_the_regret_are_theirs(case):
    ours, theirs = LayerModel(cvxlpgd.torch.CvxpyLayer(*case.lists)), case.theirs()
    sets = [optDataset(model, case.features, case.costs) for model in (ours, theirs)]
    assert np.allclose(sets[0].sols, sets[1].sols, atol=case.close)
    assert np.allclose(sets[0].objs, sets[1].objs, rtol=1e-5)
    pred, c = predictions(case), torch.as_tensor(sets[1].costs)
    values = [
        gradient(F.SPOPlus(model, reduction="none")(pred, c, data.sols, data.objs), pred)
        for model, data in zip((ours, theirs), sets, strict=True)
    ]
    scale = abs(case.costs).max()
    assert np.allclose(values[0][0], values[1][0], atol=1e-5 * scale)
    assert np.allclose(values[0][1], values[1][1], atol=4 * case.close)
    own = SPOPlus(cvxlpgd.torch.CvxpyLayer(*case.lists), reduction="none")(
        pred.double(), c.double()
    )
    assert np.allclose(own.detach(), values[1][0].ravel(), atol=1e-4 * scale)

    torch.manual_seed(0)
    network = torch.nn.Linear(case.features.shape[1], case.costs.shape[1])
    regrets = [
        pyepo.metric.regret(network, model, torch.utils.data.DataLoader(data, batch_size=4))
        for model, data in zip((ours, theirs), sets, strict=True)
    ]
    assert regrets[0] == pytest.approx(regrets[1], abs=1e-5)
    assert regrets[1] > 1e-3


LOSSES = {
    "perturbedOpt": lambda m, d: F.perturbedOpt(m, n_samples=3, seed=1),
    "perturbedFenchelYoung": lambda m, d: F.perturbedFenchelYoung(m, n_samples=3, seed=1),
    "blackboxOpt": lambda m, d: F.blackboxOpt(m, lambd=2.0),
    "negativeIdentity": lambda m, d: F.negativeIdentity(m),
    "implicitMLE": lambda m, d: F.implicitMLE(m, n_samples=3),
    "adaptiveImplicitMLE": lambda m, d: F.adaptiveImplicitMLE(m, n_samples=3),
    "regularizedFrankWolfeOpt": lambda m, d: F.regularizedFrankWolfeOpt(m, lambd=1.0),
    "perturbationGradient": lambda m, d: F.perturbationGradient(m, sigma=1.0),
    "noiseContrastiveEstimation": lambda m, d: F.noiseContrastiveEstimation(m, dataset=d),
    "contrastiveMAP": lambda m, d: F.contrastiveMAP(m, dataset=d),
    "listwise": lambda m, d: F.listwiseLearningToRank(m, dataset=d),
    "pairwise": lambda m, d: F.pairwiseLearningToRank(m, dataset=d),
    "pointwise": lambda m, d: F.pointwiseLearningToRank(m, dataset=d),
}
OF_SOLUTIONS = {"perturbedFenchelYoung", "noiseContrastiveEstimation", "contrastiveMAP"}
OF_COSTS = {"perturbationGradient", "listwise", "pairwise", "pointwise"}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case.name)
def test_each_loss_of_pyepo_sees_the_same(case, name):
    """A linear and an integer program, with the same random numbers."""
    values = []
    pred = predictions(case)
    for model in (LayerModel(cvxlpgd.numpy.CvxpyLayer(*case.lists)), case.theirs()):
        data = optDataset(model, case.features, case.costs)
        more = {"solutions": [data.sols], "costs": [torch.as_tensor(data.costs)]}
        kind = "solutions" if name in OF_SOLUTIONS else "costs" if name in OF_COSTS else ""
        bar = torch.arange(1.0, 1.0 + pred.shape[1])
        result = LOSSES[name](model, data)(pred, *more.get(kind, []))
        values.append(gradient(result if kind else result * bar, pred))
    assert np.allclose(values[0][0], values[1][0], atol=1e-5)
    assert np.allclose(values[0][1], values[1][1], atol=1e-5)
    assert abs(values[1][1]).max() > 1e-4


@ANY
def test_a_matrix_is_flattened_row_by_row(case):
    """Rows of the cost are rows of the decision, minimized and maximized."""
    shape = (2, case.costs.shape[1] // 2)
    problem, _, (x,) = case.lists
    grid, cost = cp.Variable(shape), cp.Parameter(shape)
    sense = type(problem.objective)
    reshaped = cp.Problem(
        sense(cp.sum(cp.multiply(cost, grid))),
        [*problem.constraints, cp.reshape(grid, x.shape, order="C") == x],
    )
    model = LayerModel(cvxlpgd.numpy.CvxpyLayer(reshaped, [cost], [grid]))
    theirs = case.theirs()
    for each in (model, theirs):
        each.setObj(torch.tensor(case.costs[0]))
    assert np.allclose(model.solve()[0], theirs.solve()[0], atol=case.close)


POINTS = np.eye(4)


def choice(sense=cp.Minimize, constant=0.0, **attributes):
    """One of four."""
    x, c = cp.Variable(4), cp.Parameter(4, **attributes)
    return cp.Problem(sense(c @ x + constant), [cp.sum(x) == 1, x >= 0]), [c], [x]


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_the_constant_of_the_objective_is_pyepos_offset(sense):
    """In objectives and normalized regrets; losses and regrets do not see it."""
    costs = rng.uniform(1.0, 2.0, (6, 4)).astype(np.float32)
    features = rng.normal(size=(6, 2)).astype(np.float32)
    kind = EPO.MINIMIZE if sense is cp.Minimize else EPO.MAXIMIZE
    ours = LayerModel(cvxlpgd.torch.CvxpyLayer(*choice(sense, 7.0)))
    theirs = Enumerated(POINTS, kind)
    data = optDataset(ours, features, costs)
    plain = optDataset(theirs, features, costs)
    assert np.allclose(data.objs, plain.objs + 7.0)
    pred = torch.tensor(costs[::-1].copy(), requires_grad=True)
    values = [
        gradient(F.SPOPlus(model, reduction="none")(pred, d.costs, d.sols, d.objs), pred)
        for model, d in ((ours, data), (theirs, plain))
    ]
    assert np.allclose(values[0][0], values[1][0], atol=1e-5)
    assert np.allclose(values[0][1], values[1][1], atol=1e-6)
    by_jax = pyepo.func.jax.SPOPlus(ours, reduction="none")
    arrays = (jax.numpy.asarray(np.asarray(each)) for each in (data.costs, data.sols, data.objs))
    assert np.allclose(by_jax(jax.numpy.asarray(costs[::-1]), *arrays), values[1][0], atol=1e-5)
    network = torch.nn.Linear(2, 4)
    loaders = [torch.utils.data.DataLoader(d, batch_size=3) for d in (data, plain)]
    each = [
        pyepo.metric.regret(network, model, loader, reduction="none")
        for model, loader in zip((ours, theirs), loaders, strict=True)
    ]
    assert np.allclose(*each, atol=1e-5)
    share = pyepo.metric.regret(network, ours, loaders[0])
    assert share == pytest.approx(each[1].sum() / data.objs.sum().item(), rel=1e-4)


def test_a_further_constraint_narrows_a_model():
    """As PyEPO's worst regret among ties asks for it."""
    model = LayerModel(cvxlpgd.torch.CvxpyLayer(*choice()))
    model.setObj([1.0, 2.0, 3.0, 4.0])
    narrowed = model.addConstr([1.0, 1.0, 0.0, 0.0], 0.25)
    assert np.allclose(narrowed.solve()[0], [0.25, 0.0, 0.75, 0.0], atol=1e-6)
    assert np.allclose(model.solve()[0], [1.0, 0.0, 0.0, 0.0], atol=1e-6)
    worst = pyepo.metric.unambregret.calUnambRegret(
        model, np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]), 1.0
    )
    assert worst == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(InvalidInput, match=r"coefs has shape \(3,\)"):
        model.addConstr([1.0, 1.0, 0.0], 0.25)


def test_copies_share_the_layer_and_have_costs_of_their_own():
    model = LayerModel(cvxlpgd.torch.CvxpyLayer(*choice()))
    model.setObj([1.0, 2.0, 3.0, 4.0])
    copied = model.copy()
    copied.setObj([4.0, 3.0, 2.0, 1.0])
    assert copied.layer is model.layer
    assert np.argmax(model.solve()[0]) == 0
    assert np.argmax(copied.solve()[0]) == 3
    rebuilt = model.rebuild()
    rebuilt.setObj([2.0, 1.0, 3.0, 4.0])
    assert np.argmax(rebuilt.solve()[0]) == 1
    assert "LayerModel(" in repr(model)


ALONE = """
import sys, warnings
import numpy as np, pyepo.func, torch
from pyepo.data.dataset import optDataset
from cvxlpgd.pyepo import LayerModel
from cvxlpgd.torch import CvxpyLayer
from tests.pyepo.problems import CASES

warnings.filterwarnings("ignore", message=".*fork.*")  # threads of torch: a child starts its own
for case in (CASES[0], CASES[2]):
    model = LayerModel(CvxpyLayer(*case.lists))
    data = optDataset(model, case.features, case.costs)
    pred = torch.tensor(case.costs[::-1].copy(), requires_grad=True)
    given = torch.as_tensor(data.costs), data.sols, data.objs
    for processes in (1, 2):
        loss = pyepo.func.SPOPlus(model, processes=processes)(pred, *given)
        (bar,) = torch.autograd.grad(loss, pred)
        print(f"{loss.item():.4f}", *(bar.numpy() * len(bar)).round().astype(int).ravel())
"""


@pytest.mark.skipif(multiprocessing.cpu_count() < 2, reason="PyEPO takes no more than the cores")
def test_processes_solve_the_same():
    """In a fresh interpreter: children of one where HiGHS ran with threads never end."""
    run = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0] == lines[1]
    assert lines[2] == lines[3]
    assert set(lines[0].split()) >= {"-2", "2"}


def test_failures_are_ours():
    x, c = cp.Variable(2), cp.Parameter(2)
    model = LayerModel(cvxlpgd.numpy.CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [x >= 0]), [c], [x]))
    model.setObj([1.0, -1.0])
    with pytest.raises(SolveFailed, match="unbounded"):
        model.solve()
    with pytest.raises(InvalidInput, match=r"shape \(3,\), expected \(2,\)"):
        model.setObj([1.0, 2.0, 3.0])
    with pytest.raises(InvalidInput, match="real numbers"):
        model.setObj(["a", "b"])
    model = LayerModel(cvxlpgd.numpy.CvxpyLayer(*choice(nonneg=True)))
    model.setObj(-np.ones(4))
    with pytest.raises(InvalidInput, match="nonneg"):
        model.solve()


def refused(objective, constraints, parameters, variables):
    problem = cp.Problem(objective, constraints)
    return LayerModel(cvxlpgd.numpy.CvxpyLayer(problem, parameters, variables))


def test_what_pyepo_cannot_carry_is_refused():
    x, y, c, b = cp.Variable(3), cp.Variable(3), cp.Parameter(3), cp.Parameter(3)
    t, k = cp.Variable(), cp.Parameter(2)
    box = [x >= 0, x <= 1]
    cases = [
        ("2 parameters", cp.Minimize((c + b) @ x), box, [c, b], [x]),
        ("in the constraints", cp.Minimize(cp.sum(x)), [x >= c, x <= 9], [c], [x]),
        ("in the constraints", cp.Minimize(cp.norm1(x - c)), box, [c], [x]),
        ("one primal variable", cp.Minimize(c @ x + cp.sum(y)), [*box, y >= x], [c], [x, y]),
        ("one primal variable", cp.Minimize(c @ x), box, [c], [box[0].dual_variables[0]]),
        ("2 entries, and the variable 3", cp.Minimize(k @ x[:2] + t), [*box, t >= x], [k], [x]),
        ("quadratic term", cp.Minimize(c @ x + cp.sum_squares(x)), box, [c], [x]),
        ("not .*x plus a constant", cp.Minimize(2 * c @ x), box, [c], [x]),
        ("not .*x plus a constant", cp.Minimize(c @ x + cp.sum(x)), box, [c], [x]),
        ("not .*x plus a constant", cp.Minimize(c @ x + t), [*box, t >= x], [c], [x]),
        ("not .*x plus a constant", cp.Minimize(c @ (x - 1)), box, [c], [x]),
        ("not .*x plus a constant", cp.Minimize(c @ x[::-1]), box, [c], [x]),
        ("not .*x plus a constant", cp.Minimize(c @ y), [*box, y >= x], [c], [x]),
    ]
    for message, *lists in cases:
        with pytest.raises(InvalidProblem, match=message):
            refused(*lists)
    # the cost may be an expression's only part where that is x itself
    assert refused(cp.Maximize(cp.sum(cp.multiply(c, x)) - 1), box, [c], [x]).num_cost == 3
    log, positive = cp.Variable(2, pos=True), cp.Parameter(2, pos=True)
    geometric = cp.Problem(cp.Minimize(positive[0] * log[0] + log[1]), [log >= 1])
    with pytest.raises(InvalidProblem, match="geometric"):
        LayerModel(cvxlpgd.numpy.CvxpyLayer(geometric, [positive], [log], gp=True))
    with pytest.raises(InvalidOption, match="needs a CvxpyLayer"):
        LayerModel(lambda c: c)
    with pytest.raises(InvalidOption, match="leave out a sample"):
        LayerModel(cvxlpgd.numpy.CvxpyLayer(*choice(), on_failure="nan"))


def test_a_layer_with_an_executor_trains_too():
    with ThreadPoolExecutor(2) as executor:
        layer = cvxlpgd.torch.CvxpyLayer(*choice(), executor=executor)
        model = LayerModel(layer)
        model.setObj(np.array([3.0, 1.0, 2.0, 4.0]))
        assert np.argmax(model.solve()[0]) == 1
