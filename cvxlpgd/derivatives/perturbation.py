"""Perturbed programs, the slack's cotangent, and the size of a perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.derivatives import tau as taus
from cvxlpgd.derivatives.protocol import Info
from cvxlpgd.derivatives.report import report, with_redundant_rows
from cvxlpgd.program import ConeProgram, Data, Point, norm
from cvxlpgd.program.pattern import Array, product, transposed_product
from cvxlpgd.program.solution import Solution
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.protocol import FINEST, Solver
from cvxlpgd.solvers.run.solve import solve

RESOLVED = 1e4  # times the accuracy: differences that are right to a few digits
NOISE = 100.0  # differences up to this multiple of the solver's accuracy say nothing
ROUNDING = 1e-12  # no point counts as more accurate, whatever its residual


def without_slack(program: ConeProgram, z_bar: Point) -> Point:
    """S = b - Ax: the slack's cotangent is one of x, x_bar - A's_bar, and of b and A (below)."""
    folded = z_bar.x - transposed_product(program.structure.A, program.data.A, z_bar.s)
    return replace(z_bar, x=folded, s=z_bar.s * 0.0)


def with_slack(data_bar: Data, program: ConeProgram, s_bar: Array, x: Array, entries: Data) -> Data:
    """The rest of the slack's cotangent: b_bar + s_bar, A_bar - s_bar x'."""
    if not bool((s_bar != 0).any()):
        return data_bar
    A = program.structure.A
    outer = s_bar[:, A.rows[entries.A]] * x[:, A.cols[entries.A]]
    return replace(data_bar, A=data_bar.A - outer, b=data_bar.b + s_bar[:, entries.b])


def along_cotangent(program: ConeProgram, z_bar: Point, t: Array) -> ConeProgram:
    """L + t (x_bar'x + y_bar'y): the programs (P, q + t x_bar, A, b - t y_bar), t (batch,)."""
    w, t = program.data, t[:, None]
    return replace(program, data=replace(w, q=w.q + t * z_bar.x, b=w.b - t * z_bar.y))


def along_tangent(program: ConeProgram, w_dot: Data, t: Array) -> ConeProgram:
    """The programs w + t w_dot, w_dot at the structure's varying entries, t (batch,)."""
    moved = {}
    for name, entries in program.structure.varying.items():
        value, dot = getattr(program.data, name), getattr(w_dot, name)
        if len(entries):
            xp = array_namespace(value)
            value = xp.broadcast_to(value, (t.shape[0], value.shape[1])) * 1.0
            value[:, entries] += t[:, None] * dot
        moved[name] = value
    return replace(program, data=Data(**moved))


def cotangent_step(
    tau: Any, program: ConeProgram, z: Point, z_bar: Point, accuracy: float
) -> np.ndarray:
    """Tau for each sample, (batch,): as given, relative, or automatic.

    A relative one is kappa max(|q|, |Px*|, |A'y*|) / |x_bar| over the user's variables, or
    kappa |b| / |y_bar|, the smaller where both exist; a size of 0 counts as 1. An automatic one is
    of the entries' own size, see `tau.py`.
    """
    if isinstance(tau, str):
        structure = program.structure
        finite = taus.is_linear(structure) or structure.mixed_integer
        kappa = taus.LINEAR if finite else max(taus.SMOOTH, accuracy ** (1 / 3))
        return taus.for_cotangent(program, _on_host(z), _on_host(z_bar), kappa)
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


