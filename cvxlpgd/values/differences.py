"""Differences of Lagrangians: how much worse given values are than the solution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cvxlpgd.derivatives import Info
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer import Layer, form_batch
from cvxlpgd.values.optimal import Values, spread_to_outputs
from cvxlpgd.values.targets import complete


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
    target, good, messages = complete(layer, call.solver, program, z, rows, places)
    gap = np.where(good, program.objective(target.x) - program.objective(z.x), np.nan)
    if not good.all():
        info = replace(Info.good(len(good)), ok=good, messages=messages)
        call.remarks.note(info, selection)
    one = np.ones(int(good.sum()))
    terms = ((one, target.pick(good)), (-one, z.pick(good)))
    return Values(call, selection.where(good), selection.into_batch(gap, np.nan), terms)
