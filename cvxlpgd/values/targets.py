"""Targets: values of the variables that a layer returns, as points of its programs."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Layer
from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.program.restriction import TOLERATED, Restriction
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.solve import solve

MANY = 100_000  # targets that are remembered for a layer

# Rows of targets that are feasible for a layer whose constraints have no parameters and whose
# objective is one of the returned variables: a training asks for the same ones in each epoch.
_feasible: WeakKeyDictionary[Layer, set[bytes]] = WeakKeyDictionary()


def complete(
    layer: Layer, solver: Solver, program: ConeProgram, z: Point, rows: Sequence[np.ndarray],
    places: np.ndarray,
) -> tuple[Point, np.ndarray, tuple[str, ...]]:  # fmt: skip
    """The best points in which the returned variables have these values, each (batch, size).

    Parameters
    ----------
    z : Point
        The solutions, from which other variables are taken where their values do not matter.
    places : int array (batch,)
        The samples' numbers, for messages.

    Returns
    -------
    The points, for which samples there is one, and what the solver wrote.

    Raises
    ------
    InvalidInput
        For a target that is not feasible, or no value of its variable.
    """
    x, columns = fix_columns(layer, rows, z.x)
    known = _known(layer, columns)
    keys = [] if known is None else [row.tobytes() for row in x[:, columns]]
    if known is not None and known.issuperset(keys):
        nothing = np.zeros_like(z.y)
        return Point(x, nothing, nothing), np.ones(len(x), dtype=bool), ("",) * len(x)
    restriction = Restriction.of(program.structure, columns)
    left, violation = restriction.program(program, x)
    solution = solve(solver, left) if len(restriction.free) else _nothing_left(left)
    if not solution.ok.all():
        index = np.flatnonzero(~solution.ok)
        other = solve(solver, restriction.widened(left, program, x).take(index))
        solution = solution.replace_samples(index, other, other.ok)
    infeasible = (violation > TOLERATED) | (solution.status == Status.INFEASIBLE)
    _require_feasible(infeasible, violation, places)
    if known is not None:
        if len(known) + len(keys) > MANY:
            known.clear()
        known.update(key for key, ok in zip(keys, solution.ok, strict=True) if ok)
    return restriction.point(solution.point, x), solution.ok, solution.messages


def _known(layer: Layer, columns: np.ndarray) -> set[bytes] | None:
    """The targets that are known to be feasible; None where that depends on more than them."""
    varying = layer.structure.varying
    if len(varying.A) or len(varying.b) or len(hidden_in_objective(layer, columns)):
        return None
    return _feasible.setdefault(layer, set())


def hidden_in_objective(layer: Layer, columns: np.ndarray) -> np.ndarray:
    """The columns of x besides these that the objective has terms of."""
    blocks, P = layer.canonical.parameters.blocks, layer.structure.P
    priced = np.flatnonzero(blocks["q"].base[0])
    curved = np.concatenate([np.flatnonzero(blocks["P"].base[0]), blocks["P"].varying])
    own = [priced, blocks["q"].varying, P.rows[curved], P.cols[curved]]
    return np.setdiff1d(np.concatenate(own), columns)


def _require_feasible(infeasible: np.ndarray, violation: np.ndarray, places: np.ndarray) -> None:
    if infeasible.any():
        i = int(np.flatnonzero(infeasible)[0])
        raise InvalidInput(
            f"{infeasible.sum()} of {len(places)} targets are outside of the feasible set; the "
            f"first is that of sample {places[i]}, whose constraints are violated by "
            f"{violation[i]:.1e} (relative); a target must be feasible for its own sample's values"
        )


def fix_columns(
    layer: Layer, rows: Sequence[np.ndarray], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The points x (batch, n) with the targets' columns set, and these columns.

    Raises
    ------
    InvalidInput
        For a target that is no value of its variable.
    """
    x, groups = x.copy(), []
    for i, (output, v) in enumerate(zip(layer.canonical.variables.outputs, rows, strict=True)):
        own = np.flatnonzero(output.often)
        x[:, own] = output.linear.adjoint(v)[:, own]
        x[:, own] /= output.often[own]
        off = np.abs(output.linear(x) - v).max(initial=0.0)
        if not off <= TOLERATED * np.abs(v).max(initial=0.0):
            raise InvalidInput(
                f"target {i} is not a value of variable {output.name}: it is NaN or infinite, not "
                "symmetric, or has entries outside of the variable's pattern"
            )
        groups.append(own)
    columns = np.unique(np.concatenate(groups))
    whole = np.intersect1d(np.union1d(layer.structure.integer, layer.structure.boolean), columns)
    if np.abs(x[:, whole] - np.rint(x[:, whole])).max(initial=0.0) > TOLERATED:
        raise InvalidInput("a target of an integer variable is not an integer")
    return x, columns


def _nothing_left(left: ConeProgram) -> Solution:
    """The solution of programs without variables."""
    b = left.data.b
    nothing = np.zeros(len(b))
    return Solution(
        Point(np.zeros((len(b), 0)), b * 0.0, b * 1.0),
        np.full(len(b), Status.SOLVED, dtype=object), nothing, nothing, ("",) * len(b),
    )  # fmt: skip
