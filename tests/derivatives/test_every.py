"""What every derivative of the registry does: a new one's row gets all of this."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import pytest

import cvxlpgd.derivatives
from cvxlpgd import FiniteDifference
from cvxlpgd.cones import Cone
from cvxlpgd.derivatives import Derivative, check_derivative
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.derivatives.registry import ROWS
from cvxlpgd.errors import DerivativeFailed, FailedSampleWarning, InvalidOption
from cvxlpgd.numpy import CvxpyLayer
from tests import zoo
from tests.helpers.at import At, dot, relative

JUDGE = FiniteDifference(step=1e-3)
JUDGED = 1e-5  # what the judge's own differences are right to
NAMES = ("quadratic_constrained", "entropy", "second_order_columns", "semidefinite_program")

EXAMPLES = [(example, row) for row in ROWS for example in row.examples]
SURROGATE = pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")


def params(*columns):
    """A case of each example, named by it; one that is no derivative may have a zero gradient."""
    return [
        pytest.param(value, *(c(row) for c in columns), id=repr(value),
                     marks=[SURROGATE] if row.error is None else [])
        for value, row in EXAMPLES
    ]  # fmt: skip


EVERY = params()
WITH_TOLERANCE = params(lambda row: max(row.error or 0.0, JUDGED))
WITH_ERROR = [case for case, (_, row) in zip(WITH_TOLERANCE, EXAMPLES, strict=True)
              if row.error is not None]  # fmt: skip
NAMING_CONES = [pytest.param(v, id=repr(v)) for v, _ in EXAMPLES if Cone not in v.cones]
ON = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def at():
    """Each row of the zoo, solved once."""
    solved = {name: At(zoo.row_named(name), batch=1) for name in NAMES}
    return solved.__getitem__


def test_all_public_ones_are_registered():
    public = (getattr(cvxlpgd.derivatives, name) for name in cvxlpgd.derivatives.__all__)
    kinds = {v for v in public if isinstance(v, type) and Derivative in v.__mro__[1:]}
    assert kinds == {row.kind for row in ROWS}
    for row in ROWS:
        assert {type(example) for example in row.examples} == {row.kind}


@pytest.mark.parametrize("value", EVERY)
def test_it_is_a_frozen_value(value):
    check_derivative("derivative", value)
    with pytest.raises(InvalidOption):
        check_derivative("derivative", type(value))
    assert pickle.loads(pickle.dumps(value)) == value == replace(value)
    assert isinstance(value.remedy, str)


@ON
@pytest.mark.parametrize(("value", "error"), WITH_TOLERANCE)
def test_backward_is_adjoint_to_forward(value, error, name, at):
    """<z_bar, J w_dot> = <J'z_bar, w_dot>."""
    gradients, dots = at(name).vjp(value), at(name).dots
    size = sum(np.linalg.norm(g) * np.linalg.norm(d) for g, d in zip(gradients, dots, strict=True))
    assert dot(gradients, dots) == pytest.approx(at(name).slope(value, dots), abs=error * size)


@ON
@pytest.mark.parametrize(("value", "error"), WITH_ERROR)
def test_it_is_the_limit_of_differences(value, error, name, at):
    gradients = at(name).vjp(value)
    directions = [at(name).tangent(np.random.default_rng(seed)) for seed in range(3)]
    slopes = np.array([dot(gradients, d) for d in directions])
    expected = np.array([at(name).slope(JUDGE, d) for d in directions])
    assert np.linalg.norm(slopes - expected) <= error * np.linalg.norm(expected)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
@pytest.mark.parametrize(("value", "error"), WITH_TOLERANCE)
def test_a_gradient_scales_with_its_cotangent(value, error, scale, at):
    point = at("quadratic_constrained")
    call, needed = point.call.with_derivative(value), [True] * len(point.values)
    scaled = call.vjp([bar * scale for bar in point.bars], needed)
    assert relative([g / scale for g in scaled], call.vjp(point.bars, needed)) <= error


@pytest.mark.parametrize("value", EVERY)
def test_a_failed_sample_leaves_its_mates_alone(value):
    """The second has no feasible point: its gradient is 0, the others' are those without it."""
    x, a, high = cp.Variable(2), cp.Parameter(2), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0, cp.sum(x) <= high])
    layer = CvxpyLayer(problem, [a, high], [x], derivative=value, on_failure="nan")
    rng, highs = np.random.default_rng(0), np.array([1.0, -1.0, 1.5])
    values, bars = rng.uniform(1, 2, (3, 2)), rng.normal(size=(3, 2))
    with pytest.warns(FailedSampleWarning):
        _, pullback = layer.vjp(values, highs)
    gradients = pullback(bars)
    mates = [0, 2]
    _, alone = layer.vjp(values[mates], highs[mates])
    for gradient, expected in zip(gradients, alone(bars[mates]), strict=True):
        assert not gradient[1].any()
        np.testing.assert_array_equal(gradient[mates], expected)


@dataclass(frozen=True)
class Strange:
    """A cone that nobody knows."""

    rows: int = 1


@pytest.mark.parametrize("value", NAMING_CONES)
def test_a_cone_that_it_does_not_name_is_refused_by_name(value, at):
    program, solver = at("entropy").call.program, at("entropy").call.solver
    require_structure(value, program.structure, solver)
    structure = replace(program.structure, cones=(*program.structure.cones, Strange()))
    with pytest.raises(
        DerivativeFailed, match=rf"{type(value).__name__}\(\) .* Strange cones; use LPGD\(\)"
    ):
        require_structure(value, structure, solver)
