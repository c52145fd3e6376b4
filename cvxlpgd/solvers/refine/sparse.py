"""The sparse systems of Newton's steps, factored; see newton.py."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse.linalg as sla

from cvxlpgd.program import ConeProgram, Point, norm, product
from cvxlpgd.program.threads import share_out
from cvxlpgd.solvers.refine.systems import FLAT, layout

ORDER = "MMD_AT_PLUS_A"  # of elimination: a quarter of COLAMD's time on portfolios


class SparseFactors(NamedTuple):
    """The sparse factors of k samples' systems, of order `size`."""

    program: ConeProgram
    z: Point  # where, in weighted units
    weights: np.ndarray
    e: np.ndarray
    factors: list[Any]
    size: int

    def numbers(self, place: int) -> int:
        """How many it holds of a sample."""
        lu = self.factors[place]
        return 0 if lu is None else int(lu.nnz)

    @classmethod
    def of(
        cls, program: ConeProgram, z: Point, weights: np.ndarray, e: np.ndarray
    ) -> SparseFactors:
        """The factors at complementary z (k, ...) in weighted units, for t (k, m) and e (k,)."""
        structure, w, k = program.structure, program.data, len(z.x)
        A_t, v = weights[:, structure.A.rows] * w.A, z.y - z.s
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
        parts = [times_D * A_t, A_t, diagonal - 1 - e[:, None], ones, ones]
        for places, part in zip(where.places, [*parts, *derivatives], strict=True):
            values[:, places] = part
        values[:, where.P] += w.P
        largest = norm(w.P) + norm(w.q) / np.where(norm(z.x) > 0, norm(z.x), 1.0)
        values[:, where.diagonal] += (FLAT * e**2 * np.where(largest > 0, largest, 1.0))[:, None]
        factors: list[Any] = [None] * k

        def factor(i: int) -> None:
            with suppress(RuntimeError):  # it is singular: no step is taken
                factors[i] = sla.splu(where.pattern.matrix(values[i]), permc_spec=ORDER)

        share_out(deque(range(k)), factor)
        return cls(program, z, weights, e, factors, where.pattern.shape[0])

    def steps(self, places: np.ndarray) -> SparseSteps:
        """The steps of samples at these places."""
        factors = [self.factors[place] for place in places]
        return SparseSteps(self.program.take(places), self.weights[places], factors, self.size)


class SparseSteps(NamedTuple):
    """What solves for the steps of k samples."""

    program: ConeProgram
    t: np.ndarray
    factors: list[Any]
    size: int

    def __call__(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(dx, dy, ds) in weighted units for f and t g."""
        n, m = f.shape[1], g.shape[1]
        steps = np.full((len(f), self.size), np.nan)
        for k, factors in enumerate(self.factors):
            if factors is not None:
                steps[k] = factors.solve(
                    np.concatenate([-f[k], -g[k], np.zeros(self.size - n - m)])
                )
        dx, dv = steps[:, :n], steps[:, n : n + m]
        g = g + self.t * product(self.program.structure.A, self.program.data.A, dx)
        return dx, dv - g, -g
