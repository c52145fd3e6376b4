"""Parametric simplex: a linear program's solution as its vectors move, from vertex to vertex.

    minimize (q + t q')x   subject to  Ax + s = b + t b',   l + t l' <= (x, s) <= u + t u'

At a basis, B the basic columns of M = [A, I], the solution v = (x, s) and the reduced costs
z = (q + A'y, y) are straight lines in t: arrays (2, n + m) of their values at 0 and their slopes,
or (1, n + m) where they do not move.
They are optimal while v_B is within its limits, z >= 0 at lower limits and z <= 0 at upper ones.
Where a line gets to its end, its column enters the basis or leaves it, and the other column is the
one that lets all others stay where they may be. With j entering, the r-th basic one leaving for its
limit β, α = B^-1 M_j and ρ = M'B^-T e_r,

    δ = (v_r - β) / α_r,     v_B -= α δ,   v_j += δ,   v_r = β,     z -= ρ z_j / α_r
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

PIVOT = 1e-7  # of the largest: what is smaller in α or ρ may be rounding
TIED = 1e-9  # relative: steps that differ by rounding
LOWER, UPPER, HELD = -1.0, 1.0, 0.0  # where a column is; HELD by the basis, or by equal limits


class Factor(Protocol):
    """A basis, factored."""

    @property
    def basic(self) -> np.ndarray:
        """Its columns of M, (m,)."""

    def solve(self, right: np.ndarray) -> np.ndarray:
        """B^-1 right, (m,)."""

    def solve_transposed(self, right: np.ndarray) -> np.ndarray:
        """B^-T right, (m,)."""


class Tolerances(NamedTuple):
    """By how much v may miss its limits, and z its sign."""

    primal: float
    dual: float


class Lines(NamedTuple):
    """The lines of a vertex and of its limits, and where each column is."""

    lower: np.ndarray  # with slopes where `v` has them
    upper: np.ndarray
    v: np.ndarray
    z: np.ndarray  # always with slopes
    side: np.ndarray  # (n + m,) of LOWER, UPPER and HELD

    def backwards(self) -> Lines:
        """The same in -t."""
        lower, upper, v, z = (np.concatenate([line[:1], -line[1:]]) for line in self[:4])
        return Lines(lower, upper, v, z, self.side)

    def wrong(self, t: float, dual: float) -> np.ndarray:
        """The columns whose z has the wrong sign at t, by more than a tolerance."""
        return np.flatnonzero(self.side * at(self.z, t) > dual)

    def outside(self, basic: np.ndarray, t: float, primal: float) -> list[tuple[float, np.ndarray]]:
        """Which of the basic columns are beyond each limit at t, by more than a tolerance."""
        if len(self.v) == 1:
            return []
        v, low, high = (at(u[:, basic], t) for u in (self.v, self.lower, self.upper))
        pairs = (LOWER, low - v), (UPPER, v - high)
        return [(side, np.flatnonzero(missed > primal)) for side, missed in pairs]


def at(line: np.ndarray, t: float) -> np.ndarray:
    """The values of lines (1 or 2, ...) at t."""
    return line[0] if len(line) == 1 else line[0] + t * line[1]


def ended(lines: Lines, basic: np.ndarray, t: float, tolerances: Tolerances) -> int:
    """How many lines have come to their end at t."""
    outside = lines.outside(basic, t, tolerances.primal)
    return len(lines.wrong(t, tolerances.dual)) + sum(len(places) for _, places in outside)


def walk(
    A: sp.csc_matrix, factor: Factor, lines: Lines, tau: float, most: int, tolerances: Tolerances
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """(v, z, steps) at tau > 0, from the vertex of `lines`; None where it takes more than `most`
    steps, or where there is no solution before.
    """
    vertex, t = _Vertex(A, factor, lines, tolerances), 0.0
    for steps in range(most + 1):
        entering, j = vertex.next_entering(tau)
        leaving, r, side = vertex.next_leaving(tau)
        t = max(t, min(entering, leaving))
        if t >= tau:
            return at(vertex.lines.v, tau), at(vertex.lines.z, tau), steps
        if not (vertex.enter(j, t) if entering <= leaving else vertex.leave(r, side, t)):
            return None
    return None


class _Vertex:
    """The basis at hand, and its lines."""

    def __init__(
        self, A: sp.csc_matrix, factor: Factor, lines: Lines, tolerances: Tolerances
    ) -> None:
        self.A, self.transposed = A, A.T
        self.factor, self.tolerances = factor, tolerances
        self.pivots: list[tuple[int, np.ndarray]] = []  # (r, α) of each one since `factor`
        self.basic = factor.basic.copy()
        v, z, side = lines.v.copy(), lines.z.copy(), lines.side.copy()
        self.lines = lines._replace(v=v, z=z, side=side)
        self.limits = {LOWER: lines.lower, UPPER: lines.upper}

    def next_entering(self, tau: float) -> tuple[float, int]:
        """The first t before tau at which a reduced cost gets the wrong sign, and its column."""
        wrong = self.lines.wrong(tau, self.tolerances.dual)
        if not len(wrong):
            return np.inf, 0
        side, (z, slope) = self.lines.side[wrong], self.lines.z[:, wrong]
        return _earliest(side * z - self.tolerances.dual, side * slope, wrong)

    def next_leaving(self, tau: float) -> tuple[float, int, float]:
        """The first t before tau at which a basic column gets to a limit, its place, the limit."""
        first = np.inf, 0, HELD
        for side, places in self.lines.outside(self.basic, tau, self.tolerances.primal):
            if len(places):
                columns = self.basic[places]
                gap, slope = side * (self.lines.v - self.limits[side])[:, columns]
                t, r = _earliest(gap - self.tolerances.primal, slope, places)
                first = min(first, (t, r, side))
        return first

    def enter(self, j: int, t: float) -> bool:
        """Column j leaves its limit at t: it enters the basis, or goes to its other limit.

        False where nothing stops it: beyond t the program is unbounded.
        """
        column, basic, (v, side) = self._solve(j), self.basic, (self.lines.v, self.lines.side)
        motion = side[j] * column  # of v_B, while v_j moves by -side
        values, low, high = (at(u[:, basic], t) for u in (v, *self.limits.values()))
        room, speed = np.where(motion < 0, values - low, high - values), np.abs(motion)
        r, step = _first(room, speed, PIVOT * speed.max(initial=0.0))
        across = self.limits[-side[j]][:, j] - v[:, j]
        width = abs(float(at(across, t)))
        if width == step == np.inf:
            return False
        if width <= step:
            v[:, basic] -= across[:, None] * column
            v[:, j] += across
            side[j] *= -1.0
        else:
            self._exchange(r, j, column, self._row(r), LOWER if motion[r] < 0 else UPPER)
        return True

    def leave(self, r: int, side: float, t: float) -> bool:
        """The r-th basic column stays at a limit; False where that is infeasible beyond t."""
        row = self._row(r)
        room, speed = np.abs(at(self.lines.z, t)), -side * row * self.lines.side
        j, step = _first(room, speed, PIVOT * np.abs(row).max())
        if step < np.inf:
            self._exchange(r, j, self._solve(j), row, side)
        return step < np.inf

    def _exchange(self, r: int, j: int, column: np.ndarray, row: np.ndarray, side: float) -> None:
        """Column j enters the basis for the r-th basic one, which stays at its limit."""
        k, pivot, (v, z) = self.basic[r], column[r], (self.lines.v, self.lines.z)
        limit = self.limits[side][:, k]
        delta, share = (v[:, k] - limit) / pivot, z[:, j] / pivot
        v[:, self.basic] -= delta[:, None] * column
        v[:, j] += delta
        v[:, k] = limit
        row[self.basic], row[k] = 0.0, 1.0  # so they are but for rounding
        z -= share[:, None] * row
        z[:, j] = 0.0
        fixed = (self.limits[LOWER][:, k] == self.limits[UPPER][:, k]).all()
        self.lines.side[j], self.lines.side[k] = HELD, HELD if fixed else side
        self.basic[r] = j
        self.pivots.append((r, column))

    def _solve(self, j: int) -> np.ndarray:
        """α = B^-1 M_j."""
        m, n = self.A.shape
        right = np.zeros(m)
        if j < n:
            entries = slice(self.A.indptr[j], self.A.indptr[j + 1])
            right[self.A.indices[entries]] = self.A.data[entries]
        else:
            right[j - n] = 1.0
        out = self.factor.solve(right)
        for r, column in self.pivots:
            share = out[r] / column[r]
            out -= share * column
            out[r] = share
        return out

    def _row(self, r: int) -> np.ndarray:
        """ρ = M'B^-T e_r."""
        right = np.zeros(len(self.basic))
        right[r] = 1.0
        for place, column in reversed(self.pivots):
            right[place] += (right[place] - right @ column) / column[place]
        out = self.factor.solve_transposed(right)
        return np.concatenate([self.transposed @ out, out])


def _earliest(gap: np.ndarray, slope: np.ndarray, which: np.ndarray) -> tuple[float, int]:
    """When the first of gap + t slope is 0, and which one it is; what does not move is late."""
    t = -gap / np.where(slope > 0, slope, np.inf)
    first = int(t.argmin())
    return float(t[first]), int(which[first])


def _first(room: np.ndarray, speed: np.ndarray, least_speed: float) -> tuple[int, float]:
    """Which has the least room / speed, the fastest of those that tie, and that; (0, inf) if none.

    A room below 0 is none.
    """
    moving = np.flatnonzero(speed > least_speed)
    if not len(moving):
        return 0, np.inf
    fast = speed[moving]
    step = np.maximum(room[moving], 0.0) / fast
    least = step.min()
    tied = np.flatnonzero(step <= least * (1 + TIED))
    return int(moving[tied[fast[tied].argmax()]]), float(least)
