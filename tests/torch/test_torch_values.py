"""The torch adapter: what goes in and what comes out."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import Implicit
from cvxlpgd.errors import InvalidProblem, SolveFailed
from cvxlpgd.torch import CvxpyLayer
from tests import zoo
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors

QUADRATIC = "quadratic_constrained"
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LOOP = ["scalars", "many_axes", "entropy", "log_log_convex", "knapsack"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_in_is_dtype_out(dtype):
    """The solve is in double precision, at the rounded values."""
    layer, rounded = layer_of("scalars"), [v.to(dtype) for v in tensors("scalars", 2)]
    expected, exact = gradients(layer, [v.double() for v in rounded]), layer(*copies(rounded))
    assert all(output.dtype == dtype for output in exact)
    reference = [output.to(dtype) for output in layer(*[v.double() for v in rounded])]
    assert same(exact, reference)
    found = gradients(layer, rounded)
    assert all(gradient.dtype == dtype for gradient in found)
    limit = 4 * torch.finfo(dtype).eps + 1e-6
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=limit, atol=limit)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_integers_give_the_default_dtype(default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        (x,) = layer_of("scalars")(torch.tensor(2), torch.tensor([True, False]))
    finally:
        torch.set_default_dtype(before)
    assert x.dtype == default
    torch.testing.assert_close(x, torch.tensor([1.5, 2.0], dtype=default))


def test_dtypes_are_promoted_and_gradients_keep_their_own():
    layer = layer_of(QUADRATIC)
    P, q, A, b = tensors(QUADRATIC)
    mixed = [P.float(), q.bfloat16(), A.float(), b.half()]
    leaves = copies(mixed)
    outputs = layer(*leaves)
    assert all(output.dtype == torch.float32 for output in outputs)
    loss(outputs).backward()
    assert [leaf.grad.dtype for leaf in leaves] == [v.dtype for v in mixed]
    # an integer parameter has no say
    (x,) = layer_of("scalars")(torch.tensor(2), torch.tensor(1.0, dtype=torch.float16))
    assert x.dtype == torch.float16


def test_memory_layouts():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 4)
    expected, grads = layer(*values), gradients(layer, values)
    P, q, A, b = copies(values)
    wide = torch.stack([b, b + 1.0], dim=-1).detach().requires_grad_()
    layouts = [P.mT, q.T.contiguous().T, A.movedim(0, -1).contiguous().movedim(-1, 0), wide[..., 0]]
    assert not any(v.is_contiguous() for v in layouts[1:])
    outputs = layer(*layouts)
    assert same(outputs, expected)
    loss(outputs).backward()
    assert same([P.grad.mT, q.grad, A.grad, wide.grad[..., 0]], grads)
    assert not wide.grad[..., 1].any()


def test_expanded_values_are_as_broadcast_ones():
    layer = layer_of(QUADRATIC, derivative=Implicit("dense"))
    P, q, A, b = tensors(QUADRATIC, 4)
    leaves, again = copies([P[0], q, A[0], b]), copies([P[0], q, A[0], b])
    expanded = [leaves[0].expand(4, 4, 4), leaves[1], leaves[2].expand(4, 2, 4), leaves[3]]
    outputs, expected = layer(*expanded), layer(*again)
    assert same(outputs, expected)
    loss(outputs).backward()
    loss(expected).backward()
    torch.testing.assert_close([v.grad for v in leaves], [v.grad for v in again])


def test_lists_numbers_and_arrays():
    layer = layer_of(QUADRATIC)
    values = [v.numpy() for v in tensors(QUADRATIC)]
    expected = layer(*tensors(QUADRATIC))
    for value in values:
        value.flags.writeable = False
    assert same(layer(*values), expected)
    assert same(layer(values[0][::-1, ::-1][::-1, ::-1], *values[1:]), expected)
    lists = layer(values[0], *(v.tolist() for v in values[1:]))
    assert lists[0].dtype == torch.float64  # from the array; lists have the default dtype
    torch.testing.assert_close(lists, expected, rtol=1e-5, atol=1e-5)
    assert layer_of("scalars")(2.0, 1)[0].dtype == torch.get_default_dtype()


@pytest.mark.parametrize("name", LOOP)
def test_a_batch_is_a_loop(name):
    layer, values = layer_of(name), tensors(name, 4)
    alone = [layer(*(v[i] for v in values)) for i in range(4)]
    for k, output in enumerate(layer(*values)):
        assert torch.equal(output, torch.stack([one[k] for one in alone]))
    for k, output in enumerate(layer(*(v.reshape(2, 1, 2, *v.shape[1:]) for v in values))):
        assert torch.equal(output, torch.stack([one[k] for one in alone]).reshape_as(output))


AXES = [
    [(), (), (), ()],
    [(1,), (), (), ()],
    [(), (4,), (), ()],
    [(4, 1), (3,), (), (1,)],
    [(2, 1, 1), (2, 1), (2,), ()],
    [(1, 1), (1,), (1, 1, 1), ()],
    [(0,), (), (1,), (0,)],
    [(2, 0), (2, 1), (), (0,)],
]


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_batch_axes_broadcast(axes):
    layer = layer_of(QUADRATIC, derivative=Implicit("dense"))
    values = [tensors(QUADRATIC, *own)[k] for k, own in enumerate(axes)]
    shape = np.broadcast_shapes(*axes)
    leaves = copies(values)
    outputs = layer(*leaves)
    assert [tuple(o.shape) for o in outputs] == [(*shape, 4), (*shape, 2), (*shape, 4)]
    assert layer.info.status.shape == shape
    loss(outputs).backward()
    assert all(leaf.grad.shape == leaf.shape for leaf in leaves)
    # as if every parameter had every axis, with the gradients summed over what was shared
    full = [v.expand(*shape, *v.shape[len(own) :]) for v, own in zip(values, axes, strict=True)]
    assert same(layer(*full), [output.detach() for output in outputs])
    for leaf, grad in zip(leaves, gradients(layer, full), strict=True):
        torch.testing.assert_close(leaf.grad, grad.sum_to_size(leaf.shape), rtol=1e-9, atol=1e-9)


def test_no_samples():
    layer = layer_of(QUADRATIC)
    leaves = tensors(QUADRATIC, 0, grad=True)
    outputs = layer(*leaves)
    loss(outputs).backward()
    assert [tuple(o.shape) for o in outputs] == [(0, 4), (0, 2), (0, 4)]
    assert all(leaf.grad.shape == leaf.shape for leaf in leaves)
    shared = tensors(QUADRATIC, grad=True)
    loss(layer(leaves[0], *shared[1:])).backward()
    assert not any(leaf.grad.any() for leaf in shared[1:])


def test_no_parameters():
    layer = layer_of("no_parameters")
    (x,) = layer()
    torch.testing.assert_close(x, torch.tensor([0.5, 0.5]))
    assert not x.requires_grad


def test_no_variables():
    a, x = cp.Parameter(2), cp.Variable(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - a) + 3)), [a], [])
    assert layer(torch.ones(5, 2, requires_grad=True)) == ()
    assert layer.info.objective == pytest.approx(np.full(5, 3.0))


def test_gradients_of_shared_parameters_are_sums():
    layer = layer_of(QUADRATIC, derivative=Implicit("dense"))
    P, q, A, b = tensors(QUADRATIC, 3)
    shared, _, _, _ = gradients(layer, [P[0], q, A[0], b[0]])
    each = [gradients(layer, [P[0], one, A[0], b[0]])[0] for one in q]
    torch.testing.assert_close(shared, sum(each), rtol=1e-12, atol=1e-12)


def test_a_parameter_that_does_not_reach_the_solution():
    """Its gradient is 0, which is no reason to re-solve or to warn."""
    a, b, x = cp.Parameter(2), cp.Parameter(nonneg=True), cp.Variable(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - a) + b)), [a, b], [x])
    offset = torch.tensor(3.0, requires_grad=True)
    layer(torch.ones(2), offset)[0].square().sum().backward()
    assert offset.grad == 0
    assert layer.info.objective == pytest.approx(3.0)


@pytest.mark.parametrize("form", ["cost", "constraint"])
def test_the_simplest_layers(form):
    """Where neither costs nor duals have a size that a perturbation could be measured by."""
    a, x = cp.Parameter(2), cp.Variable(2)
    problem = {
        "cost": cp.Problem(cp.Minimize(cp.sum_squares(x - a))),
        "constraint": cp.Problem(cp.Minimize(cp.sum_squares(a)), [x == a]),
    }[form]
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    (CvxpyLayer(problem, [a], [x])(value)[0] @ torch.tensor([3.0, 4.0])).backward()
    assert value.grad.tolist() == pytest.approx([3.0, 4.0], rel=1e-3)


def test_constraints_without_variables():
    a, x = cp.Parameter(2), cp.Variable(2)
    above = x >= a
    constraints = [above, above, cp.Constant(1) <= 2, cp.sum(a) <= 9, True]
    problem = cp.Problem(cp.Minimize(cp.sum(x)), constraints)
    (found,) = CvxpyLayer(problem, [a], [x])(torch.ones(2))
    assert found.tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    with pytest.raises(SolveFailed, match="infeasible"):
        CvxpyLayer(problem, [a], [x])(torch.full((2,), 9.0))


def test_one_tensor_for_two_parameters():
    layer, leaf = layer_of("scalars"), torch.tensor(0.5, requires_grad=True)
    layer(leaf, leaf)[0].backward()  # x = a - b / 2
    torch.testing.assert_close(leaf.grad, torch.tensor(0.5))


@pytest.mark.parametrize(
    "name", ["symmetric_variable", "concave_quadratic", "negative_semidefinite", QUADRATIC]
)
def test_gradients_of_symmetric_parameters_are_symmetric(name):
    layer, values = layer_of(name), tensors(name, 2)
    row = zoo.row_named(name)
    _, parameters, _ = row.build()
    for parameter, gradient in zip(parameters, gradients(layer, values), strict=True):
        if any(parameter.attributes[k] for k in ("symmetric", "PSD", "NSD")):
            assert torch.equal(gradient, gradient.mT)
            assert gradient.any()


def test_a_value_is_symmetric_up_to_rounding():
    layer, (C,) = layer_of("symmetric_variable"), tensors("symmetric_variable")
    skew = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    (X,) = layer(C + 1e-6 * skew)
    torch.testing.assert_close(X, layer(C)[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(X, X.mT)


@pytest.mark.parametrize("name", ["diagonal", "sparse"])
def test_sparse_parameters_and_variables_have_full_shape(name):
    layer, values = layer_of(name), tensors(name, 2)
    (X,), gradient = layer(*values), gradients(layer, values)[0]
    outside = values[0][0] == 0
    assert X.shape == gradient.shape == (2, 3, 3)
    assert not X[:, outside].any()
    assert not gradient[:, outside].any()
    assert gradient[:, ~outside].any()
    moved = layer(values[0] + 1e-9 * outside, *values[1:])[0]  # rounding is taken for 0
    assert torch.equal(moved, X)


def test_parameters_that_are_not_listed_are_frozen():
    a, c, x = cp.Parameter(2, value=np.array([1.0, 2.0])), cp.Parameter(2), cp.Variable(2)
    # not DPP in both: the value is put in before the test
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - cp.multiply(a, c))))
    layer = CvxpyLayer(problem, [c], [x])
    a.value = np.array([5.0, 5.0])
    assert layer(torch.ones(2))[0].tolist() == pytest.approx([1.0, 2.0], abs=1e-6)
    assert a.value.tolist() == [5.0, 5.0]
    assert x.value is None


def test_callback_parameters():
    behind = cp.Parameter(2, value=np.array([1.0, -1.0]))
    doubled, x = cp.CallbackParam(lambda: 2 * behind.value, 2), cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - doubled)))
    listed = CvxpyLayer(problem, [doubled], [x])
    value = torch.tensor([3.0, 4.0], requires_grad=True)
    (found,) = listed(value)
    torch.testing.assert_close(found, value)
    found.sum().backward()
    torch.testing.assert_close(value.grad, torch.ones(2))
    with pytest.raises(InvalidProblem, match="list it, and pass what the callback returns"):
        CvxpyLayer(problem, [], [x])
