"""Certificates of programs without a solution: what a solver calls so is checked before it is told.

    infeasible: y in K*, A'y = 0, b'y < 0        then b'y = y'(Ax + s) >= 0 for feasible (x, s)
    unbounded:  Pd = 0, -Ad in K, q'd < 0        then q'd = -x'Pd - y'Ad >= 0 for optimal (x, y)

A ray is known to some digits. Of the data's own size an entry of x is X_j, one of y is Y_i:

    X_j = max(|b_i / A_ij|, |q_j / P_jj|),    Y_i = max |q_j / A_ij|

and a ray counts if it excludes all points up to a large multiple of that:

    -b'y > EXCLUDES Σ |A'y|_j X_j,    -q'd > EXCLUDES (Σ |Pd|_j X_j + Σ |Ad + s|_i Y_i)

Boyd and Vandenberghe, "Convex Optimization", 2004, section 5.8.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace

from cvxlpgd.program import ConeProgram, Point, Solution, Status, norm, product, transposed_product
from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.run.arrays import point_in, program_in
from cvxlpgd.solvers.run.each import of_sample
from cvxlpgd.solvers.run.guard import solve_guarded

EXCLUDES = 1e3  # times the data's own size: a solution must be larger than that
ROUNDING = 64 * np.finfo(float).eps  # of the terms that add up to b'y or q'd
SMALL = 1e-7  # of the largest: a ray's entries below are not its support
POLISHED = 4_000_000  # entries of A's full matrix, up to which a ray is polished


def certify(solution: Solution, program: ConeProgram) -> Solution:
    """The solution, its "infeasible" and "unbounded" samples without a certificate failed.

    A solver leaves a ray where it has one, in y or in x; otherwise an interior point that finds
    rays is asked. Integer programs have none: their solvers are believed.
    """
    if solution.ok.all():
        return solution
    claims = (Status.INFEASIBLE, Status.UNBOUNDED)
    claimed = np.flatnonzero([status in claims for status in solution.status])
    if not len(claimed) or program.structure.mixed_integer:
        return solution
    part = program_in(program.take(claimed), "numpy")
    rays = point_in(solution.point.pick(claimed), "numpy")
    status = _verdicts(part, rays)
    left, point = np.flatnonzero(status == Status.FAILED), solution.point
    if len(left):
        unproved = part.take(left)
        rays = _rays(unproved)
        status[left] = _verdicts(unproved, rays)
        point = _place(point, claimed[left], rays)
    falling = np.flatnonzero(status == Status.UNBOUNDED)
    if len(falling):  # where nothing is feasible the objective cannot fall
        falls = part.take(falling)
        nothing = replace(falls.data, P=falls.data.P * 0.0, q=falls.data.q * 0.0)
        flat = replace(falls, data=nothing)  # without an objective
        empty = _verdicts(flat, _rays(flat)) == Status.INFEASIBLE
        status[falling[empty]] = Status.INFEASIBLE
    messages, statuses = list(solution.messages), solution.status.copy()
    for i in claimed[status == Status.FAILED]:
        words = f" ({messages[i]})" if messages[i] else ""
        messages[i] = f"called {statuses[i]}{words}, which no certificate confirms"
    statuses[claimed] = status
    return solution.change(status=statuses, messages=tuple(messages), point=point)


def _place(point: Point, index: np.ndarray, rays: Point) -> Point:
    """The points, rays in some samples' places: who checks again finds them there."""
    fields = {}
    for name, v in point.items():
        xp = array_namespace(v)
        fields[name] = xp.asarray(v, copy=True)
        fields[name][index] = xp.asarray(getattr(rays, name), dtype=v.dtype, device=v.device)
    return Point(**fields)


def _rays(program: ConeProgram) -> Point:
    """What Clarabel leaves of the programs; NaN where it finds a solution."""
    solution = solve_guarded(Clarabel(), program)
    solved = solution.ok[:, None]
    return Point(*(np.where(solved, np.nan, v) for _, v in solution.point.items()))


def _verdicts(program: ConeProgram, rays: Point) -> np.ndarray:
    """Which status the rays prove, (batch,), FAILED where they prove none."""
    status = np.full(program.batch, Status.FAILED, dtype=object)
    with np.errstate(all="ignore"):
        status[_is_unbounded(program, rays.x)] = Status.UNBOUNDED
        status[_is_infeasible(program, rays.y)] = Status.INFEASIBLE
    return status


