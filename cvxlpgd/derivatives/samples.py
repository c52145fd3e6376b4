"""Batches with some of their samples replaced, and arrays brought to the host."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.program import Array


def put(whole: Any, samples: np.ndarray, part: Any) -> Any:
    """The whole with `part` at these samples: an array (batch, ...), or a dataclass of arrays."""
    if is_dataclass(whole):
        fields = {k: put(v, samples, getattr(part, k)) for k, v in vars(whole).items()}
        return replace(whole, **fields)  # type: ignore[type-var]
    out = array_namespace(whole).asarray(whole, copy=True)
    out[samples] = part
    return out


def host(values: Array) -> np.ndarray:
    """The values as a NumPy array."""
    return np.asarray(to_device(values, "cpu"))
