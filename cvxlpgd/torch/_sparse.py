"""Sparse tensors as values of parameters.

A sparse tensor's stored entries are spread into a dense tensor: its entries within the parameter's
pattern, or the whole where there is no pattern. To autograd that is a linear map of `values()`, so
a gradient has the layout of the tensor and is of its stored entries, as that of torch's own sparse
operations is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from cvxlpgd.layer.arguments import called
from cvxlpgd.layer.inputs import Domain, own_axes, real
from cvxlpgd.layer.packed import Packed, largest_stray, locate
from cvxlpgd.program import Array
from cvxlpgd.torch._tensors import Tensor, as_tensor, require_dense

LAYOUTS = (torch.sparse_coo, torch.sparse_csr)


class Inputs(NamedTuple):
    """Values as dense tensors, and how the layer is to take them."""

    tensors: list[Tensor]
    strays: list[np.ndarray | None]  # for entries of a pattern: the largest ones outside of it


def take_in(domains: Sequence[Domain], values: Sequence[Any]) -> Inputs:
    """The values as dense tensors; they may be more than the domains are, or fewer.

    Raises
    ------
    InvalidInput
        For what is no tensor of real numbers, or a sparse one of a wrong shape.
    """
    own = [*domains, *[None] * (len(values) - len(domains))]
    names, inputs = [domain.name for domain in domains], Inputs([], [])
    for i, (domain, value) in enumerate(zip(own, values, strict=False)):
        what, stray = called(i, names), None
        tensor = _of_scipy(value, what) if sp.issparse(value) else as_tensor(value, what)
        if tensor.layout in LAYOUTS:
            tensor, stray = _spread_stored(i, domain, tensor)
        require_dense(tensor, what)
        inputs.tensors.append(tensor)
        inputs.strays.append(stray)
    return inputs


def _of_scipy(value: Any, what: str) -> Tensor:
    """A sparse array or matrix of SciPy's as a sparse tensor with memory of its own."""
    real(np.zeros(0, value.dtype), what)
    stored = sp.coo_array(value, copy=True)
    places = torch.from_numpy(np.stack(stored.coords))
    return torch.sparse_coo_tensor(places, stored.data, stored.shape, check_invariants=True)


def _spread_stored(
    i: int, domain: Domain | None, tensor: Tensor
) -> tuple[Tensor, np.ndarray | None]:
    """The i-th value, sparse, as a dense tensor, and its largest entries outside of the pattern.

    The tensor is (*batch axes, entries of the pattern), or, without a pattern, of the value's own
    shape; then the second is None.

    Raises
    ------
    InvalidInput
        For a wrong shape.
    """
    stored, flat = _stored(tensor)
    shape = tuple(tensor.shape)
    if domain is None or domain.pattern is None:
        return _scatter(stored, flat, shape), None
    own_axes(i, domain, shape)
    places = locate(domain.pattern, domain.shape, flat, shape)
    outside = _numbers(stored)[~places.inside]
    inside = stored[torch.as_tensor(places.inside, device=stored.device)]
    return (
        _scatter(inside, places.target, places.axes + domain.kept),
        largest_stray(places, outside),
    )


def pack(
    domains: Sequence[Domain], arrays: Sequence[Array], strays: Sequence[np.ndarray | None]
) -> list[Array | Packed]:
    """The values as the layer takes them; those that have a stray are of a pattern's entries."""
    own = [*domains, *[None] * (len(arrays) - len(domains))]
    return [
        array if stray is None or domain is None
        else Packed(array, np.broadcast_to(stray, array.shape[:-1]), domain.shape)
        for array, stray, domain in zip(arrays, strays, own, strict=False)
    ]  # fmt: skip


def _scatter(values: Tensor, flat: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """A tensor of this shape with these values at these places of it, row by row, 0 elsewhere."""
    zeros = values.new_zeros(math.prod(shape))
    return zeros.scatter(0, torch.as_tensor(flat, device=values.device), values).reshape(shape)


def _stored(tensor: Tensor) -> tuple[Tensor, np.ndarray]:
    """What a tensor stores, and the places in it, row by row."""
    if tensor.layout == torch.sparse_coo:
        whole = tensor.coalesce()
        values, leading = whole.values(), _numbers(whole.indices())
        first = np.ravel_multi_index(tuple(leading), tuple(tensor.shape[: len(leading)]))
    else:
        values, ends = tensor.values(), _numbers(tensor.crow_indices())
        columns = _numbers(tensor.col_indices())
        counts = np.diff(ends, axis=-1).ravel()  # of the rows of all samples
        rows = np.repeat(np.arange(len(counts)), counts)
        first = rows * tensor.shape[ends.ndim] + columns.ravel()
    dense = values.numel() // max(first.size, 1)  # entries of each place, along dense axes
    return values.reshape(-1), (first[:, None] * dense + np.arange(dense)).ravel()


def _numbers(tensor: Tensor) -> np.ndarray:
    """A tensor as an array, integers or doubles, without the wrappers of torch.func's transforms.

    No sparse tensor is mapped by vmap, so none of them hides an axis.
    """
    with torch._C._DisableFuncTorch():
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            tensor = torch._C._functorch.get_unwrapped(tensor)
        bare = tensor.detach().cpu()
        return (bare.double() if bare.is_floating_point() else bare).numpy()
