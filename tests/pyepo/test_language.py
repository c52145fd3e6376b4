"""Problems in PyEPO's own language, and programs of columns and rows, as CVXPY problems."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pyepo import EPO, dsl

import cvxlpgd.numpy
import cvxlpgd.torch
from cvxlpgd import LPGD
from cvxlpgd.errors import InvalidProblem
from cvxlpgd.pyepo import problem_of
from cvxlpgd.pyepo.program import Objective, QuadraticRow, Rows, state
from tests.pyepo.backends import BACKENDS, require
from tests.pyepo.problems import CASES

rng = np.random.default_rng(0)


def in_their_language(case):
    """A case in PyEPO's own language."""
    name, size = case.name, case.costs.shape[1]
    c = dsl.Parameter(size)
    if name == "shortest path":
        x = dsl.Variable(size, lb=0, ub=1)
        balance = case.lists[0].constraints[0]  # incidence @ x == flow
        incidence, flow = balance.args[0].args[0].value, balance.args[1].value
        return dsl.Problem(dsl.Minimize(c @ x), [incidence @ x == flow])
    if name.startswith("knapsack"):
        x = dsl.Variable(size, vtype=EPO.BINARY)
        return dsl.Problem(
            dsl.Maximize(c @ x), [case.arguments["weights"] @ x <= case.arguments["capacity"]]
        )
    covariance = case.arguments["covariance"]
    x = dsl.Variable(size, lb=0, ub=1)
    risk = 2.25 * covariance.mean()
    return dsl.Problem(
        dsl.Maximize(c @ x), [np.ones((1, size)) @ x == 1, x @ covariance @ x <= risk]
    )


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name != "tsp"], ids=lambda case: case.name
)
def test_problems_in_pyepos_language(case):
    layer, theirs = cvxlpgd.numpy.CvxpyLayer(*problem_of(in_their_language(case))), case.theirs()
    (x,) = layer(case.costs.astype(float))
    for k, cost in enumerate(case.costs):
        theirs.setObj(cost)
        best, value = theirs.solve()
        assert np.allclose(x[k], best, atol=case.close)
        assert np.ravel(layer.info.objective)[k] == pytest.approx(value, rel=1e-6)


def test_fixed_costs_and_predictions_of_a_part():
    """A known cost beside the predicted one, a constant, and a quadratic term."""
    x, y, c = dsl.Variable(3, lb=0, ub=2), dsl.Variable(2, lb=-1, ub=1), dsl.Parameter(2)
    known = np.array([0.5, -1.0, 0.25])
    total = np.ones((1, 3)) @ x + np.ones((1, 2)) @ y
    objective = c @ x[[0, 2]] + known @ x + np.array([1.0, -2.0]) @ y + y @ np.eye(2) @ y
    problem = dsl.Problem(dsl.Minimize(objective), [total <= 4, total >= 1])
    made, (cost,), (decision,) = problem_of(problem)
    X, Y = cp.Variable(3), cp.Variable(2)
    for _ in range(4):
        cost.value = rng.normal(size=2)
        by_hand = cp.Problem(
            cp.Minimize(
                cost.value @ X[[0, 2]] + known @ X + np.array([1.0, -2.0]) @ Y + cp.sum_squares(Y)
            ),
            [
                X >= 0,
                X <= 2,
                cp.abs(Y) <= 1,
                cp.sum(X) + cp.sum(Y) <= 4,
                cp.sum(X) + cp.sum(Y) >= 1,
            ],
        )
        expected = by_hand.solve(solver="CLARABEL")
        assert made.solve(solver="CLARABEL") == pytest.approx(expected, abs=1e-6)
        assert np.allclose(decision.value, X.value[[0, 2]], atol=1e-4)