class Ends(NamedTuple):
    """Perturbed programs, solved in one batch, one end after the other.

    `usable`, bool (ends, batch), says which have a point; `info` is good where all have one.
    `residual`, (batch,), is the larger one's.
    """

    ends: Sequence[float]
    program: ConeProgram
    point: Point
    usable: np.ndarray
    info: Info
    residual: np.ndarray

    @classmethod
    def of(
        cls, ends: Sequence[float], program: ConeProgram, again: Solution, tau: np.ndarray
    ) -> Ends:
        """Of the solution of the perturbed programs."""
        assert again.residuals is not None
        residual = _host(again.residuals.largest).reshape(len(ends), -1).max(axis=0)
        return cls(ends, program, again.point, *report(again, ends, tau), residual)

    def at(self, values: Array) -> dict[float, Array]:
        """The part of `values` (ends * batch, ...) that belongs to each end."""
        batch = len(self.info.ok)
        return {t: values[k * batch : (k + 1) * batch] for k, t in enumerate(self.ends)}

    def optimal(self, center: Point, rho: float) -> Array:
        """The optimal values V(end tau), (ends * batch,), with the proximal term at `center`."""
        values = self.program.objective(self.point.x)
        if not rho:
            return values
        user = array_namespace(values).asarray(self.program.structure.user, dtype=values.dtype)
        constant = rho / 2 * (user * center.x**2).sum(axis=-1)  # of (rho/2) |x - x*|²
        return values + constant[np.tile(np.arange(len(constant)), len(self.ends))]

    def points(self) -> dict[float, Point]:
        """z(end tau), each a batch."""
        x, y, s = self.at(self.point.x), self.at(self.point.y), self.at(self.point.s)
        return {t: Point(x[t], y[t], s[t]) for t in self.ends}

    def span(self, hi: float, lo: float, center: Point) -> tuple[Point, Point, np.ndarray, Info]:
        """z(hi tau), z(lo tau), hi - lo for each sample, and what to report; `center` is z(0).

        Where one of two ends failed the center takes its place: the other side's difference.
        """
        points = {0.0: center} | self.points()
        usable = dict(zip(self.ends, self.usable, strict=True))
        ok = np.asarray(self.usable.any(axis=0))
        width = np.full(len(ok), hi - lo)
        for t, solved in usable.items():
            failed = ok & ~solved
            if failed.any():
                points[t] = _where(failed, center, points[t])
                width[failed] -= abs(t)
        info = replace(self.info, ok=ok, side=_sides(usable))
        info.retries[:] += ok & ~self.usable.all(axis=0)
        return points[hi], points[lo], width, info


def solved_ends(
    program: ConeProgram,
    solution: Solution,
    z_bar: Point,
    tau: np.ndarray,
    ends: Sequence[float],
    rho: float,
    solver: Solver,
    near: bool = True,
) -> Ends:
    """The points z(end tau), and what became of the re-solves.

    If they are not `near`, solvers begin anew: simplex pivots back from a far basis take longer.
    """
    xp = array_namespace(solution.point.x)
    both = np.tile(np.arange(program.batch), len(ends))
    t = xp.asarray(np.concatenate([tau * end for end in ends]), dtype=solution.point.x.dtype)
    base = program.proximal(rho, solution.point.x).take(both)
    perturbed = along_cotangent(base, z_bar.take(both), t)
    again = solve(solver, perturbed, start=solution.take(both) if near else None)
    found = Ends.of(ends, perturbed, again, tau)
    return found._replace(info=with_redundant_rows(found.info, program, z_bar))


def bend(
    high: Point, low: Point, center: Point, accuracy: float, residual: np.ndarray
) -> np.ndarray:
    """How far the center is from the middle of both ends, (batch,).

    |v+ + v- - 2 v| / |v+ - v-|, the larger one of x and y, which are the gradients of q and b. One
    that moves by less than 10,000 times the accuracy says nothing: NaN where neither does. That is
    the solver's, or what the ends' residual shows it to be where it is better.
    """
    found = []
    accuracy = np.fmin(np.maximum(residual, ROUNDING), accuracy)
    for name in ("x", "y"):
        hi, lo, at = (_host(getattr(z, name)) for z in (high, low, center))
        moved, seen = norm(hi - lo), RESOLVED * accuracy * (1 + norm(at))
        ratio = norm(hi + lo - 2 * at) / np.where(moved > 0, moved, 1.0)
        found.append(np.where(moved > seen, ratio, np.nan))
    return np.asarray(np.fmax(*found))


