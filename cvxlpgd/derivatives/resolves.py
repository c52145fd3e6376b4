"""Perturbed quadratic programs, solved by following the path from z*: no solver is asked.

With linear rows the path is straight until an inequality becomes active or inactive:

    z(t) = z* + t (x_dot, y_dot, s_dot)

    P x_dot + A'y_dot = -x_bar,    A x_dot + s_dot = -y_bar,    s_dot = 0 on active rows, else y_dot

Where a y or an s would become negative, Newton steps go on from there, with the rows that would be
active. A point solves its program if y >= 0 and s >= 0, one of them 0 in each row, and if what is
left of Px + q + A'y = 0 and Ax + s = b is rounding. Those that do not are left to a solver.
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
    norm,
    product,
    transposed_product,
)
from cvxlpgd.program.factors import numbers
from cvxlpgd.program.kkt import Start, Systems
from cvxlpgd.program.matrices import rounding
from cvxlpgd.program.pairs import Pairs, weights
from cvxlpgd.program.threads import one_thread_each

NUMBERS = 15_000_000  # of factors that are held at once, twice where rows change at both ends
STEPS = 3  # Newton steps at most, where rows become active or inactive
NEAR = 1e-5  # of the solution: what may be left at z*, of which solvers were asked no more
TERMS = 100.0  # times the unit of rounding of its terms: a y or s below 0 may be 0
FINE = 1e-13  # of a motion: what may be left of its right-hand side without refinement
ROUNDED = 1e-12  # of the solution: what may be left of the conditions, both in the system's scale


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
    start = _Active(base, z, weights(base, z))
    point, rounded = _straight(start, perturbed.z_bar.pick(samples), perturbed.t[places])
    solved, steps = rounded & _is_inside(base.structure, point), np.zeros(len(places))
    going = np.flatnonzero(rounded & ~solved)
    for k in range(STEPS + 1):
        if not len(going):
            break
        program, near = perturbed.take(places[going]), point.pick(going)
        rounded = np.ones(len(going), dtype=bool)
        if k:
            near, rounded = _newton(program, near, start, going)
            steps[going] = k
        near, inside = _clip(program, near)
        solved[going] = rounded & inside
        point, going = put(point, going, near), going[rounded & ~inside]
    return point, solved, steps


def _straight(start: _Active, z_bar: Point, t: np.ndarray) -> tuple[Point, np.ndarray]:
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
    program: ConeProgram, z: Point, start: _Active, places: np.ndarray
) -> tuple[Point, np.ndarray]:
    """The points after a Newton step from z with the rows active there, and where it is solved.

    `places` of the programs are those among all ends of the samples of `start`.
    """
    samples = places % len(start.units)
    rows = _Active(program, z, start.units[samples], (start.systems, samples))
    step, left, length = rows.solve(rows.f, rows.g)
    return rows.at + step, left <= ROUNDED * (rows.size + length)


def _is_inside(structure: Structure, z: Point) -> np.ndarray:
    """Whether y >= 0 and s >= 0 in all inequalities, bool (batch,)."""
    return np.asarray((((z.y >= 0) & (z.s >= 0)) | ~structure.inequalities).all(axis=1))


def _clip(program: ConeProgram, z: Point) -> tuple[Point, np.ndarray]:
    """The points without what is negative in y and s, where that is rounding of the terms that it
    is added to; and where nothing is negative then, bool (batch,).
    """
    structure, A = program.structure, np.abs(program.data.A)
    y = np.where(structure.inequalities, np.maximum(z.y, 0.0), z.y)
    s = np.where(structure.inequalities, np.maximum(z.s, 0.0), z.s)
    f, g = rounding(program, z)
    inside = (transposed_product(structure.A, A, y - z.y) <= TERMS * f).all(axis=1)
    inside &= (s - z.s <= TERMS * g).all(axis=1)
    moved = inside[:, None]
    return Point(z.x, np.where(moved, y, z.y), np.where(moved, s, z.s)), inside


class _Active:
    """The rows that are active at a batch's points, and the system of these.

    `at` are the points with s = 0 on these, y = 0 on the others, where s = b - Ax; `f` and `g` are
    what is missing in Px + q + A'y = 0 and Ax + s = b, `left` is their size and `size` that of the
    points, (batch,), in the system's scale.
    """

    def __init__(
        self,
        program: ConeProgram,
        z: Point,
        units: np.ndarray,
        same: tuple[Systems, np.ndarray] | None = None,
    ) -> None:
        structure, w = program.structure, program.data
        pairs = Pairs.of(structure, z, units)
        self.program, self.units = program, units
        self.systems = systems = Systems(program, pairs, same=same)
        rest = w.b - product(structure.A, w.A, z.x)
        self.at = Point(z.x, pairs.y, np.where(systems.held, 0.0, rest))
        curved = product(structure.P, w.P, z.x)
        self.f = -(curved + w.q + transposed_product(structure.A, w.A, pairs.y))
        self.g = np.where(systems.held, rest, 0.0)
        self.left = systems.size(self.f[:, None], systems.side(self.g[:, None]))[:, 0]
        self.size = self._size(z.x, pairs.y / units)

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[Point, np.ndarray, np.ndarray]:
        """The motion for these right-hand sides, (batch, n) and (batch, m), refined where that is
        not rounding; what is left of them and the motion's size, (batch,), in the system's scale.
        """
        structure, w, systems = self.program.structure, self.program.data, self.systems
        sides = f[:, None], systems.side(g[:, None])
        motions = systems.solve(*sides, rough=1)
        x, u, left = motions.x[:, 0], motions.u[:, 0], motions.residual[:, 0]
        rough = left > FINE * self._size(x, u)
        if rough.any():
            every = np.ones_like(rough)
            motions = systems.solve(*sides, start=Start(motions.both, every, ~every))
            x = np.where(rough[:, None], motions.x[:, 0], x)
            u = np.where(rough[:, None], motions.u[:, 0], u)
            left = np.where(rough, motions.residual[:, 0], left)
        s = np.where(systems.held, 0.0, g - product(structure.A, w.A, x))
        return Point(x, systems.dual(u[:, None])[:, 0], s), left, self._size(x, u)

    def _size(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        factors = self.systems.factors
        return np.asarray(np.maximum(norm(x / factors.scale_x), norm(u / factors.scale_u)))
