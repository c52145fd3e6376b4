"""Layers of cone programs as torch modules."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import cvxlpgd.numpy
from cvxlpgd.cone_programs import from_qp
from cvxlpgd.errors import InvalidInput
from cvxlpgd.torch import ConeLayer
from tests.cone_programs.programs import case

ONE = case("z l q", True, n=8)
VALUES = [torch.tensor(v) for v in ONE.values]


def leaves():
    return [v.clone().requires_grad_() for v in VALUES]


@pytest.mark.filterwarnings(
    "ignore::cvxlpgd.errors.DegenerateGradientWarning"
)  # y of inactive rows
def test_gradcheck_through_every_input_and_output():
    layer = ConeLayer(ONE.structure())
    assert torch.autograd.gradcheck(layer, leaves(), eps=1e-6, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_the_whole_of_P_is_symmetric():
    structure = from_qp(np.eye(3), -np.arange(3.0), np.ones((1, 3)), [1.0])
    layer = ConeLayer(structure, ["P", "G"], ["x"], single=True)
    P = torch.eye(3, dtype=torch.float64, requires_grad=True)
    G = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda M, G: layer((M + M.mT) / 2, G), (P, G))
    (gradient,) = torch.autograd.grad(layer(P, G)[0], P)
    assert torch.equal(gradient, gradient.mT)


def test_numpy_has_the_same_values_and_gradients():
    outputs, pull_back = cvxlpgd.numpy.ConeLayer(ONE.structure()).vjp(*ONE.values)
    tensors = leaves()
    x, y, s = ConeLayer(ONE.structure())(*tensors)
    (x.sum() + y.sum() + s.sum()).backward()
    gradients = pull_back(*(np.ones_like(v) for v in outputs))
    for tensor, gradient in zip(tensors, gradients, strict=True):
        assert np.array_equal(tensor.grad.numpy(), gradient)


def test_transforms_nest():
    layer = ConeLayer(ONE.structure(), ["c", "b"], ["x"], single=True)
    *_, b, c = VALUES
    costs = c + 0.01 * torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    mapped = torch.func.vmap(lambda c: layer(c=c, b=b))(costs)
    assert torch.equal(mapped, layer(costs, b))
    rows = torch.func.vmap(torch.func.grad(lambda c: layer(c, b)[0]))(costs)
    jacobian = torch.func.jacrev(lambda c: layer(c, b))(costs[1])
    assert torch.allclose(rows[1], jacobian[0], atol=1e-10)


def test_a_compiled_function_holds_it_as_one_operator():
    layer = ConeLayer(ONE.structure(), ["c", "b"])
    *_, b, c = VALUES

    def loss(c, b):
        x, y, s = layer(2 * c, b=b)
        return x.square().sum() + y.sum() + s.square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    pairs = []
    for function in (loss, compiled):
        own = c.clone().requires_grad_()
        value = function(own, b)
        value.backward()
        pairs.append((value.detach(), own.grad))
    assert torch.equal(pairs[0][0], pairs[1][0])
    assert torch.equal(pairs[0][1], pairs[1][1])


def test_dtypes_copies_and_constants():
    layer = ConeLayer(ONE.structure())
    A, b, c = ONE.data["A"], VALUES[2].float(), VALUES[3].float().requires_grad_()
    x, y, s = layer(VALUES[0].float(), torch.tensor(A.data).float(), b, c)
    assert x.dtype == y.dtype == s.dtype == torch.float32
    x.sum().backward()
    assert c.grad.dtype == torch.float32
    x, _, _ = layer(*VALUES)
    assert torch.equal(layer(ONE.data["P"], A, *VALUES[2:])[0], x)  # SciPy matrices
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(*VALUES)[0], x)
    assert "A (" in repr(layer)
    assert layer.info.ok
    assert "ConeLayer" in layer._repr_html_()
    value = layer.optimal_value(*leaves())
    value.backward()
    assert np.isclose(value.item(), layer.info.objective)


def test_a_sparse_tensor_is_refused():
    layer = ConeLayer(from_qp(sp.eye_array(2), np.ones(2)))
    with pytest.raises(InvalidInput, match="stored entries"):
        layer(torch.eye(2, dtype=torch.float64).to_sparse(), torch.ones(2))
