"""The user's own constraints, evaluated at a solution on a private copy.

A constraint that was lost on the way to the cone program leaves no trace in the program's
residuals; it shows here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import CvxlpgdError

TOLERATED = 1e-4  # violation relative to the constraint's own terms, at a solved sample


class Witness:
    """A private copy of a problem's constraints, variables and listed parameters."""

    def __init__(self, problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> None:
        variables = problem.variables()
        self._parameters = [cp.Parameter(p.shape, name=p.name()) for p in parameters]
        self._variables = [cp.Variable(v.shape, name=v.name()) for v in variables]
        # what deepcopy is told it has copied already: leaves of ours, and constants to share
        copied = {id(constant): constant for constant in problem.constants()}
        copied |= {id(p): own for p, own in zip(parameters, self._parameters, strict=True)}
        copied |= {id(v): own for v, own in zip(variables, self._variables, strict=True)}
        self._constraints = copy.deepcopy(problem.constraints + _domains(problem), copied)

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
                    f"the solution violates the constraint {constraint} by {violation:.2g}, "
                    "although the cone program is solved: CVXPY and this version of cvxlpgd do not "
                    "agree on the program. Please report it; do not use this layer."
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
