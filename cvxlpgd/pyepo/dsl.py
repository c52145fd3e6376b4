"""Problems in PyEPO's own language, read without compiling them for a solver."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from pyepo import EPO
from pyepo.dsl.problem import Problem

from cvxlpgd.pyepo.program import Objective, QuadraticRow, Rows


def read_rows(problem: Problem) -> Rows:
    """Its columns and rows."""
    n = problem.num_vars
    blocks, lower, upper, quadratic = [sp.csr_array((0, n))], [], [], []
    for Q, A, sense, right in problem.constrs:
        b = np.asarray(right, dtype=float).ravel()
        low = np.full(len(b), -np.inf) if sense == "<=" else b
        high = np.full(len(b), np.inf) if sense == ">=" else b
        if Q is None:
            blocks.append(sp.csr_array(A))
            lower.append(low)
            upper.append(high)
        else:
            a = sp.csr_array(A).toarray().ravel()
            quadratic.append(QuadraticRow(sp.csr_array(Q), a, float(low[0]), float(high[0])))
    return Rows(
        np.asarray(problem.var_lb, dtype=float),
        np.asarray(problem.var_ub, dtype=float),
        np.array([kind != EPO.CONTINUOUS for kind in problem.var_type], dtype=bool),
        sp.csr_array(sp.vstack(blocks)),
        np.concatenate([np.zeros(0), *lower]),
        np.concatenate([np.zeros(0), *upper]),
        tuple(quadratic),
    )


def read_objective(problem: Problem) -> tuple[sp.csr_array, Objective]:
    """E and the known part of the objective c'E v + known(v)."""
    count = problem.num_cost
    places = np.ones(count), (np.arange(count), np.asarray(problem.c_pred_index))
    E = sp.csr_array(places, shape=(count, problem.num_vars))
    P = None if problem.obj_Q is None else sp.csr_array(problem.obj_Q)
    return E, Objective(np.asarray(problem.fixed_cost, float), float(problem.obj_offset), P)
