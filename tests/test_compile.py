"""torch.compile: a layer is one operator of the graph, and all else is as in eager code."""

from __future__ import annotations

import copy
import gc
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor

import cvxpy as cp
import numpy as np
import pytest
import torch
from layers import copies, gradients, layer_of, loss, same, tensors
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from cvxlpgd import LPGD, _operators
from cvxlpgd.errors import (
    CvxlpgdError,
    DegenerateGradientWarning,
    FailedSampleWarning,
    InvalidInput,
    SolveFailed,
)
from cvxlpgd.torch import CvxpyLayer

QUADRATIC = "quadratic_constrained"
ROWS = [QUADRATIC, "scalars", "sparse", "second_order_cone", "log_log_convex", "many_axes"]

pytestmark = [
    # torch's own, when it first traces
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]


@pytest.fixture(autouse=True)
def _fresh():
    """Nothing that another test compiled, and nothing left over."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    gc.collect()
    assert _operators._runs == {}


def compiled(function, backend="aot_eager", **options):
    return torch.compile(function, fullgraph=True, backend=backend, **options)


def boxed(**options) -> CvxpyLayer:
    """min x² with low <= x <= high: infeasible where low > high."""
    low, high, x = cp.Parameter(), cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= high])
    return CvxpyLayer(problem, [low, high], [x], **options)


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
        values, layer._number, layer._ranks, layer._sizes, needed, False
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
    assert (info.tau > 0).all()

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


TRANSFORMS = {
    "jvp": lambda f: lambda v: jvp(f, (v,), (torch.ones_like(v),))[1],
    "jacfwd": jacfwd,
    "jacrev": jacrev,
    "grad": lambda f: grad(lambda v: f(v).sum()),
    "vmap": vmap,
    "vmap of grad": lambda f: vmap(grad(lambda v: f(v).sum())),
}


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_transforms_break_the_graph_and_are_right(transform):
    """Never a tangent that is silently zero."""
    layer, (c,) = layer_of("simplex_projection"), tensors("simplex_projection", 2)
    function = transform(lambda c: layer(c)[0])
    assert torch.equal(torch.compile(function, backend="aot_eager")(c), function(c))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled(function)(c)


def test_forward_mode_around_compiled_code():
    layer, (c,) = layer_of("simplex_projection"), tensors("simplex_projection", 2)
    graph = torch.compile(lambda c: layer(c)[0], backend="aot_eager")
    strict = compiled(lambda c: layer(c)[0])
    for function in (graph, strict):
        function(c)  # compiled before there were tangents
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(c, torch.ones_like(c))
        found, expected = (forward_ad.unpack_dual(x).tangent for x in (graph(dual), layer(dual)[0]))
        with pytest.raises(torch._dynamo.exc.Unsupported):
            strict(dual)
    assert torch.equal(found, expected)
    assert expected.any()
    assert torch.equal(strict(c), layer(c)[0])


@pytest.mark.parametrize("donated", [True, False])
def test_second_derivatives_are_refused(donated):
    layer, (a, b) = layer_of("scalars"), tensors("scalars", grad=True)
    graph = compiled(lambda a, b: layer(a, b)[0].square())
    with torch._functorch.config.patch(donated_buffer=donated):
        value = graph(a, b)
        with pytest.raises(RuntimeError, match=r"create_graph|double backward"):
            torch.autograd.grad(value, a, create_graph=True)[0].backward()


def test_the_graph_can_be_walked_again():
    layer, leaves = layer_of(QUADRATIC), tensors(QUADRATIC, 2, grad=True)
    with torch._functorch.config.patch(donated_buffer=False):
        value = compiled(lambda *v: loss(layer(*v)))(*leaves)
        first = torch.autograd.grad(value, leaves, retain_graph=True)
        layer(*tensors(QUADRATIC, 4))  # another call in between
        assert same(torch.autograd.grad(value, leaves), first)
    assert same(first, gradients(layer, leaves))


def test_checkpoints():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 2)
    kept = compiled(
        lambda *v: torch.utils.checkpoint.checkpoint(lambda *w: layer(*w), *v, use_reentrant=False)
    )
    assert same(gradients(kept, values), gradients(layer, values))


BAD = {
    "number": (lambda P, q, A, b: (P, q, A), "received 3 tensors, expected 4"),
    "shape": (lambda P, q, A, b: (P[:, :2], q, A, b), "shape for parameter 0"),
    "rank": (lambda P, q, A, b: (P, q.sum(), A, b), "shape for parameter 1"),
    "batch": (lambda P, q, A, b: (P, q[:2], A, b), "do not broadcast"),
    "complex": (lambda P, q, A, b: (P, q * 1j, A, b), "value 1 is complex"),
    "NaN": (lambda P, q, A, b: (P, q * np.nan, A, b), "NaN"),
}


@pytest.mark.parametrize(("spoil", "text"), BAD.values(), ids=BAD.keys())
def test_bad_values(spoil, text):
    layer = layer_of(QUADRATIC)
    graph = compiled(lambda *v: layer(*spoil(*v)))
    with pytest.raises(InvalidInput, match=text):
        graph(*tensors(QUADRATIC, 3))


def test_failures():
    low, high = torch.tensor([1.0, 5.0, 2.0], requires_grad=True), torch.tensor(3.0)
    strict, lenient = boxed(), boxed(on_failure="nan")
    with pytest.raises(SolveFailed, match="infeasible") as caught:
        compiled(lambda a, b: strict(a, b))(low, high)
    assert caught.value.samples == (1,)
    graph = compiled(lambda a, b: lenient(a, b)[0])
    with pytest.warns(FailedSampleWarning, match="1 of 3") as said:
        x = graph(low, high)
    assert said[0].filename == __file__
    assert x.isnan().tolist() == [False, True, False]
    x.sum().backward()
    assert low.grad.tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-5)


def test_failures_of_the_backward_pass():
    """Perturbed by this much, the objective is unbounded below."""
    c, y = cp.Parameter(), cp.Variable()
    cost = cp.Problem(cp.Minimize(c * y), [y >= 0])
    layer = CvxpyLayer(cost, [c], [y], derivative=LPGD(tau=5.0, side="lower"))
    value = torch.tensor(1.0, requires_grad=True)
    out = compiled(lambda c: layer(c)[0] * -3.0)(value)
    with pytest.raises(SolveFailed, match="unbounded"):
        out.backward()


def test_degenerate_gradients():
    layer = layer_of("simplex_vertex", derivative=LPGD(tau=1e-6))
    (c,) = tensors("simplex_vertex", grad=True)
    total = compiled(lambda c: layer(c)[0].square().sum())(c)
    with pytest.warns(DegenerateGradientWarning):
        total.backward()


def test_parameters_without_a_derivative_are_found_before_solving():
    layer = layer_of("knapsack")
    gain, weight = tensors("knapsack", 2)
    graph = compiled(lambda *v: layer(*v))
    assert same(gradients(lambda g: graph(g, weight), [gain]),
                gradients(lambda g: layer(g, weight), [gain]))  # fmt: skip
    with pytest.raises(CvxlpgdError, match="integer"):
        graph(gain, weight.requires_grad_())


def test_copies_are_layers_of_their_own():
    layer = layer_of("scalars")
    other, values = copy.deepcopy(layer), tensors("scalars", 2)
    graph = compiled(lambda layer, *v: layer(*v))
    assert same(graph(layer, *values), layer(*values))
    with pytest.raises(CvxlpgdError, match="has not called"):
        _ = other.info
    graph(other, *values)
    assert other.info is not layer.info
    different = layer_of("scalars", on_failure="nan", derivative=LPGD(tau=0.5))
    loss(graph(different, *copies(values))).backward()
    assert (different.info.tau == 0.5).all()
    assert same(graph(layer, *values), layer(*values))


def test_threads():
    layer, values = layer_of("simplex_projection"), tensors("simplex_projection", 4)
    graph, (expected,) = compiled(lambda c: layer(c)), gradients(layer, values)
    graph(*values)

    def work(i):
        found = [gradients(graph, [values[0][i : i + 1]])[0] for _ in range(4)]
        return all(torch.equal(g[0], expected[i]) for g in found) and layer.info.tau[0] > 0

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_nothing_is_kept():
    layer, values = layer_of("scalars"), tensors("scalars", 2, grad=True)
    graph = compiled(layer)
    value = loss(graph(*values))
    assert len(_operators._runs) == 1
    value.backward()
    del value
    graph(*values)  # a graph that nobody walks
    with torch.no_grad():
        kept = graph(*values)
    assert len(kept) == 1
    assert _operators._runs == {}
    number, gone = layer._number, weakref.ref(layer._layer)
    torch._dynamo.reset()
    del layer, graph
    gc.collect()
    assert gone() is None
    assert number not in _operators._layers


def test_a_graph_whose_layer_is_gone():
    layer, values = layer_of("scalars"), tensors("scalars")
    with pytest.raises(CvxlpgdError, match="not in this process"):
        _operators.solve(values, 12345, layer._ranks, layer._sizes, [True, True], False)


def test_saved_tensors_that_are_copied():
    layer, values = layer_of("scalars"), tensors("scalars", grad=True)
    graph = compiled(lambda *v: loss(layer(*v)))
    graph(*values).backward()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        value = graph(*values)
    with pytest.raises(CvxlpgdError, match="saved-tensor hooks"):
        value.backward()
