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

from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.integers import refuse_rows
from cvxlpgd.derivatives.lpgd import ENDS, LPGD
from cvxlpgd.derivatives.tau import settings
from cvxlpgd.derivatives.tau.sizes import cotangent_step
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer.call import Call
from cvxlpgd.layer.compiled import some, taken
from cvxlpgd.layer.inputs import spread
from cvxlpgd.layer.layer import Layer
from cvxlpgd.program import Point
from cvxlpgd.solvers.protocol import require

Term = tuple[np.ndarray, Point]  # c (batch,) and z


@dataclass(frozen=True, eq=False)
class Values:
    """A sum of optimal values for each sample, and what its gradient needs.

    Parameters
    ----------
    call : Call
        The forward pass.
    samples : int array
        Which of the batch have a value.
    value : array (batch,)
        NaN where a sample failed.
    terms : tuple of Term
        Of these samples.
    """

    call: Call
    samples: np.ndarray
    value: np.ndarray
    terms: tuple[Term, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape."""
        return self.call.batch.shape

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[np.ndarray | None]:
        """Parameters' cotangents for that of the values, (batch,); failed samples count nothing."""
        call, compiled = self.call, self.call.compiled
        parameters = compiled.canonical.parameters
        entries = parameters.entries(needed)
        refuse_rows(compiled.canonical.structure, entries)
        program = some(call.program, self._active)
        bar, w_bar = bar[self.samples], None
        for c, z in self.terms:
            term = program.lagrangian_gradient(z, entries) * (c * bar)[:, None]
            w_bar = term if w_bar is None else w_bar + term
        flat = [taken(v, self._active, len(call.samples)) for v in call.flat]
        found: list[Any] = [None] * len(needed)
        if w_bar is not None:
            found = parameters.cotangents(flat, w_bar, entries, needed)
            total = np.sum([c for c, _ in self.terms], axis=0) * bar
            if total.any():
                parameters.offset_cotangents(flat, total, needed, found)
        return call.gathered(found, self.samples, np.zeros(0, dtype=int), needed)

    @property
    def _active(self) -> np.ndarray:
        """The samples that have a value, among those that were solved."""
        return np.searchsorted(self.call.samples, self.samples)


def refuse_integer_rows(layer: Layer, needed: Sequence[bool]) -> None:
    """Raise DerivativeFailed, before anything is solved, for gradients that values do not have."""
    if any(needed):
        refuse_rows(layer.structure, layer.entries(needed))


def own(layer: Layer, tau: Any, side: str | None) -> tuple[Any, str]:
    """Tau and side; where they are None, those of the layer's own derivative, or LPGD's."""
    mine, side_of_mine = layer.derivative.perturbation or LPGD().perturbation
    return mine if tau is None else tau, side_of_mine if side is None else side


def listed(values: Any, what: str, *arrays: type) -> list[Any]:
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
    active = np.flatnonzero(call.solution.ok)
    samples = call.samples[active]
    canonical = call.compiled.canonical
    value = call.record.objective.reshape(-1).copy()
    value[~call.full.ok] = np.nan
    c = np.full(len(samples), canonical.sign)
    if canonical.exponential:
        c = c * value[samples]
    return Values(call, samples, value, ((c, call.solution.point.pick(active)),))


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
    active = np.flatnonzero(call.solution.ok)
    samples = call.samples[active]
    program, solution = some(call.program, active), call.solution.take(active)
    variables = call.compiled.canonical.variables
    outputs = [output[samples] for output in call.outputs]
    rows = [bar[samples] for bar in spread_over(layer, bars, call.batch.shape, "cotangent")]
    z_bar = variables.cotangent(outputs, rows, solution.point)
    fixed = settings.read(tau, call.batch.shape)
    if isinstance(fixed, np.ndarray):
        fixed = fixed.reshape(-1)[samples]
    tau = cotangent_step(fixed, program, solution.point, z_bar, call.solver.accuracy)
    hi, lo = ENDS[side]
    ends = [t for t in (hi, lo) if t]
    found = perturb.solved_ends(program, solution, z_bar, tau, ends, rho, call.solver)
    call.note(found.info, samples)
    V = {0.0: program.objective(solution.point.x)} | found.at(found.optimal(solution.point, rho))
    z = {0.0: solution.point} | found.points()
    c = 1.0 / (tau * (hi - lo))
    linear = np.sum(z_bar.x * solution.point.x, axis=1) + np.sum(z_bar.y * solution.point.y, axis=1)
    loss = sum((np.sum(r * o, axis=1) for r, o in zip(rows, outputs, strict=True)), 0.0 * c)
    value = np.full(len(call.full.status), np.nan)
    # a geometric program's variables are exponentials: linear in the logarithms, the same at x*
    value[samples] = c * (V[hi] - V[lo]) + (loss - linear)
    good = found.info.ok
    value[samples[~good]] = np.nan
    terms = ((c[good], z[hi].pick(good)), (-c[good], z[lo].pick(good)))
    return Values(call, samples[good], value, terms)


def spread_over(
    layer: Layer, arrays: Sequence[np.ndarray], shape: tuple[int, ...], what: str
) -> list[np.ndarray]:
    """Arrays for the returned variables as (batch, size)."""
    if len(arrays) != len(layer.shapes):
        raise InvalidInput(f"received {len(arrays)} {what}s, expected {len(layer.shapes)}")
    count = int(np.prod(shape))
    return [
        spread(array, shape + own, f"{what} {i}").reshape(count, int(np.prod(own)))
        for i, (array, own) in enumerate(zip(arrays, layer.shapes, strict=True))
    ]
