"""Differences of Lagrangians: how much worse given values are than the solution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cvxlpgd.derivatives import Info
from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.layer import Layer, form_batch
from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.program.restriction import TOLERATED, Restriction
from cvxlpgd.solvers.run.solve import solve
from cvxlpgd.values.optimal import Values, spread_to_outputs


def lagrangian_difference(
    layer: Layer,
    values: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    margin: Sequence[np.ndarray] | None = None,
) -> Values:
    """How much worse targets are than the solution: D(v | w) = min_{x: Mx = v} f(x; w) - V(w) >= 0.

    Parameters
    ----------
    targets : arrays
        A feasible value for each returned variable, (*batch shape, *shape) or broadcast to that.
    margin : arrays, optional
        Cotangents, likewise, of a linear function that the objective is diminished by.

    Raises
    ------
    InvalidInput
        For a target that is not feasible.
    InvalidOption
        For a layer that returns dual variables, or of a geometric program.
    """
    canonical = layer.canonical
    if any(output.field != "x" or output.exponential for output in canonical.variables.outputs):
        raise InvalidOption(
            "a difference of Lagrangians needs targets for primal variables: the layer must not "
            "return dual variables, nor be of a geometric program"
        )
    shape = form_batch(layer.domains, values).shape
    along = None if margin is None else spread_to_outputs(layer, margin, shape, "margin")
    call = layer.forward(values, along=along)
    selection = call.handed.where(call.solution.ok)
    places = selection.places
    program, z = selection.of_programs(call.program), call.solution.point.pick(selection.rows)
    rows = [v[places] for v in spread_to_outputs(layer, targets, shape, "target")]
    x, columns = fix_columns(layer, rows, z.x)
    restriction = Restriction.of(program.structure, columns)
    left, violation = restriction.program(program, x)
    solution = solve(call.solver, left) if len(restriction.free) else _nothing_left(left)
    if not solution.ok.all():
        index = np.flatnonzero(~solution.ok)
        wide = restriction.widened(left, program, x).take(index)
        other = solve(call.solver, wide)
        solution = solution.replace_samples(index, other, other.ok)
    target = restriction.point(solution.point, x)
    infeasible = (violation > TOLERATED) | (solution.status == Status.INFEASIBLE)
    _require_feasible(infeasible, violation, places)
    good = solution.ok
    gap = np.where(good, program.objective(target.x) - program.objective(z.x), np.nan)
    if not good.all():
        info = replace(Info.good(len(good)), ok=good, messages=solution.messages)
        call.remarks.note(info, selection)
    one = np.ones(int(good.sum()))
    terms = ((one, target.pick(good)), (-one, z.pick(good)))
    return Values(call, selection.where(good), selection.into_batch(gap, np.nan), terms)


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
        if not off <= TOLERATED * (1 + np.abs(v).max(initial=0.0)):
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
