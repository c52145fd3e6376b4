"""Layers of one variable that return it itself do all that a layer with tuples does."""

from __future__ import annotations

import copy
import io
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd.errors import FailedSampleWarning, InvalidOption
from cvxlpgd.losses import FenchelYoung, SPOPlus

x, target, total = cp.Variable(3), cp.Parameter(3), cp.Parameter()
PROBLEM = cp.Problem(cp.Minimize(cp.sum_squares(x - target)), [cp.sum(x) == total, x >= 0])
LISTS = PROBLEM, [target, total], [x]
VALUES = np.array([[1.0, 2.0, 0.9], [0.3, 0.1, -1.0]]), np.array([2.0, 1.0])
ADAPTERS = pytest.mark.parametrize("adapter", [cvxlpgd.torch, cvxlpgd.numpy])
TRACING = pytest.mark.filterwarnings(  # torch's own, when it first traces
    "ignore:`torch.jit:DeprecationWarning", "ignore:The .grad attribute:UserWarning"
)


def pair(**options) -> tuple[cvxlpgd.torch.CvxpyLayer, cvxlpgd.torch.CvxpyLayer]:
    """A single layer, and the same with tuples."""
    both = (cvxlpgd.torch.CvxpyLayer(*LISTS, single=one, **options) for one in (True, False))
    single, plain = both
    return single, plain


def tensors(grad: bool = False) -> list[torch.Tensor]:
    return [torch.tensor(value, requires_grad=grad) for value in VALUES]


def gradients(function) -> list[torch.Tensor]:
    leaves = tensors(grad=True)
    torch.sin(function(*leaves)).sum().backward()
    return [leaf.grad for leaf in leaves]


def same(left, right) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_the_variable_and_its_gradient_are_those_of_the_tuple():
    single, plain = pair()
    assert torch.equal(single(*tensors()), plain(*tensors())[0])
    assert same(gradients(single), gradients(lambda *values: plain(*values)[0]))
    assert single(*(value[0] for value in tensors())).shape == (3,)
    warm = single(*tensors(), warm_start=True, solver_args={"eps": 1e-9})
    assert isinstance(warm, torch.Tensor)


@TRACING
def test_it_stands_in_the_middle_of_a_sequence():
    simplex = cp.Problem(PROBLEM.objective, [cp.sum(x) == 1, x >= 0])
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 3),
        cvxlpgd.torch.CvxpyLayer(simplex, [target], [x], single=True),
        torch.nn.Linear(3, 1),
    )
    features = torch.randn(5, 4)
    prices = net(features)
    assert prices.shape == (5, 1)
    prices.sum().backward()
    assert net[0].weight.grad.any()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(features), prices)


@TRACING
def test_compiled_as_one_graph():
    single, _ = pair()
    compiled = torch.compile(lambda *v: 2 * single(*v), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*tensors()), 2 * single(*tensors()))
    assert same(gradients(compiled), gradients(lambda *values: 2 * single(*values)))


