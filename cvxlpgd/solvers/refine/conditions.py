"""The equations that Newton's method solves, and the weights of their cones; see newton.py."""

from __future__ import annotations

import numpy as np

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


def conditions(
    program: ConeProgram, z: Point, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f, t g at points z (batch, ...), for weights t (batch, m); and the error, (batch,).

    That is how large f or t g is, relative to the terms that add up to it, run of cones by run.
    """
    structure, w = program.structure, program.data
    Px = product(structure.P, w.P, z.x) if structure.P.size else np.zeros_like(z.x)
    Aty = transposed_product(structure.A, w.A, z.y)
    Ax, b, s = weights * product(structure.A, w.A, z.x), weights * w.b, weights * z.s
    v, f, g = z.y / weights - s, Px + w.q + Aty, Ax - b + s
    first = [start for _, start, _ in structure.blocks]
    sizes = np.maximum.reduceat(np.abs(np.stack([Ax, b, v, g])), first, axis=2)
    whole, own = sizes[:3].max(axis=2).sum(axis=0), sizes[:3].sum(axis=0)
    error = _share(sizes[3], np.maximum(own, LEAST * whole[:, None])).max(axis=1)
    x_size, q_size, P_term, A_term, f_size = np.abs(
        np.stack([z.x, np.broadcast_to(w.q, f.shape), Px, Aty, f])
    ).max(axis=2)
    least = LEAST * (norm(w.P) * x_size + norm(w.A) * np.abs(weights * v).max(axis=1))
    return f, g, np.maximum(error, _share(f_size, np.maximum(q_size + P_term + A_term, least)))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """What part of the whole it is; both may be 0."""
    return np.asarray(part / np.where(whole > 0, whole, 1.0))
