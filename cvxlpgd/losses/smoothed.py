"""What stands for a layer: called like it, and taken by losses in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Layer
from cvxlpgd.losses.protocol import (
    ComputingLayer,
    Pullback,
    check_computing,
    value_of,
    with_pullback,
)


class Smoothed:
    """A layer with other solutions, or another gradient.

    `_solutions` makes the variables of a batch, all those of a sample one after the other, of the
    parameters' values; `_differences` makes D(target | w) of them.
    """

    def __init__(self, layer: ComputingLayer) -> None:
        check_computing(layer)
        self.layer = layer

    def _solutions(self, values: list[Any]) -> Any:
        raise NotImplementedError

    def _differences(
        self, values: list[Any], targets: list[np.ndarray], margin: list[np.ndarray] | None
    ) -> Any:
        raise NotImplementedError

    @property
    def _by(self) -> Derivative | None:
        """The derivative that gradients of constraints' parameters are by, if there is one."""
        return None

    @property
    def _layer(self) -> Layer:
        layer: Layer = self.layer._layer
        return layer

    @property
    def _single(self) -> bool:
        return self.layer._single

    def __call__(self, *values: Any) -> Any:
        """The solutions, as the layer returns them.

        Parameters
        ----------
        values : arrays (*batch axes, *parameter shape)

        Raises
        ------
        InvalidInput, SolveFailed
        """
        made = self.layer._evaluate(self._solutions, values, self._by)
        return self._apart(value_of(made))

    def vjp(self, *values: Any) -> tuple[Any, Callable[..., tuple[np.ndarray, ...]]]:
        """For NumPy layers: the solutions, and the function from their cotangents to the
        parameters'.
        """
        made = self.layer._evaluate(self._solutions, values, self._by)
        whole, pullback = with_pullback(made)
        shapes = [whole.shape[:-1] + shape for shape in self._layer.shapes]

        def pull(*bars: Any) -> tuple[np.ndarray, ...]:
            if len(bars) != len(shapes):
                raise InvalidInput(f"received {len(bars)} cotangents, expected {len(shapes)}")
            pairs = zip(bars, shapes, strict=True)
            wide = [np.broadcast_to(b, shape).reshape(*whole.shape[:-1], -1) for b, shape in pairs]
            return tuple(pullback(np.concatenate(wide, axis=-1)))

        return self._apart(whole), pull

    def lagrangian_difference(self, *values: Any, targets: Any, margin: Any = None) -> Any:
        """D(target | w), (*batch shape); see the layer's own."""
        return value_of(self._evaluate_differences(values, targets, margin))

    def lagrangian_difference_vjp(
        self, *values: Any, targets: Any, margin: Any = None
    ) -> tuple[np.ndarray, Pullback]:
        """For NumPy layers: the same, and the function from its cotangent to the parameters'."""
        return with_pullback(self._evaluate_differences(values, targets, margin))

    def _evaluate_differences(self, values: Sequence[Any], targets: Any, margin: Any) -> Any:
        arrays = self.layer._constants(targets, "targets")
        along = None if margin is None else self.layer._constants(margin, "margin")
        return self.layer._evaluate(lambda each: self._differences(each, arrays, along), values)

    def _apart(self, whole: Any) -> Any:
        """The variables of (*batch shape, all their entries)."""
        outputs, start = [], 0
        for shape, size in zip(self._layer.shapes, self._layer.sizes, strict=True):
            part = whole[..., start : start + size]
            outputs.append(part.reshape(tuple(whole.shape[:-1]) + shape))
            start += size
        return outputs[0] if self._single else tuple(outputs)
