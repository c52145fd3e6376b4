"""Mean solutions under noise, and mean differences of Lagrangians, with their gradients.

    x̄(w) = (1/N) Σ_i x*(w_i)

The gradient of a loss with cotangent g at x̄ is estimated by the draws alone, whatever the solutions
depend on (Berthet et al., "Learning with differentiable perturbed optimizers", NeurIPS 2020): for
x_i = x*(w + sigma ξ_i) and noise of density p, by its score -∇ log p,

    w_bar = 1/(N sigma) Σ_i (g'x_i - c_i) score(ξ_i),     c_i = mean of g'x_j over j != i

where w is multiplied, w_bar / w, since log |w| has the additive noise. Or by a derivative of the
solutions, w_bar = (1/N) Σ_i x*'(w_i)'g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import SolveFailed
from cvxlpgd.layer import Call, Layer, Record, failure
from cvxlpgd.values.differences import lagrangian_difference
from cvxlpgd.values.noise import Noisy, Settings, moved
from cvxlpgd.values.optimal import Values, spread_to_outputs


@dataclass(frozen=True, eq=False)
class Expected:
    """Mean solutions, all variables of a sample one after the other."""

    call: Call  # of all samples' copies
    noisy: Noisy
    settings: Settings
    solutions: np.ndarray  # (samples, batch, total)
    derivative: Derivative | None  # None: by the draws
    control_variate: bool
    watch: Callable[[Record], None] | None = None  # told the record of each backward pass

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape, and the variables' entries."""
        return (*self.noisy.batch.shape, self.solutions.shape[2])

    @property
    def value(self) -> np.ndarray:
        """The means, flat; NaN where one of a sample's solves failed."""
        return np.asarray(self.solutions.mean(axis=0)).reshape(-1)

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        """Parameters' cotangents; samples with a failed solve count nothing."""
        samples, batch, total = self.solutions.shape
        bar = bar.reshape(batch, total)
        bar = np.where(np.isfinite(self.solutions).all(axis=(0, 2))[:, None], bar, 0.0)
        if self.derivative is not None:
            return self._pull(bar, needed)
        rest = [need and k not in self.settings.moved for k, need in enumerate(needed)]
        gradients = self._pull(bar, rest) if any(rest) else [None] * len(needed)
        rewards = np.einsum("ibt,bt->ib", self.solutions, bar)
        if self.control_variate:
            rewards = (rewards - rewards.mean(axis=0)) * (samples / (samples - 1))
        rewards = np.where(np.isfinite(rewards).all(axis=0), rewards, 0.0)
        for k in self.settings.moved:
            if needed[k]:
                gradients[k] = self._by_draws(k, rewards)
        return gradients

    def _by_draws(self, k: int, rewards: np.ndarray) -> np.ndarray:
        """The cotangent of a moved parameter, for rewards (samples, batch)."""
        noisy, settings = self.noisy, self.settings
        draws = noisy.draws[k]
        wide = rewards.reshape(rewards.shape[0], *noisy.batch.shape, *[1] * self._rank(k))
        each = settings.noise.score(draws) * wide / (settings.samples * settings.sigma)
        return noisy.gather(k, each / noisy.given[k] if settings.multiplicative else each)

    def _rank(self, k: int) -> int:
        return self.noisy.batch.values[k].ndim - 1

    def _pull(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        """(1/N) Σ x*'(w_i)'bar."""
        samples, batch, total = self.solutions.shape
        sizes = [output.shape[1] for output in self.call.outputs]
        rows = np.broadcast_to(bar, (samples, batch, total)).reshape(samples * batch, total)
        call = self.call if self.derivative is None else self.call.with_derivative(self.derivative)
        call = replace(call, once=failure.Once(degenerate=True))  # one of the copies may be silent
        bars = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        with _of_copies(samples, batch):
            means = [g if g is None else g / samples for g in call.vjp(bars, needed)]
        if self.watch is not None:
            self.watch(call.record)
        elif self.derivative is not None:
            self._say_zeros(call.record, bar)
        return [
            self.noisy.pull(k, g) if g is not None and k in self.noisy.draws else g
            for k, g in enumerate(means)
        ]

    def _say_zeros(self, record: Record, bar: np.ndarray) -> None:
        """Warn, once, if not one copy of any sample moved; a few are at the loss' best."""
        active = np.flatnonzero(bar.any(axis=1) & np.isfinite(self.solutions).all(axis=(0, 2)))
        silent = not record.informative.any()
        if len(active) and silent and not self.call.once.degenerate:
            self.call.once.degenerate = True
            shape = self.noisy.batch.shape
            failure.say_degenerate(active, shape, "more samples, or a larger sigma or tau")


def expected(
    layer: Layer,
    values: Sequence[Any],
    settings: Settings,
    rng: np.random.Generator,
    derivative: Derivative | None,
    control_variate: bool,
    watch: Callable[[Record], None] | None = None,
) -> Expected:
    """The mean solutions of a layer for values with noise.

    Raises
    ------
    InvalidInput, SolveFailed
    """
    noisy = moved(layer, values, settings, rng)
    with _of_copies(settings.samples, noisy.batch.samples):
        call = layer.forward(noisy.values)
    rows = np.concatenate([np.asarray(v) for v in call.outputs], axis=1)
    solutions = rows.reshape(settings.samples, noisy.batch.samples, rows.shape[1])
    return Expected(call, noisy, settings, solutions, derivative, control_variate, watch)


@dataclass(frozen=True, eq=False)
class ExpectedDifferences:
    """Means of differences of Lagrangians, (1/N) Σ_i D(v | w_i), (batch shape)."""

    inner: Values  # of all samples' copies
    noisy: Noisy
    samples: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape."""
        return self.noisy.batch.shape

    @property
    def value(self) -> np.ndarray:
        """The means, flat."""
        rows = self.inner.value.reshape(self.samples, -1)
        return np.asarray(rows.mean(axis=0))

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        """Parameters' cotangents, by each difference's own."""
        good = np.isfinite(self.value)
        rows = np.broadcast_to(np.where(good, bar, 0.0) / self.samples, (self.samples, len(bar)))
        gradients = self.inner.vjp(rows.reshape(-1), needed)
        return [
            self.noisy.pull(k, g) if g is not None and k in self.noisy.draws else g
            for k, g in enumerate(gradients)
        ]


def expected_difference(
    layer: Layer,
    values: Sequence[Any],
    settings: Settings,
    rng: np.random.Generator,
    targets: Sequence[np.ndarray],
    margin: Sequence[np.ndarray] | None,
) -> ExpectedDifferences:
    """The mean difference of Lagrangians for values with noise; >= 0.

    Raises
    ------
    InvalidInput
        For a target that is not feasible.
    InvalidOption, SolveFailed
    """
    noisy = moved(layer, values, settings, rng)
    shape = noisy.batch.shape
    targets = _of_batch(layer, targets, shape, "target")
    if margin is not None:
        margin = _of_batch(layer, margin, shape, "margin")
    with _of_copies(settings.samples, noisy.batch.samples):
        inner = lagrangian_difference(layer, noisy.values, targets, margin)
    return ExpectedDifferences(inner, noisy, settings.samples)


@contextmanager
def _of_copies(samples: int, batch: int) -> Iterator[None]:
    """Give a failure the numbers of its samples, and say what those in its text are."""
    try:
        yield
    except SolveFailed as error:
        statuses = {k % batch: s for k, s in zip(error.samples, error.statuses, strict=True)}
        text = f"{error} The first number is that of the copy with noise, of {samples}."
        raise SolveFailed(text, tuple(statuses), tuple(statuses.values())) from None


def _of_batch(
    layer: Layer, arrays: Sequence[np.ndarray], shape: tuple[int, ...], what: str
) -> list[np.ndarray]:
    """Arrays of the returned variables that belong to samples, and to no copy of them."""
    rows = spread_to_outputs(layer, arrays, shape, what)
    return [v.reshape(shape + own) for v, own in zip(rows, layer.shapes, strict=True)]
