"""torch.compile: transforms, failures, copies, and what is kept and for how long."""

from __future__ import annotations

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from cvxlpgd import LPGD
from cvxlpgd.errors import (
    CvxlpgdError,
    DegenerateGradientWarning,
    FailedSampleWarning,
    InvalidInput,
    SolveFailed,
)
from cvxlpgd.torch import CvxpyLayer, _operators
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors
from tests.torch.compiling import MARKS, alone, compiled

QUADRATIC = "quadratic_constrained"

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _alone():
    with alone():
        yield


def boxed(**options) -> CvxpyLayer:
    """min x² with low <= x <= high: infeasible where low > high."""
    low, high, x = cp.Parameter(), cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= high])
    return CvxpyLayer(problem, [low, high], [x], **options)


TRANSFORMS = {
    "jvp": lambda f: lambda v: jvp(f, (v,), (torch.ones_like(v),))[1],
    "jacfwd": jacfwd,
    "jacrev": jacrev,
    "grad": lambda f: grad(lambda v: f(v).sum()),
    "vmap": vmap,
    "vmap of grad": lambda f: vmap(grad(lambda v: f(v).sum())),
}

FORWARD = [TRANSFORMS[name] for name in ("jvp", "jacfwd", "vmap")]


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("name", ["jacrev", "grad", "jacfwd"])
def test_gradients_that_torch_would_lose_are_refused(name, monkeypatch):
    monkeypatch.setattr(_operators, "LOSING", True)
    layer, (c,) = layer_of("simplex_projection"), tensors("simplex_projection", 2)
    function = TRANSFORMS[name](lambda c: layer(c)[0])
    expected = function(c)  # by itself it is right in all versions
    graph = torch.compile(function, backend="aot_eager")
    if name == "jacfwd":
        assert torch.equal(graph(c), expected)
    else:
        with pytest.raises(CvxlpgdError, match="loses gradients"):
            graph(c)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_transforms_break_the_graph_and_are_right(transform):
    """Never a tangent that is silently zero."""
    layer, (c,) = layer_of("simplex_projection"), tensors("simplex_projection", 2)
    function = transform(lambda c: layer(c)[0])
    graph = torch.compile(function, backend="aot_eager")
    if _operators.LOSING and transform not in FORWARD:
        with pytest.raises(CvxlpgdError, match="loses gradients"):
            graph(c)
    else:
        assert torch.equal(graph(c), function(c))
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
        dual = forward_ad.make_dual(c, torch.arange(1.0 * c.numel()).reshape(c.shape).to(c))
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
    """Perturbed by this much, or a thousandth of it, the objective is unbounded below."""
    c, y = cp.Parameter(), cp.Variable()
    cost = cp.Problem(cp.Minimize(c * y), [y >= 0])
    layer = CvxpyLayer(cost, [c], [y], derivative=LPGD(tau=5e3, side="lower"))
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
    if torch.__version__.startswith("2.6."):  # it cannot compile in two threads at once
        gradients(graph, [values[0][:1]])

    def work(i):
        found = [gradients(graph, [values[0][i : i + 1]])[0] for _ in range(4)]
        return all(torch.equal(g[0], expected[i]) for g in found) and layer.info.tau[0] == 0

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
    number, gone = layer._numbered.number, weakref.ref(layer._layer)
    torch._dynamo.reset()
    del layer, graph
    gc.collect()
    assert gone() is None
    assert number not in _operators._layers


def test_a_graph_whose_layer_is_gone():
    layer, values = layer_of("scalars"), tensors("scalars")
    with pytest.raises(CvxlpgdError, match="not in this process"):
        _operators.solve(
            values, 12345, layer._numbered.ranks, layer._numbered.sizes, [True, True], False
        )


def test_saved_tensors_that_are_copied():
    layer, values = layer_of("scalars"), tensors("scalars", grad=True)
    graph = compiled(lambda *v: loss(layer(*v)))
    graph(*values).backward()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        value = graph(*values)
    with pytest.raises(CvxlpgdError, match="saved-tensor hooks"):
        value.backward()
