"""A constraint or an objective that canonicalization loses is an error at the first call."""

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
from zoo_row import MISCOMPILED

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.layer import Layer
from cvxlpgd.witness import Witness

x, b = cp.Variable(3, nonneg=True), cp.Parameter(3)
LOOSE = cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [cp.sum(x) <= 10])
LOST = {
    "a constraint": cp.Problem(LOOSE.objective, [*LOOSE.constraints, cp.norm(x) <= 1]),
    "a cone": cp.Problem(LOOSE.objective, [*LOOSE.constraints, cp.diag(x) << 0.5 * np.eye(3)]),
    "an equality": cp.Problem(LOOSE.objective, [*LOOSE.constraints, x[0] == x[1]]),
    "part of the objective": cp.Problem(
        LOOSE.objective + cp.Minimize(cp.sum(x)), LOOSE.constraints
    ),
}
VALUE = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("lost", LOST)
def test_what_is_lost_is_noticed(lost):
    """The layer of a problem from which something was dropped, judged by the whole problem."""
    layer = Layer(LOOSE, [b], [x])
    layer._witness = Witness(LOST[lost], [b])
    with pytest.raises(CvxlpgdError, match=r"do not agree on what the problem is"):
        layer.forward([VALUE])


def test_a_bound_of_a_variable_is_watched_too():
    bounded = cp.Variable(3, bounds=[0, 0.5])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(bounded - b)))
    layer = Layer(problem, [b], [bounded])
    layer._witness.check([VALUE], [np.full(3, 0.5)], np.sum((VALUE - 0.5) ** 2))
    with pytest.raises(CvxlpgdError, match="violates"):
        layer._witness.check([VALUE], [VALUE], 0.0)


def test_it_speaks_once_and_writes_to_nothing():
    layer = Layer(LOOSE, [b], [x])
    layer.forward([VALUE])
    assert layer._witness is None
    assert x.value is None
    assert b.value is None
    assert LOOSE.value is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_watch_as_well(copied):
    layer = Layer(LOOSE, [b], [x])
    layer._witness = Witness(LOST["a constraint"], [b])
    with pytest.raises(CvxlpgdError, match="violates"):
        copied(layer).forward([VALUE])


def test_a_quadratic_objective_of_a_symmetric_variable_is_right_or_an_error():
    """CVXPY before 1.9.3 compiles it wrongly; a layer must not return what comes of it."""
    C, X = cp.Parameter((2, 2), symmetric=True), cp.Variable((2, 2), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X) / 2 - cp.trace(C @ X)))
    layer, value = Layer(problem, [C], [X]), np.array([[2.0, 0.5], [0.5, 1.0]])
    if MISCOMPILED:
        with pytest.raises(CvxlpgdError, match="objective"):
            layer.forward([value])
    else:
        found = layer.forward([value]).outputs[0].reshape(2, 2)
        np.testing.assert_allclose(found, value, atol=1e-7)