def tangent_step(
    tau: Any, program: ConeProgram, z: Point, w_dot: Data, accuracy: float
) -> np.ndarray:
    """Tau for each sample, (batch,): as given, such that no field moves by more than a relative
    one's kappa, or automatic, by the entries' own size.
    """
    if isinstance(tau, str):
        return taus.for_tangent(program, _on_host(z), w_dot, max(taus.SMOOTH, accuracy ** (1 / 3)))
    if not isinstance(tau, Relative):
        return np.broadcast_to(np.asarray(tau, dtype=float), (program.batch,))
    fields = program.data.items()
    return tau.kappa * _smallest(*((norm(v), norm(getattr(w_dot, name))) for name, v in fields))


def _on_host(z: Point) -> Point:
    return Point(*(_host(v) for _, v in z.items()))


def _smallest(*ratios: tuple[Array, Array]) -> np.ndarray:
    """Min size / perturbation over the pairs with a perturbation; 1 where there is none."""
    smallest = np.asarray(np.inf)
    for size, perturbation in ratios:
        size, perturbation = _host(size), _host(perturbation)
        with np.errstate(divide="ignore"):
            smallest = np.minimum(smallest, np.where(size > 0, size, 1.0) / perturbation)
    return np.where(np.isfinite(smallest), smallest, 1.0)


def is_noise(high: Data, low: Data, accuracy: float) -> np.ndarray:
    """Whether no field of high - low rises above the solver's accuracy, bool (batch,).

    Relative to the field's size.
    """
    noise = np.ones(len(high.q), dtype=bool)
    for name in ("q", "b", "P", "A"):  # the small fields first: they mostly settle it
        value, other = getattr(high, name), getattr(low, name)
        if value.shape[1] and noise.any():
            size = np.maximum(_host(norm(value)), _host(norm(other)))
            noise &= _host(norm(value - other)) <= NOISE * max(accuracy, FINEST) * size
    return noise


def solved_along(
    program: ConeProgram,
    solution: Solution,
    w_dot: Data,
    tau: np.ndarray,
    ends: Sequence[float],
    solver: Solver,
) -> Ends:
    """The points at w + end tau w_dot for each end, all solved in one batch."""
    batch = len(tau)
    both = np.tile(np.arange(batch), len(ends))
    t = np.concatenate([tau * end for end in ends])
    xp = array_namespace(program.data.q)
    perturbed = along_tangent(
        program.take(both), w_dot.take(both), xp.asarray(t, dtype=program.data.q.dtype)
    )
    again = solve(solver, perturbed, start=solution.take(both))
    if len(program.structure.varying.P):
        again.status[_indefinite(perturbed)] = "indefinite"
    return Ends.of(ends, perturbed, again, tau)


def _indefinite(program: ConeProgram) -> np.ndarray:
    """Samples whose P has a negative eigenvalue, beyond rounding."""
    P, values = program.structure.P, _host(program.data.P)
    active = np.unique(P.cols)
    dense = np.zeros((len(values), len(active), len(active)))
    dense[:, np.searchsorted(active, P.rows), np.searchsorted(active, P.cols)] = values
    eigenvalues = np.linalg.eigvalsh(dense)
    return np.asarray(eigenvalues[:, 0] < -1e-12 * np.abs(eigenvalues).max(axis=1))


def _where(chosen: np.ndarray, one: Point, other: Point) -> Point:
    """The points of one where `chosen`, of the other elsewhere."""
    xp = array_namespace(one.x)
    mask = xp.asarray(chosen)[:, None]
    return Point(*(xp.where(mask, v, getattr(other, k)) for k, v in one.items()))


def _sides(usable: Mapping[float, np.ndarray]) -> np.ndarray:
    """Of each sample, the side of the ends that have a point."""
    lower, upper = (usable.get(t, np.zeros(1, dtype=bool)) for t in (1.0, -1.0))
    return np.where(lower, np.where(upper, "average", "lower"), np.where(upper, "upper", ""))


def _host(values: Array) -> np.ndarray:
    return np.asarray(to_device(values, "cpu"))
