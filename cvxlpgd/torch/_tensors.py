"""Tensors on their way to NumPy, and functions on tensors that are NumPy inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from cvxlpgd.errors import CvxlpgdError, InvalidInput
from cvxlpgd.program import Array

Tensor = torch.Tensor
P = ParamSpec("P")
T = TypeVar("T")


def eagerly(function: Callable[P, T]) -> Callable[P, T]:
    """Keep a function out of compiled graphs, and all that it calls from being compiled itself.

    It is `torch.compiler.disable`, which loads the compiler, put off until that is loaded.
    """
    disabled: Callable[P, T] | None = None

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        nonlocal disabled
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return run


def require_dense(i: int, tensor: Tensor) -> None:
    """Raise InvalidInput unless the i-th value is a dense real tensor."""
    if tensor.is_nested:
        raise InvalidInput(f"value {i} is a nested tensor; pass one of equal rows, or row by row")
    if type(tensor).__name__ == "MaskedTensor":  # importing torch.masked takes a while
        raise InvalidInput(f"value {i} is a masked tensor; fill its gaps, or leave them out")
    if tensor.is_complex():
        raise InvalidInput(f"value {i} is complex; real numbers are needed")
    if tensor.is_meta or tensor.layout != torch.strided:
        raise InvalidInput(f"value {i} is a meta or sparse tensor; a dense one is needed")


def double(tensor: Tensor) -> np.ndarray:
    """An array of doubles, of the same memory where that is one."""
    array: np.ndarray = doubles((tensor,), "numpy")[0]
    return array


def doubles(tensors: Sequence[Tensor], arrays: str, like: Tensor | None = None) -> list[Array]:
    """Arrays of doubles, of the same memory where that is one.

    They are "numpy" ones, or "torch" ones on the device of `like`, by default of the first one.
    """
    if arrays == "numpy":
        return [_detached(v).to(device="cpu", dtype=torch.float64).numpy() for v in tensors]
    device = next((v.device for v in (tensors if like is None else (like,))), None)
    return [_detached(v).to(device=device, dtype=torch.float64) for v in tensors]


def _detached(tensor: Tensor) -> Tensor:
    """The tensor without its graph, contiguous; CvxlpgdError where it stands for others."""
    if get_proxy_mode() is not None:
        raise CvxlpgdError(
            "a layer cannot be traced by make_fx or torch.func.linearize, to which its solutions "
            "would be constants; torch.func.jvp and torch.func.vjp see it"
        )
    if torch._C._functorch.is_legacy_batchedtensor(tensor):
        raise CvxlpgdError(
            "is_grads_batched=True maps the backward pass in a way that a layer cannot see; use "
            "torch.func.jacrev or torch.func.vmap, or a loop over the cotangents"
        )
    return tensor.detach().contiguous()


def promote(tensors: Sequence[Tensor]) -> torch.dtype:
    """The promoted floating dtype; the default one where there is none."""
    floating = [t.dtype for t in tensors if t.is_floating_point()]
    return reduce(torch.promote_types, floating) if floating else torch.get_default_dtype()
