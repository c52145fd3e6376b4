"""A constraint or an objective that canonicalization loses is an error at the first call."""

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest

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


def test_the_edge_of_an_atom_s_domain_is_no_disagreement():
    """At -1e-10 a power is NaN and an entropy is -inf."""
    power = cp.Problem(cp.Minimize(cp.sum(cp.power(x, 1.5)) + b @ x))
    entropy = cp.Problem(LOOSE.objective, [cp.sum(cp.entr(x)) >= -5])
    for problem, objective in ((power, 0.0), (entropy, float(VALUE @ VALUE))):
        Witness(problem, [b]).check([VALUE], [np.full(3, -1e-10)], objective)


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
