"""The user's own constraints, evaluated at a solution on a private copy.

A constraint that was lost on the way to the cone program leaves no trace in the program's
residuals; it shows here.
"""

from __future__ import annotations

from collections.abc import Sequence

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import CvxlpgdError

TOLERATED = 1e-4  # violation relative to the constraint's own terms, at a solved sample


class Witness:
    """A private copy of a problem's constraints, variables and listed parameters."""

    def __init__(self, problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> None:
        ids = {}
        self._parameters = []
        for parameter in parameters:
            private = cp.Parameter(parameter.shape, name=parameter.name())
            ids[id(parameter)] = private
            self._parameters.append(private)
        self._variables = []
        for variable in problem.variables():
            private = cp.Variable(variable.shape, name=variable.name())
            ids[id(variable)] = private
            self._variables.append(private)
        self._constraints = [
            constraint.tree_copy(id_objects=ids)
            for constraint in problem.constraints + _domains(problem)
        ]

    def check(self, values: Sequence[np.ndarray], variables: Sequence[np.ndarray]) -> None:
        """Raise CvxlpgdError for a constraint that a solved sample violates.

        Parameters
        ----------
        values, variables : arrays of the parameters' and of all variables' shapes
        """
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.save_value(value)
        for variable, value in zip(self._variables, variables, strict=True):
            variable.save_value(value)
        for constraint in self._constraints:
            violation = float(np.max(constraint.violation(), initial=0.0))
            terms = [np.abs(np.asarray(a.value)).max(initial=0.0) for a in constraint.args]
            if violation > TOLERATED * (1 + max(terms, default=0.0)):
                raise CvxlpgdError(
                    f"the solution violates the constraint {constraint} by {violation:.2g}, although "
                    "the cone program is solved: CVXPY's canonicalization and this version of "
                    "cvxlpgd do not agree. Please report it; do not use this layer."
                )


def _domains(problem: cp.Problem) -> list[cp.Constraint]:
    """What the variables' attributes demand, as constraints."""
    constraints: list[cp.Constraint] = []
    for variable in problem.variables():
        has = variable.attributes
        if has["nonneg"] or has["pos"]:
            constraints.append(variable >= 0)
        if has["nonpos"] or has["neg"]:
            constraints.append(variable <= 0)
        if has["PSD"]:
            constraints.append(variable >> 0)
        if has["NSD"]:
            constraints.append(variable << 0)
        if has["symmetric"]:
            constraints.append(variable == variable.T)
        if has["bounds"] is not None:
            low, high = (b.toarray() if sp.issparse(b) else b for b in has["bounds"])
            constraints += [variable >= low, variable <= high]
    return constraints
