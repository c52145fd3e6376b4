"""The JAX adapter: what goes in and comes out, failures, the record, copies, memory."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import subprocess
import sys
import threading

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import cvxlpgd.numpy
from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import (
    CvxlpgdError,
    FailedSampleWarning,
    InvalidInput,
    InvalidOption,
    SolveFailed,
)
from cvxlpgd.jax import CvxpyLayer
from cvxlpgd.layer import Call

x, c, s = cp.Variable(3), cp.Parameter(3), cp.Parameter()
LISTS = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == s, x <= 10]), [c, s], [x]
low, y = cp.Parameter(), cp.Variable()
FAILING = cp.Problem(cp.Minimize(cp.square(y - 2 * low)), [y >= low, y <= 1]), [low], [y]


def layer_of(**options):
    return CvxpyLayer(*LISTS, single=True, **options)


VALUE = jnp.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtype_in_is_dtype_out(dtype):
    layer, value = layer_of(), VALUE.astype(dtype)
    one = jnp.ones((), dtype)
    for function in (layer, jax.jit(layer)):
        assert function(value, one).dtype == dtype
        assert np.abs(function(value, one).astype(float) - (VALUE - 5 / 3)).max() < 0.02
    gradients = jax.grad(lambda c, s: layer(c, s)[0], (0, 1))(value, one)
    assert [g.dtype for g in gradients] == [dtype, dtype]
    assert np.abs(gradients[0].astype(float) - np.array([2, -1, -1]) / 3).max() < 0.01


def test_dtypes_are_promoted_and_each_gradient_has_its_own():
    layer = layer_of()
    mixed = VALUE.astype("bfloat16"), jnp.float32(1.0)
    assert layer(*mixed).dtype == "float32"
    gradients = jax.grad(lambda c, s: layer(c, s)[0], (0, 1))(*mixed)
    assert [g.dtype for g in gradients] == ["bfloat16", "float32"]


def test_doubles_stay_doubles(bits64):
    layer = layer_of()
    assert layer(np.array([1.0, 2.0, 3.0]), 1.0).dtype == "float64"
    assert layer(VALUE.astype("float32"), jnp.float32(1.0)).dtype == "float32"
    gradient = jax.jit(jax.grad(lambda c: layer(c, 1.0)[0]))(np.array([1.0, 2.0, 3.0]))
    assert np.abs(gradient - np.array([2, -1, -1]) / 3).max() < 1e-12


def test_lists_numbers_and_integers():
    layer, expected = layer_of(), np.array([-2, 1, 4]) / 3
    for values in ([1, 2, 3], 1), (np.arange(1, 4), True), ([1.0, jnp.float32(2), 3], 1.0):
        assert np.abs(layer(*values) - expected).max() < 1e-6
        assert np.abs(jax.jit(layer)(*values) - expected).max() < 1e-6
    inside = jax.grad(lambda t: layer([t, 2 * t, 3.0], 1)[0])(1.0)
    assert inside == pytest.approx(2 / 3 - 2 / 3, abs=1e-6)


def test_single_and_tuple():
    (variable,) = CvxpyLayer(*LISTS)(VALUE, 1.0)
    assert np.array_equal(variable, layer_of()(VALUE, 1.0))
    with pytest.raises(InvalidOption, match="single"):
        CvxpyLayer(LISTS[0], LISTS[1], [x, LISTS[0].constraints[0].dual_variables[0]], single=True)


class Lookalike:
    shape, ndim = (3,), 1

    def __array__(self, *args, **kwargs):
        return np.ones(3)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (torch.ones(3), ["value 0", "torch.Tensor", "JAX or NumPy"]),
        (Lookalike(), ["value 0", "Lookalike"]),
        (None, ["value 0", "NoneType"]),
        ({"c": 1.0}, ["value 0", "dict"]),
        ("abc", ["value 0", "str"]),
        (np.array(["a"] * 3), ["value 0"]),
        (np.array([1j, 0, 0]), ["value 0", "complex64", "real numbers"]),
        (jnp.ones(3) * 1j, ["value 0", "complex64", "real numbers"]),
        (np.ma.masked_array(np.ones(3), [True, False, False]), ["value 0", "masked"]),
        ([[1.0], [1.0, 2.0]], ["value 0"]),
        (jnp.ones(4), ["parameter 0", "(3,)", "(4,)"]),
        (jnp.ones((3, 1)), ["parameter 0", "(3,)", "(3, 1)"]),
        (jax.random.key(0), ["value 0", "key"]),
    ],
    ids=range(13),  # an address in a name would be another one in each worker
)
def test_bad_values(value, parts):
    with pytest.raises(InvalidInput) as caught:
        layer_of()(value, 1.0)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_bad_values_are_refused_while_jit_traces():
    layer = layer_of()
    with pytest.raises(InvalidInput, match=r"parameter 0 .*\(3,\)"):
        jax.jit(layer)(jnp.ones(4), 1.0)
    with pytest.raises(InvalidInput, match=r"1 tensors, expected 2"):
        jax.jit(layer)(VALUE)
    with pytest.raises(InvalidInput, match="do not broadcast"):
        jax.jit(layer)(jnp.ones((2, 3)), jnp.ones(3))
    with pytest.raises(InvalidOption, match="does_not_exist"):
        jax.jit(lambda c: layer(c, 1.0, solver_args={"does_not_exist": 1}))(VALUE)


@pytest.mark.parametrize("start", [True, None, "previous"])
def test_warm_starts_are_not_offered(start):
    with pytest.raises(InvalidOption, match="warm_start is not offered in JAX"):
        layer_of()(VALUE, 1.0, warm_start=start)


def test_solver_args_of_a_call():
    args, bar = {"solve_method": "SCS", "eps": 1e-9, "mode": "dense"}, np.array([1.0, 2.0, 0.0])
    layer, judge = layer_of(), cvxlpgd.numpy.CvxpyLayer(*LISTS)
    (expected,), pullback = judge.vjp(VALUE, 1.0, solver_args=args)
    assert np.abs(layer(VALUE, 1.0, solver_args=args) - expected).max() < 1e-6
    assert layer.info.solver == "SCS"
    for wrap in (lambda f: f, jax.jit):
        gradient = wrap(jax.grad(lambda c: layer(c, 1.0, solver_args=args) @ bar))(VALUE)
        assert np.abs(gradient - pullback(bar)[0]).max() < 1e-6
        assert layer.info.method == "embedding"


@pytest.mark.parametrize("tau", [0.1, np.array([0.1, 0.2, 0.3])], ids=["number", "array"])
def test_perturbations_of_a_given_size(tau):
    """An array's rows belong to the batch, under vmap to the last batch axis."""
    options = {"derivative": LPGD(tau=tau, side="lower"), "single": True}
    layer, judge = (
        layer_of(derivative=options["derivative"]),
        cvxlpgd.numpy.CvxpyLayer(*LISTS, **options),
    )
    values = jnp.stack([VALUE, 2 * VALUE, -VALUE])
    bars = np.arange(9.0).reshape(3, 3)
    _, pullback = judge.vjp(values, 1.0)
    expected = pullback(bars)[0]
    assert np.abs(jax.grad(lambda c: (layer(c, 1.0) * bars).sum())(values) - expected).max() < 1e-5
    mapped = jax.vmap(jax.grad(lambda c: (layer(c, 1.0) * bars).sum()))(jnp.stack([values] * 2))
    assert np.abs(mapped - expected).max() < 1e-5


