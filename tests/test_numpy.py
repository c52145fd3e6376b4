"""The NumPy adapter: values, cotangents and tangents in and out."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD, FiniteDifference, Implicit
from cvxlpgd.errors import FailedSampleWarning, InvalidInput
from cvxlpgd.numpy import CvxpyLayer
from tests import zoo
from tests.helpers.at import dot

QUADRATIC = "quadratic_constrained"
ROWS = [QUADRATIC, "scalars", "many_axes", "sparse", "second_order_cone", "log_log_convex"]


def layer_of(name: str, **options) -> CvxpyLayer:
    row = zoo.row_named(name)
    options = {"gp": row.gp, "canon_backend": row.backend} | options
    return CvxpyLayer(*row.build(), **options)


def inputs(name: str, *axes: int) -> list[np.ndarray]:
    values = zoo.row_named(name).inputs(int(np.prod(axes)))
    return [v.reshape((*axes, *v.shape[1:])) for v in values]


def same(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("axes", [(), (3,), (2, 1, 2), (0,), (1,)], ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_shapes(name, axes):
    layer, values = layer_of(name), inputs(name, *axes)
    shapes = [(*axes, *variable.shape) for variable in zoo.row_named(name).build()[2]]
    outputs, pullback = layer.vjp(*values)
    assert [output.shape for output in outputs] == shapes
    assert all(isinstance(output, np.ndarray) for output in outputs)
    assert same(layer(*values), outputs)
    assert layer.info.status.shape == axes
    cotangents = pullback(*(np.cos(output) for output in outputs))
    assert [c.shape for c in cotangents] == [v.shape for v in values]
    again, tangents = layer.jvp(values, [0.01 * v for v in values])
    assert same(again, outputs)
    assert [tangent.shape for tangent in tangents] == shapes


@pytest.mark.parametrize("derivative", [Implicit("dense"), LPGD(tau=1e-4)], ids=["exact", "LPGD"])
@pytest.mark.parametrize("name", ["scalars", QUADRATIC, "matrix_least_squares"])
def test_forward_and_backward_are_adjoint(name, derivative):
    layer, values = layer_of(name, derivative=derivative), inputs(name, 3)
    values[0] = values[0][:1]  # shared by the batch
    rng = np.random.default_rng(0)
    outputs, pullback = layer.vjp(*values)
    bars = [rng.normal(size=output.shape) for output in outputs]
    dots = [rng.normal(size=value.shape) for value in values]
    _, tangents = layer.jvp(values, dots)
    assert dot(bars, tangents) == pytest.approx(dot(pullback(*bars), dots), rel=1e-5)


def test_against_finite_differences():
    values = inputs(QUADRATIC, 2)
    outputs, pullback = layer_of(QUADRATIC).vjp(*values)
    bars = [np.cos(output) for output in outputs]
    _, judge = layer_of(QUADRATIC, derivative=FiniteDifference()).vjp(*values)
    for found, expected in zip(pullback(*bars), judge(*bars), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_dtype_in_is_dtype_out(dtype):
    layer, rounded = layer_of("scalars"), [v.astype(dtype) for v in inputs("scalars", 2)]
    (x,), pullback = layer.vjp(*rounded)
    (expected,), exact = layer.vjp(*(v.astype(float) for v in rounded))
    assert x.dtype == dtype
    assert np.array_equal(x, expected.astype(dtype))
    for found, gradient in zip(pullback(x), exact(x), strict=True):
        assert found.dtype == dtype
        assert np.array_equal(found, gradient.astype(dtype))
    assert layer.jvp(rounded, rounded)[1][0].dtype == dtype


def test_dtypes_are_promoted_and_gradients_keep_their_own():
    layer, (a, b) = layer_of("scalars"), inputs("scalars")
    (x,), pullback = layer.vjp(a.astype(np.float32), b.astype(np.float16))
    assert x.dtype == np.float32
    assert [g.dtype for g in pullback(x)] == [np.float32, np.float16]
    (x,), pullback = layer.vjp(2, np.float32(1.0))  # an integer has no say
    assert x.dtype == np.float32
    assert [g.dtype for g in pullback(x)] == [np.float64, np.float32]
    for integer in (2, True, np.uint8(2), [2, 3], (2, 3)):
        assert layer(integer, 1)[0].dtype == np.float64


def test_lists_and_scalars():
    layer, values = layer_of(QUADRATIC), inputs(QUADRATIC, 2)
    expected = layer(*values)
    assert same(layer(*(v.tolist() for v in values)), expected)
    (x,) = layer_of("scalars")(3, 2.0)
    assert x.shape == ()
    assert x == pytest.approx(2.0)


def test_memory_orders_and_read_only_arrays():
    layer, values = layer_of(QUADRATIC), inputs(QUADRATIC, 4)
    outputs, pullback = layer.vjp(*values)
    bars = [np.cos(output) for output in outputs]
    expected = pullback(*bars)
    reordered = [np.asfortranarray(v) for v in values]
    backwards = [np.ascontiguousarray(v[::-1])[::-1] for v in values]
    wide = [np.repeat(v, 2, axis=-1)[..., ::2] for v in values[:3]] + values[3:]
    for others in (reordered, backwards, wide):
        for v in others:
            v.flags.writeable = False
        found, pullback = layer.vjp(*others)
        assert same(found, outputs)
        turned = [np.asfortranarray(bar) for bar in bars]
        for bar in turned:
            bar.flags.writeable = False
        assert same(pullback(*turned), expected)


def test_batch_axes_broadcast():
    layer = layer_of(QUADRATIC, derivative=Implicit("dense"))
    P, q, A, b = inputs(QUADRATIC, 4)
    shared = [P[:, None], q[:3], A[0], b[:1]]
    full = [
        np.broadcast_to(v, (4, 3, *v.shape[-r:])) for v, r in zip(shared, (2, 1, 2, 1), strict=True)
    ]
    outputs, pullback = layer.vjp(*shared)
    expected, judge = layer.vjp(*full)
    assert [output.shape for output in outputs] == [(4, 3, 4), (4, 3, 2), (4, 3, 4)]
    assert same(outputs, expected)
    bars = [np.cos(output) for output in outputs]
    sums = judge(*bars)
    wanted = [sums[0].sum(1, keepdims=True), sums[1].sum(0), sums[2].sum((0, 1)),
              sums[3].sum((0, 1))[None]]  # fmt: skip
    for found, total in zip(pullback(*bars), wanted, strict=True):
        assert found.shape == total.shape
        assert found == pytest.approx(total, rel=1e-9, abs=1e-9)


def test_cotangents_broadcast():
    layer, values = layer_of(QUADRATIC), inputs(QUADRATIC, 2)
    outputs, pullback = layer.vjp(*values)
    bar = np.arange(4.0)
    full = [np.broadcast_to(bar, outputs[0].shape), np.zeros((2, 2)), np.zeros((2, 4))]
    assert same(pullback(bar, 0.0, 0), pullback(*full))


def test_a_pullback_may_be_called_again_and_later():
    layer, values = layer_of("log_log_convex"), inputs("log_log_convex", 2)
    outputs, pullback = layer.vjp(*values)
    bars = [np.cos(output) for output in outputs]
    expected = pullback(*bars)
    layer(*inputs("log_log_convex", 4))
    for array in (*outputs, *values):  # the caller's, who may write to them
        array[...] = 7.0
    found = pullback(*bars)
    assert same(found, expected)
    assert all(array.flags.writeable for array in (*outputs, *found))


def test_no_parameters():
    layer = layer_of("no_parameters")
    (x,), pullback = layer.vjp()
    assert x == pytest.approx([0.5, 0.5])
    assert pullback(x) == ()
    assert not layer.jvp((), ())[1][0].any()


@pytest.mark.parametrize("name", ["diagonal", "sparse", "symmetric_variable", QUADRATIC])
def test_gradients_keep_the_parameters_structure(name):
    layer, values = layer_of(name), inputs(name, 2)
    outputs, pullback = layer.vjp(*values)
    gradient = pullback(*(np.cos(output) for output in outputs))[0]
    if name in ("diagonal", "sparse"):
        assert not gradient[values[0] == 0].any()
    else:
        assert np.array_equal(gradient, np.swapaxes(gradient, -1, -2))
    assert gradient.any()


def test_failed_samples():
    low, high, x = cp.Parameter(), cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= high])
    layer = CvxpyLayer(problem, [low, high], [x], on_failure="nan")
    values = np.array([1.0, 3.0, np.nan, 1.5]), np.array(2.0)
    with pytest.warns(FailedSampleWarning, match="2 of 4"):
        (found,), pullback = layer.vjp(*values)
    assert np.isnan(found).tolist() == [False, True, True, False]
    low_bar, high_bar = pullback(np.array([1.0, np.nan, np.inf, 2.0]))
    assert low_bar == pytest.approx([1.0, 0.0, 0.0, 2.0], abs=1e-5)
    assert np.isfinite(high_bar)
    with pytest.warns(FailedSampleWarning):
        _, (dots,) = layer.jvp(values, (np.ones(4), 0.0))
    assert dots == pytest.approx([1.0, np.nan, np.nan, 1.0], abs=1e-5, nan_ok=True)


def test_warm_starts():
    layer, values = layer_of(QUADRATIC, solver="SCS"), inputs(QUADRATIC, 2)
    cold = layer(*values)
    iterations = layer.info.iterations
    warm = layer(*values, warm_start=layer.info.solution)
    assert (layer.info["iterations"] < iterations).all()
    for a, b in zip(warm, cold, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_solver_args_of_a_call():
    layer, values = layer_of(QUADRATIC), inputs(QUADRATIC)
    args = {"solve_method": "SCS", "eps": 1e-9, "mode": "dense"}
    outputs, pullback = layer.vjp(*values, solver_args=args)
    other = layer_of(QUADRATIC, solver="SCS", derivative=Implicit("dense"))
    expected, judge = other.vjp(*values)
    assert same(outputs, expected)
    bars = [np.cos(output) for output in outputs]
    assert same(pullback(*bars), judge(*bars))
    assert same(layer.jvp(values, values, solver_args=args)[1], other.jvp(values, values)[1])


@pytest.mark.parametrize(
    ("bars", "parts"),
    [
        ((np.ones(4),), ["received 1 cotangents", "expected 3"]),
        ((np.ones(3), 0.0, 0.0), ["cotangent 0", "(3,)", "(2, 4)"]),
        ((0.0, np.ones((5, 2, 2)), 0.0), ["cotangent 1", "(5, 2, 2)", "(2, 2)"]),
        ((0.0, 0.0, "a"), ["cotangent 2", "real numbers"]),
        ((None, 0.0, 0.0), ["cotangent 0", "real numbers"]),
        ((1j, 0.0, 0.0), ["cotangent 0", "complex"]),
    ],
)
def test_bad_cotangents(bars, parts):
    _, pullback = layer_of(QUADRATIC).vjp(*inputs(QUADRATIC, 2))
    with pytest.raises(InvalidInput) as caught:
        pullback(*bars)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("dots", "parts"),
    [
        ((1.0,), ["received 1 tangents", "expected 2"]),
        ((np.ones(3), 1.0), ["tangent 0", "(3,)", "(2,)"]),
        ((1.0, None), ["tangent 1", "real numbers"]),
    ],
)
def test_bad_tangents(dots, parts):
    with pytest.raises(InvalidInput) as caught:
        layer_of("scalars").jvp(inputs("scalars", 2), dots)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copies(copied):
    layer, values = layer_of(QUADRATIC), inputs(QUADRATIC, 2)
    before, outputs = copied(layer), layer(*values)
    assert same(before(*values), outputs)
    assert same(copied(layer)(*values), outputs)
    assert "LPGD" in repr(layer)


def test_it_does_not_load_torch():
    code = (
        "import sys, cvxpy as cp, cvxlpgd.numpy\n"
        "a, x = cp.Parameter(2), cp.Variable(2)\n"
        "problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [cp.sum(x) == 1])\n"
        "(x,), pullback = cvxlpgd.numpy.CvxpyLayer(problem, [a], [x]).vjp([1, 2])\n"
        "print(x.round(6) + 0.0, pullback([1, 0])[0].round(6))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "[0. 1.] [ 0.5 -0.5]\nFalse\n", done.stderr
