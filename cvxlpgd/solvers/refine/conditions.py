"""The equations that Newton's method solves, and the weights of their cones; see newton.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxlpgd._kernels import kernels_of
from cvxlpgd.program import ConeProgram, Point, norm, product, transposed_product
from cvxlpgd.program.pairs import is_diagonal

LEAST = 1e-3  # of what the terms could be: smaller ones may be nothing but noise
RANGE = 1e3  # the cones' weights lie this far apart at most, around their mean
HARD = 100.0  # times a row's own weight: a larger one hides the curvature of the row's columns
NOISE = 1e-2  # of the size that the data suggest: what is smaller than that is not looked at


def weigh(program: ConeProgram, z: Point) -> np.ndarray:
    """t, such that y / t and t s are of one size in each curved cone, within limits; (batch, m).

    Where y or s is nothing but noise it counts as a small part of what the data would allow. Rows
    of their own have the weight of all cones together, if that is not far above their own.
    """
    w, weights = program.data, np.empty_like(z.s)
    with np.errstate(all="ignore"):
        entries = norm(w.A)
        y_size = np.maximum(norm(z.y), NOISE * (norm(w.q) + norm(w.P) * norm(z.x)) / entries)
        s_size = np.maximum(norm(z.s), NOISE * (norm(w.b) + entries * norm(z.x)))
        mean = y_size / s_size
        mean = np.where((mean > 0) & np.isfinite(mean), mean, 1.0)[:, None]
        weights[:] = np.fmin(mean, HARD * _of_rows(program, z))
        for cone, first, count in program.structure.blocks:
            if is_diagonal(cone):
                continue
            end = first + cone.rows * count
            y, s = (
                np.maximum.reduceat(np.abs(v[:, first:end]), range(0, end - first, cone.rows), 1)
                for v in (z.y, z.s)
            )
            own = np.clip(y / s / mean, 1 / RANGE, RANGE)
            own = np.where((y > 0) & (s > 0), own, 1.0) * mean
            weights[:, first:end] = np.repeat(own, cone.rows, axis=1)
        return np.sqrt(weights)


def _of_rows(program: ConeProgram, z: Point) -> np.ndarray:
    """How large each row's y could be beside its s, (batch, m): NaN where nothing says so.

    They are of the size of the terms of Ax - b and of Px + q + A'y, which is |A|'y in y's units.
    """
    structure, w = program.structure, program.data
    A, size = structure.A, np.abs(w.A)
    f_terms = np.abs(w.q) + transposed_product(A, size, np.abs(z.y))
    if structure.P.size:
        f_terms += np.abs(product(structure.P, w.P, z.x))
    y = product(A, size, f_terms) / product(A, size**2, np.ones((len(size), A.shape[1])))
    own = y / (np.abs(w.b) + product(A, size, np.abs(z.x)))
    return np.where((own > 0) & np.isfinite(own), own, np.nan)


class Conditions(NamedTuple):
    """f and t g of k samples at any points in weighted units, x, y / t and t s."""

    program: ConeProgram
    t: np.ndarray
    # arrays (k or 1, ...) that are the same at all points
    b: np.ndarray  # t b
    b_sizes: np.ndarray  # of each run of cones
    q_size: np.ndarray
    P_size: np.ndarray
    A_size: np.ndarray

    @classmethod
    def of(cls, program: ConeProgram, t: np.ndarray) -> Conditions:
        """Those of programs, for weights t (k, m)."""
        w = program.data
        b = t * w.b
        return cls(
            program, t, b, _by_run(program, np.abs(b)), norm(w.q), norm(w.P), norm(w.A)
        )  # fmt: skip

    def take(self, chosen: np.ndarray) -> Conditions:
        """Those of some samples, bool (k,)."""
        arrays = (v if len(v) == 1 else v[chosen] for v in self[1:])
        return Conditions(self.program.take(chosen), *arrays)

    def at(
        self, x: np.ndarray, y: np.ndarray, s: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sums f and t g (k, ...); and the error, (k,).

        That is how large they are, relative to their terms, run of cones by run.
        """
        structure, w, t = self.program.structure, self.program.data, self.t
        kernels = None if structure.A.is_full else kernels_of(__package__)  # BLAS is faster there
        if kernels is not None:
            return kernels.conditions(self, x, y, s)
        Aty = transposed_product(structure.A, w.A, t * y)
        Ax, v, f = t * product(structure.A, w.A, x), y - s, Aty + w.q
        P_term: np.ndarray | float = 0.0
        if structure.P.size:
            Px = product(structure.P, w.P, x)
            f += Px
            P_term = norm(Px)
        g = Ax - self.b
        g += s
        sizes = np.empty((3, *g.shape))
        for size, of in zip(sizes, (Ax, v, g), strict=True):
            np.abs(of, out=size)
        x_sizes, v_sizes, g_sizes = _by_run(self.program, sizes)
        whole = sum(of.max(axis=-1) for of in (x_sizes, v_sizes, self.b_sizes))
        own = x_sizes + v_sizes + self.b_sizes
        error = _share(g_sizes, np.maximum(own, LEAST * whole[:, None])).max(axis=1)
        least = self.P_size * norm(x) + self.A_size * norm(t * v)
        terms = np.maximum(self.q_size + P_term + norm(Aty), LEAST * least)
        return f, g, np.maximum(error, _share(norm(f), terms))


def _by_run(program: ConeProgram, sizes: np.ndarray) -> np.ndarray:
    """The largest of sizes (..., m) in each run of cones."""
    first = [start for _, start, _ in program.structure.blocks]
    return np.maximum.reduceat(sizes, first, axis=-1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """What part of the whole it is; both may be 0."""
    return np.asarray(part / np.where(whole > 0, whole, 1.0))
