"""Perturbed programs, solved: their points, what failed, and what of their difference is noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.cones import Zero
from cvxlpgd.derivatives.info import Info, host
from cvxlpgd.program import Array, ConeProgram, Data, Point, Solution, Status, norm
from cvxlpgd.solvers.protocol import FINEST

RESOLVED = 1e4  # times the accuracy: differences that are right to a few digits
NOISE = 100.0  # differences up to this multiple of the solver's accuracy say nothing
ROUNDING = 1e-12  # no point counts as more accurate, whatever its residual


class Ends(NamedTuple):
    """Perturbed programs, solved in one batch, one end after the other."""

    ends: Sequence[float]
    programs: Callable[[], ConeProgram]  # the perturbed ones
    point: Point
    usable: np.ndarray  # bool (ends, batch): which have a point
    info: Info  # good where all have one
    residual: np.ndarray  # the larger one's, (batch,)

    @classmethod
    def of(
        cls,
        ends: Sequence[float],
        programs: Callable[[], ConeProgram],
        solution: Solution,
        tau: np.ndarray,
    ) -> Ends:
        """The ends in a solution of the perturbed programs, tau (batch,)."""
        assert solution.residuals is not None
        residual = host(solution.residuals.largest).reshape(len(ends), -1).max(axis=0)
        return cls(ends, programs, solution.point, *report(solution, ends, tau), residual)

    def at(self, values: Array) -> dict[float, Array]:
        """The part of `values` (ends * batch, ...) that belongs to each end."""
        batch = len(self.info.ok)
        return {t: values[k * batch : (k + 1) * batch] for k, t in enumerate(self.ends)}

    def optimal(self, center: Point, rho: float) -> Array:
        """The optimal values V(end tau), (ends * batch,), with the proximal term at `center`."""
        program = self.programs()
        values = program.objective(self.point.x)
        if not rho:
            return values
        user = array_namespace(values).asarray(program.structure.user, dtype=values.dtype)
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
        retries = self.info.retries + (ok & ~self.usable.all(axis=0))
        info = replace(self.info, ok=ok, side=_sides(usable), retries=retries)
        return points[hi], points[lo], width, info


def report(solution: Solution, ends: Sequence[float], tau: np.ndarray) -> tuple[np.ndarray, Info]:
    """What became of re-solves at t = end tau, one batch for each end after the other.

    Which have a point, bool (ends, batch), and what to say of samples where not all have one.
    """
    shape = len(ends), len(tau)
    status, usable = (np.reshape(v, shape) for v in (solution.status, solution.ok))
    words = np.reshape(np.array(solution.messages, dtype=object), shape)
    messages = [""] * len(tau)
    for k, i in zip(*np.nonzero(~usable), strict=True):
        side = "lower" if ends[k] > 0 else "upper"
        messages[i] = f"the program perturbed to the {side} side, tau = {tau[i]:.3g}, is "
        messages[i] += str(status[k, i]) + (f" ({words[k, i]})" if words[k, i] else "")
    info = Info.good(
        len(tau),
        tau=tau,
        ok=usable.all(axis=0),
        messages=tuple(messages),
        inaccurate=(status == Status.INACCURATE).any(axis=0),
        setups=0.0 if solution.setups is None else np.reshape(solution.setups, shape).sum(axis=0),
        iterations=np.reshape(solution.iterations, shape).sum(axis=0),
    )
    return usable, info


def with_redundant_rows(info: Info, program: ConeProgram, z_bar: Point) -> Info:
    """Names the failure that no tau mends: b - t y_bar outside the equality rows' range."""
    equalities = [block for block in program.structure.blocks if isinstance(block[0], Zero)]
    if info.ok.all() or not equalities:
        return info
    spans = [np.arange(first, first + cone.rows * count) for cone, first, count in equalities]
    rows, messages = np.concatenate(spans), list(info.messages)
    for i in np.flatnonzero(~info.ok):
        values = host(program.data.A)[i if len(program.data.A) > 1 else 0]
        A = program.structure.A.matrix(values).toarray()[rows]
        wanted = host(z_bar.y)[i, rows]
        rest = wanted - A @ np.linalg.lstsq(A, wanted, rcond=None)[0]
        if np.abs(rest).max(initial=0.0) > 1e-9 * np.abs(wanted).max(initial=0.0):
            messages[i] += (
                " for every tau: equality rows are redundant, and the cotangent of their dual "
                "variables is outside of their range; leave redundant equalities out"
            )
    return replace(info, messages=tuple(messages))


