"""Weakly active constraints: found where one-sided derivatives differ, and nowhere else."""

from __future__ import annotations

import copy

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero, is_weakly_active
from cvxlpgd.errors import CvxlpgdError, InvalidOption
from cvxlpgd.numpy import CvxpyLayer

COMPLEMENTARY = [  # cone, s, y, whether weakly active
    (Zero(1), [0.0], [0.0], False),
    (NonNeg(1), [0.0], [0.0], True),
    (NonNeg(1), [1.0], [0.0], False),
    (NonNeg(1), [0.0], [1.0], False),
    (SOC(3), [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], True),
    (SOC(3), [1.0, 1.0, 0.0], [1.0, -1.0, 0.0], False),
    (SOC(3), [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], True),
    (SOC(3), [2.0, 1.0, 0.0], [0.0, 0.0, 0.0], False),
    (PSD(2), [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], True),
    (PSD(2), [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], False),
    (PSD(2), [1.0, 0.0, 1.0], [0.0, 0.0, 0.0], False),
    (Exp(), [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], True),
    (Exp(), [0.0, 1.0, 1.0], [-1.0, -1.0, 1.0], False),
    (Exp(), [0.0, 1.0, 2.0], [0.0, 0.0, 0.0], False),
    (Pow(0.5), [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], True),
    (Pow(0.5), [1.0, 1.0, 1.0], [0.5, 0.5, -1.0], False),
]


@pytest.mark.parametrize(("cone", "s", "y", "expected"), COMPLEMENTARY)
def test_strict_complementarity(cone, s, y, expected):
    found = is_weakly_active(cone, np.array([[s]]), np.array([[y]]), 1e-6)
    assert found.shape == (1, 1)
    assert bool(found[0, 0]) == expected


def projection():
    x, c = cp.Variable(2, name="x"), cp.Parameter(2)
    constraints = [x >= 0, cp.norm(x) <= 1, cp.sum(x) <= 5]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), constraints)
    return CvxpyLayer(problem, [c], [x], solver_args={"eps": 1e-9}), constraints


def test_the_users_own_constraints_are_named():
    layer, constraints = projection()
    layer(np.array([[0.6, 0.0], [0.3, 0.4], [-1.0, 0.5], [0.6, 0.8]]))
    found = {id(weak.constraint): weak.where for weak in layer.weakly_active(1e-5)}
    assert found[id(constraints[0])].tolist() == [
        [False, True], [False, False], [False, False], [False, False]
    ]  # fmt: skip
    assert found[id(constraints[1])].tolist() == [False, False, False, True]
    assert id(constraints[2]) not in found
    assert "0.0 <= x" in repr(layer.weakly_active(1e-5)[0])


def test_bounds_and_attributes_are_named_after_their_variables():
    x = cp.Variable(2, nonneg=True, name="weights")
    c = cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - c))), [c], [x])
    layer(np.array([0.0, 1.0]))
    (weak,) = layer.weakly_active(1e-4)
    assert weak.constraint is None
    assert "weights" in weak.name
    assert weak.where.sum() == 1


def test_nothing_is_weak_at_a_regular_solution():
    layer, _ = projection()
    layer(np.array([[0.3, 0.4], [2.0, 3.0], [-1.0, 0.5]]))
    assert [weak for weak in layer.weakly_active(1e-5) if weak.constraint is not None] == []


def test_one_sided_derivatives_differ_there():
    """A kink: x*(c) = max(c, 0) at 0."""
    layer, _ = projection()
    ends = [layer(np.array([0.6, c]))[0][1] for c in (-1e-2, 0.0, 1e-2)]
    assert ends[1] - ends[0] == pytest.approx(0.0, abs=1e-4)
    assert ends[2] - ends[1] == pytest.approx(1e-2, abs=1e-4)


def test_a_geometric_programs_constraint_is_named():
    """x + 1/x is least at 1, where x >= a just holds for a = 1."""
    x, a = cp.Variable(pos=True), cp.Parameter(pos=True)
    constraint = x >= a
    layer = CvxpyLayer(cp.Problem(cp.Minimize(x + 1 / x), [constraint]), [a], [x], gp=True)
    layer(np.array([1.0, 0.5, 2.0]))
    named = [weak for weak in layer.weakly_active(1e-5) if weak.constraint is constraint]
    assert [weak.where.tolist() for weak in named] == [[True, False, False]]


def test_what_is_refused():
    layer, _ = projection()
    with pytest.raises(CvxlpgdError, match="not called"):
        layer.weakly_active()
    layer(np.array([0.3, 0.4]))
    with pytest.raises(InvalidOption, match="tol"):
        layer.weakly_active(-1.0)
    duplicate = copy.deepcopy(layer)
    duplicate(np.array([0.3, 0.4]))
    with pytest.raises(InvalidOption, match="copy of a layer"):
        duplicate.weakly_active()
    z, c = cp.Variable(2, boolean=True), cp.Parameter(2)
    integer = CvxpyLayer(cp.Problem(cp.Minimize(c @ z), [cp.sum(z) == 1]), [c], [z])
    integer(np.array([1.0, 2.0]))
    with pytest.raises(InvalidOption, match="integer"):
        integer.weakly_active()
