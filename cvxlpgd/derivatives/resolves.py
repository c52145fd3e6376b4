"""Perturbed quadratic programs, solved by following the path from z*: no solver is asked.

With linear rows the path is straight until an inequality becomes active or inactive:

    z(t) = z* + t (x_dot, y_dot, s_dot)

    P x_dot + A'y_dot = -x_bar,    A x_dot + s_dot = -y_bar,    s_dot = 0 on active rows, else y_dot

Where a y or an s would become negative, Newton steps go on from there, with the rows that would be
active. Points that do not solve their program then (`program/active.py`) are left to a solver.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxlpgd.derivatives.info import put
from cvxlpgd.derivatives.path.velocity import is_followed
from cvxlpgd.program import (
    Array,
    ConeProgram,
    Data,
    Point,
    Residuals,
    Solution,
    Status,
    Structure,
)
from cvxlpgd.program.active import ROUNDED, Active, clip, is_inside
from cvxlpgd.program.factors import numbers
from cvxlpgd.program.pairs import weights
from cvxlpgd.program.threads import one_thread_each

NUMBERS = 15_000_000  # of factors that are held at once, twice where rows change at both ends
STEPS = 3  # Newton steps at most, where rows become active or inactive
NEAR = 1e-5  # of the solution: what may be left at z*, of which solvers were asked no more


class Perturbed(NamedTuple):
    """The programs (P, q + t x_bar, A, b - t y_bar), one end after the other."""

    base: ConeProgram
    z_bar: Point  # fields (batch, n) and (batch, m)
    t: Array  # (ends * batch,)

    def take(self, places: np.ndarray) -> ConeProgram:
        """The programs at these places among those of all ends."""
        samples, t = places % len(self.z_bar.x), self.t[places][:, None]
        w, z_bar = self.base.data.take(samples), self.z_bar.pick(samples)
        moved = Data(w.P, w.q + t * z_bar.x, w.A, w.b - t * z_bar.y)
        return ConeProgram(self.base.structure, moved)

    def programs(self) -> ConeProgram:
        """All of them."""
        return self.take(np.arange(len(self.t)))


def serves(structure: Structure) -> bool:
    """Whether a structure's programs are quadratic, of linear rows, and can be factored."""
    return structure.polyhedral and structure.P.size > 0 and is_followed(structure)


def follow_path(perturbed: Perturbed, z: Point) -> Solution:
    """The perturbed programs' solutions where the path from `z`, those at t = 0, leads to them.

    Fields of z are (batch, n) and (batch, m). The others fail.
    """
    batch, total = len(z.x), len(perturbed.t)
    points = Point(*(np.full((total, v.shape[1]), np.nan) for _, v in z.items()))
    solved, steps = np.zeros(total, dtype=bool), np.zeros(total)
    together = max(1, NUMBERS // max(1, numbers(perturbed.base.structure)))
    with one_thread_each(), np.errstate(all="ignore"):
        for first in range(0, batch, together):
            samples = np.arange(first, min(first + together, batch))
            places = (samples + np.arange(0, total, batch)[:, None]).ravel()
            point, *ends = _follow(perturbed, z.pick(samples), places)
            for whole, part in zip((points.x, points.y, points.s, solved, steps),
                                   (point.x, point.y, point.s, *ends), strict=True):  # fmt: skip
                whole[places] = part
    status = np.where(solved, Status.SOLVED, Status.FAILED).astype(object)
    nothing = np.zeros(total)
    residuals = Residuals(nothing, nothing, nothing, objective=nothing * np.nan)  # nobody asks
    return Solution(points, status, steps, nothing, ("",) * total, residuals, setups=nothing)


def _follow(
    perturbed: Perturbed, z: Point, places: np.ndarray
) -> tuple[Point, np.ndarray, np.ndarray]:
    """The points at these places, which are solutions, and the Newton steps that they took."""
    samples, base = places[: len(z.x)], perturbed.base
    if len(samples) < len(perturbed.z_bar.x):
        base = base.take(samples)
    start = Active(base, z, weights(base, z))
    point, rounded = _straight(start, perturbed.z_bar.pick(samples), perturbed.t[places])
    solved, steps = rounded & is_inside(base.structure, point), np.zeros(len(places))
    going = np.flatnonzero(rounded & ~solved)
    for k in range(STEPS + 1):
        if not len(going):
            break
        program, near = perturbed.take(places[going]), point.pick(going)
        rounded = np.ones(len(going), dtype=bool)
        if k:
            near, rounded = _newton(program, near, start, going)
            steps[going] = k
        near, inside = clip(program, near)
        solved[going] = rounded & inside
        point, going = put(point, going, near), going[rounded & ~inside]
    return point, solved, steps


def _straight(start: Active, z_bar: Point, t: np.ndarray) -> tuple[Point, np.ndarray]:
    """The points z + t z_dot of all ends, and where nothing is left of the conditions but rounding.

    The z are those of `start`, one Newton step better where more than that is left of their own.
    """
    at, left, size = start.at, start.left, start.size
    off = left > ROUNDED * size
    if off.any():
        step, rest, length = start.solve(start.f, start.g)
        at = at + step * off[:, None]
        near = left <= NEAR * size
        left, size = np.where(off & near, rest, left), size + off * length
    dot, rate, speed = start.solve(-z_bar.x, -z_bar.y)
    far = t.reshape(-1, len(size))
    x, y, s = (v + far[:, :, None] * getattr(dot, name) for name, v in at.items())
    moved = left + np.abs(far) * rate <= ROUNDED * (size + np.abs(far) * speed)
    rounded = moved & (left <= ROUNDED * size)
    return Point(*(v.reshape(len(t), -1) for v in (x, y, s))), rounded.ravel()


def _newton(
    program: ConeProgram, z: Point, start: Active, places: np.ndarray
) -> tuple[Point, np.ndarray]:
    """The points after a Newton step from z with the rows active there, and where it is solved.

    `places` of the programs are those among all ends of the samples of `start`.
    """
    samples = places % len(start.units)
    rows = Active(program, z, start.units[samples], (start.systems, samples))
    step, left, length = rows.solve(rows.f, rows.g)
    return rows.at + step, left <= ROUNDED * (rows.size + length)
