"""The matrices of Newton's steps: inverses of full ones, factors of sparse ones."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse.linalg as sla

from cvxlpgd.program import ConeProgram, norm, product, transposed_product
from cvxlpgd.program.threads import share_out, workers
from cvxlpgd.solvers.refine.systems import FLAT, grams, layout

WORTH = 4e6  # multiplications from which a second thread pays
ORDER = "MMD_AT_PLUS_A"  # of elimination: a quarter of COLAMD's time on portfolios


class Inverses(NamedTuple):
    """The inverses (k, n, n) of k samples' matrices, and what their steps need besides."""

    program: ConeProgram
    weights: np.ndarray
    inverse: np.ndarray
    blocks: list[tuple[slice, np.ndarray, np.ndarray]]  # rows, W, DW

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return int(self.inverse.size) + sum(W.size + DW.size for _, W, DW in self.blocks)

    @classmethod
    def of(
        cls, program: ConeProgram, x: np.ndarray, v: np.ndarray, weights: np.ndarray, e: np.ndarray
    ) -> Inverses:
        """The inverses at x (k, n) and v (k, m), for weights S (k, m) and e (k,)."""
        structure, w, (k, n) = program.structure, program.data, x.shape
        H = np.zeros((k, n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        blocks = []
        for (cone, rows, part), gram in zip(structure.split(v), grams(structure), strict=True):
            D_K = cone.derivative(-part)
            if D_K.ndim == 3:
                W = 1 / (e[:, None, None] + D_K)
                DW = (1 - D_K) * W
                scaled = DW.reshape(k, -1, 1, 1)
            else:
                identity = np.eye(cone.rows)
                own = e[:, None, None, None]
                W = _invert(own * identity + D_K)
                DW = scaled = (1 + own) * W - identity
            S = weights[:, rows].reshape(*scaled.shape[:3], 1)
            places, values = gram.entries(w.A, scaled * S)
            H.reshape(k, -1)[:, places] += values
            blocks.append((rows, W, DW))
        # of unit diagonal, so that d is in each column's own unit
        diagonal = H[:, range(n), range(n)]
        scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        scale = scale[:, :, None] * scale[:, None, :]
        inverse = scale * _invert(scale * H + FLAT * (e**2)[:, None, None] * np.eye(n))
        return cls(program, weights, inverse, blocks)

    def steps(
        self, places: np.ndarray, f: np.ndarray, g: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(dx, dv) for conditions f, g of samples at these places."""
        A, values = self.program.structure.A, self.program.take(places).data.A
        moved, dv = np.empty_like(g), np.empty_like(g)
        for rows, _, DW in self.blocks:
            moved[:, rows] = _apply(DW[places], g[:, rows])
        rest = f + transposed_product(A, values, moved)
        dx = -(self.inverse[places] @ rest[:, :, None])[:, :, 0]
        g = g + self.weights[places] * product(A, values, dx)
        for rows, W, _ in self.blocks:
            dv[:, rows] = _apply(W[places], g[:, rows])
        return dx, dv


class SparseFactors(NamedTuple):
    """The sparse factors of k samples' systems, of order `size`."""

    program: ConeProgram
    weights: np.ndarray
    factors: list[Any]
    size: int

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return sum(int(lu.nnz) for lu in self.factors if lu is not None)

    @classmethod
    def of(
        cls, program: ConeProgram, x: np.ndarray, v: np.ndarray, weights: np.ndarray, e: np.ndarray
    ) -> SparseFactors:
        """The factors at x (k, n) and v (k, m), for weights S (k, m) and e (k,)."""
        structure, w, k = program.structure, program.data, len(x)
        where, diagonal = layout(structure), np.ones((k, structure.m))
        derivatives = []
        for cone, rows, part in structure.split(v):
            D_K = cone.derivative(-part)
            if D_K.ndim == 3:
                diagonal[:, rows] = 1 - D_K.reshape(k, -1)
            else:
                derivatives.append((D_K - np.eye(cone.rows)).reshape(k, -1))
                diagonal[:, rows] = 0.0
        A, curved = structure.A, where.curved
        times_D = np.where(curved[A.rows], 1.0, diagonal[:, A.rows])
        ones = np.ones((k, int(curved.sum())))
        values = np.zeros((k, where.pattern.size))
        parts = [times_D * w.A, weights[:, A.rows] * w.A, diagonal - 1 - e[:, None], ones, ones]
        for places, part in zip(where.places, [*parts, *derivatives], strict=True):
            values[:, places] = part
        values[:, where.P] += w.P
        largest = norm(w.P) + norm(w.q) / np.where(norm(x) > 0, norm(x), 1.0)
        values[:, where.diagonal] += (FLAT * e**2 * np.where(largest > 0, largest, 1.0))[:, None]
        factors: list[Any] = [None] * k

        def factor(i: int) -> None:
            with suppress(RuntimeError):  # it is singular: no step is taken
                factors[i] = sla.splu(where.pattern.matrix(values[i]), permc_spec=ORDER)

        share_out(deque(range(k)), factor)
        return cls(program, weights, factors, where.pattern.shape[0])

    def steps(
        self, places: np.ndarray, f: np.ndarray, g: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(dx, dv) for conditions f, g of samples at these places."""
        n, m = f.shape[1], g.shape[1]
        steps = np.full((len(f), self.size), np.nan)
        for k, place in enumerate(places):
            if self.factors[place] is not None:
                rest = np.concatenate([-f[k], -g[k], np.zeros(self.size - n - m)])
                steps[k] = self.factors[place].solve(rest)
        return steps[:, :n], steps[:, n : n + m]


def _apply(block: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A block's diagonals (k, count, rows) or matrices (k, count, rows, rows) times v (k, all)."""
    shaped = v.reshape(block.shape[:3])
    result = block * shaped if block.ndim == 3 else (block @ shaped[..., None])[..., 0]
    return np.asarray(result.reshape(v.shape))


def _invert(H: np.ndarray) -> np.ndarray:
    """The inverses (k, n, n), in threads; NaN for singular ones: no step is taken there."""
    flat = H.reshape(-1, *H.shape[-2:])
    out = np.empty_like(flat)

    def invert(rows: slice) -> None:
        try:
            out[rows] = np.linalg.inv(flat[rows])
        except np.linalg.LinAlgError:
            for i in range(rows.start, rows.stop):
                try:
                    out[i] = np.linalg.inv(flat[i])
                except np.linalg.LinAlgError:
                    out[i] = np.nan

    parts = min(workers(), len(flat)) if flat.size * flat.shape[-1] > WORTH else 1
    cuts = [round(len(flat) * k / parts) for k in range(parts + 1)]
    share_out(deque(slice(a, b) for a, b in pairwise(cuts)), invert)
    return out.reshape(H.shape)
