"""A linear program's perturbed solutions, by pivots from the basis that its solution kept.

Few lines of the path end before a small perturbation, mostly none: the basis is factored once for
both ends, and that is a small part of what HiGHS takes to begin at it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Solution, Status, transposed_product
from cvxlpgd.solvers.run.each import of_sample
from cvxlpgd.solvers.run.prepared import Prepare
from cvxlpgd.solvers.run.stock import Slot, Stock, new_stock
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.parametric import HELD, LOWER, UPPER, Lines, Tolerances, ended, walk

# Columns for each step that a walk may take. HiGHS begins at a basis in 0.06, 0.3, 0.5 and 5.5 ms
# for 170, 1200, 600 and 4500 columns (assignment, paths, two sparse programs), and takes 0.1 ms
# less for each step.
COLUMNS_A_STEP = 150


class BasisInHighs:
    """A basis that HiGHS factors; its logical columns are those of I in [A, I]."""

    def __init__(self, solver: Any, basis: Any, n: int) -> None:
        solver.clearSolver()  # it must not remember what it solved before
        solver.setBasis(basis)
        basic = solver.getBasicVariables()[1]  # of row i it says -1 - i
        self.solver, self.basic = solver, np.where(basic < 0, n - 1 - basic, basic)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """B^-1 right, (m,)."""
        return np.asarray(self.solver.getBasisSolve(right)[1])

    def solve_transposed(self, right: np.ndarray) -> np.ndarray:
        """B^-T right, (m,)."""
        return np.asarray(self.solver.getBasisTransposeSolve(right)[1])


def find_ends(
    use: Hashable,
    program: ConeProgram,
    solution: Solution,
    direction: Point,
    taus: np.ndarray,
    tolerances: Tolerances,
    prepare: Prepare,
) -> Solution | None:
    """The ends at `taus` (ends, batch), one batch after the other; see `protocol.WithEnds`.

    The set-ups and bases are those that HiGHS, as the value `use`, left in the solution; where no
    set-up is free, `prepare` makes one.
    """
    if solution.workspace is None or program.structure.P.size or program.structure.mixed_integer:
        return None
    begin, paths = perf_counter(), _Paths(program, solution, direction, taus, tolerances)
    for i, slot in enumerate(solution.workspace):
        stock = _stock(slot, use, program, i)
        if stock is not None:
            setup: Any = stock.take() or prepare(stock.P, stock.A)
            paths.follow(i, BasisInHighs(setup.solver, slot.state.basis, paths.n))
            stock.free.append(setup)
    steps = paths.steps.ravel()
    point, moved = paths.points()
    answer = Solution(
        point,
        np.where(steps >= 0, Status.SOLVED, Status.FAILED).astype(object),
        iterations=np.maximum(steps, 0.0),
        seconds=np.full(len(steps), (perf_counter() - begin) / max(1, len(steps))),
        messages=("",) * len(steps),
        setups=np.zeros(len(steps)),
    )
    return paths.bounds.with_slack(answer, moved)


def _stock(slot: Any, use: Hashable, program: ConeProgram, i: int) -> Stock[Any] | None:
    """Where set-ups of the i-th sample's matrices are kept; None without a basis of theirs."""
    if not isinstance(slot, Slot) or slot.state is None:
        return None
    stock, structure = slot.stock, program.structure
    P, A = of_sample(program.data.P, i), of_sample(program.data.A, i)
    if stock.is_here:
        return stock if stock.fits(use, structure, P, A) else None
    return new_stock(use, structure, P, A) if stock.is_of(use, structure) else None


