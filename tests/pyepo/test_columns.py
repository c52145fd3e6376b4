"""Columns and rows of all kinds, by each back end; and what CVXPY does not have."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from pyepo import EPO

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.pyepo import problem_of
from tests.pyepo.backends import BACKENDS, require

rng = np.random.default_rng(0)


def everything_in_gurobi(maximize, more=lambda m, v: None):
    """Free, ranged, fixed, integer and binary columns; two are costs, in another order."""
    import gurobipy as gp
    from pyepo.model.grb import optGrbModel

    class Model(optGrbModel):
        def _getModel(self):
            m = gp.Model()
            m.Params.OutputFlag = 0
            v = [
                m.addVar(lb=-gp.GRB.INFINITY), m.addVar(lb=-2, ub=3), m.addVar(lb=1, ub=1),
                m.addVar(lb=-4, ub=4, vtype="I"), m.addVar(vtype="B"),
            ]  # fmt: skip
            m.modelSense = -1 if maximize else 1
            m.addRange(v[0] + v[1] + v[3], -3, 3)
            m.addConstr(v[0] - v[1] <= 2.5)
            m.addConstr(v[0] >= -5 + v[4] + v[2])
            m.addConstr(v[0] <= 5)
            m.setObjective(0.5 * v[0] + 1.5)
            more(m, v)
            return m, {"late": v[3], "early": v[1]}

    return Model()


def everything_in_ortools(maximize):
    from ortools.linear_solver import pywraplp
    from pyepo.model.ort import optOrtModel

    class Model(optOrtModel):
        modelSense = EPO.MAXIMIZE if maximize else EPO.MINIMIZE  # noqa: N815

        def _getModel(self):
            m = pywraplp.Solver.CreateSolver("SCIP")
            v = [
                m.NumVar(-m.infinity(), m.infinity(), "free"), m.NumVar(-2, 3, "boxed"),
                m.NumVar(1, 1, "fixed"), m.IntVar(-4, 4, "whole"), m.BoolVar("binary"),
            ]  # fmt: skip
            m.Add(v[0] + v[1] + v[3] <= 3)
            m.Add(v[0] + v[1] + v[3] >= -3)
            m.Add(v[0] - v[1] <= 2.5)
            m.Add(v[0] >= -5 + v[4] + v[2])
            m.Add(v[0] <= 5)
            m.Objective().SetCoefficient(v[0], 0.5)
            m.Objective().SetOffset(1.5)
            return m, {"late": v[3], "early": v[1]}

    return Model()


def everything_in_pyomo(maximize):
    from pyepo.model.omo import optOmoModel
    from pyomo import environ as pe

    class Model(optOmoModel):
        modelSense = EPO.MAXIMIZE if maximize else EPO.MINIMIZE  # noqa: N815

        def _getModel(self):
            m = pe.ConcreteModel()
            m.free, m.boxed = pe.Var(), pe.Var(bounds=(-2, 3))
            m.fixed, m.binary = pe.Var(bounds=(1, 1)), pe.Var(domain=pe.Binary)
            m.whole = pe.Var(domain=pe.Integers, bounds=(-4, 4))
            m.cons = pe.ConstraintList()
            m.cons.add(pe.inequality(-3, m.free + m.boxed + m.whole, 3))
            m.cons.add(m.free - m.boxed <= 2.5)
            m.cons.add(m.free >= -5 + m.binary + m.fixed)
            m.cons.add(m.free <= 5)
            return m, {"late": m.whole, "early": m.boxed}

        def _obj_expr(self):
            c = self._model.cost
            return c[0] * self.x["late"] + c[1] * self.x["early"] + 0.5 * self._model.free + 1.5

    model = Model("appsi_highs")
    model._solverfac.options["threads"] = 1
    return model


EVERYTHING = {
    "gurobi": everything_in_gurobi, "ortools": everything_in_ortools, "pyomo": everything_in_pyomo,
}  # fmt: skip


@BACKENDS
@pytest.mark.parametrize("maximize", [False, True])
def test_columns_of_all_kinds(backend, maximize):
    """The same by hand, and by the back end's solver."""
    require(backend)
    model = EVERYTHING[backend](maximize)
    problem, (cost,), (x,) = problem_of(model)
    free, boxed, whole = cp.Variable(), cp.Variable(), cp.Variable(integer=True)
    binary = cp.Variable(boolean=True)
    constraints = [
        cp.abs(free + boxed + whole) <= 3, free - boxed <= 2.5, free >= -4 + binary, free <= 5,
        boxed >= -2, boxed <= 3, cp.abs(whole) <= 4,
    ]  # fmt: skip
    sense = cp.Maximize if maximize else cp.Minimize
    for _ in range(6):
        c = rng.normal(size=2).astype(np.float32).astype(float)
        value = sense(c[0] * whole + c[1] * boxed + 0.5 * free + 1.5)
        by_hand = cp.Problem(value, constraints).solve()
        cost.value = c
        assert problem.solve() == pytest.approx(by_hand, abs=1e-6)
        model.setObj(c)
        solution, value = model.solve()
        assert value == pytest.approx(by_hand, abs=1e-5)
        assert np.allclose(x.value, solution, atol=1e-5)


