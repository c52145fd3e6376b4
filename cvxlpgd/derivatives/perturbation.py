"""Perturbed programs, and their solution at both ends in one batch.

    z(t) = argmin_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y) + (rho/2) |x - x*|²_omega

is the solver on (P + rho Ω, q + t x_bar - rho Ω x*, A, b - t y_bar).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.derivatives.ends import Ends, with_redundant_rows
from cvxlpgd.derivatives.info import host
from cvxlpgd.derivatives.resolves import Perturbed, follow_path, serves
from cvxlpgd.program import (
    Array,
    ConeProgram,
    Data,
    Point,
    Solution,
    Status,
    norm,
    transposed_product,
)
from cvxlpgd.program.motion import Motion
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.arrays import array_like
from cvxlpgd.solvers.run.ends import follow_ends
from cvxlpgd.solvers.run.solve import solve


def without_slack(program: ConeProgram, z_bar: Point) -> Point:
    """The cotangent without slack: s = b - Ax, so s_bar is one of x, -A's_bar, and of b and A."""
    folded = z_bar.x - transposed_product(program.structure.A, program.data.A, z_bar.s)
    return replace(z_bar, x=folded, s=z_bar.s * 0.0)


def motion_of(dot: Point, at: Point, s_bar: Array, times: Any = 1.0) -> Motion:
    """The motion `times` dot, (batch, 1), whose pull-back has the slack's cotangent in it, of
    `times` s_bar: b_bar + s_bar, A_bar - s_bar x'.
    """
    return Motion(times * dot.x, times * (dot.y - s_bar), at.x, at.y)


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


def solve_ends(
    program: ConeProgram,
    solution: Solution,
    z_bar: Point,
    tau: np.ndarray,
    ends: Sequence[float],
    rho: float,
    solver: Solver,
    near: bool = True,
    by_path: bool = True,
) -> Ends:
    """The points z(end tau), tau (batch,), and what became of the re-solves.

    The fields of `z_bar` are (batch, n) and (batch, m), the slack's folded. If the ends are not
    `near`, solvers begin anew: simplex pivots back from a far basis take longer. If not `by_path`,
    the solver is asked for all of them.
    """
    z = solution.point
    t = array_like(np.concatenate([tau * k for k in ends]), z.x)
    perturbed, answer = Perturbed(program.proximal(rho, z.x), z_bar, t), None
    if by_path and isinstance(z.x, np.ndarray) and serves(perturbed.base.structure):
        answer = follow_path(perturbed, z)
    elif by_path and near and not rho:
        taus = np.stack([tau * k for k in ends])
        answer = follow_ends(solver, program, solution, z_bar, taus, perturbed.programs)
    unsolved = np.ones(len(t), dtype=bool) if answer is None else answer.status != Status.SOLVED
    rest = np.flatnonzero(unsolved)
    if len(rest):
        start = solution.take(rest % len(tau)) if near else None
        solved = solve(solver, perturbed.take(rest), start)
        every = np.ones(len(rest), dtype=bool)
        answer = solved if answer is None else answer.replace_samples(rest, solved, every)
    assert answer is not None
    points = Ends.of(ends, perturbed.programs, answer, tau)
    return points._replace(info=with_redundant_rows(points.info, program, z_bar))


def solve_along(
    program: ConeProgram,
    solution: Solution,
    w_dot: Data,
    tau: np.ndarray,
    ends: Sequence[float],
    solver: Solver,
) -> Ends:
    """The points at w + end tau w_dot for each end, tau (batch,), all solved in one batch.

    The fields of `w_dot` are (batch or 1, entries), at the structure's varying entries.
    """
    both = np.tile(np.arange(len(tau)), len(ends))
    t = array_like(np.concatenate([tau * end for end in ends]), program.data.q)
    perturbed = along_tangent(program.take(both), w_dot.take(both), t)
    answer = solve(solver, perturbed, start=solution.take(both))
    if len(program.structure.varying.P):
        answer = _without(answer, _is_indefinite(perturbed), "its P is indefinite")
    return Ends.of(ends, lambda: perturbed, answer, tau)


def _without(solution: Solution, failed: np.ndarray, message: str) -> Solution:
    """The solution, without a point for these samples, bool (batch,)."""
    status = solution.status.copy()
    status[failed] = Status.FAILED
    pairs = zip(failed, solution.messages, strict=True)
    messages = tuple(message if lost else own for lost, own in pairs)
    return replace(solution, status=status, messages=messages)


def _is_indefinite(program: ConeProgram) -> np.ndarray:
    """Whether a sample's P has a negative eigenvalue, beyond rounding, bool (batch,)."""
    P, values = program.structure.P, program.data.P
    active, xp = np.unique(P.cols), array_namespace(values)
    shape = len(values), len(active), len(active)
    dense = xp.zeros(shape, dtype=values.dtype, device=values.device)
    dense[:, np.searchsorted(active, P.rows), np.searchsorted(active, P.cols)] = values
    eigenvalues = xp.linalg.eigvalsh(dense)
    return host(eigenvalues[:, 0] < -1e-12 * norm(eigenvalues))
