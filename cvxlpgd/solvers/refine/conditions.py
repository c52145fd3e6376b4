"""The equations that Newton's method solves, and the weights of their cones; see newton.py."""

from __future__ import annotations

import numpy as np

from cvxlpgd.program import ConeProgram, Point, norm, product, transposed_product
from cvxlpgd.program.pairs import is_diagonal

LEAST = 1e-3  # of what the terms could be: smaller ones may be nothing but noise
RANGE = 1e3  # the cones' weights lie this far apart at most, around their mean
NOISE = 1e-2  # of the size that the data suggest: what is smaller than that is not looked at


def weigh(program: ConeProgram, z: Point) -> np.ndarray:
    """t, such that y / t and t s are of one size in each curved cone, within limits; (batch, m).

    Where y or s is nothing but noise it counts as a small part of what the data would allow.
    """
    w, weights = program.data, np.empty_like(z.s)
    with np.errstate(all="ignore"):
        entries = norm(w.A)
        y_size = np.maximum(norm(z.y), NOISE * (norm(w.q) + norm(w.P) * norm(z.x)) / entries)
        s_size = np.maximum(norm(z.s), NOISE * (norm(w.b) + entries * norm(z.x)))
        mean = y_size / s_size
        mean = np.where((mean > 0) & np.isfinite(mean), mean, 1.0)[:, None]
        for cone, rows, y, s in program.structure.split(z.y, z.s):
            if is_diagonal(cone):
                weights[:, rows] = mean
                continue
            y_own, s_own = norm(y), norm(s)
            own = np.clip(y_own / s_own / mean, 1 / RANGE, RANGE)
            own = np.where((y_own > 0) & (s_own > 0), own, 1.0) * mean
            weights[:, rows] = np.repeat(own, cone.rows, axis=1)
        return np.sqrt(weights)


def conditions(
    program: ConeProgram, z: Point, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f, t g at points z (batch, ...), for weights t (batch, m); and the error, (batch,).

    That is how large f or t g is, relative to the terms that add up to it, run of cones by run.
    """
    structure, w = program.structure, program.data
    Px, Aty = product(structure.P, w.P, z.x), transposed_product(structure.A, w.A, z.y)
    Ax, b, y, s = weights * product(structure.A, w.A, z.x), weights * w.b, z.y, weights * z.s
    f, g = Px + w.q + Aty, Ax - b + s
    y = z.y / weights
    first = [start for _, start, _ in structure.blocks]
    terms = [np.maximum.reduceat(np.abs(v), first, axis=1) for v in (Ax, b, y - s)]
    own = terms[0] + terms[1] + terms[2]
    whole = sum(v.max(axis=1) for v in terms)
    error = _share(
        np.maximum.reduceat(np.abs(g), first, axis=1), np.maximum(own, LEAST * whole[:, None])
    ).max(axis=1)
    least = LEAST * (norm(w.P) * norm(z.x) + norm(w.A) * norm(weights * (y - s)))
    f_terms = np.maximum(norm(w.q) + norm(Px) + norm(Aty), least)
    return f, g, np.maximum(error, _share(norm(f), f_terms))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """What part of the whole it is; both may be 0."""
    return np.asarray(part / np.where(whole > 0, whole, 1.0))
