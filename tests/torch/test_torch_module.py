"""The torch adapter as a module: modes, copies, compiled code."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from cvxlpgd import LPGD
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors

QUADRATIC = "quadratic_constrained"


def test_no_grad_eval_and_inference():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, grad=True)
    expected = [output.detach() for output in layer(*values)]
    with torch.no_grad():
        plain = layer(*values)
    with torch.inference_mode():
        inferred = layer(*values)
    assert not any(output.requires_grad for output in (*plain, *inferred))
    assert same(plain, expected)
    assert same(inferred, expected)
    outputs = layer.eval()(*values)
    assert same(outputs, expected)
    assert all(output.requires_grad for output in outputs)
    assert not any(output.requires_grad for output in layer(*copies(values, grad=False)))


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile reads it
def test_compiled_code_calls_the_layer_as_it_is():
    layer, values = layer_of("scalars"), tensors("scalars", 2, grad=True)

    def total(a, b):
        return loss(layer(2 * a, b)) * 2

    expected = torch.autograd.grad(total(*values), values)
    compiled = torch.compile(total, backend="eager")
    assert same(torch.autograd.grad(compiled(*values), values), expected)


def saved(layer):
    stream = io.BytesIO()
    torch.save(layer, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


COPIES = {
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "torch.save": saved,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("name", [QUADRATIC, "log_log_convex", "callback_parameter"])
def test_copies(name, copied):
    layer, values = layer_of(name, derivative=LPGD(tau=0.01)), tensors(name, 2)
    before = copied(layer)
    outputs, expected = layer(*values), gradients(layer, values)
    for other in (before, copied(layer)):
        assert same(other(*values), outputs)
        assert same(gradients(other, values), expected)


def test_it_is_a_module_without_state():
    layer = layer_of("scalars")
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    layer.load_state_dict({})
    net = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0))
    guess = net(torch.ones(5, 3))
    layer.to(torch.float16)(guess, guess)[0].sum().backward()
    assert net[0].weight.grad.shape == (1, 3)
    assert "param" in repr(layer)
    assert "LPGD" in repr(layer)
