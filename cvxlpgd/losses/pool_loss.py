"""What losses over a pool of solutions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.checks import is_number
from cvxlpgd.errors import InfeasibleTargetWarning, InvalidInput, InvalidOption
from cvxlpgd.layer import Layer, form_batch, spread
from cvxlpgd.layer.failure import raise_faults, warn
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.losses.pool import SolutionPool
from cvxlpgd.losses.protocol import (
    ComputingLayer,
    Pullback,
    Reduction,
    check,
    check_computing,
    reduce,
    reduced,
    refuse_vjp,
)
from cvxlpgd.program.restriction import TOLERATED
from cvxlpgd.values.linear import Terms, as_points, as_rows, linear_terms, violations


@dataclass(frozen=True, eq=False)
class Scores:
    """A loss of each sample (batch,), and its gradient in the cost (batch, entries)."""

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
        return [self.layer.compiled.gather(0, self.gradient * bar[:, None], self.batch)]


class PoolLoss:
    """A loss of predicted costs and a label, against a pool that grows by solving now and then."""

    def __init__(
        self,
        layer: ComputingLayer,
        pool: Any,
        solve_ratio: float = 1.0,
        reduction: Reduction = "mean",
        seed: int | np.random.Generator = 0,
    ) -> None:
        check(layer, reduction)
        check_computing(layer)
        if not (is_number(solve_ratio) and 0 <= solve_ratio <= 1):
            raise InvalidOption(f"solve_ratio must be a number in [0, 1], not {solve_ratio!r}")
        if not isinstance(pool, SolutionPool):
            pool = SolutionPool(layer, pool)
        elif not pool.is_of(layer):
            raise InvalidOption("the pool is of another layer")
        self.layer, self.pool, self.reduction = layer, pool, reduction
        self.solve_ratio = solve_ratio
        self._rng = np.random.default_rng(seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool!r}, solve_ratio={self.solve_ratio})"

    def _loss(self, costs: np.ndarray, pool: Terms, label: Any) -> tuple[np.ndarray, np.ndarray]:
        """The loss (batch,) and its gradient in the costs (batch, entries)."""
        raise NotImplementedError

    def _label(self, label: Any, batch: Batch) -> Any:
        """What `_loss` takes of the label."""
        raise NotImplementedError

    def _call(self, pred_cost: Any, label: Any) -> Any:
        made = self._evaluate(pred_cost, label)
        return reduce(made[0] if isinstance(made, tuple) else made, self.reduction)

    def _vjp(self, pred_cost: Any, label: Any) -> tuple[Any, Pullback]:
        made = self._evaluate(pred_cost, label)
        if not isinstance(made, tuple):
            refuse_vjp()
        return reduced(made[0], made[1], self.reduction)

    def _evaluate(self, pred_cost: Any, label: Any) -> Any:
        arrays = self.layer._constants(label, "label")

        def make(values: list[Any]) -> Scores:
            layer = self.layer._layer
            batch = form_batch(layer.domains, values)
            faults = layer.compiled.faults(batch)
            if any(faults):
                raise_faults(faults, batch.shape)
            given = self._label(arrays, batch)
            if self._rng.uniform() < self.solve_ratio:
                self._solve(values)
            (flat,) = layer.compiled.flat(batch.values)
            costs = np.broadcast_to(flat, (batch.samples, flat.shape[1]))
            value, gradient = self._loss(costs, self.pool.terms, given)
            return Scores(layer, batch, value, gradient)

        return self.layer._evaluate(make, [pred_cost])

    def _solve(self, values: list[Any]) -> None:
        """Add the solutions for predicted costs to the pool."""
        layer = self.layer._layer
        call = layer.forward(values)
        pairs = zip(call.outputs, layer.shapes, strict=True)
        self.pool.extend([np.asarray(v).reshape(-1, *shape) for v, shape in pairs])


def spread_targets(layer: Layer, targets: Sequence[np.ndarray], batch: Batch) -> Terms:
    """The objective of each sample's target; one that is not feasible is told.

    Raises
    ------
    InvalidInput
    """
    if len(targets) != len(layer.shapes):
        raise InvalidInput(f"received {len(targets)} targets, expected {len(layer.shapes)}")
    wide = [
        spread(target, batch.shape + shape, f"target {i}")
        for i, (target, shape) in enumerate(zip(targets, layer.shapes, strict=True))
    ]
    points = as_points(layer, as_rows(layer, wide, "target"))
    violation = violations(layer, points)
    if (violation > TOLERATED).any():
        k = int(violation.argmax())
        warn(
            f"{int((violation > TOLERATED).sum())} of {len(points)} targets are not feasible; the "
            f"worst is that of sample {k}, whose constraints are violated by {violation[k]:.1e} "
            "(relative): the loss asks for a decision that cannot be taken",
            InfeasibleTargetWarning,
        )
    return linear_terms(layer, points)
