"""The sparse systems of Newton's steps, factored."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse.linalg as sla

from cvxlpgd.program import ConeProgram, norm
from cvxlpgd.program.threads import shared
from cvxlpgd.solvers.refine.systems import FLAT, each_block, layout

ORDER = "MMD_AT_PLUS_A"  # of elimination: a quarter of COLAMD's time on portfolios


class Factors(NamedTuple):
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
    ) -> Factors:
        """The factors at x (k, n) and v (k, m), for weights S (k, m) and e (k,)."""
        structure, w, k = program.structure, program.data, len(x)
        where, diagonal = layout(structure), np.ones((k, structure.m))
        derivatives = []
        for cone, rows, part in each_block(structure, v):
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

        shared(deque(range(k)), factor)
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