def is_noise(high: Data, low: Data, accuracy: float) -> np.ndarray:
    """Whether no field of high - low rises above the solver's accuracy, bool (batch,).

    Relative to the field's size.
    """
    noise = np.ones(len(high.q), dtype=bool)
    for name in ("q", "b", "P", "A"):  # the small fields first: they mostly settle it
        value, other = getattr(high, name), getattr(low, name)
        if value.shape[1] and noise.any():
            size = np.maximum(host(norm(value)), host(norm(other)))
            noise &= host(norm(value - other)) <= NOISE * max(accuracy, FINEST) * size
    return noise


def is_silent(
    program: ConeProgram, high: Point, low: Point, entries: Data, accuracy: float
) -> np.ndarray:
    """Whether ∇L(high) - ∇L(low) is noise in each field at these entries, bool (batch,)."""
    none = entries.q[:0]
    vectors, matrices = replace(entries, P=none, A=none), replace(entries, q=none, b=none)
    noise = np.ones(len(high.x), dtype=bool)
    for part in (vectors, matrices):  # the small fields first: they mostly settle it
        if noise.any() and any(len(v) for _, v in part.items()):
            g_high, g_low = (program.lagrangian_gradient(z, part) for z in (high, low))
            noise &= is_noise(g_high, g_low, accuracy)
    return noise


def between(high: Point, low: Point) -> tuple[Point, Point]:
    """(high - low, the middle of both)."""
    pairs = ((high.x, low.x), (high.y, low.y), (high.s, low.s))
    return Point(*(a - b for a, b in pairs)), Point(*((a + b) / 2 for a, b in pairs))


def bend(
    apart: Point, middle: Point, center: Point, accuracy: float, residual: np.ndarray
) -> np.ndarray:
    """How far the center is from the middle of both ends, (batch,).

    2 |(v+ + v-)/2 - v| / |v+ - v-|, the larger one of x and y, which are the gradients of q and b.
    One that moves by less than 10,000 times the accuracy says nothing: NaN where neither does. That
    is the solver's, or what the ends' residual shows it to be where it is better.
    """
    ratios = []
    accuracy = np.fmin(np.maximum(residual, ROUNDING), accuracy)
    for name in ("x", "y"):
        across, between, at = (getattr(z, name) for z in (apart, middle, center))
        moved, size, aside = (host(norm(v)) for v in (across, at, between - at))
        seen = RESOLVED * accuracy * (1 + size)
        ratio = 2 * aside / np.where(moved > 0, moved, 1.0)
        ratios.append(np.where(moved > seen, ratio, np.nan))
    return np.asarray(np.fmax(*ratios))


def _where(chosen: np.ndarray, one: Point, other: Point) -> Point:
    """The points of one where `chosen`, of the other elsewhere."""
    xp = array_namespace(one.x)
    mask = xp.asarray(chosen, device=one.x.device)[:, None]
    return Point(*(xp.where(mask, v, getattr(other, k)) for k, v in one.items()))


def _sides(usable: Mapping[float, np.ndarray]) -> np.ndarray:
    """The side of the ends that have a point, of each sample."""
    lower, upper = (usable.get(t, np.zeros(1, dtype=bool)) for t in (1.0, -1.0))
    return np.where(lower, np.where(upper, "average", "lower"), np.where(upper, "upper", ""))
