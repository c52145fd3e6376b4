"""Losses of which value and gradient are known: what becomes of their cotangents, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.errors import InfeasibleTargetWarning, InvalidInput
from cvxlpgd.layer import Layer, form_batch, spread
from cvxlpgd.layer.failure import raise_faults, warn
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.program.restriction import TOLERATED
from cvxlpgd.values.linear import Points, as_points, violations


@dataclass(frozen=True, eq=False)
class Scores:
    """A loss of each sample (batch,), and its gradient in the cost (batch, entries).

    A loss that is NaN has no gradient.
    """

    layer: Layer
    batch: Batch
    value: np.ndarray
    gradient: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape."""
        return self.batch.shape

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        """The cost's cotangent."""
        known = np.isfinite(self.value)[:, None]
        full = np.where(known, self.gradient, 0.0) * bar[:, None]
        return [self.layer.compiled.gather(0, full, self.batch)]


def costs_of(layer: Layer, values: list[Any]) -> tuple[Batch, np.ndarray]:
    """The batch that a cost forms, and the costs (batch, entries).

    Costs outside of their domain, NaN and infinite ones among them, are NaN with on_failure="nan".

    Raises
    ------
    InvalidInput
        For such costs otherwise.
    """
    batch = form_batch(layer.domains, values)
    faults = layer.compiled.faults(batch)
    raise_faults(faults, batch.shape, layer.settings.on_failure)
    (flat,) = layer.compiled.flat(batch.values)
    good = np.array([not fault for fault in faults], dtype=bool)
    return batch, np.where(good[:, None], flat, np.nan)


def rows_of(layer: Layer, targets: Sequence[np.ndarray], batch: Batch) -> list[np.ndarray]:
    """Each sample's target, (batch, size) for each returned variable.

    Raises
    ------
    InvalidInput
    """
    if len(targets) != len(layer.shapes):
        raise InvalidInput(f"received {len(targets)} targets, expected {len(layer.shapes)}")
    return [
        spread(target, batch.shape + shape, f"target {i}").astype(float).reshape(-1, size)
        for i, (target, shape, size) in enumerate(
            zip(targets, layer.shapes, layer.sizes, strict=True)
        )
    ]


def targets_of(layer: Layer, rows: Sequence[np.ndarray]) -> Points:
    """The points of targets (batch, size); one that is not feasible is told.

    Raises
    ------
    InvalidInput
        For a value that a variable cannot have.
    """
    points = as_points(layer, rows)
    say_infeasible(layer, points, "targets", "that of sample")
    return points


def say_infeasible(layer: Layer, points: Points, what: str, which: str) -> None:
    """Warn of points that are not feasible, which are `what`, and `which` for one of them."""
    violation = violations(layer, points)
    bad = violation > TOLERATED
    if bad.any():
        k = int(violation.argmax())
        warn(
            f"{int(bad.sum())} of {len(points)} {what} are not feasible; the worst is {which} {k}, "
            f"whose constraints are violated by {violation[k]:.1e} (relative): the loss asks for a "
            "decision that cannot be taken, or compares with one",
            InfeasibleTargetWarning,
        )
