"""Envelopes of a loss that is given as a CVXPY expression.

    lower   V(tau)  = min f(x) + tau t    subject to   l(x) <= t
    upper   V(-tau) = min f(x) + tau t    subject to  -l(x) <= t

The lower one needs a convex loss, the upper one a concave loss; an affine loss has both. Where f is
linear, their gradients are those of direct loss minimization (Hazan, Keshet, McAllester 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.checks import is_one_of
from cvxlpgd.derivatives.lpgd import ENDS
from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.layer import Layer, compile_layer
from cvxlpgd.values.optimal import Values, envelope, optimal_value, own_settings

CURVATURES = {"lower": "convex", "upper": "concave", "average": "affine"}


@dataclass(frozen=True, eq=False)
class Weighted:
    """Σ_k c_k v_k for values of several problems.

    A weight c is an array of the batch shape, or spread over it. The first parameters of all
    problems are the same, and some have more.
    """

    shape: tuple[int, ...]  # the batch shape
    value: np.ndarray  # (batch,)
    parts: list[tuple[np.ndarray, Values]]  # (c, v)

    @classmethod
    def of(cls, parts: list[tuple[np.ndarray, Values]]) -> Weighted:
        """The sum, over the batch that all batches are spread to."""
        shape = np.broadcast_shapes(*(v.shape for _, v in parts), *(c.shape for c, _ in parts))
        total = sum((c * v.value.reshape(v.shape) for c, v in parts), np.zeros(shape))
        return cls(shape, np.ravel(total), parts)

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[np.ndarray | None]:
        """Parameters' cotangents for that of the sum, (batch,)."""
        out: list[np.ndarray | None] = [None] * len(needed)
        for c, part in self.parts:
            wide = np.where(np.isfinite(self.value), bar, 0.0).reshape(self.shape) * c
            added = len(self.shape) - len(part.shape)
            own = wide.sum(axis=tuple(range(added)))
            shared = tuple(i for i, n in enumerate(part.shape) if n == 1 and own.shape[i] != 1)
            own = own.sum(axis=shared, keepdims=True).ravel()
            count = len(part.call.compiled.domains)
            wanted = [*needed, False][:count]  # tau, where there is one, is a constant
            for i, g in enumerate(part.vjp(own, wanted)):
                if g is not None:
                    before = out[i]
                    out[i] = g if before is None else before + g
        return out


Make = Callable[[list[np.ndarray]], Values | Weighted]


def prepare_envelope(
    layer: Layer,
    values: Sequence[Any],
    bars: Sequence[np.ndarray] | None,
    loss: cp.Expression | None,
    loss_values: Mapping[cp.Parameter, Any] | None,
    tau: Any,
    side: str | None,
    rho: float,
) -> tuple[Make, tuple[Any, ...]]:
    """What makes an envelope of arrays, and the values that it wants as such arrays.

    Parameters
    ----------
    values : one for each parameter, (*batch axes, *shape)
    bars : arrays, optional
        A cotangent for each returned variable, (*batch shape, *shape) or broadcast to that.
    loss : cp.Expression, optional
        Instead: the loss itself.
    loss_values : {parameter: value}
        Values of the loss's own parameters, which follow the layer's.
    tau, side : as LPGD's; None takes those of the layer's own LPGD
    rho : float

    Raises
    ------
    InvalidInput, InvalidOption
    """
    tau, side = own_settings(layer, tau, side)
    if (loss is None) == (bars is None):
        raise InvalidOption("an envelope needs either cotangents= or loss=")
    if bars is not None:
        make = partial(envelope, layer, bars=bars, tau=tau, side=side, rho=rho)
        return make, tuple(values)
    others, count = check_loss(layer, loss, loss_values, tau, side), len(values)

    def make_of_loss(arrays: list[np.ndarray]) -> Weighted:
        of_others = dict(zip(others, arrays[count:], strict=True))
        return loss_envelope(layer, arrays[:count], loss, of_others, tau, side)

    return make_of_loss, (*values, *others.values())


def loss_envelope(
    layer: Layer,
    values: Sequence[np.ndarray],
    loss: cp.Expression,
    others: Mapping[cp.Parameter, np.ndarray],
    tau: Any,
    side: str,
) -> Weighted:
    """[V(hi tau) - V(lo tau)] / (tau (hi - lo)) for the loss itself, as `check_loss` allows it.

    `values` and those of the loss's own parameters, `others`, are (*batch axes, *parameter shape);
    tau broadcasts to the batch shape.
    """
    hi, lo = ENDS[side]
    sign, tau = layer.canonical.sign, np.asarray(tau, dtype=float)
    parts = []
    for end, weight in ((hi, sign / (hi - lo)), (lo, -sign / (hi - lo))):
        if end == 0.0:
            optimum = optimal_value(layer, values)
        else:
            augmented = _augment(layer, loss, list(others), end)
            optimum = optimal_value(augmented, [*values, *others.values(), tau])
        parts.append((weight / tau, optimum))
    return Weighted.of(parts)


