"""Sums of optimal values, as functions of the parameters, and their gradients.

    v = Σ_k c_k L(z_k; w)        w_bar = Σ_k c_k ∇_w L(z_k; w)

By Danskin's theorem that is the gradient where every z_k is a saddle point of L, or of L with terms
that do not depend on w: optimal values, their Lagrange-Moreau envelopes, Lagrangian differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.derivatives import Derivative
from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.integers import refuse_rows
from cvxlpgd.derivatives.lpgd import ENDS, LPGD
from cvxlpgd.derivatives.tau import settings
from cvxlpgd.derivatives.tau.sizes import cotangent_step
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Call, Layer, Selection, spread
from cvxlpgd.program import Point
from cvxlpgd.solvers.protocol import require

Term = tuple[np.ndarray, Point]  # c (batch,) and z


@dataclass(frozen=True, eq=False)
class Values:
    """A sum of optimal values for each sample, and what its gradient needs."""

    call: Call
    selection: Selection  # the samples that have a value
    value: np.ndarray  # (batch,), NaN where a sample failed
    terms: tuple[Term, ...]  # of the selection

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape."""
        return self.call.batch.shape

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[np.ndarray | None]:
        """Parameters' cotangents for that of the values, (batch,); failed samples count nothing."""
        call, selection = self.call, self.selection
        parameters = call.compiled.canonical.parameters
        entries = parameters.entries(needed)
        refuse_rows(call.program.structure, entries)
        program = selection.of_programs(call.program)
        bar, w_bar = bar[selection.places], None
        for c, z in self.terms:
            term = program.lagrangian_gradient(z, entries) * (c * bar)[:, None]
            w_bar = term if w_bar is None else w_bar + term
        flat = [selection.of_handed(v) for v in call.flat]
        gradients: list[Any] = [None] * len(needed)
        if w_bar is not None:
            total = np.sum([c for c, _ in self.terms], axis=0) * bar
            offset_bar = total if total.any() else None
            gradients = parameters.cotangents(flat, w_bar, entries, needed, offset_bar=offset_bar)
        lost = selection.where(np.zeros(len(selection), dtype=bool))
        return call.gather(gradients, selection, lost, needed)


def refuse_integer_rows(
    layer: Layer, needed: Sequence[bool], derivative: Derivative | None = None
) -> None:
    """Raise DerivativeFailed, before anything is solved, for gradients of an integer program's
    constraints that values do not have; or that means of solutions do not, by their derivative.
    """
    if any(needed):
        structure, entries = layer.structure, layer.entries(needed)
        if derivative is None:
            refuse_rows(structure, entries)
        elif structure.mixed_integer and len(entries.A) + len(entries.b):
            derivative.refuse(structure, entries)


def own_settings(layer: Layer, tau: Any, side: str | None) -> tuple[Any, str]:
    """Tau and side; where they are None, those of the layer's own derivative, or LPGD's."""
    own_tau, own_side = layer.derivative.perturbation or LPGD().perturbation
    return own_tau if tau is None else tau, own_side if side is None else side


def as_list(values: Any, what: str, *arrays: type) -> list[Any]:
    """One array for each variable, where a single one need not be in a list.

    Raises
    ------
    InvalidInput
        For anything but an array, a list or a tuple.
    """
    if isinstance(values, arrays):
        return [values]
    if not isinstance(values, list | tuple):
        raise InvalidInput(f"{what} must be an array, or a list of one for each returned variable")
    return list(values)


def optimal_value(layer: Layer, values: Sequence[np.ndarray]) -> Values:
    """The problem's optimal value, as the user wrote it."""
    call = layer.forward(values)
    selection = call.handed.where(call.solution.ok)
    canonical = call.compiled.canonical
    value = call.record.objective.reshape(-1).copy()
    value[~call.full.ok] = np.nan
    c = np.full(len(selection), canonical.sign)
    if canonical.exponential:
        c = c * value[selection.places]
    return Values(call, selection, value, ((c, call.solution.point.pick(selection.rows)),))


def envelope(
    layer: Layer,
    values: Sequence[np.ndarray],
    bars: Sequence[np.ndarray],
    tau: Any,
    side: str,
    rho: float = 0.0,
) -> Values:
    """A Lagrange-Moreau envelope of the loss that is linear with these cotangents.

        V(t) = min_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y) + (rho/2) |x - x*|²_omega
        [V(hi tau) - V(lo tau)] / (tau (hi - lo)),  (hi, lo) of the side as in LPGD

    Parameters
    ----------
    bars : arrays
        A cotangent for each returned variable, (*batch shape, *shape) or broadcast to that.
    tau, side : as LPGD's
    rho : float
        In the gradient x* is a constant.
    """
    settings.check(tau, rho, side, ENDS)
    if rho:
        require(layer.solver, layer.structure.proximal)
    call = layer.forward(values)
    selection = call.handed.where(call.solution.ok)
    places = selection.places
    program = selection.of_programs(call.program)
    solution = call.solution.take(selection.rows)
    variables = call.compiled.canonical.variables
    outputs = [output[places] for output in call.outputs]
    rows = [bar[places] for bar in spread_to_outputs(layer, bars, call.batch.shape, "cotangent")]
    z_bar = variables.cotangent(outputs, rows, solution.point)
    tau = settings.read(tau, call.batch.shape)
    if isinstance(tau, np.ndarray):
        tau = tau.reshape(-1)[places]
    tau = cotangent_step(tau, program, solution.point, z_bar, call.solver.accuracy)
    hi, lo = ENDS[side]
    ends = [t for t in (hi, lo) if t]
    solved = perturb.solve_ends(program, solution, z_bar, tau, ends, rho, call.solver)
    call.remarks.note(solved.info, selection)
    V = {0.0: program.objective(solution.point.x)} | solved.at(solved.optimal(solution.point, rho))
    z = {0.0: solution.point} | solved.points()
    c = 1.0 / (tau * (hi - lo))
    linear = np.sum(z_bar.x * solution.point.x, axis=1) + np.sum(z_bar.y * solution.point.y, axis=1)
    loss = sum((np.sum(r * o, axis=1) for r, o in zip(rows, outputs, strict=True)), 0.0 * c)
    # a geometric program's variables are exponentials: linear in the logarithms, the same at x*
    good = solved.info.ok
    value = np.where(good, c * (V[hi] - V[lo]) + (loss - linear), np.nan)
    terms = ((c[good], z[hi].pick(good)), (-c[good], z[lo].pick(good)))
    return Values(call, selection.where(good), selection.into_batch(value, np.nan), terms)


def spread_to_outputs(
    layer: Layer, arrays: Sequence[np.ndarray], shape: tuple[int, ...], what: str
) -> list[np.ndarray]:
    """Arrays for the returned variables as (batch, size)."""
    if len(arrays) != len(layer.shapes):
        raise InvalidInput(f"received {len(arrays)} {what}s, expected {len(layer.shapes)}")
    count, owns = int(np.prod(shape)), zip(layer.shapes, layer.sizes, strict=True)
    return [
        spread(array, shape + own, f"{what} {i}").reshape(count, size)
        for i, (array, (own, size)) in enumerate(zip(arrays, owns, strict=True))
    ]
