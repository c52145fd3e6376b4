"""Perspectives, support functions, indicators: what they keep is out of reach of CVXPY's walks."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.numpy import CvxpyLayer

x, s = cp.Variable(2, name="x"), cp.Variable(nonneg=True, name="s")
t = cp.Variable(nonneg=True, name="t")
c, p = cp.Parameter(2, name="c"), cp.Parameter(2, name="p")
point = cp.Variable(2, name="point")
DISK = cp.suppfunc(point, [cp.norm(point, 2) <= 1])
VALUES = [np.array([3.0, 1.0]), np.array([-0.5, 0.25])]


def near(f):
    """Around c, and with p in a place where CVXPY sees it."""
    return cp.Problem(cp.Minimize(f + cp.sum_squares(x - c) + p @ x + (s - 1) ** 2))


# a perspective or a support function, and the same by other atoms
SAME = {
    "square": (cp.perspective(cp.sum_squares(x), s), cp.quad_over_lin(x, s)),
    "log": (-cp.perspective(cp.sum(cp.log(x)), s), cp.sum(cp.rel_entr(s * np.ones(2), x))),
    "nested": (
        cp.perspective(cp.perspective(cp.sum_squares(x), s), t) + cp.square(t - 2),
        cp.quad_over_lin(x, s) + cp.square(t - 2),
    ),
    "disk": (DISK(x), cp.norm(x, 2)),
    "disk moved by p": (DISK(x - p), cp.norm(x - p, 2)),
    "disk scaled by p": (DISK(cp.multiply(p, x)), cp.norm(cp.multiply(p, x), 2)),
}


@pytest.mark.parametrize("name", SAME)
def test_they_are_what_they_mean(name):
    found, wanted = (CvxpyLayer(near(f), [c, p], [x, s]).vjp(*VALUES) for f in SAME[name])
    for mine, other in zip(found[0], wanted[0], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
    bars = np.array([1.0, -2.0]), np.array(0.5)
    for mine, other in zip(found[1](*bars), wanted[1](*bars), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize("atom", ["perspective", "support function", "indicator"])
def test_parameters_in_them_that_are_not_listed_are_their_values(atom):
    hidden = cp.Parameter(2, value=[0.5, -0.5], name="hidden")
    makes = {
        "perspective": lambda shift: cp.perspective(cp.sum_squares(x - shift), s),
        "support function": lambda shift: DISK(x - shift),
        "indicator": lambda shift: cp.transforms.indicator([x - shift <= 0, cp.norm(shift) <= 9]),
    }
    for unlisted in (hidden, p):  # p is in the problem elsewhere too
        unlisted.value = np.array([0.5, -0.5])
        listed = [q for q in (c, p) if q is not unlisted]
        problem = near(makes[atom](unlisted))
        found = CvxpyLayer(problem, listed, [x, s])(*VALUES[: len(listed)])
        wanted = CvxpyLayer(near(makes[atom](unlisted.value)), [c, p], [x, s])(
            VALUES[0], unlisted.value if unlisted is p else VALUES[1]
        )
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-7)
        p.value = None
    assert point.value is None
    with pytest.raises(InvalidProblem, match=r"'p' of shape .* has no value"):
        CvxpyLayer(near(makes[atom](p)), [c], [x])


def test_a_parameter_that_cvxpy_does_not_see_is_refused():
    """CVXPY compiles it to whatever memory holds, or the process dies."""
    unseen = cp.Parameter(2, name="unseen")
    with pytest.raises(InvalidProblem, match="'unseen' is in the argument of a support function"):
        CvxpyLayer(near(DISK(x - unseen)), [c, p, unseen], [x])
    seen = cp.Variable(2)
    problem = near(DISK(seen))
    problem = cp.Problem(problem.objective, [seen == x - unseen])
    wanted = CvxpyLayer(near(DISK(x - p)), [c, p], [x])(*VALUES)
    # p, which is in the objective too, and `unseen` have the same value
    found = CvxpyLayer(problem, [c, p, unseen], [x])(*VALUES, VALUES[1])
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)


def test_what_is_not_dpp_in_them_is_refused():
    for f in (cp.perspective(cp.sum_squares(x - p), s), DISK(cp.multiply(p, p) + x)):
        with pytest.raises(InvalidProblem, match="must be DPP"):
            CvxpyLayer(near(f), [c, p], [x])


def test_perspectives_that_cvxpy_compiles_wrongly_are_refused():
    """At CVXPY 1.9 the first one's objective is 2.3 at the solution and 3.2 in the cone program."""
    inner = cp.perspective(cp.pnorm(x, 3), t) + cp.sum_squares(x)
    bounded = cp.Variable(bounds=[0, 1])  # x / s would be
    for f in (cp.pnorm(x, 3), cp.sum(cp.power(x, 3)), cp.sum(x) + 2, inner, cp.exp(bounded)):
        with pytest.raises(InvalidProblem, match=r"CVXPY compiles perspective.* wrongly"):
            CvxpyLayer(near(cp.perspective(f, s)), [c, p], [x])


def test_a_perspective_at_its_edge_is_no_disagreement():
    """At s = 0 it has no value."""
    problem = cp.Problem(cp.Minimize(cp.perspective(cp.sum_squares(x), s) + cp.sum_squares(x - c)))
    np.testing.assert_allclose(CvxpyLayer(problem, [c], [x, s])(0 * VALUES[0])[0], 0, atol=1e-6)
    problem = cp.Problem(problem.objective, [s + cp.sum_squares(x) <= 1e-12])
    np.testing.assert_allclose(CvxpyLayer(problem, [c], [x, s])(VALUES[0])[0], 0, atol=1e-5)


def test_the_constraints_beside_a_support_function_are_watched():
    problem = near(DISK(x))
    layer = CvxpyLayer(cp.Problem(problem.objective, [x <= 10, DISK(x) <= 5]), [c, p], [x])
    witness = layer._layer.origin.witness
    assert len(witness._constraints) == 2  # x <= 10, and that s is not negative
    layer(*VALUES)
