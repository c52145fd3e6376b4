"""Models of OR-Tools' linear solvers, read from the message that they export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.pyepo.program import Objective, Rows


class LinearSolver:
    """A `pywraplp.Solver`."""

    def __init__(self, model: Any) -> None:
        from ortools.linear_solver import pywraplp

        if not isinstance(model, pywraplp.Solver):
            raise InvalidProblem(
                f"a {type(model).__name__} of OR-Tools is not a linear program: take the model for "
                "its linear solvers, such as shortestPathModel in the place of shortestPathCpModel"
            )
        self._model, self._vars = model, model.variables()

    def rows(self) -> Rows:
        """Its columns and rows."""
        from ortools.linear_solver import linear_solver_pb2

        message = linear_solver_pb2.MPModelProto()
        self._model.ExportModelToProto(message)
        if message.general_constraint:
            raise InvalidProblem("the model has general constraints, which CVXPY does not")
        columns, rows = message.variable, message.constraint
        indices = [index for row in rows for index in row.var_index]
        values = [value for row in rows for value in row.coefficient]
        starts = np.cumsum([0, *(len(row.var_index) for row in rows)])
        return Rows(
            np.array([column.lower_bound for column in columns]),
            np.array([column.upper_bound for column in columns]),
            np.array([column.is_integer for column in columns], dtype=bool),
            sp.csr_array((values, indices, starts), shape=(len(rows), len(columns))),
            np.array([row.lower_bound for row in rows]),
            np.array([row.upper_bound for row in rows]),
        )

    def objective(self) -> Objective:
        """Its objective as it is now."""
        objective = self._model.Objective()
        costs = np.array([objective.GetCoefficient(column) for column in self._vars])
        return Objective(costs, objective.offset())

    def remember(self) -> Callable[[], None]:
        """The function that sets the objective back to what it is now."""
        costs = self.objective().q.tolist()

        def restore() -> None:
            for column, cost in zip(self._vars, costs, strict=True):
                self._model.Objective().SetCoefficient(column, cost)

        return restore
