"""What schemes are given: counts, steps, data and starts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InvalidInput, InvalidOption

Tensor = torch.Tensor


def check_count(name: str, value: Any) -> int:
    """The count; InvalidOption unless it is a whole number > 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(f"{name} must be a whole number > 0, not {value!r}")
    return value


def log_steps(step: Any, count: int) -> nn.Parameter:
    """So many trained logarithms of step sizes, which keep steps positive."""
    if not is_positive(step):
        raise InvalidOption(f"step must be a number > 0, not {step!r}")
    return nn.Parameter(torch.full((count,), math.log(step)))


def check_bound(bound: Any) -> float | None:
    """The bound; InvalidOption unless it is None or a number > 0."""
    if bound is not None and not is_positive(bound):
        raise InvalidOption(f"bound must be None or a number > 0, not {bound!r}")
    return bound


def shorten(g: Tensor, bound: float | None) -> Tensor:
    """Each sample's g, scaled down to root mean square `bound` where it is longer."""
    if bound is None:
        return g
    square = g.square().mean(dim=1, keepdim=True).clamp(min=bound**2)
    return g * (bound**2 / square).sqrt()


def check_data(y: Any, m: int | None = None) -> None:
    """Raise InvalidInput unless y is finite and (batch, m)."""
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise InvalidInput(f"y must be a tensor of real numbers, not {type(y).__name__}")
    if y.ndim != 2 or m not in (None, y.shape[1]):
        raise InvalidInput(f"y must be (batch, {'m' if m is None else m}), not {tuple(y.shape)}")
    _require_finite("y", y)


def initial(start: Any, y: Tensor, n: int) -> Tensor:
    """x_0 (batch, n): the start, or 0."""
    if start is None:
        return y.new_zeros(len(y), n)
    if not isinstance(start, Tensor) or start.shape not in ((n,), (len(y), n)):
        got = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise InvalidInput(f"start must be a tensor {(len(y), n)} or {(n,)}, not {got}")
    _require_finite("start", start)
    return start.expand(len(y), n)


def _require_finite(name: str, tensor: Tensor) -> None:
    rows = (~tensor.isfinite().reshape(-1, tensor.shape[-1]).all(dim=1)).nonzero().flatten()
    if len(rows):
        raise InvalidInput(f"{name} has values that are not finite, in samples {rows.tolist()}")
