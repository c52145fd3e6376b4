"""Gurobi's points of second-order cones, taken on to rounding.

Its barrier leaves relative KKT residuals of 1e-7 to 1e-5 there, whatever its tolerances: measured,
down to 1e-13 they make it break off rather than go on. Newton's method on the optimality conditions
begins at its points and takes 2 to 6 steps, a tenth of Gurobi's own time.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from cvxlpgd.program import ConeProgram, Solution
from cvxlpgd.solvers.protocol import FINEST, JUDGED_AT
from cvxlpgd.solvers.refine.newton import is_refinable, refine


def polished(program: ConeProgram, solution: Solution) -> Solution:
    """The solution, its points at rounding where Newton's method leads there, else as they are."""
    usable = np.flatnonzero(solution.ok)
    if not is_refinable(program.structure) or not len(usable):
        return solution
    begin, part = perf_counter(), program.take(usable)
    refinement = refine(part, solution.point.pick(usable))
    with np.errstate(all="ignore"):
        residual = part.residuals(refinement.point).largest
    ok = refinement.ok & (residual <= JUDGED_AT * FINEST)
    each = (perf_counter() - begin) / len(usable)
    seconds, iterations = solution.seconds.copy(), solution.iterations.copy()
    seconds[usable] += each
    iterations[usable] += refinement.steps
    fields = {}
    for name, v in solution.point.items():
        fields[name] = v.copy()
        fields[name][usable[ok]] = getattr(refinement.point, name)[ok]
    point = type(solution.point)(**fields)
    return solution.change(point=point, seconds=seconds, iterations=iterations)
