"""Gurobi's points of second-order cones, taken on to rounding.

Its barrier leaves relative KKT residuals of 1e-7 to 1e-5 there, whatever its tolerances: measured,
down to 1e-13 they make it break off rather than go on. Newton's method on the optimality conditions
begins at its points and takes 2 to 6 steps, a fifth of Gurobi's own time.

At the tip of a cone, s = 0, the constraint |s_T|² <= s_0² has no gradient, and the multipliers that
Gurobi leaves are no solution. There Newton's method begins at

    y + B v,   v the least with  A'B v = -(Px + q + A'y),   y first projected on the range of B,

where B spans what complementarity leaves to y: all of an equation and of a cone at its tip, an
inequality that holds with equality, (s_0, -s_T) of a cone at its boundary, nothing elsewhere.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from cvxlpgd.cones import SOC, Zero
from cvxlpgd.program import ConeProgram, Point, Solution, Status
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT
from cvxlpgd.solvers.refine.newton import Refinement, is_refinable, refine
from cvxlpgd.solvers.run.each import sample

# Beside 1 + |b|, a slack up to which a row counts as active, and a cone as at its tip or boundary:
# Gurobi's primal residuals are below 1e-9, its slacks at the tip up to the root of its gap's 1e-10.
ACTIVE = 1e-5

# Beyond this residual a barrier that broke off was on its way to infinity: a claim, which needs a
# certificate to be believed.
ROUGH = 1e-2


def polished(program: ConeProgram, solution: Solution) -> Solution:
    """The solution, its points at rounding where Newton's method leads there, else as they are."""
    usable = np.flatnonzero(solution.ok)
    if not is_refinable(program.structure) or not len(usable):
        return solution
    begin, part = perf_counter(), program.take(usable)
    first = solution.point.pick(usable)
    refinement = refine(part, first)
    ok, steps = _arrived(part, refinement), refinement.steps.copy()
    fields = {name: v.copy() for name, v in solution.point.items()}
    _put(fields, usable[ok], refinement.point.pick(np.flatnonzero(ok)))
    # what counts as solved as it is needs no second start
    left = np.flatnonzero(~ok)
    residual = _residual(part.take(left), first.pick(left))
    far = (residual > JUDGED_AT * FINEST) & np.isfinite(first.y[left]).all(axis=1)
    left, residual = left[far], residual[far]
    if len(left):
        rest = part.take(left)
        start = _stationary(rest, first.pick(left))
        better = _residual(rest, start) < residual
        _put(fields, usable[left[better]], start.pick(np.flatnonzero(better)))
        second = refine(rest, start)
        arrived = _arrived(rest, second)
        _put(fields, usable[left[arrived]], second.point.pick(np.flatnonzero(arrived)))
        steps[left] += second.steps
    seconds, iterations = solution.seconds.copy(), solution.iterations.copy()
    seconds[usable] += (perf_counter() - begin) / len(usable)
    iterations[usable] += steps
    point = Point(**fields)
    far = ~(_residual(program, point) <= ROUGH)
    status = solution.status.copy()
    status[far & (status == Status.INACCURATE)] = Status.UNBOUNDED
    return solution.change(point=point, status=status, seconds=seconds, iterations=iterations)


def _arrived(program: ConeProgram, refinement: Refinement) -> np.ndarray:
    """Which points are solutions; beside one that ran away everything is rounding."""
    return np.asarray(refinement.ok & (_residual(program, refinement.point) <= JUDGED_AT * FINEST))


def _residual(program: ConeProgram, point: Point) -> np.ndarray:
    """The relative KKT residuals (batch,), NaN for what is no point."""
    with np.errstate(all="ignore"):
        return np.asarray(program.residuals(point).largest)


def _put(fields: dict[str, np.ndarray], places: np.ndarray, point: Point) -> None:
    for name, v in point.items():
        fields[name][places] = v


def _stationary(program: ConeProgram, point: Point) -> Point:
    """The points with y + B v in the place of y."""
    y = point.y.copy()
    for i in range(program.batch):
        P, q, A, b = sample(program, i)
        B = _complementary(program, point.s[i], ACTIVE * (1 + np.abs(b).max(initial=0.0)))
        own = B @ (B.T @ y[i])
        rest = P @ point.x[i] + q + A.T @ own
        y[i] = own - B @ np.linalg.lstsq(A.T @ B, rest, rcond=None)[0]
    return Point(point.x, y, point.s)


def _complementary(program: ConeProgram, s: np.ndarray, small: float) -> np.ndarray:
    """B (m, k) with orthonormal columns, for one sample's s."""
    columns, identity = [], np.eye(program.structure.m)
    for cone, rows, parts in program.structure.split(s[None]):
        places = np.arange(rows.start, rows.stop).reshape(parts.shape[1], cone.rows)
        if isinstance(cone, Zero):
            columns.append(identity[places.ravel()])
        elif not isinstance(cone, SOC):
            columns.append(identity[places.ravel()[parts.ravel() <= small]])
        for place, part in zip(places, parts[0], strict=True) if isinstance(cone, SOC) else ():
            if part[0] <= small:
                columns.append(identity[place])
            elif part[0] - np.linalg.norm(part[1:]) <= small:
                direction = np.concatenate([part[:1], -part[1:]])
                columns.append((direction / np.linalg.norm(direction))[None] @ identity[place])
    return np.concatenate(columns).T if columns else np.zeros((len(s), 0))
