"""Constraints that are active but only just: where a solution has kinks, and exact derivatives end.

A constraint is weakly active where it holds with equality and its dual variable is 0: whether it
takes part then depends on the direction in which the parameters move.
"""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from cvxlpgd.canonical.variable_map import Output
from cvxlpgd.checks import is_positive
from cvxlpgd.cones import NonNeg, is_weakly_active
from cvxlpgd.errors import InvalidOption, InvalidProblem
from cvxlpgd.layer import Layer, Record, compile_layer
from cvxlpgd.program import norm
from cvxlpgd.solvers.run.arrays import point_in


@dataclass(frozen=True, eq=False)
class WeaklyActive:
    """A constraint with weakly active entries.

    Parameters
    ----------
    constraint : cp.Constraint or None
        None for bounds and other attributes of variables, and for rows that canonicalization added.
    name : str
        The constraint as CVXPY writes it, or the names of the variables.
    where : bool array (*batch shape, *constraint shape)
        Its entries; a cone counts as one. For no constraint: (*batch shape, rows).
    """

    constraint: cp.Constraint | None
    name: str
    where: np.ndarray

    def __repr__(self) -> str:
        """Which one, and how much of it."""
        return f"WeaklyActive({self.name}: {self.where.sum()} of {self.where.size} entries)"


def weakly_active(
    layer: Layer, tol: float = 1e-6, record: Record | None = None
) -> list[WeaklyActive]:
    """The constraints that are weakly active at the solutions of a call of the layer.

    Parameters
    ----------
    tol : float
        How near to 0 slacks and dual variables are, relative to 1 + |s| and 1 + |y|. Interior-point
        solvers stop at about the root of their accuracy at such points: raise it there.
    record : Record, optional
        The call's; None takes this thread's newest one.
    """
    if not is_positive(tol):
        raise InvalidOption(f"tol must be a number > 0, not {tol!r}")
    record = layer.info if record is None else record
    structure, point = layer.structure, point_in(record.solution.point, "numpy")
    if structure.mixed_integer:
        raise InvalidOption("an integer program has no dual variables, so nothing is weakly active")
    s = point.s / (1 + norm(point.s)[:, None])
    y = point.y / (1 + norm(point.y)[:, None])
    rows = np.zeros(s.shape, dtype=bool)
    for cone, first, count in structure.blocks:
        if isinstance(cone, NonNeg):  # each row is a cone
            cone, count = NonNeg(1), cone.rows * count
        span = slice(first, first + cone.rows * count)
        shape = (len(s), count, cone.rows)
        weak = is_weakly_active(cone, s[:, span].reshape(shape), y[:, span].reshape(shape), tol)
        rows[:, span] = np.repeat(weak, cone.rows, axis=1)
    return _name(layer, rows, record.status.shape)


def _name(layer: Layer, rows: np.ndarray, batch: tuple[int, ...]) -> list[WeaklyActive]:
    """The constraints that these rows (samples, m) are of."""
    weak_ones, rest = [], rows.copy()
    for constraint in layer.origin.problem.constraints:
        where = np.zeros((len(rows), constraint.size), dtype=bool)
        for output in _duals(layer, constraint):
            reached = np.flatnonzero(np.diff(output.matrix.tocsc().indptr))
            rest[:, reached] = False
            weak = (abs(output.matrix) @ rows.T).T > 0
            where |= weak if weak.shape == where.shape else weak.any(axis=1, keepdims=True)
        if where.any():
            shaped = where.reshape(batch + constraint.shape)
            weak_ones.append(WeaklyActive(constraint, str(constraint), shaped))
    if rest.any():
        columns = np.unique(
            layer.structure.A.cols[np.isin(layer.structure.A.rows, rest.nonzero()[1])]
        )
        names = [
            output.name for output in layer.canonical.everything.outputs
            if np.isin(output.matrix.indices, columns).any()
        ]  # fmt: skip
        others = rest[:, rest.any(axis=0)]
        name = f"bounds, attributes or parts of constraints of {', '.join(names)}"
        weak_ones.append(WeaklyActive(None, name, others.reshape(batch + others.shape[1:])))
    return weak_ones


def _duals(layer: Layer, constraint: cp.Constraint) -> tuple[Output, ...]:
    """How the constraint's dual variables are read from y; nothing where CVXPY reports none."""
    origin, duals = layer.origin, constraint.dual_variables
    if constraint.id not in origin.derived:
        try:
            other = compile_layer(origin.problem, origin.parameters, duals, layer.settings)
            origin.derived[constraint.id] = other.canonical.variables.outputs
        except InvalidProblem:
            origin.derived[constraint.id] = ()
    return origin.derived[constraint.id]