class _Paths:
    """A batch's paths along a direction: straight at first, then walks where these end too early.

    Arrays of lines are (batch, 2, n + m), values and slopes; without slopes (batch, 1, n + m).
    """

    def __init__(
        self,
        program: ConeProgram,
        solution: Solution,
        direction: Point,
        taus: np.ndarray,
        tolerances: Tolerances,
    ) -> None:
        w, point, bounds = program.data, solution.point, Bounds.of(program)
        self.program, self.bounds, self.taus, self.tolerances = program, bounds, taus, tolerances
        self.n = n = program.structure.n
        self.A, y, self.b_dot = w.A[:, bounds.entries], point.y[:, bounds.rows], -direction.y
        moving = [self.b_dot] if self.b_dot.any() else []
        self.v = np.zeros((len(y), 1 + len(moving), n + len(bounds.rows)))
        self.v[:, 0, :n], self.v[:, 0, n:] = point.x, point.s[:, bounds.rows]
        self.z = np.zeros((len(y), 2, n + len(bounds.rows)))
        self.z[:, 0, :n] = w.q + transposed_product(bounds.pattern, self.A, y)
        self.z[:, 0, n:], self.z[:, 1, :n] = y, direction.x
        self.lower, self.upper = _limits(bounds, w.b, *moving)
        low, high, v = self.lower[:, 0], self.upper[:, 0], self.v[:, 0]
        with np.errstate(invalid="ignore"):
            self.side = np.where(np.abs(high - v) < np.abs(v - low), UPPER, LOWER)
        self.side[np.broadcast_to((self.lower == self.upper).all(axis=1), v.shape)] = HELD
        self.free = np.flatnonzero(np.isinf(low[0]) & np.isinf(high[0]))  # so they are in all
        self.most = 1 + (n + len(bounds.rows)) // COLUMNS_A_STEP  # steps to either end
        self.steps = np.full(taus.shape, -1.0)  # to each end; -1 where it is not reached
        self.walked: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def follow(self, i: int, factor: BasisInHighs) -> None:
        """Follow a sample's path from its vertex, whose basis this is, to its ends."""
        n, basic, pattern, values = self.n, factor.basic, self.bounds.pattern, of_sample(self.A, i)
        lower, upper = of_sample(self.lower, i), of_sample(self.upper, i)
        v, (z, z_dot), side = self.v[i], self.z[i], self.side[i]
        y_dot = -factor.solve_transposed(z_dot[basic])
        z_dot[:n] += pattern.transpose(values) @ y_dot
        z_dot[n:] = y_dot
        z[basic] = z_dot[basic] = side[basic] = 0.0
        if len(v) == 2:
            v[1] = np.where(side == UPPER, upper[1], lower[1])
            v[1, basic] = 0.0
            b_dot = self.b_dot[i, self.bounds.rows]
            v[1, basic] = factor.solve(b_dot - pattern.matrix(values) @ v[1, :n])
        free = self.free[side[self.free] != HELD]
        lines = Lines(lower, upper, v, self.z[i], side)
        for k, t in enumerate(self.taus[:, i].tolist()):
            if len(free):
                side[free] = np.sign(t * z_dot[free])  # these enter the basis once z is not 0
            breaks = ended(lines, basic, t, self.tolerances)
            if not breaks:
                self.steps[k, i] = 0
            elif breaks <= self.most:
                A, ahead = pattern.matrix(values), lines if t > 0 else lines.backwards()
                end = walk(A, factor, ahead, abs(t), self.most, self.tolerances)
                if end is not None:
                    self.walked[k, i], self.steps[k, i] = end[:2], end[2]

    def points(self) -> tuple[Point, ConeProgram]:
        """The ends, without slack, and the programs that they solve."""
        both, t, n = np.tile(np.arange(len(self.v)), len(self.taus)), self.taus[:, :, None], self.n
        z = self.z[:, 0] + t * self.z[:, 1]
        v = self.v[:, 0] + (t * self.v[:, 1] if self.v.shape[1] == 2 else 0.0 * t)
        for place, (end_v, end_z) in self.walked.items():
            v[place], z[place] = end_v, end_z
        v, z = v.reshape(len(both), -1), z.reshape(len(both), -1)
        y = self.bounds.duals(z[:, n:], np.maximum(z[:, :n], 0.0), np.maximum(-z[:, :n], 0.0))
        moved = self.program.take(both)
        if self.v.shape[1] == 2:
            b = moved.data.b + self.taus.reshape(-1, 1) * self.b_dot[both]
            moved = replace(moved, data=replace(moved.data, b=b))
        return Point(v[:, :n], y, y * 0.0), moved


def _limits(bounds: Bounds, *b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lines of the lower and of the upper limits of v at b, and their slopes at its own."""
    n, batch = bounds.n, max(len(values) for values in b)
    lower = np.zeros((batch, len(b), n + len(bounds.rows)))
    upper = lower.copy()
    lower[:, 0, :n], upper[:, 0, :n] = -np.inf, np.inf
    upper[:, 0, n + bounds.equalities :] = np.inf
    for k, values in enumerate(b):
        lower[:, k, bounds.lower_cols] = values[:, bounds.lower_rows] / bounds.lower_scale
        upper[:, k, bounds.upper_cols] = values[:, bounds.upper_rows] / bounds.upper_scale
    return lower, upper
