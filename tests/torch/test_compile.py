"""torch.compile: a layer is one operator of the graph, and gives what eager code does."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from cvxlpgd import LPGD
from cvxlpgd.torch import _operators
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors
from tests.torch.compiling import MARKS, alone, compiled

QUADRATIC = "quadratic_constrained"
ROWS = [QUADRATIC, "scalars", "sparse", "second_order_cone", "log_log_convex", "many_axes"]

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _alone():
    with alone():
        yield


@pytest.mark.parametrize(
    ("name", "axes"), [(QUADRATIC, ()), *((name, (2,)) for name in ROWS), ("scalars", (2, 2))]
)
def test_one_graph_as_eager(name, axes):
    layer, values = layer_of(name), tensors(name, *axes)
    graph = compiled(lambda *v: layer(*v))
    assert same(graph(*values), layer(*values))
    assert same(gradients(graph, values), gradients(layer, values))


@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
def test_inductor(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    layer = layer_of(QUADRATIC)

    def total(P, q, A, b):
        x, y, z = layer(P, (2 * q) @ P, A, b)
        w = ((x @ P).sin() @ P + z) @ P
        return (w.cos() @ P).sum() + y.sin().sum() + x.sum()

    leaves, again = (tensors(QUADRATIC, 3, grad=True) for _ in range(2))
    total(*leaves).backward()
    with torch._inductor.config.patch(compile_threads=1):
        compiled(total, backend="inductor")(*again).backward()
    for leaf, other in zip(leaves, again, strict=True):
        torch.testing.assert_close(other.grad, leaf.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [QUADRATIC, "log_log_convex"])
def test_memory_that_the_graph_uses_again(name):
    """A graph may write over what it has no more use for; the layer has copies of its own."""
    layer, values = layer_of(name), tensors(name, 2)
    outputs, expected = layer(*values), gradients(layer, values)
    bars = [torch.cos(x + 1.0 + k).reshape(2, -1) for k, x in enumerate(outputs)]  # of the loss
    needed = [True] * len(values)
    *found, ticket = _operators.solve(
        values, layer._numbered.number, layer._numbered.ranks, layer._numbered.sizes, needed, False
    )
    for tensor in (*values, *found):
        tensor.fill_(7.0)
    assert same(_operators.pull_back(ticket, values, bars, needed), expected)


def test_batch_sizes_do_not_compile_again():
    name = "simplex_projection"  # whose own sizes are no batch size here
    layer, counter = layer_of(name), CompileCounterWithBackend("aot_eager")
    graph = compiled(lambda *v: layer(*v), counter, dynamic=True)
    for batch in (2, 3, 4):
        values = tensors(name, batch)
        assert same(gradients(graph, values), gradients(layer, values))
    assert counter.frame_count == 1


def test_shared_values_broadcast():
    layer, (P, q, A, b) = layer_of(QUADRATIC), tensors(QUADRATIC, 4)
    values = [P[:1, None], q[:3], A[0], b[:4, None]]
    assert same(gradients(compiled(lambda *v: layer(*v)), values), gradients(layer, values))


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_any_subset_requires_gradients():
    layer, values = layer_of("turnover", derivative=LPGD(tau=1e-3)), tensors("turnover", 2)
    graph, every = compiled(lambda *v: layer(*v)), gradients(layer, values)
    for subset in range(8):
        chosen = [bool(subset >> k & 1) for k in range(3)]
        leaves = [copies([v], need)[0] for v, need in zip(values, chosen, strict=True)]
        outputs = graph(*leaves)
        assert outputs[0].requires_grad == any(chosen)
        if any(chosen):
            loss(outputs).backward()
        for leaf, wanted, expected in zip(leaves, chosen, every, strict=True):
            assert torch.equal(leaf.grad, expected) if wanted else leaf.grad is None


def test_a_loss_of_some_outputs():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 2)
    for k in range(3):
        expected, found = copies(values), copies(values)
        layer(*expected)[k].square().sum().backward()
        compiled(lambda *v, k=k: layer(*v)[k].square().sum())(*found).backward()
        assert same([v.grad for v in found], [v.grad for v in expected])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    layer, (a, b) = layer_of("scalars"), tensors("scalars", 2)
    values, graph = [a.to(dtype), b.half()], compiled(lambda *v: layer(*v))
    (found,), (expected,) = graph(*values), layer(*values)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
    bars, wanted = gradients(graph, values), gradients(layer, values)
    assert [bar.dtype for bar in bars] == [v.dtype for v in values]
    assert same(bars, wanted)


def test_arrays_lists_and_no_values():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC)
    graph = compiled(lambda *v: layer(*v))
    assert same(graph(*[v.numpy() for v in values]), layer(*values))
    lists = [v.tolist() for v in values]
    assert same(graph(*lists), layer(*lists))
    constant = layer_of("no_parameters")
    assert same(compiled(lambda: constant())(), constant())


def test_modules_and_methods_around_it():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.layer = torch.nn.Linear(3, 2), layer_of("scalars")

        def forward(self, features):
            return self.layer(*self.linear(features).unbind(-1))[0]

    net, features = Net(), torch.ones(5, 3)
    net(features).sum().backward()
    expected = net.linear.weight.grad.clone()
    net.zero_grad()
    torch.compile(net, fullgraph=True, backend="aot_eager")(features).sum().backward()
    assert torch.equal(net.linear.weight.grad, expected)


def test_info():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 3, grad=True)
    value = compiled(lambda *v: loss(layer(*v)))(*values)
    info = layer.info
    assert info.status.tolist() == ["solved"] * 3
    assert np.isnan(info.tau).all()
    value.backward()
    assert (info.tau == 0).all()

    def objective(*v):  # read inside of the function: the graph ends before it
        return layer(*v)[0], layer.info.objective

    graph = torch.compile(objective, backend="aot_eager")
    for batch in (2, 4):
        _, found = graph(*tensors(QUADRATIC, batch))
        assert found is layer.info.objective
        assert found.shape == (batch,)


def test_options_of_a_call_and_warm_starts():
    layer, values = layer_of(QUADRATIC, solver="SCS"), tensors(QUADRATIC, 2)
    graph = torch.compile(lambda *v: layer(*v, solver_args={"eps": 1e-10}), backend="aot_eager")
    assert same(graph(*values), layer(*values, solver_args={"eps": 1e-10}))
    warm = compiled(lambda *v: layer(*v, warm_start=True))
    warm(*values)
    cold = layer.info.iterations
    warm(*values)
    assert (layer.info.iterations < cold).all()
    solution = layer.info.solution
    torch.compile(lambda *v: layer(*v, warm_start=solution), backend="aot_eager")(*values)
    assert (layer.info.iterations < cold).all()


def test_values_envelopes_and_differences():
    layer, values = layer_of("simplex_projection"), tensors("simplex_projection", 2)
    bar = [torch.ones(5), torch.ones(()), torch.zeros(5)]
    functions = [
        lambda c: layer.optimal_value(c) + 1,
        lambda c: 2 * layer.envelope(2 * c, cotangents=bar, tau=0.1),
    ]
    for function in functions:
        graph = torch.compile(function, backend="aot_eager")
        assert torch.equal(graph(*values), function(*values))
        assert same(gradients(lambda c, f=graph: [f(c)], values),
                    gradients(lambda c, f=function: [f(c)], values))  # fmt: skip