def _is_infeasible(program: ConeProgram, y: np.ndarray) -> np.ndarray:
    """Where y proves that there is no feasible point, bool (batch,)."""
    w, structure = program.data, program.structure
    y = _project(program, y / _positive(norm(y)), dual=True)
    proved = np.zeros(program.batch, dtype=bool)
    for ray in (y, _polish(program, y)):
        rest = np.abs(transposed_product(structure.A, w.A, ray))
        gain, terms = -np.sum(w.b * ray, axis=1), np.sum(np.abs(w.b * ray), axis=1)
        excluded = EXCLUDES * np.sum(rest * _size_of_x(program), axis=1)
        proved |= (gain > ROUNDING * terms) & (gain > excluded)
    return proved


def _is_unbounded(program: ConeProgram, d: np.ndarray) -> np.ndarray:
    """Where the objective falls forever along d, bool (batch,)."""
    w, structure = program.data, program.structure
    d = d / _positive(norm(d))
    Ad = product(structure.A, w.A, d)
    outside = np.abs(Ad + _project(program, -Ad, dual=False))
    curvature = np.abs(product(structure.P, w.P, d))
    gain, terms = -np.sum(w.q * d, axis=1), np.sum(np.abs(w.q * d), axis=1)
    lost = np.sum(curvature * _size_of_x(program), axis=1)
    lost = lost + np.sum(outside * _size_of_y(program), axis=1)
    return np.asarray((gain > ROUNDING * terms) & (gain > EXCLUDES * lost))


def _project(program: ConeProgram, v: np.ndarray, dual: bool) -> np.ndarray:
    """The nearest points of the cones, or of their duals: v + Π_K(-v)."""
    out = np.empty_like(v)
    for cone, rows, part in program.structure.split(v):
        finite = np.isfinite(part).all(axis=-1, keepdims=True)
        clean = np.where(finite, part, 0.0)
        nearest = clean + cone.project(-clean) if dual else cone.project(clean)
        out[:, rows] = np.where(finite, nearest, np.nan).reshape(len(v), -1)
    return out


def _polish(program: ConeProgram, y: np.ndarray) -> np.ndarray:
    """Rays of linear rows without what A' does not send to 0, at the least relative change."""
    structure, A = program.structure, program.data.A
    if not structure.polyhedral or structure.m * structure.n > POLISHED:
        return y
    out = y.copy()
    for i in np.flatnonzero(np.isfinite(y).all(axis=1)):
        matrix = structure.A.matrix(of_sample(A, int(i)))
        height = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        size = np.abs(y[i]) * height
        support = np.flatnonzero(size > SMALL * size.max(initial=0.0))
        weight = np.abs(y[i, support])
        scaled = (sp.diags_array(weight) @ sp.csr_array(matrix)[support]).toarray()
        rest = matrix.T @ np.where(size > SMALL * size.max(initial=0.0), y[i], 0.0)
        out[i] = 0.0
        out[i, support] = y[i, support] - weight * np.linalg.lstsq(scaled.T, rest, rcond=None)[0]
    return _project(program, out, dual=True)


def _size_of_x(program: ConeProgram) -> np.ndarray:
    """X (batch, n); where a column's data say nothing, the largest of the others', or 1."""
    w, structure = program.data, program.structure
    A, P = structure.A, structure.P
    size = _largest(np.abs(w.b)[:, A.rows] / np.abs(w.A), A.cols, structure.n, program.batch)
    diagonal = np.flatnonzero(P.rows == P.cols)
    own = np.abs(w.q)[:, P.cols[diagonal]] / np.abs(w.P[:, diagonal])
    size = np.maximum(size, _largest(own, P.cols[diagonal], structure.n, program.batch))
    return _fill(size)


def _size_of_y(program: ConeProgram) -> np.ndarray:
    """Y (batch, m)."""
    w, A = program.data, program.structure.A
    return _fill(_largest(np.abs(w.q)[:, A.cols] / np.abs(w.A), A.rows, A.shape[0], program.batch))


def _largest(values: np.ndarray, places: np.ndarray, size: int, batch: int) -> np.ndarray:
    """The largest finite one of the values at each place, (batch, size), 0 where there is none."""
    out = np.zeros((size, batch))
    values = np.broadcast_to(values, (batch, values.shape[1]))
    np.maximum.at(out, places, np.where(np.isfinite(values), values, 0.0).T)
    return out.T


def _fill(size: np.ndarray) -> np.ndarray:
    largest = size.max(axis=1, initial=0.0)[:, None]
    return np.where(size > 0, size, np.where(largest > 0, largest, 1.0))


def _positive(size: np.ndarray) -> np.ndarray:
    return np.where(size > 0, size, 1.0)[:, None]
