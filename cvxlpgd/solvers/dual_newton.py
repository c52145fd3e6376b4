"""Quadratic programs whose columns have a curvature of their own each, by Newton's method on duals.

What equations define eliminated, and in units in which all curvatures are 1, such a program is

    minimize ½z'z - h'z   subject to  l <= z <= r,   V z = v or V z <= v,

with few rows V. For multipliers u of these the z is known, and D is concave, smooth, and has few
variables, of which those of inequalities are >= 0:

    z(u) = min(max(h - V'u, l), r),    D(u) = ½z'z - h'z + u'(Vz - v),    ∇D = V z - v,

    d = (V_f V_f')⁻¹ ∇D,    f the columns between their bounds.

Steps are as long as D grows along d. Those of full length that change no f end at a solution.

Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM
Journal on Control and Optimization 20, 1982; Dai, Fletcher, "New algorithms for singly linearly
constrained quadratic programs subject to lower and upper bounds", Math. Programming 106, 2006.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Point, Solution, Status, product
from cvxlpgd.program.active import ROUNDED, Active, clip
from cvxlpgd.program.factors.separable import Diagonals, Separation, complete, reduce
from cvxlpgd.program.pairs import weights
from cvxlpgd.program.threads import one_thread_each
from cvxlpgd.solvers.protocol import Solver, is_solver
from cvxlpgd.solvers.run.ladder import Around, Attempt, solve_in_turn
from cvxlpgd.solvers.run.solve import solve

STEPS = 30  # Newton's, at most: from no multipliers at all 5 to 20 are needed, from a solution's 1
TRIALS = 20  # of a step's length, at most
FLAT = 1e-3  # of the diagonal, times the part of V z - v that is left: columns may all be at bounds
LEAST_FLAT = 1e-12
STEEP = 0.5  # how much of the slope along a step may be left before its end, ...
PAST = 0.1  # ... and how much of it may be against the step there
LEFT = 1e-9  # of the terms of V z - v: less than that may be left after the last step, ...
ROUNDING = 1e-14  # ... and less than that needs none
TOGETHER = 4_000_000  # numbers of the vectors that are held at once


@dataclass(frozen=True)
class DualNewton(Around):
    """Separable quadratic programs by Newton's method on their dual, all others by `solver`.

    A separable program has a curvature and bounds on every column, and few other rows: portfolios
    are such programs. A whole batch is solved at once. The solver gets the samples that are not
    solved to rounding, and programs of another kind. Name and options are the solver's.

    Parameters
    ----------
    solver : Solver

    Raises
    ------
    InvalidOption
        For anything but a solver.
    """

    solver: Solver

    def __post_init__(self) -> None:
        if not is_solver(self.solver):
            raise InvalidOption(f"solver must be a solver such as Clarabel(), not {self.solver!r}")

    def with_options(self, options: Mapping[str, Any]) -> Any:
        """The solver with more options; alone where they say how it is to work."""
        solver = self.solver.with_options(options)
        return solver if options.keys() - {"verbose", "time_limit", "eps"} else DualNewton(solver)

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Newton's method, from the multipliers of `start`; then the solver."""
        if not Separation.of(program.structure).holds:
            return solve(self.solver, program, start)
        return solve_in_turn(program, start, (_by_newton, self._ask))

    def _ask(self, program: ConeProgram, start: Solution | None) -> Attempt:
        """The solver's answers."""
        nothing = np.zeros(program.batch)
        return Attempt(solve(self.solver, program, start), nothing, nothing == 0)