def test_no_parameters():
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - 1))), [], [x], single=True)
    assert layer() == pytest.approx(1.0)
    assert jax.jit(lambda t: t * layer())(2.0) == pytest.approx(2.0)


def test_an_empty_batch():
    layer, none = layer_of(), jnp.ones((0, 3))
    for wrap in (lambda f: f, jax.jit):
        assert wrap(layer)(none, 1.0).shape == (0, 3)
        gradients = wrap(jax.grad(lambda c, s: layer(c, s).sum(), (0, 1)))(none, 1.0)
        assert [g.shape for g in gradients] == [(0, 3), ()]
        assert gradients[1] == 0


def test_failed_samples_are_rows_of_nan_with_gradient_0():
    layer = CvxpyLayer(*FAILING, on_failure="nan", single=True)
    values = jnp.array([0.3, 2.0, jnp.nan])
    loss = jax.value_and_grad(lambda v: jnp.nansum(layer(v)))
    each = jax.vmap(jax.value_and_grad(layer))
    for function in (layer, jax.jit(layer), jax.vmap(layer), jax.jit(jax.vmap(layer))):
        with pytest.warns(FailedSampleWarning, match="2 of 3 samples") as caught:
            solution = jax.block_until_ready(function(values))
        assert caught[0].filename == __file__
        assert np.isnan(solution).tolist() == [False, True, True]
        assert layer.info.ok.tolist() == [True, False, False]
    for function in (loss, jax.jit(loss), each, jax.jit(each)):
        with pytest.warns(FailedSampleWarning):
            gradient = jax.block_until_ready(function(values))[1]
        assert np.abs(gradient - np.array([2.0, 0, 0])).max() < 1e-6
    with pytest.warns(FailedSampleWarning):
        tangent = jax.jvp(layer, (values,), (jnp.ones(3),))[1]
    assert np.array_equal(np.isnan(tangent), [False, True, True])


