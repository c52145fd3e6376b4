"""NumPy's and SciPy's arrays as values of a layer's parameters, and their cotangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.layer.arguments import called
from cvxlpgd.layer.inputs import Domain, real, spread
from cvxlpgd.layer.packed import Packed
from cvxlpgd.layer.sparse import pack_sparse, unpack_sparse

Kind = tuple[np.dtype, Any]  # a cotangent's dtype, and the type of SciPy's that it is of, or None


def take_in(
    domains: Sequence[Domain], values: Sequence[Any]
) -> tuple[list[np.ndarray | Packed], list[Kind], np.dtype]:
    """The values as doubles, the kinds of their cotangents, and the dtype of what is computed.

    Values may be more than the domains are, or fewer.

    Raises
    ------
    InvalidInput
        For what is no array of real numbers.
    """
    own = [*domains, *[None] * (len(values) - len(domains))]
    names = [domain.name for domain in domains]
    arrays: list[np.ndarray | Packed] = []
    kinds: list[Kind] = []
    floating = []
    for i, (domain, value) in enumerate(zip(own, values, strict=False)):
        if domain is not None and sp.issparse(value):
            array, dtype = pack_sparse(i, domain, value), value.dtype
        else:
            given = real(value, called(i, names))
            array, dtype = double(given), given.dtype
        floating += [dtype] if dtype.kind == "f" else []
        kind = type(value) if isinstance(array, Packed) else None
        kinds.append((dtype if dtype.kind == "f" else np.dtype(float), kind))
        arrays.append(array)
    return arrays, kinds, np.result_type(*floating) if floating else np.dtype(float)


def take_in_tangent(i: int, dot: Any, value: Any, domain: Domain) -> np.ndarray | Packed:
    """The tangent of the i-th value, of its shape or broadcast to that."""
    if sp.issparse(dot) and dot.shape == np.shape(value):
        return pack_sparse(i, domain, dot)
    return double(spread(dot, np.shape(value), f"tangent {i}"))


def give_back(
    domains: Sequence[Domain], bars: Sequence[np.ndarray | None], kinds: Sequence[Kind]
) -> tuple[Any, ...]:
    """Cotangents, each of its value's kind."""
    given = []
    for k, (bar, (dtype, kind)) in enumerate(zip(bars, kinds, strict=True)):
        array = np.asarray(bar, dtype=dtype)
        given.append(array if kind is None else unpack_sparse(domains[k], array, kind))
    return tuple(given)


def double(values: np.ndarray) -> np.ndarray:
    """A copy: the caller may write to its own array before the pullback is called."""
    return np.array(values, dtype=np.float64, order="C")
