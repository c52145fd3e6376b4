"""What losses over a pool of solutions share."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvxlpgd.checks import is_number
from cvxlpgd.errors import InvalidOption
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
    value_of,
    with_pullback,
)
from cvxlpgd.losses.scores import Scores, costs_of
from cvxlpgd.values.linear import Terms


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
        self._known: dict[bytes, tuple[np.ndarray, np.float64]] = {}  # terms of labels, by rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool!r}, solve_ratio={self.solve_ratio})"

    def _loss(self, costs: np.ndarray, pool: Terms, label: Any) -> tuple[np.ndarray, np.ndarray]:
        """The loss (batch,) and its gradient in the costs (batch, entries)."""
        raise NotImplementedError

    def _label(self, label: Any, batch: Batch) -> Any:
        """What `_loss` takes of the label."""
        raise NotImplementedError

    def _call(self, pred_cost: Any, label: Any) -> Any:
        return reduce(value_of(self._evaluate(pred_cost, label)), self.reduction)

    def _vjp(self, pred_cost: Any, label: Any) -> tuple[Any, Pullback]:
        return reduced(*with_pullback(self._evaluate(pred_cost, label)), self.reduction)

    def _evaluate(self, pred_cost: Any, label: Any) -> Any:
        arrays = self.layer._constants(label, "label")

        def make(values: list[Any]) -> Scores:
            layer = self.layer._layer
            batch, costs = costs_of(layer, values)
            given = self._label(arrays, batch)
            if self._rng.uniform() < self.solve_ratio:
                self._solve(values)
            value, gradient = self._loss(costs, self.pool.terms, given)
            return Scores(layer, batch, value, gradient)

        return self.layer._evaluate(make, [pred_cost])

    def _solve(self, values: list[Any]) -> None:
        """Add the solutions for predicted costs to the pool."""
        layer = self.layer._layer
        call = layer.forward(values)
        pairs = zip(call.outputs, layer.shapes, strict=True)
        self.pool.extend([np.asarray(v).reshape(-1, *shape) for v, shape in pairs])