def _by_newton(program: ConeProgram, start: Solution | None) -> Attempt:
    """Samples that are solved to rounding; the others have failed."""
    begin, batch, structure = perf_counter(), program.batch, program.structure
    y = np.zeros((batch, structure.m))
    if start is not None:
        y[start.ok] = start.point.y[start.ok]
    together = max(1, TOGETHER // (structure.n + structure.m))
    pieces = [np.arange(k, min(k + together, batch)) for k in range(0, batch, together)]
    with one_thread_each(), np.errstate(all="ignore"):
        if len(pieces) == 1:
            point, solved, steps = _solve(program, y)
        else:
            parts = [_solve(program.take(piece), y[piece]) for piece in pieces]
            points, *rest = zip(*parts, strict=True)
            solved, steps = (np.concatenate(values) for values in rest)
            point = Point(*(np.concatenate([getattr(z, k) for z in points]) for k in "xys"))
    solution = Solution(
        point,
        np.where(solved, Status.SOLVED, Status.FAILED).astype(object),
        iterations=steps,
        seconds=np.full(batch, (perf_counter() - begin) / batch),
        messages=("",) * batch,
        workspace=np.full(batch, None),
        setups=np.zeros(batch),
    )
    return Attempt(solution, np.where(solved, 0.0, np.inf), solved)


def _solve(program: ConeProgram, y: np.ndarray) -> tuple[Point, np.ndarray, np.ndarray]:
    """Points, which of them are solutions, and the steps to them, from multipliers y (batch, m)."""
    dual = _Dual(program)
    u, steps, settled = _maximize(dual, np.take(y, dual.several, axis=1) / dual.height)
    z = dual.point(program, u)
    rows = Active(program, z, weights(program, z))
    step, left, length = rows.solve(rows.f, rows.g)
    z, inside = clip(program, rows.at + step)
    return z, settled & inside & (left <= ROUNDED * (rows.size + length)), steps


class _At(NamedTuple):
    """The dual at multipliers u of k samples."""

    u: np.ndarray
    c: np.ndarray  # h - V'u
    z: np.ndarray
    slope: np.ndarray  # ∇D
    free: np.ndarray  # which columns are between their bounds, bool (k, n)
    moving: np.ndarray  # which multipliers may move: not those at 0 that would fall

    def take(self, places: np.ndarray) -> _At:
        """These samples' part."""
        return _At(*(v[places] for v in self))

    def put(self, places: np.ndarray, other: _At) -> None:
        """Replace these samples' part."""
        for mine, others in zip(self, other, strict=True):
            mine[places] = others


class _Dual:
    """A batch's duals: h, l and r (batch, n), V (1 or batch, rows, n), v (batch, rows).

    Arrays are contiguous by samples: the bits of NumPy's products depend on strides.
    """

    def __init__(self, program: ConeProgram) -> None:
        structure, w = program.structure, program.data
        self.separation = s = Separation.of(structure)
        self.diagonals = d = Diagonals.of(s, w.P, w.A)
        self.f, b = -w.q, np.broadcast_to(w.b, (program.batch, structure.m))
        h, x0 = reduce(s, d, self.f[:, None], b[:, None])
        self.h, self.x0, self.V = h[:, 0] * d.root, x0[:, 0], d.V
        level = np.take(b, s.e.rows, axis=1) * d.height
        self.v, self.several = np.take(level, s.several, axis=1), s.e.rows[s.several]
        self.height = d.height[:, s.several]
        self.inequality = structure.inequalities[self.several]
        self.lower, self.lower_row = self._bounds(-1.0, level[:, s.single])
        self.upper, self.upper_row = self._bounds(1.0, level[:, s.single])

    def _bounds(self, side: float, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of z on one side, (batch, n), and which row of one entry each is from."""
        sign = self.diagonals.sign
        bound = np.full(self.h.shape, side * np.inf)
        row = np.zeros(self.h.shape, dtype=int)
        for single, columns, equality in self.separation.layers:
            value = sign[:, single] * level[:, single]
            mine = (sign[:, single] == side) | equality
            tighter = mine & (side * value < side * bound[:, columns])
            bound[:, columns] = np.where(tighter, value, bound[:, columns])
            row[:, columns] = np.where(tighter, single, row[:, columns])
        return bound, row

    def at(self, u: np.ndarray, samples: np.ndarray) -> _At:
        """The dual of these samples at u (k, rows)."""
        V = self.V if len(self.V) == 1 else self.V[samples]
        lower, upper = self.lower[samples], self.upper[samples]
        c = self.h[samples] - (u[:, None] @ V)[:, 0]
        z = np.minimum(np.maximum(c, lower), upper)
        slope = (z[:, None] @ V.swapaxes(1, 2))[:, 0] - self.v[samples]
        falling = self.inequality & (u <= 0) & (slope < 0)
        return _At(u, c, z, slope, (c > lower) & (c < upper), ~falling)

    def left(self, at: _At, samples: np.ndarray) -> np.ndarray:
        """What part of the terms of V z - v is left, (k,)."""
        terms = np.abs(self.v[samples]).max(axis=1, initial=0.0) + np.abs(at.z).max(axis=1)
        rest = np.abs(np.where(at.moving, at.slope, 0.0)).max(axis=1, initial=0.0)
        return np.asarray(rest / np.where(terms > 0, terms, 1.0))

    def step(self, at: _At, samples: np.ndarray) -> np.ndarray:
        """Newton's steps d, (k, rows)."""
        flat = np.clip(FLAT * self.left(at, samples), LEAST_FLAT, FLAT).tolist()
        d, every = np.zeros_like(at.u), np.asarray(at.moving.all(axis=1))
        columns = np.split(np.nonzero(at.free)[1], np.cumsum(at.free.sum(axis=1))[:-1])
        for k, i in enumerate(samples.tolist() if d.shape[1] else ()):
            own, rows = np.take(self.V[i % len(self.V)], columns[k], axis=1), at.moving[k]
            if not every[k]:
                own = own[rows]
            core = own @ own.T
            core.flat[:: len(core) + 1] += flat[k]
            d[k, rows] = lapack.dposv(core, at.slope[k, rows], lower=True)[1]
        return d

    def point(self, program: ConeProgram, u: np.ndarray) -> Point:
        """The program's points for multipliers u (batch, rows), s = 0 where y is not."""
        s, d, structure, w = self.separation, self.diagonals, program.structure, program.data
        at = self.at(u, np.arange(len(u)))
        y, push = np.zeros((len(u), len(s.e.rows))), at.c - at.z
        y[:, s.several] = u
        samples, columns = np.nonzero(push)
        row = np.where(push > 0, self.upper_row, self.lower_row)[samples, columns]
        sign = np.broadcast_to(d.sign, (len(u), len(s.single)))
        y[samples, s.single[row]] = sign[samples, row] * push[samples, columns]
        x_C, y = at.z * d.root, y * d.height
        whole = complete(s, d, self.f[:, None], x_C[:, None], y[:, None], self.x0[:, None].copy())
        x, y = (part[:, 0] for part in whole)
        slack = w.b - product(structure.A, w.A, x)
        held = (y != 0) | ~structure.inequalities
        return Point(x, y, np.where(held, 0.0, slack))


def _maximize(dual: _Dual, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers, the steps to them, and where these ended at a solution; from u (batch, rows)."""
    u = np.where(dual.inequality, np.maximum(u, 0.0), u)
    going, steps, settled = np.arange(len(u)), np.zeros(len(u)), np.zeros(len(u), dtype=bool)
    at = dual.at(u, going)
    for _ in range(STEPS):
        done = dual.left(at, going) <= ROUNDING
        settled[going[done]] = True
        if done.any():
            going, at = going[~done], at.take(np.flatnonzero(~done))
        if not len(going):
            break
        new, whole = _along(dual, at, dual.step(at, going), going)
        u[going] = new.u
        steps[going] += 1
        same = (new.free == at.free).all(axis=1) & (new.moving == at.moving).all(axis=1)
        ended = whole & same & (dual.left(new, going) <= LEFT)
        settled[going] = ended
        rest = np.flatnonzero(~ended & np.isfinite(new.u).all(axis=1))
        going, at = going[rest], new.take(rest)
    return u, steps, settled


def _along(dual: _Dual, at: _At, d: np.ndarray, samples: np.ndarray) -> tuple[_At, np.ndarray]:
    """The dual after a step along d, and where that has its full length.

    D is concave, so its slope falls along the way. A shorter step is to end where the slope is
    small, between one where it is still up and one where it is down.
    """
    length, near, far = np.ones(len(d)), np.zeros(len(d)), np.full(len(d), np.inf)
    first = np.einsum("kr,kr->k", at.slope, d)
    up, down = first.copy(), np.zeros(len(d))
    new, left = dual.at(_moved(dual, at.u, d), samples), np.arange(len(d))
    trial = new
    for k in range(TRIALS):
        stopped = dual.inequality & (trial.u <= 0) & (d[left] < 0)
        slope = np.einsum("kr,kr->k", trial.slope, np.where(stopped, 0.0, d[left]))
        rising = slope >= 0
        near[left[rising]], up[left[rising]] = length[left[rising]], slope[rising]
        far[left[~rising]], down[left[~rising]] = length[left[~rising]], slope[~rising]
        most = first[left]
        long = slope < -PAST * most
        short = (slope > STEEP * most) & np.isfinite(far[left])
        left = left[long | short]
        if not len(left) or k == TRIALS - 1:
            break
        share = np.clip(up[left] / (up[left] - down[left]), 0.1, 0.9) if k < TRIALS // 2 else 0.5
        length[left] = near[left] + (far[left] - near[left]) * share
        trial = dual.at(_moved(dual, at.u[left], length[left, None] * d[left]), samples[left])
        new.put(left, trial)
    return new, length == 1.0


def _moved(dual: _Dual, u: np.ndarray, d: np.ndarray) -> np.ndarray:
    """U + d, those of inequalities not below 0."""
    return np.where(dual.inequality, np.maximum(u + d, 0.0), u + d)