@BACKENDS
def test_a_compiled_problem_is_the_same(backend):
    """Known costs under the predicted ones, whose difference rounds, and a constant."""
    require(backend)
    x, y, c = dsl.Variable(3, lb=0, ub=2), dsl.Variable(2, vtype=EPO.BINARY), dsl.Parameter(3)
    known = np.array([1e-3, 0.7, 123.456])
    objective = (c + known) @ x - np.array([1.0, 2.5]) @ (y - 1)
    cover = np.ones((1, 3)) @ x + np.ones((1, 2)) @ y >= 2.5
    problem = dsl.Problem(dsl.Minimize(objective), [cover])
    options = {
        "gurobi": {}, "ortools": {"solver": "scip"},
        "pyomo": {"solver": "appsi_highs", "threads": 1},
    }  # fmt: skip
    model = problem.compile(backend, **options[backend])
    values = []
    for made, (cost,), (decision,) in (problem_of(problem), problem_of(model)):
        cost.value = np.array([1.0, -2.0, -123.0])
        values.append(made.solve(solver="HIGHS"))
        assert decision.value.shape == (3,)
    model.setObj(cost.value)
    assert values == pytest.approx([model.solve()[1]] * 2, abs=1e-4)
    decided = made.constraints[-1].args[1]  # of x == E v
    assert set(np.unique(decided.args[0].value.toarray())) == {0.0, 1.0}


def test_what_their_language_has_and_layers_not():
    x, c = dsl.Variable(2), dsl.Parameter(2)
    problem = dsl.Problem(dsl.Minimize(c @ x), [x @ np.eye(2) @ x >= 1])
    with pytest.raises(InvalidProblem, match="quadratic constraint 0 is not convex"):
        problem_of(problem)


def test_a_layer_of_pyepos_problem_learns():
    """A gradient of the decisions of a knapsack, by LPGD."""
    case = CASES[2]
    layer = cvxlpgd.torch.CvxpyLayer(
        *problem_of(in_their_language(case)), derivative=LPGD(tau=10.0, side="lower")
    )
    cost = torch.tensor(case.costs[:2], requires_grad=True)
    (x,) = layer(cost)
    worst = x.detach().argmin(dim=1)
    x[torch.arange(2), worst].sum().neg().backward()  # rather take what is left out
    assert (cost.grad[torch.arange(2), worst] < 0).all()


def rows(**changed):
    """Two columns without bounds, and one row."""
    given = {
        "low": np.full(2, -np.inf), "high": np.full(2, np.inf), "integer": np.zeros(2, dtype=bool),
        "A": sp.csr_array(np.ones((1, 2))), "lower": np.array([-1.0]), "upper": np.array([2.0]),
    }  # fmt: skip
    return Rows(**given | changed)


NOTHING = Objective(np.zeros(2), 0.0)


def test_rows_between_two_bounds_and_one_column_of_several():
    """-1 <= u + v <= 2 and the sum of both as the decision of one cost."""
    problem, (cost,), (x,) = state(rows(), sp.csr_array(np.ones((1, 2))), NOTHING, False)
    for value, best in ((1.0, -1.0), (-1.0, 2.0)):
        cost.value = [value]
        assert problem.solve() == pytest.approx(value * best, abs=1e-7)
        assert x.value == pytest.approx([best], abs=1e-6)


@pytest.mark.parametrize(("high", "best"), [(1.0, 1.0), (2.5, 2.0), (0.5, 0.0)])
def test_integers_within_bounds(high, best):
    """A column with the bounds 0 and 1 is boolean; its other bounds are kept."""
    bounded = rows(low=np.zeros(2), high=np.full(2, high), integer=np.array([True, False]),
                   A=sp.csr_array((0, 2)), lower=np.zeros(0), upper=np.zeros(0))  # fmt: skip
    problem, (cost,), (x,) = state(bounded, sp.eye_array(2).tocsr(), NOTHING, True)
    cost.value = np.array([1.0, 1.0])
    assert problem.solve(solver="HIGHS") == pytest.approx(best + high, abs=1e-6)
    assert x.value[0] == pytest.approx(best, abs=1e-6)


def test_a_quadratic_equality_is_refused_and_a_linear_one_is_not():
    curved = QuadraticRow(sp.csr_array(np.eye(2)), np.zeros(2), 1.0, 1.0)
    with pytest.raises(InvalidProblem, match="not convex"):
        state(rows(quadratic=(curved,)), sp.eye_array(2).tocsr(), NOTHING, False)
    concave = QuadraticRow(sp.csr_array(-np.eye(2)), np.array([1.0, 0.0]), -1.0, np.inf)
    problem, (cost,), _ = state(rows(quadratic=(concave,)), sp.eye_array(2).tocsr(), NOTHING, True)
    cost.value = np.array([1.0, 0.0])  # u² + v² <= 1 + u
    assert problem.solve() == pytest.approx((1 + 5**0.5) / 2, abs=1e-5)