def _augment(layer: Layer, loss: cp.Expression, others: list[cp.Parameter], end: float) -> Layer:
    """The layer of the problem whose optimal value is V(end tau); its last parameter is tau."""
    whole = layer.origin.problem

    def make() -> Layer:
        tau, t = cp.Parameter(nonneg=True, name="tau"), cp.Variable(name="loss")
        kind, expr = type(whole.objective), whole.objective.expr
        signed = expr - tau * t if kind is cp.Maximize else expr + tau * t
        bound = cp.sum(loss if end > 0 else -loss) <= t
        problem = cp.Problem(kind(signed), [*whole.constraints, bound])
        parameters = [*layer.origin.parameters, *others, tau]
        return compile_layer(problem, parameters, whole.variables(), layer.settings)

    key = _Same(loss), tuple(p.id for p in others), end
    augmented: Layer = layer.origin.layer_of_loss(key, make)
    return augmented


class _Same:
    """An expression as a key: of itself alone, and alive as long as the key."""

    def __init__(self, expression: cp.Expression) -> None:
        self.expression = expression

    def __hash__(self) -> int:
        return id(self.expression)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.expression is self.expression


def check_loss(
    layer: Layer, loss: Any, loss_values: Mapping[cp.Parameter, Any] | None, tau: Any, side: str
) -> dict[cp.Parameter, Any]:
    """The values of the loss's own parameters: those given, else those that they have now.

    Raises
    ------
    InvalidOption
        For something else than a scalar expression of the problem's variables, a tau that is not a
        number > 0, or a side that the loss's curvature does not have.
    InvalidInput
        For a value that is missing, or of a parameter that the loss does not have.
    """
    if not isinstance(loss, cp.Expression) or loss.size != 1:
        raise InvalidOption("loss must be a scalar CVXPY expression of the problem's variables")
    known = {v.id for v in layer.origin.problem.variables()}
    unknown = [v.name() for v in loss.variables() if v.id not in known]
    if unknown or not loss.variables():
        raise InvalidOption(
            "loss must be of the problem's variables, "
            + (f"which {', '.join(unknown)} is not" if unknown else "and it has none")
        )
    if layer.canonical.exponential:
        raise InvalidOption("a geometric program has envelopes of cotangents only, not of a loss=")
    if not is_one_of(side, ENDS):
        raise InvalidOption(f"side must be one of {', '.join(ENDS)}, not {side!r}")
    has = {"lower": loss.is_convex(), "upper": loss.is_concave(), "average": loss.is_affine()}
    if not has[side]:
        sides = " and ".join(repr(name) for name, fits in has.items() if fits) or "none"
        raise InvalidOption(
            f"the {side!r} envelope needs a loss that is {CURVATURES[side]} by CVXPY's rules; this "
            f"one is {loss.curvature.lower()} and has {sides}"
        )
    _check_tau(tau)
    if loss_values is not None and not isinstance(loss_values, Mapping):
        raise InvalidInput(f"loss_values must be a dict of parameters, not {loss_values!r}")
    values = {} if loss_values is None else dict(loss_values)
    as_list = {p.id for p in layer.origin.parameters}
    mine = [p for p in loss.parameters() if p.id not in as_list]
    strange = [p for p in values if getattr(p, "id", None) not in {m.id for m in mine}]
    if strange:
        raise InvalidInput(f"loss_values has {strange[0]}, which is not a parameter of loss alone")
    given = {p: values.get(p, p.value) for p in mine}
    missing = [p.name() for p, value in given.items() if value is None]
    if missing:
        raise InvalidInput(f"loss_values has no value for {', '.join(missing)}")
    return given


def _check_tau(tau: Any) -> None:
    try:
        values = np.asarray(tau)
    except (RuntimeError, TypeError, ValueError):
        values = np.asarray(np.nan)
    if values.dtype.kind not in "fiu":
        values = np.asarray(np.nan)
    if not ((values > 0) & np.isfinite(values)).all():
        raise InvalidOption(f"the envelope of a loss= needs tau, a number > 0, not {tau!r}")
