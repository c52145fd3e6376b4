"""Models of Gurobi, read by its matrix interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.pyepo.program import Objective, QuadraticRow, Rows

INFINITE = 1e20  # Gurobi takes larger bounds for none
OTHERS = {
    "NumSOS": "special ordered sets",
    "NumGenConstrs": "general constraints",
    "NumPWLObjVars": "piecewise linear costs",
}


class GurobiModel:
    """A `gurobipy.Model`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        model.update()
        self._vars = model.getVars()

    def rows(self) -> Rows:
        """Its columns and rows."""
        model = self._model
        self._refuse()
        sense, right = (np.array(model.getAttr(name)) for name in ("Sense", "RHS"))
        return Rows(
            _finite(self._column("LB")),
            _finite(self._column("UB")),
            np.isin(self._column("VType"), ["B", "I"]),
            sp.csr_array(model.getA()),
            np.where(sense == "<", -np.inf, right).astype(float),
            np.where(sense == ">", np.inf, right).astype(float),
            tuple(self._quadratic(row) for row in model.getQConstrs()),
        )

    def objective(self) -> Objective:
        """Its objective as it is now."""
        self._model.update()
        P = sp.csr_array(self._model.getQ())
        return Objective(self._column("Obj"), float(self._model.ObjCon), P if P.nnz else None)

    def remember(self) -> Callable[[], None]:
        """The function that sets the objective back to what it is now."""
        self._model.update()
        costs = self._model.getAttr("Obj", self._vars)

        def restore() -> None:
            self._model.setAttr("Obj", self._vars, costs)
            self._model.update()

        return restore

    def _column(self, attribute: str) -> np.ndarray:
        return np.array(self._model.getAttr(attribute, self._vars))

    def _quadratic(self, row: Any) -> QuadraticRow:
        Q, linear = self._model.getQCMatrices(row)
        lower = -np.inf if row.QCSense == "<" else row.QCRHS
        upper = np.inf if row.QCSense == ">" else row.QCRHS
        a = np.asarray(linear.todense(), dtype=float).ravel()
        return QuadraticRow(sp.csr_array(Q), a, float(lower), float(upper))

    def _refuse(self) -> None:
        """Raise for what its rows do not say."""
        model = self._model
        if model.Params.LazyConstraints:
            raise InvalidProblem(
                f"the model {model.ModelName!r} adds its constraints while it is solved: take a "
                'formulation that states all of them, tspModel(..., formulation="GG") or "MTZ", '
                'vrpModel(..., formulation="MTZ")'
            )
        for attribute, what in OTHERS.items():
            if model.getAttr(attribute):
                raise InvalidProblem(f"the model has {what}, which CVXPY does not")
        semi = np.isin(self._column("VType"), ["S", "N"])
        if semi.any():
            name = self._vars[int(np.argmax(semi))].VarName
            raise InvalidProblem(f"variable {name} is semi-continuous, which CVXPY does not have")


def _finite(bounds: np.ndarray) -> np.ndarray:
    return np.where(abs(bounds) >= INFINITE, np.copysign(np.inf, bounds), bounds)
