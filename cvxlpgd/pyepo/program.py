"""A mixed-integer program as columns and rows, and as a CVXPY problem with its cost a parameter."""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import InvalidProblem


@dataclass(frozen=True, eq=False)
class QuadraticRow:
    """lower <= v'Q v + a'v <= upper."""

    Q: sp.csr_array
    a: np.ndarray
    lower: float
    upper: float


@dataclass(frozen=True, eq=False)
class Rows:
    """What a program's columns v, (n,), satisfy.

    low <= v <= high, v integer where it says so, lower <= A v <= upper, and quadratic rows.
    """

    low: np.ndarray
    high: np.ndarray
    integer: np.ndarray  # bool (n,)
    A: sp.csr_array
    lower: np.ndarray
    upper: np.ndarray
    quadratic: tuple[QuadraticRow, ...] = ()


@dataclass(frozen=True, eq=False)
class Objective:
    """v'P v + q'v + constant."""

    q: np.ndarray
    constant: float
    P: sp.csr_array | None = None


def state(
    rows: Rows, E: sp.csr_array, known: Objective, maximize: bool
) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """The problem of the costs c, whose decisions are x = E v, and the lists for a layer.

        minimize or maximize   c'x + known(v)   over v in rows

    Raises
    ------
    InvalidProblem
        Where it is not convex but for its integers.
    """
    cost, v, constraints = cp.Parameter(E.shape[0], name="cost"), *_columns(rows)
    constraints += _linear(rows, v)
    for i, row in enumerate(rows.quadratic):
        own = _quadratic(row, v)
        if not all(constraint.is_dcp() for constraint in own):
            raise InvalidProblem(f"quadratic constraint {i} is not convex: no layer takes it")
        constraints += own
    x = v
    if E.shape[0] != E.shape[1] or (E - sp.eye_array(E.shape[0])).count_nonzero():
        x = cp.Variable(E.shape[0], name="x")
        constraints.append(x == E @ v)
    value = cost @ x + known.constant
    if known.q.any():
        value += known.q @ v
    if known.P is not None and known.P.nnz:
        value += _form(known.P, v)
    problem = cp.Problem(cp.Maximize(value) if maximize else cp.Minimize(value), constraints)
    if not problem.is_dcp():
        raise InvalidProblem("the quadratic term of the objective is not convex: no layer takes it")
    return problem, [cost], [x]


def _columns(rows: Rows) -> tuple[cp.Variable, list[cp.Constraint]]:
    """The columns with their integers, and their bounds."""
    boolean = rows.integer & (rows.low >= 0) & (rows.high <= 1)
    kinds = {"boolean": boolean, "integer": rows.integer & ~boolean}
    given = {
        kind: True if at.all() else [np.flatnonzero(at)] for kind, at in kinds.items() if at.any()
    }
    v = cp.Variable(len(rows.low), name="x", **given)
    fixed = rows.low == rows.high
    # a boolean column has the bounds 0 and 1 by itself
    above = np.flatnonzero(np.isfinite(rows.low) & ~fixed & ~(boolean & (rows.low == 0)))
    below = np.flatnonzero(np.isfinite(rows.high) & ~fixed & ~(boolean & (rows.high == 1)))
    constraints: list[cp.Constraint] = []
    if fixed.any():
        constraints.append(v[np.flatnonzero(fixed)] == rows.low[fixed])
    if len(above):
        constraints.append(v[above] >= rows.low[above])
    if len(below):
        constraints.append(v[below] <= rows.high[below])
    return v, constraints


def _linear(rows: Rows, v: cp.Variable) -> list[cp.Constraint]:
    equal = rows.lower == rows.upper
    above, below = np.isfinite(rows.lower) & ~equal, np.isfinite(rows.upper) & ~equal
    constraints: list[cp.Constraint] = []
    if equal.any():
        constraints.append(rows.A[equal] @ v == rows.lower[equal])
    if above.any():
        constraints.append(rows.A[above] @ v >= rows.lower[above])
    if below.any():
        constraints.append(rows.A[below] @ v <= rows.upper[below])
    return constraints


def _quadratic(row: QuadraticRow, v: cp.Variable) -> list[cp.Constraint]:
    value = _form(row.Q, v) + row.a @ v
    if row.lower == row.upper:
        return [value == row.upper]
    constraints: list[cp.Constraint] = []
    if np.isfinite(row.lower):
        constraints.append(value >= row.lower)
    if np.isfinite(row.upper):
        constraints.append(value <= row.upper)
    return constraints


def _form(Q: sp.csr_array, v: cp.Variable) -> cp.Expression:
    """The form v'Q v, of the columns that are in it."""
    symmetric = ((Q + Q.T) / 2).tocoo()
    used = np.union1d(symmetric.row, symmetric.col)
    return cp.quad_form(v[used], symmetric.toarray()[np.ix_(used, used)])
