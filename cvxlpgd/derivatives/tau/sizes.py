"""The size of a perturbation, from the data that it moves: no unit, no norm across other entries.

A cotangent moves q by t x_bar and b by -t y_bar. What an entry can bear is its own size, or that of
the terms that it is added to where it is 0:

    |q_j|, else (|P||x| + |A|'|y|)_j        |b_i|, else (|A||x|)_i + |s_i|

where those are nothing but rounding the largest of their kind, or |P||x| at its largest,
and tau = kappa Σ size_j |x_bar_j| / Σ x_bar_j², which scales with the data and with 1 / the loss.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, norm
from cvxlpgd.program.pattern import product, transposed_product

SMOOTH = 1.2e-3  # kappa where a difference stands for a derivative: not a round number, so that a
# cotangent along the cost itself never cancels it exactly
LINEAR = 1.0  # kappa for the costs of linear and integer programs: see docs/learning.md

ROUNDING = 1e-8  # of the largest: a size that is smaller may be the solver's noise


def sizes(program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
    """What each entry of q (batch, n) and of b (batch, m) can bear."""
    structure, w = program.structure, program.data
    P, A, x, y = np.abs(w.P), np.abs(w.A), np.abs(z.x), np.abs(z.y)
    around_q = product(structure.P, P, x) + transposed_product(structure.A, A, y)
    around_b = product(structure.A, A, x) + np.abs(z.s)
    q, b = np.abs(w.q), np.abs(w.b)
    curvature = norm(P) * norm(x)
    return _or_around(q, around_q, curvature), _or_around(b, around_b, norm(around_b))


def _or_around(size: np.ndarray, around: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Sizes; where they are 0 those of the terms around them, where those are rounding a typical
    one.
    """
    size = np.where(size > 0, size, around)
    typical = np.maximum(norm(size), least)[:, None]
    return np.where(size > ROUNDING * typical, size, typical)


def own(size: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Σ size |moved| / Σ moved² of each sample; infinite where nothing moves.

    Where all that moves has no size, 1 / |moved|.
    """
    largest = np.abs(moved).max(axis=1, initial=0.0)
    unit = moved / np.where(largest > 0, largest, 1.0)[:, None]
    square = np.sum(unit * unit, axis=1)
    share = np.sum(size * np.abs(unit), axis=1) / np.where(square > 0, square, 1.0)
    share = np.where(share > 0, share, 1.0)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.where(largest > 0, share / largest, np.inf))


def for_cotangent(program: ConeProgram, z: Point, z_bar: Point, kappa: float) -> np.ndarray:
    """Tau (batch,) for a cotangent without slack: the smaller of both fields' own."""
    q, b = sizes(program, z)
    tau = np.minimum(own(q, z_bar.x), own(b, z_bar.y))
    return kappa * np.where(np.isfinite(tau), tau, 1.0)


def for_tangent(program: ConeProgram, z: Point, w_dot: Data, kappa: float) -> np.ndarray:
    """The step (batch,) along a direction of the data's varying entries, by each field's own."""
    q, b = sizes(program, z)
    w, varying = program.data, program.structure.varying
    whole = replace(w, P=np.abs(w.P), q=q, A=np.abs(w.A), b=b)
    tau = np.full(len(z.x), np.inf)
    for name, entries in varying._items():
        size, moved = getattr(whole, name)[:, entries], getattr(w_dot, name)
        if len(entries):
            tau = np.minimum(tau, own(size, moved))
    return kappa * np.where(np.isfinite(tau), tau, 1.0)
