"""Parameters that are not listed are their present values, wherever they stand."""

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.numpy import CvxpyLayer

COST = np.array([1.0, -2.0])


def test_in_both_bounds_of_a_variable():
    low, high, c = cp.Parameter(2, value=[-1.0, 0.5]), cp.Parameter(value=3.0), cp.Parameter(2)
    x = cp.Variable(2, bounds=[low, high])
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ x)), [c], [x])
    np.testing.assert_allclose(layer(COST)[0], [-1, 3], atol=1e-8)
    low.value = [5.0, 5.0]  # read at construction
    np.testing.assert_allclose(layer(COST)[0], [-1, 3], atol=1e-8)


def test_in_one_bound_while_the_other_is_listed():
    low, high = cp.Parameter(2, value=[-1.0, 0.5]), cp.Parameter()
    x = cp.Variable(2, bounds=[low, high])
    layer = CvxpyLayer(cp.Problem(cp.Minimize(COST @ x)), [high], [x])
    (found,), pullback = layer.vjp(3.0)
    np.testing.assert_allclose(found, [-1, 3], atol=1e-8)
    np.testing.assert_allclose(pullback(np.ones(2))[0], 1.0, atol=1e-6)


def test_in_a_product_with_a_listed_one():
    """Only after it is substituted is the product DPP."""
    weight, c, x = cp.Parameter(nonneg=True, value=2.0), cp.Parameter(2), cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + weight * (c @ x)))
    with pytest.raises(InvalidProblem, match="DPP"):
        CvxpyLayer(problem, [weight, c], [x])
    np.testing.assert_allclose(CvxpyLayer(problem, [c], [x])(COST)[0], -COST, atol=1e-8)


def test_in_an_exponent():
    power, limit = cp.Parameter(value=2.0), cp.Parameter(pos=True)
    x, y = cp.Variable(pos=True), cp.Variable(pos=True)
    problem = cp.Problem(cp.Maximize(x * y), [x * y**power <= limit, x <= 4])
    layer = CvxpyLayer(problem, [limit], [x, y], gp=True)
    x_star, y_star = layer(9.0)
    np.testing.assert_allclose([x_star, y_star], [4, 1.5], atol=1e-5)


def test_without_a_value_it_is_an_error():
    x, weight, c = cp.Variable(2), cp.Parameter(name="weight"), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c) + weight))
    with pytest.raises(InvalidProblem, match=r"weight.*no value"):
        CvxpyLayer(problem, [c], [x])
