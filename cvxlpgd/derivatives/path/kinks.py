"""Where the path is not straight: rows that are weakly active, and the next ones to change.

With v = y - s, weakly active is what is smaller than its own noise; a breakpoint of an inequality
is the t at which v + t v_dot is 0.
"""

from __future__ import annotations

import numpy as np

from cvxlpgd.derivatives.path.motions import MARGIN
from cvxlpgd.derivatives.path.velocity import Velocity
from cvxlpgd.program import Structure, norm
from cvxlpgd.program.pairs import is_diagonal

NUDGE = 4.0  # times its noise is a weakly active row moved to either side
MOST = 1e-2  # of all pairs' size: none is moved further to give it a side
TINY = 1e-300
FAR = 10.0  # times a shift: a spectral value that is larger does not change sign by it
CURVED = 1e-3  # share of its own size that a curved boundary's pair may move


def weakly_active(velocity: Velocity, structure: Structure) -> np.ndarray:
    """What moves each pair without a side to one: a few times its noise along the cone's inside,
    (batch, m), in weighted units; 0 for pairs whose side is known.

    A pair has none where its directions change with a shift of that size.
    """
    t, noise = velocity.weights, velocity.noise
    y, s = velocity.at.y / t, velocity.at.s * t
    size = np.maximum(norm(y), norm(s))[:, None]
    most = np.where(size > 0, MOST * size, np.inf)
    shift = np.minimum(NUDGE * np.maximum(noise, TINY), most)
    weak = np.where(structure.inequalities & (np.abs(y - s) <= shift), shift, 0.0)
    if structure.polyhedral:
        return weak
    for cone, first, count in structure.blocks:
        if is_diagonal(cone):
            continue
        rows = slice(first, first + cone.rows * count)
        shape = (len(y), count, cone.rows)
        pair, own = [v[:, rows].reshape(shape) for v in (y, s)], shift[:, rows].reshape(shape)
        inside = own.max(axis=-1, keepdims=True) * np.asarray(cone.interior)
        samples = np.arange(len(y))
        if cone.symmetric:  # no spectral value of the others is near to 0
            near = cone.reach(pair[0], pair[1], inside, inside * 0.0) <= FAR
            samples = np.flatnonzero(near.any(axis=1))
        if len(samples):
            part, up = [v[samples] for v in pair], inside[samples]
            active, free = (
                np.isfinite(cone.linearize(*moved).compliance)
                for moved in ((part[0] + up, part[1]), (part[0], part[1] + up))
            )
            apart = (active != free).any(axis=-1, keepdims=True)
            weak[samples, rows] = np.where(apart, up, 0.0).reshape(len(samples), -1)
    return weak


def breakpoints(velocity: Velocity, structure: Structure) -> np.ndarray:
    """How far the path is straight, for t > 0 and t < 0, (batch, 2).

    Where y - s of an inequality's row changes sign; a curved cone's pair may move by a small share
    of its own size. Rows that are weakly active, or whose speed is rounding, do not count.
    """
    t, doubt, noise = velocity.weights, velocity.doubt, velocity.noise
    y, s = velocity.at.y / t, velocity.at.s * t
    y_dot, s_dot = velocity.dot.y / t, velocity.dot.s * t
    v, v_dot = y - s, y_dot - s_dot
    unsure = MARGIN * (np.abs(doubt.y / t) + np.abs(doubt.s * t))
    known = structure.inequalities & (np.abs(v_dot) > unsure) & (np.abs(v) > 2 * NUDGE * noise)
    reach = np.where(known, -v / np.where(known, v_dot, 1.0), np.nan)
    out = np.stack([
        np.where(reach > 0, reach, np.inf).min(axis=1, initial=np.inf),
        np.where(reach < 0, -reach, np.inf).min(axis=1, initial=np.inf),
    ], axis=1)  # fmt: skip
    if structure.polyhedral:
        return out
    for cone, first, count in structure.blocks:
        if is_diagonal(cone):
            continue
        rows = slice(first, first + cone.rows * count)
        shape = (len(y), count, cone.rows)
        parts = [v[:, rows].reshape(shape) for v in (y, s, y_dot, s_dot)]
        nearest = CURVED * cone.reach(*parts).min(axis=1, initial=np.inf)  # to both sides
        out = np.minimum(out, nearest[:, None])
    return out
