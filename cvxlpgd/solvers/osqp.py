"""OSQP: a first-order solver for quadratic programs, polished (https://osqp.org)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Solution, Status, Structure
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds

_STATUS = {
    "solved": Status.SOLVED,
    "solved inaccurate": Status.INACCURATE,
    "primal infeasible": Status.INFEASIBLE,
    "primal infeasible inaccurate": Status.INFEASIBLE,
    "dual infeasible": Status.UNBOUNDED,
    "dual infeasible inaccurate": Status.UNBOUNDED,
}
ACTIVE = 1e-10  # a multiplier above is that of an active row


@dataclass(frozen=True, init=False)
class OSQP(Configured):
    """OSQP with its own options, such as `OSQP(eps_abs=1e-6, polishing=False)`.

    Options are those of https://osqp.org/docs/interfaces/solver_settings.html, and `eps` for
    eps_abs and eps_rel. By default both are 1e-9, and solutions are polished.
    """

    name = "OSQP"
    requires = ("osqp",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    known = Options(
        "rho sigma scaling adaptive_rho adaptive_rho_interval adaptive_rho_tolerance max_iter "
        "eps_abs eps_rel eps_prim_inf eps_dual_inf alpha delta polishing polish_refine_iter "
        "verbose scaled_termination check_termination time_limit",
        defaults={
            "verbose": False,
            "eps_abs": 1e-9,
            "eps_rel": 1e-9,
            "max_iter": 100_000,
            "polishing": True,
            "rho": 0.1,
            "adaptive_rho_interval": 50,  # OSQP's own depends on how long the set-up took
        },
        tolerances=("eps_abs", "eps_rel"),
        time_limit="time_limit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, warm-started from `start`."""
        bounds = Bounds.of(program, bounds=False)
        prepare = partial(_Setup, program.structure, bounds.equalities, self.settings)
        return bounds.with_slack(solve_prepared(self, program, start, prepare), program)


class _Setup:
    """One pair of matrices in an OSQP object: minimize ½x'Px + q'x, lower <= Ax <= b."""

    def __init__(
        self,
        structure: Structure,
        equalities: int,
        settings: dict[str, Any],
        P: np.ndarray,
        A: np.ndarray,
    ) -> None:
        import osqp

        self.settings, self.equal = settings, slice(equalities)
        self.below = np.full(structure.m, -np.inf)
        # set up with vectors that are no sample's: the scaling depends on them
        self.zeros = q, b = np.zeros(structure.n), np.zeros(structure.m)
        chosen, triangle = structure.P.upper
        self.solver = osqp.OSQP()
        try:
            self.solver.setup(
                triangle.matrix(P[chosen]), q, structure.A.matrix(A), self._lower(b), b, **settings
            )
        except (TypeError, ValueError) as error:
            raise InvalidOption(f"OSQP: {error}") from None

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        solver = self.solver
        solver.update(q=q, l=self._lower(b), u=b)
        # rho adapts and would stay; polishing where nothing is active prints
        solver.update_settings(rho=self.settings["rho"], polishing=False)
        x, y = self.zeros if start is None else (start.x, start.y)
        solver.warm_start(x=x, y=y)
        result = solver.solve(raise_error=False)
        iterations = result.info.iter
        if self.settings["polishing"] and _is_active(result):
            solver.update_settings(polishing=True)
            solver.warm_start(x=result.x, y=result.y)
            result = solver.solve(raise_error=False)
            iterations += result.info.iter
        message = result.info.status
        status = _STATUS.get(message, Status.FAILED)
        if message in ("maximum iterations reached", "run time limit reached"):
            status = Status.INACCURATE if np.isfinite(result.x).all() else Status.FAILED
        if status not in (Status.SOLVED, Status.INACCURATE):
            return Answer(status, iterations=iterations, message=message)
        return Answer(status, np.array(result.x), np.array(result.y), None, iterations, message)

    def _lower(self, b: np.ndarray) -> np.ndarray:
        """What Ax is at least: b in equalities, and nothing elsewhere."""
        lower = self.below.copy()
        lower[self.equal] = b[self.equal]
        return lower


def _is_active(result: Any) -> bool:
    """Whether it is a solution in which some row is active."""
    return result.info.status == "solved" and np.abs(result.y).max(initial=0.0) > ACTIVE
