"""A layer under JAX's transformations: the NumPy layer's numbers, or an error that says why not."""

from __future__ import annotations

import os
import subprocess
import sys

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cvxlpgd.numpy
from cvxlpgd import LPGD
from cvxlpgd.errors import CvxlpgdError, DerivativeFailed
from cvxlpgd.jax import CvxpyLayer
from tests.jax.transformations import TRANSFORMATIONS, error

y, c = cp.Variable(3), cp.Parameter(3)
PLANE = cp.Problem(cp.Minimize(cp.sum_squares(y - c)), [cp.sum(y) == 1])  # y = c + (1 - 1'c) / 3
PROJECTION = np.eye(3) - 1 / 3
CHOICE = cp.Problem(cp.Minimize(c @ y), [cp.sum(y) == 1, y >= 0])  # the least of c
BOX = cp.Problem(cp.Minimize(cp.sum_squares(y - c)), [y >= 0])  # y = max(c, 0)


@pytest.mark.parametrize("batch", [(), (4,)], ids=["no batch", "batch"])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_numbers_are_those_of_the_numpy_layer(name, batch, x64):
    tolerance = 1e-13 if x64 else 1e-6
    assert error(name, batch, jitted=False) < tolerance
    assert error(name, batch, jitted=True) < tolerance


def test_derivatives_are_those_of_the_closed_form(x64):
    layer = CvxpyLayer(PLANE, [c], [y], single=True)
    value, tolerance = jnp.array([1.0, 2.0, 3.0]), 1e-12 if x64 else 1e-6
    assert np.abs(layer(value) - np.array([-2, 1, 4]) / 3).max() < tolerance
    for function in (jax.jacrev(layer), jax.jacfwd(layer), jax.jit(jax.jacrev(layer))):
        assert np.abs(function(value) - PROJECTION).max() < tolerance


def test_a_vmapped_gradient_is_not_summed_over_what_is_mapped():
    layer, weights = CvxpyLayer(PLANE, [c], [y], single=True), jnp.eye(3)
    gradients = jax.vmap(jax.grad(lambda c, w: layer(c) @ w), in_axes=(None, 0))
    assert np.abs(gradients(jnp.ones(3), weights) - PROJECTION).max() < 1e-6


def test_a_batch_shares_the_gradient_of_what_it_shares():
    layer, cs = CvxpyLayer(PLANE, [c], [y], single=True), jnp.ones((1, 3))
    weights = jnp.arange(12.0).reshape(4, 3)
    gradient = jax.grad(lambda c: (layer(c) * weights).sum())(cs)
    assert gradient.shape == (1, 3)
    assert np.abs(gradient[0] - weights.sum(axis=0) @ PROJECTION).max() < 1e-5


def test_solutions_keep_their_digits_where_jax_has_32_bits():
    """A difference of rounded solutions would be off by 1e-7 / tau."""
    options = {"derivative": LPGD(tau=1e-4, side="lower"), "single": True}
    value, bar = np.array([1.0, 2.0, 0.5]), np.array([1.0, -2.0, 0.3])
    layer = CvxpyLayer(PLANE, [c], [y], **options)
    _, pullback = cvxlpgd.numpy.CvxpyLayer(PLANE, [c], [y], **options).vjp(value)
    for gradient in (
        jax.grad(lambda c: layer(c) @ bar),
        jax.jit(jax.grad(lambda c: layer(c) @ bar)),
    ):
        assert np.abs(gradient(value) - pullback(bar)[0]).max() < 1e-6


def test_jacrev_is_the_gradient_and_jacfwd_the_directional_derivative():
    """At a vertex: the gradient looks further, the solution itself stays where it is."""
    layer = CvxpyLayer(CHOICE, [c], [y], single=True)
    costs, away = jnp.array([1.0, 2.0, 4.0]), np.array([[-0.25, 0.25, 0.0], [0.25, -0.25, 0.0]])
    assert np.abs(jax.jacrev(layer)(costs)[:2] - away).max() < 1e-6
    assert np.abs(jax.jacfwd(layer)(costs)).max() < 1e-6


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_one_sided_jacobians_at_a_kink():
    """A cotangent points downhill, where the solution stays, a tangent uphill, where it moves."""
    derivative = LPGD(tau=0.1, side="lower")
    layer = CvxpyLayer(BOX, [c], [y], derivative=derivative, single=True)
    value = jnp.array([0.0, 1.0, 2.0])
    for jacobian, slope_at_the_kink in ((jax.jacrev, 0.0), (jax.jacfwd, 1.0)):
        expected = np.diag([slope_at_the_kink, 1, 1])
        assert np.abs(jacobian(layer)(value) - expected).max() < 1e-5


def slope(layer):
    return jax.grad(lambda c: jnp.sin(layer(c)).sum())


