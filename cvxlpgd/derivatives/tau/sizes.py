"""The size of a perturbation, from the data that it moves: no unit, no norm across other entries.

A cotangent moves q by t x_bar and b by -t y_bar. What an entry can bear is its own size, or that of
the terms that it is added to where it is 0:

    |q_j|, else (|P||x| + |A|'|y|)_j        |b_i|, else (|A||x|)_i + |s_i|

where those are nothing but rounding the largest of their kind, or |P||x| at its largest,
and tau = kappa Σ size_j |x_bar_j| / Σ x_bar_j², which scales with the data and with 1 / the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.derivatives.ends import NOISE
from cvxlpgd.derivatives.info import host
from cvxlpgd.derivatives.tau.settings import is_combinatorial
from cvxlpgd.program import Array, ConeProgram, Data, Point, norm, product, transposed_product
from cvxlpgd.program.pattern import namespace_of
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.protocol import FINEST

SMOOTH = 1.2e-3  # kappa where a difference stands for a derivative: not a round number, so that a
# cotangent along the cost itself never cancels it exactly
LINEAR = 1.0  # kappa for the costs of linear and integer programs, which decides better than 0.5
# or 2 on paths, knapsacks and tours: docs/experiments.md

SAME = 1e-6  # of a loss: less than this is left of it when the objective is taken off, which is
# the rounding of float32; more is what a prediction is wrong by, and is to be seen

ROUNDING = 1e-8  # of the largest: a size that is smaller may be the solver's noise


def cotangent_step(
    tau: Any, program: ConeProgram, z: Point, z_bar: Point, accuracy: float
) -> np.ndarray:
    """Tau for each sample, (batch,): as given, relative, or automatic.

    A relative one is kappa max(|q|, |Px*|, |A'y*|) / |x_bar| over the user's variables, or
    kappa |b| / |y_bar|, the smaller where both exist; a size of 0 counts as 1. An automatic one is
    of the entries' own size, see above.
    """
    if isinstance(tau, str):
        smooth = max(SMOOTH, accuracy ** (1 / 3))
        kappa = LINEAR if is_combinatorial(program.structure) else smooth
        return for_cotangent(program, _on_host(z), _on_host(z_bar), kappa)
    if not isinstance(tau, Relative):
        return np.broadcast_to(np.asarray(tau, dtype=float), (program.batch,))
    structure, w = program.structure, program.data
    xp = array_namespace(z.x)
    user = np.flatnonzero(structure.user)
    Px, Aty = product(structure.P, w.P, z.x), transposed_product(structure.A, w.A, z.y)
    size = xp.maximum(norm(Px[:, user]), norm(Aty[:, user]))
    noise = NOISE * max(accuracy, FINEST)
    costs, at_most = norm(w.q[:, user]), structure.m * norm(w.A) * norm(z.y)
    if bool((size <= noise * (costs + at_most)).any()):
        uncancelled = norm(transposed_product(structure.A, xp.abs(w.A), xp.abs(z.y))[:, user])
        size = xp.where(size > noise * (costs + uncancelled), size, uncancelled)
    size = xp.maximum(costs, xp.where(size > noise, size, size * 0.0))
    return tau.kappa * _smallest((size, norm(z_bar.x)), (norm(w.b), norm(z_bar.y)))


def tangent_step(
    tau: Any, program: ConeProgram, z: Point, w_dot: Data, accuracy: float
) -> np.ndarray:
    """Tau for each sample, (batch,): as given, such that no field moves by more than a relative
    one's kappa, or automatic, by the entries' own size.
    """
    if isinstance(tau, str):
        return for_tangent(program, _on_host(z), w_dot, max(SMOOTH, accuracy ** (1 / 3)))
    if not isinstance(tau, Relative):
        return np.broadcast_to(np.asarray(tau, dtype=float), (program.batch,))
    fields = program.data.items()
    return tau.kappa * _smallest(*((norm(v), norm(getattr(w_dot, name))) for name, v in fields))


def _on_host(z: Point) -> Point:
    return Point(*(host(v) for _, v in z.items()))


def _smallest(*ratios: tuple[Array, Array]) -> np.ndarray:
    """Min size / perturbation over the pairs with a perturbation; 1 where there is none."""
    smallest = np.asarray(np.inf)
    for size, perturbation in ratios:
        size, perturbation = host(size), host(perturbation)
        with np.errstate(divide="ignore"):
            smallest = np.minimum(smallest, np.where(size > 0, size, 1.0) / perturbation)
    return np.where(np.isfinite(smallest), smallest, 1.0)


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
    """Sizes; where they are 0 those of the terms around them, or a typical one for rounding."""
    size = np.where(size > 0, size, around)
    typical = np.maximum(norm(size), least)[:, None]
    return np.where(size > ROUNDING * typical, size, typical)


def step_of(size: np.ndarray, moved: np.ndarray) -> np.ndarray:
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
    """Tau (batch,) for a cotangent without slack: the smaller of both fields' own.

    It is halved where the loss is a multiple of the objective: one end would be a program without
    costs, whose solution is arbitrary.
    """
    q, b = sizes(program, z)
    tau = np.minimum(step_of(q, z_bar.x), step_of(b, z_bar.y))
    tau = kappa * np.where(np.isfinite(tau), tau, 1.0)
    return np.where(multiple(program, z_bar) != 0, 0.5 * tau, tau)


def multiple(program: ConeProgram, z_bar: Point) -> np.ndarray:
    """The k (batch,) of a loss that is k times the objective, up to rounding; 0 for other losses.

    Where k > 0 the solution is the best one for the loss, where k < 0 the worst one. A quadratic
    objective has no multiples among the linearized losses, nor is a loss of dual variables one.
    """
    if program.structure.P.size:
        return np.zeros(program.batch)
    x_bar, xp = z_bar.x, namespace_of(z_bar.x)
    q = xp.broadcast_to(program.data.q, x_bar.shape)
    largest = norm(q)[:, None]
    largest = xp.where(largest > np.finfo(float).tiny, largest, np.finfo(float).tiny)
    unit = q / largest
    square = xp.sum(unit * unit, axis=1)  # at least 1 but for q = 0
    k = xp.sum(unit * x_bar, axis=1) / xp.where(square > 0.5, square, 0.5)
    is_along = norm(x_bar - k[:, None] * unit) < SAME * norm(x_bar)
    is_along = is_along & (norm(z_bar.y) == 0)
    return host(xp.where(is_along, k / largest[:, 0], 0.0))


def for_tangent(program: ConeProgram, z: Point, w_dot: Data, kappa: float) -> np.ndarray:
    """The step (batch,) along a direction of the data's varying entries, by each field's own."""
    q, b = sizes(program, z)
    w, varying = program.data, program.structure.varying
    whole = replace(w, P=np.abs(w.P), q=q, A=np.abs(w.A), b=b)
    tau = np.full(len(z.x), np.inf)
    for name, entries in varying.items():
        if len(entries):
            size = getattr(whole, name)[:, entries]
            tau = np.minimum(tau, step_of(size, getattr(w_dot, name)))
    return kappa * np.where(np.isfinite(tau), tau, 1.0)
