"""Every framework's adapter: the core's numbers, batches, dtypes, gradients and failures."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.errors import FailedSampleWarning, InvalidInput, SolveFailed
from cvxlpgd.layer import compile_layer
from tests.helpers.frameworks import FRAMEWORKS, jax_with

x, A, b = cp.Variable(3), cp.Parameter((2, 3)), cp.Parameter(2)
PROBLEM = cp.Problem(
    cp.Minimize(cp.sum_squares(x) + cp.sum_squares(A @ x - b)), [x >= -5, cp.sum(x) <= 0.5]
)
SHAPES = {  # leading axes of A and of b, and of the batch
    "no batch": ((), (), ()),
    "one axis": ((4,), (4,), (4,)),
    "shared": ((), (4,), (4,)),
    "broadcast": ((2, 1), (3,), (2, 3)),
    "no sample": ((0,), (0,), (0,)),
}

frameworks = pytest.mark.parametrize("framework", FRAMEWORKS, ids=str)


@pytest.fixture(autouse=True)
def doubles():
    """All frameworks have them; JAX where it is told so."""
    with jax_with(x64=True):
        yield


def draw(of_A, of_b):
    """Values at which x moves with the parameters, and no constraint only just holds."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.5, 1.5, size=(*of_A, 2, 3)), rng.uniform(1.0, 2.0, size=(*of_b, 2))]


def cotangent(*shape):
    return np.random.default_rng(1).normal(size=shape)


def layer_of(framework, **options):
    return framework.layer(PROBLEM, [A, b], [x], **options)


@pytest.mark.parametrize(
    ("framework", "name"),
    [(row, name) for row in FRAMEWORKS for name in SHAPES if row.empty or name != "no sample"],
    ids=str,
)
def test_solutions_and_gradients_are_the_cores(framework, name):
    of_A, of_b, batch = SHAPES[name]
    values = draw(of_A, of_b)
    call = compile_layer(PROBLEM, [A, b], [x]).forward(values)
    bar = cotangent(*batch, 3)
    expected = call.vjp([bar.reshape(-1, 3)], [True, True])
    outputs, gradients = framework.pull_back(
        layer_of(framework), [framework.array(v) for v in values], [framework.array(bar)]
    )
    assert np.array_equal(framework.numpy(outputs[0]), call.outputs[0].reshape(*batch, 3))
    for gradient, wanted, value in zip(gradients, expected, values, strict=True):
        assert framework.numpy(gradient).shape == value.shape
        assert np.array_equal(framework.numpy(gradient), wanted)


@frameworks
def test_gradients_are_slopes(framework):
    """Central differences of the loss bar'x along a random direction of each parameter."""
    layer, values, bar, h = layer_of(framework), draw((), ()), cotangent(3), 1e-6
    _, gradients = framework.pull_back(
        layer, [framework.array(v) for v in values], [framework.array(bar)]
    )
    for k, gradient in enumerate(gradients):
        direction, ends = cotangent(*values[k].shape), []
        for sign in (1.0, -1.0):
            moved = list(values)
            moved[k] = values[k] + sign * h * direction
            (solution,) = layer(*(framework.array(v) for v in moved))
            ends.append(bar @ framework.numpy(solution))
        slope = np.sum(framework.numpy(gradient) * direction)
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("framework", "dtype"),
    [(framework, dtype) for framework in FRAMEWORKS for dtype in framework.dtypes],
    ids=str,
)
def test_dtypes_come_out_as_they_went_in(framework, dtype):
    values = [framework.array(v.astype(dtype)) for v in draw((2,), ())]
    bar = framework.array(cotangent(2, 3).astype(dtype))
    outputs, gradients = framework.pull_back(layer_of(framework), values, [bar])
    assert all(framework.numpy(v).dtype == dtype for v in (*outputs, *gradients))


@frameworks
def test_nothing_of_the_callers_is_written_to(framework):
    values = draw((3,), ())
    arrays = [framework.array(v) for v in values]
    framework.pull_back(layer_of(framework), arrays, [framework.array(cotangent(3, 3))])
    assert all(np.array_equal(framework.numpy(a), v) for a, v in zip(arrays, values, strict=True))


@frameworks
def test_errors_name_what_is_wrong(framework):
    layer, (good, vector) = layer_of(framework), draw((), ())
    with pytest.raises(InvalidInput, match=r"parameter 0 .*\(2, 3\)"):
        layer(framework.array(good.T), framework.array(vector))
    with pytest.raises(InvalidInput, match="1 tensors, expected 2"):
        layer(framework.array(good))


@frameworks
def test_failed_samples(framework):
    y, c = cp.Variable(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(y - c)), [y <= 1, y >= c])
    values = framework.array(np.array([0.5, 2.0]))
    with pytest.raises(SolveFailed, match="sample 1: infeasible"):
        framework.layer(problem, [c], [y])(values)
    tolerant = framework.layer(problem, [c], [y], on_failure="nan")
    with pytest.warns(FailedSampleWarning):
        (solution,) = tolerant(values)
    assert np.isnan(framework.numpy(solution)).tolist() == [False, True]
    assert tolerant.info.ok.tolist() == [True, False]
