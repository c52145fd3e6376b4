"""Proximal operators in closed form, beside Prox: the same call, the same answer and gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InvalidInput, InvalidOption

Tensor = torch.Tensor


class Box(nn.Module):
    """The nearest point with lower <= x <= upper, entry by entry; the step has no part in it.

    Parameters
    ----------
    lower, upper : float or array
        Infinite where there is no bound.

    Raises
    ------
    InvalidOption
        For bounds that are not numbers, or that leave nothing between them.
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, lower: Any = -math.inf, upper: Any = math.inf) -> None:
        super().__init__()
        bounds = [_fixed(name, bound) for name, bound in (("lower", lower), ("upper", upper))]
        if not bool((bounds[0] <= bounds[1]).all()):
            raise InvalidOption("lower must be at most upper, and neither NaN")
        self.register_buffer("lower", bounds[0])
        self.register_buffer("upper", bounds[1])

    def forward(self, v: Tensor, step: Any = None) -> Tensor:
        """The nearest points to v, of its shape."""
        return torch.minimum(torch.maximum(v, self.lower.to(v)), self.upper.to(v))


class L1(nn.Module):
    """Soft thresholding: argmin_x step weight |x|₁ + ½|x - v|².

        x_i = sign(v_i) max(|v_i| - step weight, 0)

    Parameters
    ----------
    weight : float, optional
        Where a learned weight starts, > 0. Without one it is given at each call, as a tensor of
        the batch's shape or one that broadcasts to v.

    Raises
    ------
    InvalidOption
    """

    def __init__(self, weight: float | None = None) -> None:
        super().__init__()
        if weight is not None and not is_positive(weight):
            raise InvalidOption(f"weight must be a number > 0, not {weight!r}")
        self.weight_log = None if weight is None else nn.Parameter(torch.tensor(math.log(weight)))

    def forward(self, v: Tensor, step: Any, *weights: Any) -> Tensor:
        """The minimizers, of the shape of v; `weights` is the weight where none is trained."""
        given = weights if self.weight_log is None else (self.weight_log.exp(), *weights)
        if len(given) != 1:
            raise InvalidInput(
                f"received {len(weights)} weights, expected {int(self.weight_log is None)}"
            )
        threshold = beside(step, v) * beside(given[0], v)
        return torch.sign(v) * torch.relu(abs(v) - threshold)


class Simplex(nn.Module):
    """The nearest point with x >= 0 and sum(x) = total, along the last axis.

        x = max(v - theta, 0), theta so that the sum is total

    by sorting (Held, Wolfe, Crowder 1974; Duchi et al., ICML 2008). The step has no part in it.

    Parameters
    ----------
    total : float
        > 0.

    Raises
    ------
    InvalidOption
    """

    def __init__(self, total: float = 1.0) -> None:
        super().__init__()
        if not is_positive(total):
            raise InvalidOption(f"total must be a number > 0, not {total!r}")
        self.total = float(total)

    def forward(self, v: Tensor, step: Any = None) -> Tensor:
        """The nearest points to v, of its shape."""
        # with the k largest entries positive, theta_k = (their sum - total)/k
        ordered = v.sort(dim=-1, descending=True).values
        count = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
        theta = (ordered.cumsum(dim=-1) - self.total) / count
        positive = (ordered > theta).sum(dim=-1, keepdim=True)
        return torch.relu(v - theta.gather(-1, positive - 1))

    def extra_repr(self) -> str:
        """Its total."""
        return f"total={self.total:g}"


CLOSED = Box | L1 | Simplex


def beside(value: Any, v: Tensor) -> Tensor:
    """A number, or one for each sample, or what broadcasts to v, with axes to multiply v by it."""
    tensor = torch.as_tensor(value, dtype=v.dtype, device=v.device)
    if tensor.ndim and tensor.ndim < v.ndim and tensor.shape == v.shape[: tensor.ndim]:
        return tensor.reshape(tensor.shape + (1,) * (v.ndim - tensor.ndim))
    return tensor


def _fixed(name: str, bound: Any) -> Tensor:
    try:
        return torch.as_tensor(bound, dtype=torch.float64)
    except (RuntimeError, TypeError, ValueError):
        raise InvalidOption(f"{name} must be a number or an array, not {bound!r}") from None
