"""Sparse factors of the whole system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from cvxlpgd.program.factors.scaling import DELTA, NOTHING, sparse_scale_of

if TYPE_CHECKING:
    from cvxlpgd.program.kkt import Systems

ORDER = "MMD_AT_PLUS_A"  # of elimination


class Sparse:
    """Sparse factors of the whole system for each sample."""

    def __init__(self, systems: Systems) -> None:
        structure, batch = systems.program.structure, len(systems.held)
        self.regular = np.zeros(batch, dtype=bool)
        self.scale_x, self.scale_u = np.ones((batch, structure.n)), np.ones((batch, structure.m))
        self.factors: list[Any] = []
        for i in range(batch):
            K, rows = _assembled(systems, i)
            scale = sparse_scale_of(K)
            K.data = K.data * scale[K.indices] * np.repeat(scale, np.diff(K.indptr))
            shift = np.full(len(scale), DELTA)
            shift[structure.n :] *= -1
            self.scale_x[i], self.scale_u[i, rows] = scale[: structure.n], scale[structure.n :]
            try:
                regular = sp.csc_array(K + sp.diags_array(shift))
                self.factors.append((sla.splu(regular, permc_spec=ORDER), scale, rows))
            except RuntimeError:  # it is singular even so
                self.factors.append(None)

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) for stacks."""
        x, u, n = np.full_like(f, np.nan), np.zeros_like(g), f.shape[2]
        for i, made in enumerate(self.factors):
            if made is not None:
                factors, scale, rows = made
                right = np.concatenate([f[i], g[i][:, rows]], axis=1) * scale
                solution = factors.solve(right.T).T * scale
                x[i], u[i][:, rows] = solution[:, :n], solution[:, n:]
        return x, u


def _assembled(systems: Systems, i: int) -> tuple[sp.csc_array, np.ndarray]:
    """A sample's K, and the rows that it holds."""
    structure, w = systems.program.structure, systems.program.data
    rows = np.flatnonzero(systems.held[i])
    A = sp.csr_array(structure.A.matrix(w.A[i if len(w.A) > 1 else 0]))
    B = _turning(systems, i, rows)
    G, terms = sp.csr_array(B @ A), sp.csr_array(abs(B) @ abs(A))
    G.data[np.abs(G.data) <= NOTHING * terms.data] = 0.0
    P = sp.csc_array(structure.P.matrix(w.P[i if len(w.P) > 1 else 0]))
    corner = sp.diags_array(-systems.curved[i, rows].astype(float))
    return sp.csc_array(sp.block_array([[P, G.T], [G, corner]], format="csc")), rows


def _turning(systems: Systems, i: int, rows: np.ndarray) -> sp.csr_array:
    """These rows of stretch B t."""
    structure, pairs = systems.program.structure, systems.pairs
    m, t, stretch = structure.m, pairs.weights[i], systems.stretch[i]
    if all(B is None for B in pairs.directions):
        values, starts = stretch[rows] * t[rows], np.arange(len(rows) + 1)
        return sp.csr_array((values, rows, starts), shape=(len(rows), m))
    parts = []
    for (cone, first, count), B in zip(structure.blocks, pairs.directions, strict=True):
        span = np.arange(first, first + cone.rows * count)
        if B is None:
            parts.append((span, span, np.ones(len(span))))
        else:
            blocks = span.reshape(count, cone.rows)
            left, right = np.broadcast_arrays(blocks[:, :, None], blocks[:, None, :])
            parts.append((left.ravel(), right.ravel(), B[i].ravel()))
    left, right, values = (np.concatenate(v) for v in zip(*parts, strict=True))
    values = stretch[left] * values * t[right]
    return sp.csr_array((values, (left, right)), shape=(m, m))[rows]
