"""The user's own objective and constraints, evaluated at a solution on a private copy.

A constraint that was lost on the way to the cone program, or an objective that was compiled wrongly
(CVXPY before 1.9.3 does so to quadratic objectives of symmetric variables), leaves no trace in the
program's residuals; it shows here. What holds a support function is left out: to evaluate one is to
solve a problem of the user's, and a copy of that crashes in CVXPY.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.canonical._hidden import holds_support_function, nodes
from cvxlpgd.errors import CvxlpgdError

NEARBY = 1e-9  # of the variables' size
TOLERATED = 1e-4  # violation relative to the constraint's own terms, at a solved sample
PER_RESIDUAL = 100.0  # or so many times the residual of a sample that is solved loosely

_DISAGREE = (
    f"CVXPY {cp.__version__} and this version of cvxlpgd do not agree on what the problem is, or "
    "its data are of so different sizes that the tolerances of the cone program mean nothing for "
    "the problem. Scale the data, or upgrade CVXPY; if neither helps, please report it, and do not "
    "use this layer."
)


class Witness:
    """A private copy of a problem: its objective, constraints, variables and listed parameters."""

    def __init__(self, problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> None:
        variables = problem.variables()
        self._parameters = [cp.Parameter(p.shape, name=p.name()) for p in parameters]
        self._variables = [cp.Variable(v.shape, name=v.name()) for v in variables]
        # deepcopy takes these for copied already: leaves of ours, and constants to share
        copied = {id(constant): constant for constant in problem.constants()}
        copied |= {id(p): own for p, own in zip(parameters, self._parameters, strict=True)}
        copied |= {id(v): own for v, own in zip(variables, self._variables, strict=True)}
        objective = problem.objective.expr
        if holds_support_function(objective):
            objective = cp.Constant(np.nan)
        constraints = [c for c in problem.constraints if not holds_support_function(c)]
        mine = (objective, constraints + _domains(problem))
        self._objective, self._constraints = copy.deepcopy(mine, copied)

    def check(
        self,
        values: Sequence[np.ndarray | sp.csr_array],
        variables: Sequence[np.ndarray],
        objective: float,
        residual: float = 0.0,
    ) -> None:
        """Raise CvxlpgdError for a constraint that a solved sample violates, or another objective.

        Expressions that are not finite there say nothing: rounding leads out of an atom's domain at
        its edge, as to a root of -1e-12.

        Parameters
        ----------
        values, variables : arrays of the parameters' and of all variables' shapes
        objective : float
            The solved program's.
        residual : float
            Its relative KKT residual: what a loose tolerance left is no violation.
        """
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.save_value(value)
        for variable, value in zip(self._variables, variables, strict=True):
            variable.save_value(value)
        with np.errstate(all="ignore"):
            self._check(objective, max(TOLERATED, PER_RESIDUAL * residual))

    def _check(self, objective: float, tolerated: float) -> None:
        stated = _objective(self._objective)
        off = abs(stated - objective)
        differs = np.isfinite(stated) and off > tolerated * (1 + abs(objective))
        if differs and _is_evaluated(self._objective) and self._spread() < off / 2:
            raise CvxlpgdError(
                f"the objective is {stated:.6g} at the solution, but {objective:.6g} in the cone "
                f"program: {_DISAGREE}"
            )
        for constraint in self._constraints:
            violation, size = _violation(constraint)
            if tolerated * (1 + size) < violation < np.inf and _is_evaluated(constraint):
                raise CvxlpgdError(
                    f"the solution violates the constraint {constraint} by {violation:.2g}, "
                    f"although the cone program is solved: {_DISAGREE}"
                )

    def _spread(self) -> float:
        """How much the objective differs nearby: much at an edge of its domain.

        As that of x'P⁻¹x where P is singular.
        """
        here, rng, values = _objective(self._objective), np.random.default_rng(0), []
        points = [np.asarray(v.value, dtype=float) for v in self._variables]
        for _ in range(4):
            for variable, point in zip(self._variables, points, strict=True):
                step = NEARBY * (1 + np.abs(point).max()) * rng.normal(size=point.shape)
                variable.save_value(point + step)
            values.append(abs(_objective(self._objective) - here))
        for variable, point in zip(self._variables, points, strict=True):
            variable.save_value(point)
        return float(np.nan_to_num(values, nan=np.inf).max())


def _is_evaluated(part: cp.Expression | cp.Constraint) -> bool:
    """Whether CVXPY evaluates it rightly.

    A value of another shape than it should have, as of upper_tri, spreads in products; that of
    quantum_rel_entr is right where traces are 1.
    """
    expressions = [v for v in nodes(part) if isinstance(v, cp.Expression)]
    if any(isinstance(v, cp.quantum_rel_entr) for v in expressions):
        return False
    return all(v.shape == v.value.shape for v in expressions if v.size > 1)


def _objective(expression: cp.Expression) -> float:
    """The expression's value, NaN where CVXPY has none, as of a perspective at s = 0."""
    try:
        return float(np.asarray(expression.value, dtype=float).item())
    except Exception:
        return np.nan


def _violation(constraint: cp.Constraint) -> tuple[float, float]:
    """A constraint's violation and the size of its terms; 0 where CVXPY has no value."""
    try:
        violation = float(np.max(constraint.violation(), initial=0.0))
        terms = [np.abs(np.asarray(a.value)).max(initial=0.0) for a in constraint.args]
    except Exception:
        return 0.0, 0.0
    return violation, max(terms, default=0.0)


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
