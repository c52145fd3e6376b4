"""What losses ask of a layer, of torch or of NumPy, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array

from cvxlpgd.checks import is_one_of
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.layer import real

Reduction = Literal["mean", "sum", "none"]
Pullback = Callable[..., tuple[np.ndarray, ...]]


class LossLayer(Protocol):
    """What a loss asks of a layer; those of `cvxlpgd.torch` and `cvxlpgd.numpy` have it."""

    @property
    def _layer(self) -> Any:
        """The framework-neutral layer."""

    @property
    def _single(self) -> bool:
        """Whether a call returns its one variable itself."""

    def __call__(self, *values: Any) -> Any:
        """The solutions: a tuple, or of a single layer the one itself."""

    def lagrangian_difference(self, *values: Any, targets: Any, margin: Any = None) -> Any:
        """D for each sample."""


class ComputingLayer(LossLayer, Protocol):
    """A layer that differentiates what is computed of its parameters in NumPy arrays."""

    def _evaluate(
        self,
        make: Callable[[list[Any]], Any],
        values: Sequence[Any],
        derivative: Derivative | None = None,
    ) -> Any:
        """The value of what `make` makes of arrays; of NumPy layers also its pullback. Where it has
        gradients by a derivative, that is named.
        """

    def _constants(self, values: Any, what: str) -> list[np.ndarray]:
        """Arrays that get no gradient."""


def check(layer: Any, reduction: str) -> None:
    """Raise InvalidOption for what is no layer, or no reduction."""
    if not callable(getattr(layer, "lagrangian_difference", None)):
        raise InvalidOption(f"a loss needs a CvxpyLayer of torch or NumPy, not {layer!r}")
    if not is_one_of(reduction, ("mean", "sum", "none")):
        raise InvalidOption(f'reduction must be "mean", "sum" or "none", not {reduction!r}')


def check_computing(layer: Any) -> None:
    """Raise InvalidOption for what is no layer of torch or NumPy, or one with noise."""
    if not callable(getattr(layer, "_evaluate", None)):
        raise InvalidOption(f"this needs a CvxpyLayer of torch or NumPy, not {layer!r}")


def split(layer: LossLayer, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Parameters and targets."""
    count, outputs = len(layer._layer.domains), len(layer._layer.shapes)
    if len(values) != count + outputs:
        raise InvalidInput(
            f"received {len(values)} values, expected {count} parameters and {outputs} targets"
        )
    targets = [array_of(v, f"target {i}") for i, v in enumerate(values[count:])]
    return list(values[:count]), targets


def array_of(value: Any, what: str) -> Any:
    """An array of any framework; lists become NumPy's."""
    if is_array_api_obj(value) and not is_numpy_array(value):
        return value
    return real(value, what)


def wide(array: Any, like: Any = None) -> Any:
    """An array of single or double precision, in which differences of integers do not wrap around
    and those of half precision do not overflow; where it is neither, in the precision of `like`.

    Complex numbers stay, to be refused.
    """
    xp = array_namespace(array)
    floats = (xp.float32, xp.float64)
    if array.dtype in floats or xp.isdtype(array.dtype, "complex floating"):
        return array
    return xp.astype(array, like.dtype if getattr(like, "dtype", None) in floats else xp.float64)


def value_of(made: Any) -> Any:
    """The value of what a layer evaluated; of a NumPy layer its pullback stands beside."""
    return made[0] if isinstance(made, tuple) else made


def with_pullback(made: Any) -> tuple[np.ndarray, Pullback]:
    """The value of what a NumPy layer evaluated, and its pullback.

    Raises
    ------
    InvalidOption
        For a torch layer.
    """
    if not isinstance(made, tuple):
        refuse_vjp()
    value, pullback = made
    return value, pullback


def reduce(values: Any, reduction: str) -> Any:
    """Over the batch."""
    return values if reduction == "none" else getattr(values, reduction)()


def reduced(values: np.ndarray, pullback: Pullback, reduction: str) -> tuple[Any, Pullback]:
    """A NumPy layer's loss and its pullback, over the batch."""

    def pull(bar: Any = 1.0) -> tuple[np.ndarray, ...]:
        weight = 1.0 / max(values.size, 1) if reduction == "mean" else 1.0
        bars: tuple[np.ndarray, ...] = pullback(np.asarray(bar) * weight)
        return bars

    return reduce(values, reduction), pull


def refuse_vjp() -> None:
    """Raise InvalidOption."""
    raise InvalidOption("vjp is for NumPy layers; torch differentiates the loss itself")
