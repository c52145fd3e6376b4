"""Targets: values of the variables that a layer returns, as points of its programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    known = _known(layer)
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


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of x that a layer's targets are values of."""

    own: tuple[np.ndarray, ...]  # of each returned variable
    all: np.ndarray
    whole: np.ndarray  # those of integers
    hidden: np.ndarray  # columns besides these that the objective has terms of


_columns: WeakKeyDictionary[Layer, Columns] = WeakKeyDictionary()


def columns_of(layer: Layer) -> Columns:
    """The columns of the variables that a layer returns."""
    if layer not in _columns:
        structure, blocks = layer.structure, layer.canonical.parameters.blocks
        own = tuple(np.flatnonzero(v.often) for v in layer.canonical.variables.outputs)
        columns = np.unique(np.concatenate(own))
        whole = np.intersect1d(np.union1d(structure.integer, structure.boolean), columns)
        priced = np.flatnonzero(blocks["q"].base[0])
        curved = np.concatenate([np.flatnonzero(blocks["P"].base[0]), blocks["P"].varying])
        P = structure.P
        terms = [priced, blocks["q"].varying, P.rows[curved], P.cols[curved]]
        hidden = np.setdiff1d(np.concatenate(terms), columns)
        _columns[layer] = Columns(own, columns, whole, hidden)
    return _columns[layer]


def _known(layer: Layer) -> set[bytes] | None:
    """The targets that are known to be feasible; None where that depends on more than them."""
    varying = layer.structure.varying
    if len(varying.A) or len(varying.b) or len(columns_of(layer).hidden):
        return None
    return _feasible.setdefault(layer, set())


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
    x, columns = x.copy(), columns_of(layer)
    outputs = layer.canonical.variables.outputs
    for i, (output, v, own) in enumerate(zip(outputs, rows, columns.own, strict=True)):
        x[:, own] = output.linear.adjoint(v)[:, own]
        x[:, own] /= output.often[own]
        off = np.abs(output.linear(x) - v).max(initial=0.0)
        if not off <= TOLERATED * np.abs(v).max(initial=0.0):
            raise InvalidInput(
                f"target {i} is not a value of variable {output.name}: it is NaN or infinite, not "
                "symmetric, or has entries outside of the variable's pattern"
            )
    whole = x[:, columns.whole]
    if np.abs(whole - np.rint(whole)).max(initial=0.0) > TOLERATED:
        raise InvalidInput("a target of an integer variable is not an integer")
    return x, columns.all


def _nothing_left(left: ConeProgram) -> Solution:
    """The solution of programs without variables."""
    b = left.data.b
    nothing = np.zeros(len(b))
    return Solution(
        Point(np.zeros((len(b), 0)), b * 0.0, b * 1.0),
        np.full(len(b), Status.SOLVED, dtype=object), nothing, nothing, ("",) * len(b),
    )  # fmt: skip
