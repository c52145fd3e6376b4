"""What CVXPY itself says of a case, sample by sample."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.solvers.run.guard import is_failure

from .problems import Case

# Solvers with tight options, in the order in which they are asked.
TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-10}
ASKED = [
    ("CLARABEL", TIGHT),
    ("SCS", {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 50_000}),
    ("CLARABEL", {}),
    ("HIGHS", {}),
]
AGREED = 1e-5  # relative
VERTEX = 3  # ends at a corner of the solutions, where the others end in their middle


@dataclass(frozen=True)
class Answer:
    """One sample's: its status, optimal value, variables, dual variables, largest violation."""

    status: str
    objective: float
    values: list[np.ndarray]
    duals: list[np.ndarray]
    violation: float


def solved(case: Case, i: int, asked: int = 0) -> Answer:
    """The i-th sample, by the first solver from `asked` on that is certain; else "unknown"."""
    problem = case.problem
    solvers = [("HIGHS", {})] if case.world.integer else ASKED[asked:]
    for name, options in solvers:
        case.world.at(i)
        case.world.forgotten()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                problem.solve(solver=name, **options)
            except BaseException as error:  # of a solver, or of CVXPY where it cannot compile
                if not is_failure(error):
                    raise
                continue
        if problem.status in ("infeasible", "unbounded"):
            return Answer(problem.status, problem.value, [], [], 0.0)
        # CVXPY evaluates the objective at the solution: NaN where rounding leads out of a domain,
        # and another value than the solver's where it spreads
        if problem.status == "optimal" and _agree(problem.value, problem.solution.opt_val):
            values = [full(v) for v in case.world.variables]
            duals = [] if case.world.integer else [np.array(d.value) for d in duals_of(case)]
            return Answer("solved", float(problem.value), values, duals, violation(case))
    return Answer("unknown", np.nan, [], [], np.nan)


def _agree(value: float, other: float) -> bool:
    return bool(abs(value - other) <= AGREED * (1 + abs(other)))


def duals_of(case: Case) -> list[cp.Variable]:
    """The dual variables of all constraints."""
    return [d for c in case.problem.constraints for d in c.dual_variables]


def full(leaf: cp.Variable) -> np.ndarray:
    """A variable's value as an array."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = leaf.value
    return np.array(value.toarray() if sp.issparse(value) else value, dtype=float)


def violation(case: Case) -> float:
    """By how much the variables' present values violate the constraints, at most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = [np.max(c.violation(), initial=0.0) for c in case.problem.constraints]
    # NaN and infinity: rounding led out of an atom's domain
    return float(np.max([v for v in found if np.isfinite(v)], initial=0.0))
