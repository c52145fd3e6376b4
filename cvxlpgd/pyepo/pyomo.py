"""Models of Pyomo, read by its standard representation of expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.pyepo.program import Objective, QuadraticRow, Rows

KNOWN = {"Block", "ConcreteModel", "Constraint", "Expression", "Objective", "Param", "Set", "Var",
         "RangeSet", "Suffix", "BuildAction", "BuildCheck"}  # fmt: skip


class PyomoModel:
    """A `pyomo.environ.ConcreteModel`."""

    def __init__(self, model: Any) -> None:
        import pyomo.environ as pe

        others = {kind.__name__ for kind in model.collect_ctypes(active=True)} - KNOWN
        if others:
            raise InvalidProblem(f"the model has a {min(others)}, which CVXPY does not")
        self._model = model
        self._vars = list(model.component_data_objects(pe.Var, descend_into=True))
        self._place = {id(column): i for i, column in enumerate(self._vars)}
        objectives = list(model.component_data_objects(pe.Objective, active=True))
        if len(objectives) != 1:
            raise InvalidProblem(f"the model has {len(objectives)} active objectives, not one")
        (self._objective,) = objectives

    def rows(self) -> Rows:
        """Its columns and rows."""
        import pyomo.environ as pe

        bounds = [column.bounds for column in self._vars]
        linear, quadratic = [], []
        for row in self._model.component_data_objects(pe.Constraint, active=True):
            form = self._form(row.body, f"constraint {row.name}")
            lower = -np.inf if row.lb is None else row.lb - form.constant
            upper = np.inf if row.ub is None else row.ub - form.constant
            if form.P is None:
                linear.append((form.q, lower, upper))
            else:
                quadratic.append(QuadraticRow(form.P, form.q, lower, upper))
        A, n = [sp.csr_array([q]) for q, _, _ in linear], len(self._vars)
        return Rows(
            np.array([-np.inf if low is None else low for low, _ in bounds], dtype=float),
            np.array([np.inf if high is None else high for _, high in bounds], dtype=float),
            np.array([not column.is_continuous() for column in self._vars], dtype=bool),
            sp.csr_array(sp.vstack(A)) if A else sp.csr_array((0, n)),
            np.array([lower for _, lower, _ in linear]),
            np.array([upper for _, _, upper in linear]),
            tuple(quadratic),
        )

    def objective(self) -> Objective:
        """Its objective as it is now."""
        return self._form(self._objective.expr, "the objective")

    def remember(self) -> Callable[[], None]:
        """The function that sets the objective's parameters back to what they are now."""
        import pyomo.environ as pe

        parameters = self._model.component_data_objects(pe.Param, descend_into=True)
        values = [(each, each.value) for each in parameters if each.parent_component().mutable]

        def restore() -> None:
            for parameter, value in values:
                parameter.value = value

        return restore

    def _form(self, expression: Any, what: str) -> Objective:
        """The expression as v'P v + q'v + constant; P is None where it is linear."""
        from pyomo.repn import generate_standard_repn

        form = generate_standard_repn(expression, quadratic=True)
        if form.nonlinear_expr is not None:
            raise InvalidProblem(f"{what} is neither linear nor quadratic")
        n = len(self._vars)
        q = np.zeros(n)
        for column, coefficient in zip(form.linear_vars, form.linear_coefs, strict=True):
            q[self._place[id(column)]] += coefficient
        places = np.array(
            [[self._place[id(a)], self._place[id(b)]] for a, b in form.quadratic_vars], dtype=int
        ).reshape(-1, 2)
        P = sp.csr_array((np.array(form.quadratic_coefs, float), tuple(places.T)), shape=(n, n))
        return Objective(q, float(form.constant), P if P.nnz else None)