def saved(layer):
    stream = io.BytesIO()
    torch.save(layer, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


COPIES = [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]


@pytest.mark.parametrize("copied", [*COPIES, saved], ids=["copy", "deepcopy", "pickle", "save"])
def test_copies(copied):
    single, _ = pair()
    assert torch.equal(copied(single)(*tensors()), single(*tensors()))
    assert same(gradients(copied(single)), gradients(single))


@pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_copies_for_arrays(copied):
    single = cvxlpgd.numpy.CvxpyLayer(*LISTS, single=True)
    assert np.array_equal(copied(single)(*VALUES), single(*VALUES))


@TRACING
@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")  # an entry at 0
def test_transforms():
    single, plain = pair()
    values, dots = tuple(tensors()), tuple(torch.cos(value) for value in tensors())
    assert torch.equal(torch.func.vmap(single)(*values), single(*values))
    for own, wanted in zip(
        torch.func.jvp(single, values, dots), torch.func.jvp(plain, values, dots), strict=True
    ):
        assert torch.equal(own, wanted[0])
    slope = torch.func.grad(lambda *v: torch.sin(single(*v)).sum(), argnums=(0, 1))(*values)
    assert same(slope, gradients(single))
    each = torch.func.vmap(torch.func.jacrev(single))(*values)
    assert torch.allclose(each, torch.func.vmap(torch.func.jacfwd(single))(*values), atol=1e-7)
    assert each.shape == (2, 3, 3)


def test_arrays():
    single, plain = (cvxlpgd.numpy.CvxpyLayer(*LISTS, single=one) for one in (True, False))
    (wanted,), pull = plain.vjp(*VALUES)
    solution, pullback = single.vjp(*VALUES)
    bar = np.cos(wanted)
    for array in (single(*VALUES), solution):
        assert np.array_equal(array, wanted)
    gradients = pullback(bar)
    assert isinstance(gradients, tuple)  # one for each parameter, as always
    assert all(np.array_equal(a, b) for a, b in zip(gradients, pull(bar), strict=True))
    dots = [np.cos(value) for value in VALUES]
    solution, tangent = single.jvp(VALUES, dots)
    _, (wanted_tangent,) = plain.jvp(VALUES, dots)
    assert np.array_equal(solution, wanted)
    assert np.array_equal(tangent, wanted_tangent)


@ADAPTERS
def test_losses_take_a_single_layer(adapter):
    cost = cp.Parameter(3)
    cheapest = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0])
    curved = cp.Problem(cp.Minimize(cost @ x + cp.sum_squares(x)), cheapest.constraints)
    array = torch.tensor if adapter is cvxlpgd.torch else np.array
    predicted, true = array(VALUES[0]), array(VALUES[0][::-1].copy())
    spo, young = (
        [kind(adapter.CvxpyLayer(problem, [cost], [x], single=one)) for one in (True, False)]
        for kind, problem in ((SPOPlus, cheapest), (FenchelYoung, curved))
    )
    solution = spo[0].layer(true)
    assert spo[0](predicted, true) == spo[1](predicted, true)
    assert spo[0](predicted, true, solution) == spo[1](predicted, true, [solution])
    assert young[0](predicted, solution) == young[1](predicted, solution)
    if adapter is cvxlpgd.numpy:
        (gradient,), (wanted,) = (loss.vjp(predicted, true)[1]() for loss in spo)
        assert np.array_equal(gradient, wanted)


@ADAPTERS
def test_values_of_a_single_layer(adapter):
    array = torch.tensor if adapter is cvxlpgd.torch else np.array
    single, plain = (adapter.CvxpyLayer(*LISTS, single=one) for one in (True, False))
    values = [array(value) for value in VALUES]
    ones, goal = array(np.ones(3)), array(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    pairs = [
        [layer.optimal_value(*values) for layer in (single, plain)],
        [layer.envelope(*values, cotangents=ones, tau=0.1) for layer in (single, plain)],
        [layer.lagrangian_difference(*values, targets=goal) for layer in (single, plain)],
    ]
    assert all((one == other).all() for one, other in pairs)


def test_failed_samples_are_rows_of_nan():
    single, _ = pair(on_failure="nan")
    target, total = tensors(grad=True)
    with pytest.warns(FailedSampleWarning, match="1 of 2 samples failed"):
        solution = single(target, total * torch.tensor([1.0, -1.0]))
    assert solution.isnan().any(dim=1).tolist() == [False, True]
    solution.sum().backward()
    assert total.grad.tolist() == pytest.approx([1.0, 0.0])
    layer = cvxlpgd.numpy.CvxpyLayer(*LISTS, single=True, on_failure="nan")
    with pytest.warns(FailedSampleWarning):
        assert np.isnan(layer(VALUES[0], -VALUES[1])).all()


@ADAPTERS
def test_it_is_for_layers_of_one_variable(adapter):
    rows = PROBLEM.constraints
    for variables, count in (([], "0"), ([x, rows[0].dual_variables[0]], "2")):
        with pytest.raises(InvalidOption, match=f"one variable, and this one has {count}"):
            adapter.CvxpyLayer(PROBLEM, [target, total], variables, single=True)
    with pytest.raises(InvalidOption, match="single must be True or False, not 1"):
        adapter.CvxpyLayer(*LISTS, single=1)
    dual = adapter.CvxpyLayer(PROBLEM, [target, total], [rows[0].dual_variables[0]], single=True)
    assert dual(*(value[0] for value in VALUES)).shape == ()
