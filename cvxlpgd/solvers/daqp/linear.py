"""DAQP for linear programs: its proximal-point iterations, dense and from nothing each time.

    minimize q'x   subject to  l <= [x; Ax] <= r

For some tens of variables that is faster than a simplex method that begins at a basis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cvxlpgd.program import ConeProgram
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import power_of_two

EQUALITY = 5  # of DAQP's `sense`
PROXIMAL = 1.0  # weight of the proximal term, with q and rows of size 1


def solve_linear(
    solver: Any,
    settings: Mapping[str, Any],
    words: Mapping[int, str],
    program: ConeProgram,
    start: Solution | None,
) -> Solution:
    """Solve each sample.

    Parameters
    ----------
    settings : DAQP's
    words : exit flag -> str
        What DAQP says of a sample that is not solved.
    """
    import daqp

    structure, bounds = program.structure, Bounds.of(program)
    n, options = structure.n, dict(settings) | {"eps_prox": PROXIMAL, "eq_reduction": 0}
    sense = np.zeros(n + len(bounds.rows), dtype=np.intc)
    sense[n : n + bounds.equalities] = EQUALITY

    def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
        rows = np.ascontiguousarray(bounds.pattern.matrix(A[bounds.entries]).toarray())
        # rows far from size 1 would be taken for empty ones
        heights = power_of_two(np.abs(rows).max(axis=1, initial=0.0))
        rows /= heights[:, None]

        newest: list[np.ndarray] = []  # the b that the limits below it are of

        def limits(b: np.ndarray) -> list[np.ndarray]:
            if not newest or not np.array_equal(newest[0], b):
                lower, upper = bounds.limits(b)
                right = b[bounds.rows] / heights
                left = np.full(len(right), -np.inf)
                left[: bounds.equalities] = right[: bounds.equalities]
                joined = np.concatenate([upper, right]), np.concatenate([lower, left])
                newest[:] = [b.copy(), *joined]
            return newest[1:]

        def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
            scale = 2.0 ** math.frexp(max(q.max(), -q.min()))[1]  # rounds nothing
            x, _, flag, info = daqp.solve(
                None, q / scale, rows, *limits(b), sense.copy(), **options
            )
            if flag != 1:
                # its proximal iterations call bounded programs unbounded at times: no verdict
                message = words.get(flag) or "no solution was found"
                return Answer(Status.FAILED, iterations=info["iterations"], message=message)
            multipliers = info["lam"] * scale
            of_bounds = multipliers[:n]
            y = bounds.duals(
                multipliers[n:] / heights, np.maximum(-of_bounds, 0.0), np.maximum(of_bounds, 0.0)
            )
            return Answer(Status.SOLVED, x, y, None, info["iterations"], setups=1)

        return solve

    solution = solve_prepared(solver, program, start, prepare, lasting=False)
    return bounds.with_slack(solution, program)
