"""The way back: from points to the user's variables and dual variables."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.cvx_attr2constr import recover_value_for_leaf
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver

from cvxlpgd.errors import InvalidProblem

_FOLDED = ("diag", "sparsity", "symmetric", "PSD", "NSD")


def primal_recovery(variable: cp.Variable, program: Any, chain: Any) -> sp.csr_array:
    """The matrix of x -> the user's variable, row by row."""
    final = chain.compose_var_id_map().get(variable.id, [variable.id])[0]
    start, size = program.var_id_to_col[final], program.id_to_var[final].size
    if any(variable.attributes[name] for name in _FOLDED):
        index = recover_value_for_leaf(variable, np.arange(1.0, size + 1), project=False)
    else:
        index = np.reshape(np.arange(1.0, size + 1), variable.shape, order="F")
    index = np.asarray(index.toarray() if sp.issparse(index) else index).ravel()
    rows = np.flatnonzero(index)
    where = (rows, start + index[rows].astype(int) - 1)
    return sp.csr_array((np.ones(len(rows)), where), shape=(variable.size, program.x.size))


def dual_recovery(
    problem: cp.Problem,
    variables: Sequence[cp.Variable],
    primal: dict[int, Any],
    chain: Any,
    inverse: Any,
    n: int,
    m: int,
) -> dict[int, sp.csr_array]:
    """The matrix of y (m,) -> each dual variable asked for, by CVXPY's own inverse map.

    `primal` has the problem's own variables by id: all others among `variables` are dual ones.
    `chain` and `inverse` are CVXPY's reductions, and what inverts them; n and m the lengths of x
    and y.

    CVXPY's map is linear. Each of its values is expected to be a multiple of one entry of y, which
    two probes find; a third checks it, and where it is not so every unit vector is a probe.
    """
    wanted = {v.id for v in variables} - primal.keys()
    owners = [
        (c, k, v) for c in problem.constraints for k, v in enumerate(c.dual_variables)
        if v.id in wanted
    ]  # fmt: skip
    if not owners:
        return {}
    zeros = int(inverse[-1][ConicSolver.DIMS].zero)

    def probe(y: np.ndarray) -> list[np.ndarray]:
        solution = {"status": cp.OPTIMAL, "value": 0.0, "primal": np.zeros(n)}
        solution |= {"eq_dual": y[:zeros], "ineq_dual": y[zeros:]}
        dual_vars = chain.invert(solution, inverse).dual_vars
        values = []
        for constraint, k, variable in owners:
            if constraint.id not in dual_vars:
                raise InvalidProblem(f"CVXPY reports no dual variable for {constraint}")
            private = copy.copy(constraint)  # CVXPY saves values in the constraint: not the user's
            private.dual_variables = [cp.Variable(v.shape) for v in constraint.dual_variables]
            private.save_dual_value(dual_vars[constraint.id])
            value = private.dual_variables[k].value
            if value is None:
                raise InvalidProblem(f"CVXPY reports no dual variable for {constraint}")
            if np.size(value) == variable.size:  # a scalar's value has the shape (1,) at times
                value = np.reshape(value, variable.shape)
            values.append(np.broadcast_to(value, variable.shape).astype(float).ravel())
        return values

    check = np.random.default_rng(0).normal(size=m)
    ones, index, third = probe(np.ones(m)), probe(np.arange(1.0, m + 1)), probe(check)
    matrices = {}
    for position, (_, _, variable) in enumerate(owners):
        weight = ones[position]
        rows = np.flatnonzero(weight)
        cols = np.clip(np.rint(index[position][rows] / weight[rows]).astype(int) - 1, 0, m - 1)
        matrix = sp.csr_array((weight[rows], (rows, cols)), shape=(variable.size, m))
        if not np.allclose(matrix @ check, third[position], rtol=1e-12, atol=1e-12):
            matrix = sp.csr_array(np.stack([probe(row)[position] for row in np.eye(m)], axis=1))
        matrices[variable.id] = matrix
    return matrices
