"""Tau for each sample: as given, relative, or automatic."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.derivatives.noise import NOISE
from cvxlpgd.derivatives.tau import sizes
from cvxlpgd.derivatives.tau.automatic import is_combinatorial
from cvxlpgd.program import ConeProgram, Data, Point, norm
from cvxlpgd.program.pattern import Array, product, transposed_product
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.protocol import FINEST


def cotangent_step(
    tau: Any, program: ConeProgram, z: Point, z_bar: Point, accuracy: float
) -> np.ndarray:
    """Tau for each sample, (batch,): as given, relative, or automatic.

    A relative one is kappa max(|q|, |Px*|, |A'y*|) / |x_bar| over the user's variables, or
    kappa |b| / |y_bar|, the smaller where both exist; a size of 0 counts as 1. An automatic one is
    of the entries' own size, see `tau.py`.
    """
    if isinstance(tau, str):
        smooth = max(sizes.SMOOTH, accuracy ** (1 / 3))
        kappa = sizes.LINEAR if is_combinatorial(program.structure) else smooth
        return sizes.for_cotangent(program, _on_host(z), _on_host(z_bar), kappa)
    if not isinstance(tau, Relative):
        return np.broadcast_to(np.asarray(tau, dtype=float), (program.batch,))
    structure, w = program.structure, program.data
    xp = array_namespace(z.x)
    user = np.flatnonzero(structure.user)
    Px, Aty = product(structure.P, w.P, z.x), transposed_product(structure.A, w.A, z.y)
    size = xp.maximum(norm(Px[:, user]), norm(Aty[:, user]))
    noise = NOISE * max(accuracy, FINEST)
    at_most = structure.m * norm(w.A) * norm(z.y)
    if bool((size <= noise * (1 + at_most)).any()):
        uncancelled = norm(transposed_product(structure.A, xp.abs(w.A), xp.abs(z.y))[:, user])
        size = xp.where(size > noise * (1 + uncancelled), size, uncancelled)
    size = xp.maximum(norm(w.q[:, user]), xp.where(size > noise, size, size * 0.0))
    return tau.kappa * _smallest((size, norm(z_bar.x)), (norm(w.b), norm(z_bar.y)))


def tangent_step(
    tau: Any, program: ConeProgram, z: Point, w_dot: Data, accuracy: float
) -> np.ndarray:
    """Tau for each sample, (batch,): as given, such that no field moves by more than a relative
    one's kappa, or automatic, by the entries' own size.
    """
    if isinstance(tau, str):
        return sizes.for_tangent(
            program, _on_host(z), w_dot, max(sizes.SMOOTH, accuracy ** (1 / 3))
        )
    if not isinstance(tau, Relative):
        return np.broadcast_to(np.asarray(tau, dtype=float), (program.batch,))
    fields = program.data._items()
    return tau.kappa * _smallest(*((norm(v), norm(getattr(w_dot, name))) for name, v in fields))


def _on_host(z: Point) -> Point:
    return Point(*(_host(v) for _, v in z._items()))


def _smallest(*ratios: tuple[Array, Array]) -> np.ndarray:
    """Min size / perturbation over the pairs with a perturbation; 1 where there is none."""
    smallest = np.asarray(np.inf)
    for size, perturbation in ratios:
        size, perturbation = _host(size), _host(perturbation)
        with np.errstate(divide="ignore"):
            smallest = np.minimum(smallest, np.where(size > 0, size, 1.0) / perturbation)
    return np.where(np.isfinite(smallest), smallest, 1.0)


def _host(values: Array) -> np.ndarray:
    return np.asarray(to_device(values, "cpu"))