def test_what_gurobi_has_and_cvxpy_not():
    require("gurobi")
    import gurobipy as gp

    cases = {
        "general constraints": lambda m, v: m.addGenConstrAbs(v[1], v[0]),
        "special ordered sets": lambda m, v: m.addSOS(gp.GRB.SOS_TYPE1, [v[1], v[3]]),
        "semi-continuous": lambda m, v: m.addVar(lb=1, ub=2, vtype="S"),
        "piecewise linear": lambda m, v: m.setPWLObj(v[4], [0, 1, 2], [0, 1, 4]),
        "quadratic constraint 0": lambda m, v: m.addConstr(v[0] * v[0] >= 1),
        "objective is not convex": lambda m, v: m.setObjective(-v[0] * v[0]),
    }
    for message, more in cases.items():
        with pytest.raises(InvalidProblem, match=message):
            problem_of(everything_in_gurobi(False, more))
    curved = everything_in_gurobi(
        False, lambda m, v: m.setObjective(v[0] * v[0] + v[0] * v[1] + v[1] * v[1])
    )
    problem, (cost,), _ = problem_of(curved)
    cost.value = np.array([0.5, -1.0])
    curved.setObj(cost.value)
    assert problem.solve() == pytest.approx(curved.solve()[1], abs=1e-4)


def test_what_is_not_linear_in_other_back_ends():
    require("ortools")
    from pyepo.model.ort import shortestPathCpModel

    with pytest.raises(InvalidProblem, match=r"CpModel.*shortestPathModel"):
        problem_of(shortestPathCpModel((3, 3)))


def test_what_pyomo_has_and_cvxpy_not():
    require("pyomo")
    from pyomo import environ as pe

    model = everything_in_pyomo(False)
    model._model.cons.add(pe.exp(model._model.free) <= 2)
    with pytest.raises(InvalidProblem, match=r"constraint cons\[5\] is neither linear"):
        problem_of(model)
    model = everything_in_pyomo(False)
    model._model.second = pe.Objective(expr=model._model.free)
    with pytest.raises(InvalidProblem, match="2 active objectives"):
        problem_of(model)
    model = everything_in_pyomo(False)
    model._model.both = pe.Var([0, 1])
    model._model.sos = pe.SOSConstraint(var=model._model.both, sos=1)
    with pytest.raises(InvalidProblem, match="SOSConstraint"):
        problem_of(model)
    model = everything_in_pyomo(False)
    model._model.whole.fix(2)
    with pytest.raises(InvalidProblem, match=r"cost 0 .* no column"):
        problem_of(model)


@pytest.mark.parametrize("power", [2, 3])
def test_a_cost_that_is_squared_is_refused(power):
    require("pyomo")
    model = everything_in_pyomo(False)
    plain = model.setObj
    model.setObj = lambda c: plain(np.asarray(c) ** power)
    with pytest.raises(InvalidProblem, match="not linear in the cost"):
        problem_of(model)