def test_failures_raise():
    """As our own errors where nothing is traced, in JAX's with our words where something is."""
    layer = CvxpyLayer(*FAILING)
    with pytest.raises(SolveFailed, match="infeasible"):
        layer(2.0)
    with pytest.raises(InvalidInput, match="NaN"):
        jax.grad(lambda v: layer(v)[0])(jnp.nan)
    for function in (jax.jit(layer), jax.vmap(layer)):
        with pytest.raises(jax.errors.JaxRuntimeError, match=r"SolveFailed: .*infeasible"):
            jax.block_until_ready(function(jnp.array([2.0])))


def test_the_record_is_of_the_newest_call_on_any_thread():
    layer = layer_of()
    with pytest.raises(CvxlpgdError, match="no call of this layer"):
        _ = layer.info
    function = jax.jit(jax.grad(lambda c: layer(c, 1.0)[..., 0].sum()))
    thread = threading.Thread(target=lambda: function(jnp.ones((4, 3))).block_until_ready())
    thread.start()
    thread.join()
    assert layer.info.status.tolist() == ["solved"] * 4
    assert layer.info.method.tolist() == ["path"] * 4
    assert layer.info.differentiated.all()
    layer(VALUE, 1.0)
    assert layer.info.status.shape == ()
    assert layer.info.method == ""  # no derivative yet
    jax.vmap(layer, in_axes=(0, None))(jnp.ones((5, 2, 3)), 1.0)
    assert layer.info.status.shape == (5, 2)


def test_a_derivative_reports_to_the_record_of_its_own_call_only():
    layer = layer_of()
    _, pullback = jax.vjp(lambda c: layer(c, 1.0), VALUE)
    layer(2 * VALUE, 1.0)
    pullback(VALUE)
    assert layer.info.method == ""


def test_weakly_active_constraints_are_those_of_the_newest_call():
    layer = layer_of()
    jax.jit(layer)(jnp.array([10.0, 1.0, 2.0]), 13.0).block_until_ready()
    (weak,) = layer.weakly_active()
    assert weak.where.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copies(copied):
    layer = layer_of(derivative=Implicit("dense"))
    before, expected = copied(layer), layer(VALUE, 1.0)
    for other in (before, copied(layer)):
        assert np.array_equal(jax.jit(other)(VALUE, 1.0), expected)
        assert jax.grad(lambda c, other=other: other(c, 1.0)[0])(VALUE).shape == (3,)
    assert "Implicit" in repr(layer)


def test_calls_are_not_kept():
    gc.collect()
    before = {id(one) for one in gc.get_objects() if type(one) is Call}  # of other tests
    layer = layer_of()
    function = jax.jit(jax.grad(lambda c: layer(c, 1.0)[0]))
    for _ in range(3):
        function(VALUE).block_until_ready()
        jax.grad(lambda c: layer(c, 1.0)[0])(VALUE)
    gc.collect()
    calls = [one for one in gc.get_objects() if type(one) is Call]
    assert not [call for call in calls if id(call) not in before]


def test_derivatives_without_jit_are_compiled_once(caplog):
    layer = layer_of()

    def both():
        jax.grad(lambda c: layer(c, 1.0)[0])(VALUE)
        jax.jacfwd(lambda c: layer(c, 1.0))(VALUE)

    both()
    with jax.log_compiles(), caplog.at_level(logging.DEBUG):
        both()
        before = len(caplog.records)
        jax.jit(lambda c: c * 1.2345)(VALUE)
    assert len(caplog.records) > before  # what is compiled is logged
    assert "pure_callback" not in "".join(r.getMessage() for r in caplog.records[:before])


def test_large_values_many_times():
    """Callbacks that touch large arrays of JAX's can wait for themselves; these do not."""
    z, M = cp.Variable(2), cp.Parameter((300, 300))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(z - M[0, :2] - M[-1, -1])))
    layer = CvxpyLayer(problem, [M], [z], single=True)
    step = jax.jit(lambda M: M - 0.1 * jax.grad(lambda M: jnp.sum(layer(jnp.sin(M)) ** 2))(M))
    value = jnp.ones((300, 300))
    for _ in range(100):
        value = step(value)
    assert np.abs(layer(jnp.sin(value))).max() < 0.1


def test_it_does_not_load_torch():
    code = (
        "import sys, cvxpy as cp, cvxlpgd; dir(cvxlpgd)\n"
        "assert 'cvxlpgd.jax' not in sys.modules\n"
        "a, x = cp.Parameter(2), cp.Variable(2)\n"
        "problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [cp.sum(x) == 1])\n"
        "layer = cvxlpgd.jax.CvxpyLayer(problem, [a], [x], single=True)\n"
        "import jax; print(jax.grad(lambda a: layer(a)[0])([1.0, 2.0]))\n"
        "print('torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert run.stdout.endswith("False\n"), run.stderr
