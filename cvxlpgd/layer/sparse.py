"""SciPy's sparse arrays and matrices as values of parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.layer.inputs import Domain, own_axes, real
from cvxlpgd.layer.packed import Packed, largest_stray, locate


def pack_sparse(i: int, domain: Domain, value: Any) -> np.ndarray | Packed:
    """The i-th value, sparse, packed where the parameter has a pattern, else dense; doubles.

    Raises
    ------
    InvalidInput
        For entries that are not real numbers, or a wrong shape.
    """
    real(np.zeros(0, value.dtype), f"value {i} ({domain.name})")
    if domain.pattern is None:
        return np.asarray(value.toarray(), dtype=np.float64)
    own_axes(i, domain, value.shape)
    stored = sp.coo_array(value, dtype=np.float64, copy=True)
    stored.sum_duplicates()
    flat = np.ravel_multi_index(stored.coords, value.shape)
    places = locate(domain.pattern, domain.shape, flat, value.shape)
    entries = np.zeros(places.axes + domain.kept)
    entries.reshape(-1)[places.target] = stored.data[places.inside]
    return Packed(entries, largest_stray(places, stored.data[~places.inside]), domain.shape)


def unpack_sparse(domain: Domain, bar: np.ndarray, kind: Any) -> Any:
    """A packed cotangent as a sparse array of this kind, which stores the whole pattern."""
    assert domain.pattern is not None
    axes = bar.shape[:-1]
    samples = np.arange(math.prod(axes))[:, None]
    places = np.unravel_index(samples * domain.size + domain.pattern, axes + domain.shape)
    stored = bar.ravel(), tuple(place.ravel() for place in places)
    return kind(sp.coo_array(stored, shape=axes + domain.shape))
