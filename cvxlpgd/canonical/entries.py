"""The entries of a parameter with a pattern: diag=True, or sparsity=."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
from cvxpy.reductions.cvx_attr2constr import lower_value


def pattern_of(parameter: cp.Parameter) -> np.ndarray | None:
    """Where a parameter may differ from 0: places in it, row by row, increasing; None: anywhere."""
    if parameter.attributes["diag"]:
        return np.arange(parameter.shape[0]) * (parameter.shape[0] + 1)
    if parameter.sparse_idx is not None:
        return np.sort(np.ravel_multi_index(parameter.sparse_idx, parameter.shape))
    return None


def folded_entries(parameter: cp.Parameter) -> np.ndarray:
    """The places of the entries that CVXPY keeps of a parameter with attributes, in its order."""
    if parameter.sparse_idx is not None:  # no array of the full shape
        return np.ravel_multi_index(parameter.sparse_idx, parameter.shape)
    places = np.arange(parameter.size).reshape(parameter.shape)
    return np.ravel(lower_value(parameter, places), order="F")
