"""The torch adapter: gradients, forward mode, vmap and their compositions."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad, gradcheck
from torch.func import grad, jacfwd, jacrev, jvp, linearize, vjp, vmap

from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import CvxlpgdError
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors, tight

# torch's own, when it first looks for decompositions
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

ROWS = [
    "quadratic_constrained", "matrix_least_squares", "scalars", "linear_program", "sparse",
    "semidefinite_variable", "second_order_cone", "entropy", "parametric_bounds",
]  # fmt: skip
MAPPED = [*ROWS, "log_log_convex", "power_cone", "integer_least_distance"]
QUADRATIC = "quadratic_constrained"
DERIVATIVES = [LPGD(tau=1e-4), Implicit("dense")]


# single entries of a solution that a bound holds do not move
@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("derivative", DERIVATIVES, ids=["LPGD", "Implicit"])
@pytest.mark.parametrize("name", ROWS)
def test_gradcheck(name, derivative):
    layer = layer_of(name, solver=tight(name), derivative=derivative)
    values = tensors(name, grad=True)
    assert gradcheck(layer, values, check_forward_ad=True, atol=1e-4)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_gradcheck_with_batch_axes_that_broadcast():
    layer = layer_of("scalars", solver=tight("scalars"), derivative=LPGD(tau=1e-4))
    a, b = tensors("scalars", 4)
    for values in ([a[:2, None], b[:3]], [a[:1], b[:2, None]], [a.reshape(2, 1, 2), b[0]]):
        assert gradcheck(layer, copies(values), check_forward_ad=True, atol=1e-4)


@pytest.mark.parametrize("name", MAPPED)
def test_vmap_is_the_batched_call(name):
    layer, values = layer_of(name), tensors(name, 4)
    assert same(vmap(layer)(*values), layer(*values))
    assert same(vmap(layer, chunk_size=3)(*values), layer(*values))


def test_vmap_over_other_axes():
    layer = layer_of(QUADRATIC)
    P, q, A, b = tensors(QUADRATIC, 4)
    expected = layer(P, q, A[0], b)
    moved = vmap(layer, in_dims=(2, 1, None, -1), out_dims=1)(
        P.permute(1, 2, 0), q.T, A[0], b.movedim(0, -1)
    )
    assert same([output.movedim(1, 0) for output in moved], expected)


def test_vmap_beside_batch_axes():
    layer = layer_of(QUADRATIC)
    P, q, A, b = tensors(QUADRATIC, 2, 2)
    expected = layer(P, q[:, :1], A, b)
    assert same(vmap(layer)(P, q[:, :1], A, b), expected)
    # the mapped axis comes before every batch axis of every parameter
    expected = layer(P[:, 0][:, None], q[0], A[0, 0], b[0, 0])
    assert same(
        vmap(layer, in_dims=(0, None, None, None))(P[:, 0], q[0], A[0, 0], b[0, 0]), expected
    )


def test_nested_vmap():
    layer = layer_of(QUADRATIC)
    P, q, A, b = tensors(QUADRATIC, 4)
    expected = layer(P[:2, None], q[:3], A[0], b[0])
    over_q = vmap(layer, in_dims=(None, 0, None, None))
    assert same(vmap(over_q, in_dims=(0, None, None, None))(P[:2], q[:3], A[0], b[0]), expected)


@pytest.mark.parametrize("name", ROWS)
def test_gradient_under_vmap_and_of_vmap(name):
    layer, values = layer_of(name), tensors(name, 4)
    every, expected = tuple(range(len(values))), gradients(layer, values)
    mapped = vmap(grad(lambda *v: loss(layer(*v)), argnums=every))(*values)
    assert same(mapped, expected)
    assert same(grad(lambda *v: loss(vmap(layer)(*v)), argnums=every)(*values), expected)


def test_gradient_of_values_that_vmap_shares_is_summed():
    layer = layer_of(QUADRATIC)
    P, q, A, b = tensors(QUADRATIC, 3)
    mapped = vmap(layer, in_dims=(None, 0, None, None))
    shared = grad(lambda P, A: loss(mapped(P, q, A, b[0])), argnums=(0, 1))(P[0], A[0])
    full = gradients(layer, [P[:1].expand(3, 4, 4), q, A[:1].expand(3, 2, 4), b[:1].expand(3, 2)])
    torch.testing.assert_close(shared, (full[0].sum(0), full[2].sum(0)), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("name", ["scalars", QUADRATIC, "second_order_cone"])
def test_jacobians_agree(name):
    layer = layer_of(name, derivative=Implicit("dense"))
    values = tensors(name)
    last = len(values) - 1

    def first(*v):
        return layer(*v)[0]

    reverse, forward = jacrev(first, argnums=last)(*values), jacfwd(first, argnums=last)(*values)
    torch.testing.assert_close(reverse, forward, rtol=1e-5, atol=1e-7)
    rows = torch.autograd.functional.jacobian(lambda v: first(*values[:-1], v), values[-1])
    assert torch.equal(rows, reverse)


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_jacobians_nest_with_vmap_both_ways():
    layer = layer_of(QUADRATIC, derivative=Implicit("dense"))
    values, every = tensors(QUADRATIC, 3), (0, 1, 2, 3)

    def first(*v):
        return layer(*v)[0]

    each_reverse = vmap(jacrev(first, argnums=every))(*values)
    each_forward = vmap(jacfwd(first, argnums=every))(*values)
    of_reverse = jacrev(vmap(first), argnums=every)(*values)
    of_forward = jacfwd(vmap(first), argnums=every)(*values)
    samples = range(3)
    for k in every:
        torch.testing.assert_close(each_reverse[k], each_forward[k], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(of_reverse[k], of_forward[k], rtol=1e-5, atol=1e-7)
        apart = of_reverse[k].movedim(2, 1)  # (sample of x, sample of the parameter, ...)
        diagonal = torch.stack([apart[i, i] for i in samples])
        torch.testing.assert_close(diagonal, each_reverse[k], rtol=1e-12, atol=1e-12)
        assert not apart[0, 1].any()


@pytest.mark.parametrize("name", ["scalars", QUADRATIC, "entropy"])
def test_forward_mode(name):
    layer, values = layer_of(name, derivative=LPGD(tau=1e-3)), tensors(name, 2)
    dots = [0.1 * torch.ones_like(v) for v in values]
    outputs, found = jvp(layer, tuple(values), tuple(dots))
    assert same(outputs, layer(*values))
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(v, d) for v, d in zip(values, dots, strict=True)]
        unpacked = [forward_ad.unpack_dual(output) for output in layer(*duals)]
    assert same([dual.tangent for dual in unpacked], found)
    mapped = vmap(lambda v, d: jvp(layer, v, d))(tuple(values), tuple(dots))
    assert same(mapped[1], found)
    # a tangent of one parameter only
    _, part = jvp(lambda v: layer(v, *values[1:]), (values[0],), (dots[0],))
    zeros = [torch.zeros_like(d) for d in dots[1:]]
    assert same(part, jvp(layer, tuple(values), (dots[0], *zeros))[1])


def test_cotangents_under_vmap():
    layer, (P, q, A, b) = layer_of(QUADRATIC), tensors(QUADRATIC)
    x, pullback = vjp(lambda q: layer(P, q, A, b)[0], q)
    many = torch.randn(5, *x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    assert same(vmap(pullback)(many), [torch.stack([pullback(bar)[0] for bar in many])])


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("name", ["quadratic_constrained", "turnover", "log_log_convex"])
def test_any_subset_requires_gradients(name):
    layer, values = layer_of(name, derivative=LPGD(tau=1e-3)), tensors(name, 2)
    every = gradients(layer, values)
    for subset in range(1, 2 ** len(values)):
        chosen = [bool(subset >> k & 1) for k in range(len(values))]
        leaves = [copies([v], grad)[0] for v, grad in zip(values, chosen, strict=True)]
        loss(layer(*leaves)).backward()
        for leaf, wanted, expected in zip(leaves, chosen, every, strict=True):
            assert torch.equal(leaf.grad, expected) if wanted else leaf.grad is None


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_any_subset_of_outputs():
    layer, values = layer_of(QUADRATIC, derivative=Implicit("dense")), tensors(QUADRATIC, 2)
    total = [torch.zeros_like(v) for v in values]
    for k in range(3):
        leaves = copies(values)
        layer(*leaves)[k].square().sum().backward()
        total = [t + leaf.grad for t, leaf in zip(total, leaves, strict=True)]
    leaves = copies(values)
    sum(output.square().sum() for output in layer(*leaves)).backward()
    torch.testing.assert_close([leaf.grad for leaf in leaves], total, rtol=1e-6, atol=1e-6)


def test_the_graph_can_be_walked_again():
    layer, leaves = layer_of(QUADRATIC), tensors(QUADRATIC, 2, grad=True)
    value = loss(layer(*leaves))
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    layer(*tensors(QUADRATIC, 4))  # another call in between
    assert same(torch.autograd.grad(value, leaves), first)


@pytest.mark.parametrize("name", ["log_log_convex", QUADRATIC])
def test_outputs_written_to_in_place(name):
    layer, values = layer_of(name), tensors(name)
    leaves, again = copies(values), copies(values)
    (3.0 * layer(*leaves)[0].sum()).backward()
    layer(*again)[0].mul_(3.0).sum().backward()
    assert same([v.grad for v in again], [v.grad for v in leaves])


TWICE = {
    "jacrev of jacrev": lambda f: jacrev(jacrev(f)),
    "jacfwd of jacrev": lambda f: jacfwd(jacrev(f)),
    "jacrev of jacfwd": lambda f: jacrev(jacfwd(f)),
    "jacfwd of jacfwd": lambda f: jacfwd(jacfwd(f)),
}


@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE.keys())
def test_second_derivatives_are_refused(twice):
    layer, (a, b) = layer_of("scalars"), tensors("scalars")
    with pytest.raises(CvxlpgdError, match="differentiated twice"):
        twice(lambda a: layer(a, b)[0].square())(a)


def test_double_backward_is_refused():
    layer, (a, b) = layer_of("scalars"), tensors("scalars", grad=True)
    (first,) = torch.autograd.grad(layer(a, b)[0].square(), a, create_graph=True)
    with pytest.raises(CvxlpgdError, match=r"twice.*create_graph=True"):
        first.backward()


def test_tracing_is_refused():
    """A traced layer would be a constant: its derivative silently 0."""
    layer, (a, b) = layer_of("scalars"), tensors("scalars")
    with pytest.raises(CvxlpgdError, match=r"traced.*linearize"):
        linearize(lambda a: layer(a, b)[0], a)


def test_anomaly_mode():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 2)
    expected = gradients(layer, values)
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly():
        assert same(gradients(layer, values), expected)
