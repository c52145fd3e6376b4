"""A loss of one call's solutions, and its gradients by any derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Call, Record
from cvxlpgd.layer.failure import Once

ROUNDING = 1e-9  # of the loss' own terms: what a gradient changes them by beyond rounding
UNSOLVED = 1e-5  # the same for a reference that solves systems, where the exact gradient is 0
MOVED = 1e-6  # of the solutions' size: a difference of solutions that is no noise

Gradient = list[np.ndarray]


@dataclass(frozen=True, eq=False)
class Question:
    """A loss of one call's solutions, by its cotangents, whose gradients are asked for.

    Parameters
    ----------
    call : Call
    values : arrays (*batch axes, *parameter shape)
        Finite: 0 where failed samples have no numbers.
    bars : arrays (batch, size)
        The loss' derivative for each output.
    """

    call: Call
    values: Sequence[np.ndarray]
    bars: Sequence[np.ndarray]

    @classmethod
    def of(
        cls, call: Call, values: Sequence[np.ndarray], bars: Sequence[np.ndarray], what: str
    ) -> Question:
        """The question for a call's own values; raises where there is nothing to `what`."""
        usable = call.record.ok.reshape(-1)
        if not (len(values) and any(bar[usable].any() for bar in bars)):
            raise InvalidInput(
                f"there is nothing to {what}: no parameter, or cotangents that are zero"
            )
        return cls(call, [np.where(np.isfinite(v), v, 0.0) for v in values], bars)

    def differentiate(self, derivative: Derivative) -> tuple[Gradient, Record]:
        """The parameters' gradients, and what became of them."""
        record = self.call.record.without_backward()
        call = self.call.with_derivative(derivative)
        call = replace(call, record=record, policy="nan", once=Once())
        gradients = call.vjp(self.bars, [True] * len(self.values))
        return [g for g in gradients if g is not None], record

    def shares(self, gradient: Gradient) -> np.ndarray:
        """|g| |theta| / sum |x_bar x| for each parameter: what all of it means for the loss."""
        sizes = [float(np.linalg.norm(v)) or 1.0 for v in self.values]
        norms = [float(np.linalg.norm(g)) for g in gradient]
        return np.array(norms) * np.array(sizes) / (self.scale or 1.0)

    def are_zero(self, gradient: Gradient, exact: Gradient | None) -> np.ndarray:
        """Which parameters' gradients are 0, up to rounding, bool (parameters,).

        Where the exact gradient is, the other one may have solved its systems less well.
        """
        is_zero = self.shares(gradient) <= ROUNDING
        if exact is None:
            return is_zero
        return is_zero | (self.shares(exact) <= ROUNDING) & (self.shares(gradient) <= UNSOLVED)

    def are_seen(self, gradient: Gradient, record: Record) -> np.ndarray:
        """Which parameters' gradients are neither zero nor noise, bool (parameters,).

        A difference of solutions is tau times the gradient.
        """
        seen = self.shares(gradient) > ROUNDING
        taus = record.tau[record.tau > 0]
        if taus.size:
            ok = self.call.record.bare.ok
            size = float(np.sqrt(sum(np.sum(x[ok] ** 2) for x in self.call.outputs)))
            moved = np.median(taus) * np.array([float(np.linalg.norm(g)) for g in gradient])
            seen &= moved > MOVED * size
        return seen

    @cached_property
    def scale(self) -> float:
        """The size of the loss' own terms, sum |x_bar x|, of usable samples."""
        ok = self.call.record.bare.ok
        pairs = zip(self.bars, self.call.outputs, strict=True)
        return float(sum(np.sum(np.abs(bar[ok] * x[ok])) for bar, x in pairs))


def compress(gradient: Gradient, keep: np.ndarray) -> Gradient:
    """The gradients of these parameters, bool (parameters,)."""
    return [g for g, wanted in zip(gradient, keep, strict=True) if wanted]


def flatten(gradient: Gradient) -> np.ndarray:
    """All entries in a row."""
    return np.concatenate([np.zeros(0), *(g.ravel() for g in gradient)])


def relative_error(gradient: np.ndarray, expected: np.ndarray) -> float:
    """|g - e| / |e|; NaN where e is 0."""
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(gradient - expected)) / size if size else float("nan")


def cosine(gradient: np.ndarray, expected: np.ndarray) -> float:
    """Of the angle between both; NaN where one is 0."""
    size = float(np.linalg.norm(gradient) * np.linalg.norm(expected))
    return float(gradient @ expected) / size if size else float("nan")
