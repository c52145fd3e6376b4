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
from cvxlpgd.layer.inputs import Domain

ROUNDING = 1e-9  # of the loss' own terms: what a gradient changes them by beyond rounding
UNSOLVED = 1e-5  # of their bound: the same where systems are solved, and the exact one is 0
MOVED = 1e-6  # of the solutions' size: a difference of solutions that is no noise
LEAST = 1e-4  # of their bound: terms that are smaller may be rounding themselves
NOTHING = 1e-9  # a solution of this size is 0 to any solver, and counts as 1

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

    def random_direction(self, rng: np.random.Generator) -> Gradient:
        """One of the parameters, normal, as large as the largest entry of each sample's values."""
        direction = []
        for v, domain in zip(self.values, self._domains, strict=True):
            largest = _sizes(v, domain.size, np.inf)
            rows = largest[:, None] * rng.normal(size=(len(largest), domain.size))
            direction.append(rows.reshape(v.shape))
        return direction

    def shares(self, gradient: Gradient, of: float | None = None) -> np.ndarray:
        """Each parameter's sum |g| |theta| / scale: what it all means for the loss.

        The sum is over samples, whose units may differ; the scale is `self.scale` or `of`.
        """
        whole = [
            float(_norms(g, domain.size) @ _sizes(v, domain.size))
            for g, v, domain in zip(gradient, self.values, self._domains, strict=True)
        ]
        return np.array(whole) / ((self.scale if of is None else of) or 1.0)

    def are_zero(self, gradient: Gradient, exact: Gradient | None) -> np.ndarray:
        """Which parameters' gradients are 0, up to rounding, bool (parameters,).

        Where the exact gradient is, the other one may have solved its systems less well; where
        there is none, it is a difference, which does not resolve terms below rounding.
        """
        if exact is None:
            return self.shares(gradient, self.bound) <= ROUNDING
        is_zero = self.shares(gradient) <= ROUNDING
        return is_zero | (self.shares(exact) <= ROUNDING) & self._are_unsolved(gradient)

    def are_seen(self, gradient: Gradient, record: Record) -> np.ndarray:
        """Which parameters' gradients are neither zero nor noise where the exact ones are 0.

        bool (parameters,). A difference of solutions is tau times the gradient.
        """
        taus = record.tau[record.tau > 0]
        if not taus.size:
            return ~self._are_unsolved(gradient)
        seen = self.shares(gradient, self.bound) > ROUNDING
        ok = self.call.record.bare.ok
        size = float(np.sqrt(sum(np.sum(x[ok] ** 2) for x in self.call.outputs)))
        moved = np.median(taus) * np.array([float(np.linalg.norm(g)) for g in gradient])
        return seen & (moved > MOVED * size)

    def _are_unsolved(self, gradient: Gradient) -> np.ndarray:
        """Which are no more than the noise of systems, which mix data and solutions."""
        bar, norms = np.linalg.norm(flatten(list(self.bars))), [np.linalg.norm(g) for g in gradient]
        return (self.shares(gradient, self.bound) <= UNSOLVED) | (norms <= UNSOLVED * bar)

    @cached_property
    def scale(self) -> float:
        """The size of the loss' own terms of usable samples, of each at least a share of `bound`.

        Where a loss is of entries that are 0, its terms are rounding.
        """
        return float(np.sum(np.maximum(self._terms, LEAST * self._bounds)))

    @cached_property
    def terms(self) -> float:
        """The size of the loss' own terms, sum |x_bar x|, of usable samples."""
        return float(np.sum(self._terms))

    @cached_property
    def bound(self) -> float:
        """What the terms can be at most, sum |x_bar| |x|, of usable samples."""
        return float(np.sum(self._bounds))

    @cached_property
    def _terms(self) -> np.ndarray:
        """|x_bar x| of each usable sample, (samples,)."""
        ok = self.call.record.bare.ok
        pairs = zip(self.bars, self.call.outputs, strict=True)
        return np.sum([np.sum(np.abs(bar[ok] * x[ok]), axis=1) for bar, x in pairs], axis=0)

    @cached_property
    def _bounds(self) -> np.ndarray:
        """|x_bar| |x| of each usable sample, (samples,)."""
        ok = self.call.record.bare.ok
        bounds = np.zeros(int(ok.sum()))
        for bar, x in zip(self.bars, self.call.outputs, strict=True):
            size = np.linalg.norm(x[ok], axis=1)
            size[size <= NOTHING] = 1.0
            bounds += np.linalg.norm(bar[ok], axis=1) * size
        return bounds

    @property
    def _domains(self) -> Sequence[Domain]:
        return self.call.compiled.domains


def _norms(values: np.ndarray, size: int, order: float = 2) -> np.ndarray:
    """Of each sample's values, (samples,); one number where all samples share them."""
    return np.linalg.norm(values.reshape(-1, size), order, axis=1)


def _sizes(values: np.ndarray, size: int, order: float = 2) -> np.ndarray:
    """The same, that of the largest sample where a sample's values are 0; 1 if all are."""
    norms = _norms(values, size, order)
    return np.where(norms > 0, norms, norms.max(initial=0.0) or 1.0)


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
