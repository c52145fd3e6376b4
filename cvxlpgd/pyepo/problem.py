"""A model of PyEPO's as a CVXPY problem whose cost is a parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from pyepo import EPO
from pyepo.dsl.problem import Problem
from pyepo.model.opt import optModel
from pyepo.utils import objective_offset

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.pyepo.backend import Backend
from cvxlpgd.pyepo.dsl import read_objective, read_rows
from cvxlpgd.pyepo.gurobi import GurobiModel
from cvxlpgd.pyepo.ortools import LinearSolver
from cvxlpgd.pyepo.program import Objective, state
from cvxlpgd.pyepo.pyomo import PyomoModel

ROUNDING = 1e-12  # coefficients are whole numbers that far from one, for 1 + |known cost| as unit

# by the package that the solver's model is of
BACKENDS: dict[str, Callable[[Any], Backend]] = {
    "gurobipy": GurobiModel,
    "ortools": LinearSolver,
    "pyomo": PyomoModel,
}


def problem_of(
    model: optModel | Problem,
) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """The CVXPY problem of a PyEPO model, and the lists of its cost and of its decisions.

        layer = CvxpyLayer(*problem_of(model))

    The cost has the order of `model.setObj`, and the decision x an entry for each: the sum of the
    columns that the cost is the coefficient of. Of a route that is travelled either way, x is the
    sum of both directions, 1 where it is used.

    Parameters
    ----------
    model : pyepo.model.opt.optModel or pyepo.dsl.Problem
        A model of Gurobi, OR-Tools' linear solver or Pyomo, or a problem in PyEPO's own language,
        which needs no solver of PyEPO's: linear and integer programs, and convex quadratic terms
        and constraints. It is left as it was: the cost that was set is set again.

    Raises
    ------
    InvalidProblem
        For another solver's model, one whose constraints are added while it is solved, and for
        what CVXPY does not take: nonconvex terms, special ordered sets, general constraints.
    """
    if isinstance(model, Problem):
        rows, (E, known) = read_rows(model), read_objective(model)
    else:
        backend = _open(model)
        rows, (E, known) = backend.rows(), _objective(model, backend)
    return state(rows, E, known, model.modelSense == EPO.MAXIMIZE)


def _open(model: Any) -> Backend:
    if not isinstance(model, optModel):
        raise InvalidProblem(
            f"problem_of needs an optModel or a dsl.Problem of PyEPO, not {model!r}"
        )
    package = type(model._model).__module__.partition(".")[0]
    if package not in BACKENDS:
        raise InvalidProblem(
            f"{type(model).__name__} is a {type(model._model).__name__}, which is not read: build "
            "it with Gurobi, OR-Tools' linear solver or Pyomo, or write the problem in CVXPY"
        )
    return BACKENDS[package](model._model)


def _objective(model: optModel, backend: Backend) -> tuple[sp.csr_array, Objective]:
    """E and the known part of an objective c'E v + known(v), by setting one cost after the other.

    The known part is what is left at c = 0, and row i of E what c_i = 1 adds to that.
    """
    count = model.num_cost
    restore = backend.remember()

    def at(c: np.ndarray) -> Objective:
        model.setObj(c.astype(np.float32))
        return backend.objective()

    try:
        known = at(np.zeros(count))
        E = sp.vstack([sp.csr_array([_added(at(unit).q, known.q)]) for unit in np.eye(count)])
        # whole numbers below 2^24, which are exact in single precision
        probe = np.arange(1.0, count + 1)
        linear = np.allclose(at(probe).q, known.q + probe @ E, rtol=ROUNDING, atol=ROUNDING)
    finally:
        restore()
    if not linear:
        raise InvalidProblem(f"{type(model).__name__}.setObj is not linear in the cost")
    for i in np.flatnonzero(np.diff(E.indptr) == 0):
        raise InvalidProblem(f"cost {i} of {type(model).__name__} is the coefficient of no column")
    constant = known.constant + objective_offset(model)
    return E, Objective(known.q, constant, known.P)


def _added(q: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The difference q - known, without the rounding of (1 + known) - known."""
    difference = q - known
    whole = np.rint(difference)
    return np.where(abs(difference - whole) <= ROUNDING * (1 + abs(known)), whole, difference)