@pytest.mark.parametrize(
    "twice",
    [
        lambda layer: jax.hessian(lambda c: layer(c).sum()),
        lambda layer: jax.grad(lambda c: slope(layer)(c).sum()),
        lambda layer: jax.jit(jax.grad(lambda c: jax.jit(slope(layer))(c).sum())),
        lambda layer: jax.jacfwd(jax.jacfwd(layer)),
        lambda layer: lambda c: jax.jvp(slope(layer), (c,), (c,)),
        lambda layer: jax.vmap(jax.grad(lambda c: slope(layer)(c).sum())),
    ],
    ids=["hessian", "grad of grad", "jit", "jacfwd of jacfwd", "jvp of grad", "vmap"],
)
def test_second_derivatives_are_refused(twice):
    layer = CvxpyLayer(PLANE, [c], [y], single=True)
    with pytest.raises(CvxlpgdError, match="cannot be differentiated twice"):
        twice(layer)(jnp.ones((3, 3)))


def test_what_is_linear_in_a_tangent_or_stopped_may_be_differentiated():
    layer, value = CvxpyLayer(PLANE, [c], [y], single=True), jnp.array([1.0, 2.0, 3.0])
    gradient = jax.grad(lambda dot: jax.jvp(layer, (value,), (dot,))[1][0])(value)
    assert np.abs(gradient - PROJECTION[0]).max() < 1e-6

    def stopped(c):
        return jnp.sum(c**2 * slope(layer)(jax.lax.stop_gradient(c)))

    assert np.abs(jax.grad(stopped)(value) - 2 * value * slope(layer)(value)).max() < 1e-5


def test_parameters_that_nobody_differentiates_need_no_gradient():
    """The bound of an integer has none, and is refused before anything is solved."""
    n, cost, bound = cp.Variable(integer=True), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cost * n), [n <= bound, n >= 0])
    layer = CvxpyLayer(problem, [cost, bound], [n], derivative=LPGD(tau=1.0), single=True)
    with pytest.raises(DerivativeFailed, match="integer"):
        jax.grad(layer, 1)(-0.5, 2.5)
    assert jax.grad(layer)(-0.5, 2.5) == -1.0  # (n(-0.5 + 1) - n(-0.5 - 1)) / 2


SHARDED = """
import cvxpy as cp, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from cvxlpgd.jax import CvxpyLayer

y, c, s = cp.Variable(3), cp.Parameter(3), cp.Parameter()
problem = cp.Problem(cp.Minimize(cp.sum_squares(y - c)), [cp.sum(y) == s])
layer = CvxpyLayer(problem, [c, s], [y], single=True)
cs, s = jnp.arange(12.0).reshape(4, 3), jnp.asarray(2.0)
weights = jnp.array([1.0, -2.0, 0.5])


def loss(function):
    return lambda cs, s: (function(cs, s) @ weights).sum()


def same(left, right):
    for a, b in zip(left, right, strict=True):
        assert np.abs(np.reshape(a, np.shape(b)) - b).max() < 1e-5, (a, b)


outputs, gradients = layer(cs, s), jax.grad(loss(layer), (0, 1))(cs, s)
mapped = jax.pmap(layer, in_axes=(0, None))
halves = cs.reshape(2, 2, 3)
same([mapped(halves, s)], [outputs])
same(jax.grad(loss(mapped), (0, 1))(halves, s), gradients)
each = jax.pmap(jax.grad(loss(layer), (0, 1)), in_axes=(0, None))(halves, s)
same([each[0], each[1].sum()], gradients)

mesh, rows, whole = Mesh(np.array(jax.devices()), ("i",)), PartitionSpec("i"), PartitionSpec()
assert len(jax.devices()) == 2
sharded = jax.device_put(cs, NamedSharding(mesh, rows))
same([np.asarray(jax.jit(layer)(sharded, s))], [outputs])
same(jax.jit(jax.grad(loss(layer), (0, 1)))(sharded, s), gradients)
same([layer(sharded, s)], [outputs])
if jax.__version_info__ >= (0, 7):
    on_each = jax.shard_map(
        layer, mesh=mesh, in_specs=(rows, whole), out_specs=rows, check_vma=False
    )
    same([on_each(cs, s), jax.jit(on_each)(sharded, s)], [outputs, outputs])
    same(jax.grad(loss(on_each), (0, 1))(cs, s), gradients)
    same(jax.jit(jax.grad(loss(on_each), (0, 1)))(sharded, s), gradients)
print("whole")
"""


def test_two_devices():
    """pmap, shard_map without its checks of what varies, and arrays that lie on both."""
    flag = "--xla_force_host_platform_device_count=2"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHARDED],
        env=os.environ | {"XLA_FLAGS": flag},
        capture_output=True,
        encoding="utf-8",
    )
    assert run.stdout == "whole\n", run.stderr
