"""The listed parameters as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.cvx_attr2constr import CvxAttr2Constr, lower_value
from cvxpy.reductions.dgp2dcp.dgp2dcp import Dgp2Dcp


class Theta:
    """The listed parameters as one vector, and CVXPY's parameter vector as a map of it."""

    def __init__(self, program: Any, chain: Any, parameters: Sequence[cp.Parameter]) -> None:
        self.columns = program.total_param_size + 1
        self.constant = program.param_id_to_col[-1] if program.total_param_size else 0
        self.frozen = np.zeros(self.columns)
        self.frozen[self.constant] = 1.0
        logs = {p.id: new for r in chain.reductions if isinstance(r, Dgp2Dcp)
                for p, new in r.canon_methods._parameters.items()}  # fmt: skip
        folds = {p.id: (p, new) for r in chain.reductions if isinstance(r, CvxAttr2Constr)
                 for p, new in r._parameters.items()}  # fmt: skip
        sources, starts, picks, known = [], [0], [], set()
        for log in (False, True):
            for i, parameter in enumerate(parameters):
                leaf = logs.get(parameter.id) if log else parameter
                if leaf is None:
                    continue
                order = np.arange(float(leaf.size)).reshape(leaf.shape)
                if leaf.id in folds:
                    leaf, folded = folds[leaf.id]
                    order, leaf = lower_value(leaf, order), folded
                if log or leaf.id in program.param_id_to_col or not logs:
                    sources.append((i, log))
                    picks.append((program.param_id_to_col.get(leaf.id), order, starts[-1]))
                    starts.append(starts[-1] + parameter.size)
                    known.add(leaf.id)
        for leaf in program.parameters:
            if leaf.id not in known:  # a frozen parameter in a variable's bounds
                start = program.param_id_to_col[leaf.id]
                self.frozen[start : start + leaf.size] = np.ravel(leaf.value, order="F")
        self.sources, self.starts = tuple(sources), tuple(starts)
        rows, cols = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
        for column, order, start in picks:
            if column is not None:
                rows.append(column + np.arange(order.size))
                cols.append(start + np.ravel(order, order="F").astype(int))
        where = (np.concatenate(rows), np.concatenate(cols))
        self.picks = sp.csr_array((np.ones(len(where[0])), where), shape=(self.columns, starts[-1]))

    def split(self, tensor: Any) -> tuple[np.ndarray, sp.csr_array]:
        """(constant part, map of theta) of a map of CVXPY's parameter vector."""
        tensor = sp.csr_array(tensor)
        return tensor @ self.frozen, sp.csr_array(tensor @ self.picks)
