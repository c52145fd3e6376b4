"""Tensors on their way to arrays of doubles, and functions on tensors that are NumPy inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch._subclasses import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from cvxlpgd.errors import CvxlpgdError, InvalidInput
from cvxlpgd.layer import real
from cvxlpgd.layer.arguments import advice, first_line
from cvxlpgd.program import Array
from cvxlpgd.values.optimal import as_list

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


def require_real(tensor: Tensor, what: str) -> None:
    """Raise InvalidInput, naming `what`, unless a tensor has values, and real ones."""
    if tensor.is_nested:
        raise InvalidInput(f"{what} is a nested tensor; pass one of equal rows, or row by row")
    if type(tensor).__name__ == "MaskedTensor":  # importing torch.masked takes a while
        raise InvalidInput(f"{what} is a masked tensor; fill its gaps, or leave them out")
    if tensor.is_quantized:
        raise InvalidInput(f"{what} is a quantized tensor; pass tensor.dequantize()")
    if tensor.is_complex():
        raise InvalidInput(f"{what} is complex; real numbers are needed")
    if tensor.is_meta or isinstance(tensor, FakeTensor):
        raise InvalidInput(f"{what} is a meta or fake tensor, which has no values to solve for")


def require_dense(tensor: Tensor, what: str) -> None:
    """Raise InvalidInput, naming `what`, unless it is a dense real tensor."""
    require_real(tensor, what)
    if tensor.layout != torch.strided:
        raise InvalidInput(
            f"{what} is a {tensor.layout} tensor; pass tensor.to_dense(), or a sparse one in COO "
            "or CSR form"
        )


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


def need_gradients(tensors: Sequence[Tensor]) -> list[bool]:
    """Which of them a backward pass would reach."""
    return [torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors]


def constants(values: Any, what: str) -> list[np.ndarray]:
    """Cotangents or targets as arrays."""
    each = as_list(values, what, Tensor, np.ndarray)
    return [_constant(value, f"{what} {i}") for i, value in enumerate(each)]


def _constant(value: Any, what: str) -> np.ndarray:
    """A cotangent or target as an array; it gets no gradient."""
    if isinstance(value, Tensor):
        if value.requires_grad and torch.is_grad_enabled():
            raise InvalidInput(
                "cotangents, targets and margins get no gradient: detach them, and weight the "
                "result instead"
            )
        require_dense(value, what)
        value = value.detach().to(device="cpu", dtype=torch.float64).numpy()
    return real(value, what).astype(float)


def as_tensor(value: Any, what: str) -> Tensor:
    """A value as a tensor; arrays are copied, lists and numbers converted.

    Raises
    ------
    InvalidInput
        For what is no tensor of real numbers, or a list that would lose its tensors' gradients.
    """
    if isinstance(value, list | tuple) and _requires_gradient(value):
        raise InvalidInput(
            f"{what} is a list of tensors that require a gradient, which it would lose; pass "
            "torch.stack(list)"
        )
    try:
        own = value.copy() if isinstance(value, np.ndarray) else value
        tensor = own if isinstance(own, Tensor) else torch.as_tensor(own)
    except Exception as error:  # torch has many for what is no tensor
        raise InvalidInput(
            f"{what} cannot be made into a tensor: {first_line(error)}{advice(value)}"
        ) from None
    require_real(tensor, what)
    return tensor


def _requires_gradient(value: Any) -> bool:
    """Whether a tensor in lists of tensors requires a gradient."""
    if isinstance(value, list | tuple):
        return any(map(_requires_gradient, value))
    return isinstance(value, Tensor) and value.requires_grad and torch.is_grad_enabled()
