"""The equations that Newton's method solves, and the weights of their cones; see newton.py."""

from __future__ import annotations

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Structure, norm, product, transposed_product
from cvxlpgd.program.pairs import is_diagonal

LEAST = 1e-3  # of what the terms could be: smaller ones may be nothing but noise
RANGE = 1e3  # the cones' weights lie this far apart at most, around their mean
NOISE = 1e-2  # of the size that the data suggest: what is smaller than that is not looked at


def _dual(structure: Structure, v: np.ndarray) -> np.ndarray:
    """Π_K*(v) = v + Π_K(-v)."""
    y = v.copy()
    for cone, rows, part in structure.split(v):
        y[:, rows] += cone.project(-part).reshape(len(v), -1)
    return y


def weigh(program: ConeProgram, z: Point) -> np.ndarray:
    """S, such that y and S s are of one size in each curved cone, within limits; (batch, m).

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
            own = np.clip(norm(y) / norm(s) / mean, 1 / RANGE, RANGE)
            both = (norm(y) > 0) & (norm(s) > 0) & (not is_diagonal(cone))
            weights[:, rows] = np.repeat(np.where(both, own, 1.0) * mean, s.shape[2], axis=1)
    return weights


def conditions(
    program: ConeProgram, x: np.ndarray, v: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """f, g, y at x (batch, n), v (batch, m), for weights S (batch, m); and the error, (batch,).

    That is how large f or g is, relative to the terms that add up to it.
    """
    structure, w = program.structure, program.data
    y = _dual(structure, v)
    Px, Aty = product(structure.P, w.P, x), transposed_product(structure.A, w.A, y)
    Ax, b = weights * product(structure.A, w.A, x), weights * w.b
    f, g = Px + w.q + Aty, Ax - b + y - v
    least = LEAST * (norm(w.P) * norm(x) + norm(w.A) * norm(v))
    error = _share(norm(f), np.maximum(norm(w.q) + norm(Px) + norm(Aty), least))
    terms = norm(Ax) + norm(b) + norm(v)
    for _, rows in structure.split():
        own = norm(Ax[:, rows]) + norm(b[:, rows]) + norm(v[:, rows])
        error = np.maximum(error, _share(norm(g[:, rows]), np.maximum(own, LEAST * terms)))
    return f, g, y, error


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """What part of the whole it is; both may be 0."""
    return part / np.where(whole > 0, whole, 1.0)
