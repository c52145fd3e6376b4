"""OSQP: a first-order solver for quadratic programs, polished (https://osqp.org)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared
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
    integer = False
    arrays = "numpy"
    known = Options(
        names=frozenset(
            "rho sigma scaling adaptive_rho adaptive_rho_interval adaptive_rho_tolerance max_iter "
            "eps_abs eps_rel eps_prim_inf eps_dual_inf alpha delta polishing polish_refine_iter "
            "verbose scaled_termination check_termination time_limit".split()
        ),
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
        import osqp

        structure, settings = program.structure, self.settings
        bounds = Bounds.of(program, bounds=False)
        chosen, triangle = structure.P.upper
        zeros = np.zeros(structure.n), np.zeros(structure.m)
        below = np.full(structure.m, -np.inf)
        polished = settings["polishing"]
        first = slice(bounds.equalities)

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            solver = osqp.OSQP()
            try:
                # set up with vectors that are no sample's: the scaling depends on them
                lower = below.copy()
                lower[first] = 0.0
                solver.setup(
                    triangle.matrix(P[chosen]), zeros[0], structure.A.matrix(A), lower, zeros[1],
                    **settings,
                )  # fmt: skip
            except (TypeError, ValueError) as error:
                raise InvalidOption(f"OSQP: {error}") from None

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                lower = below.copy()
                lower[first] = b[first]
                solver.update(q=q, l=lower, u=b)
                # rho adapts, and stays; polishing where nothing is active prints
                solver.update_settings(rho=settings["rho"], polishing=False)
                x, y = zeros if begin is None else (begin.x, begin.y)
                solver.warm_start(x=x, y=y)
                found = solver.solve(raise_error=False)
                message, iterations = found.info.status, found.info.iter
                if polished and message == "solved" and np.abs(found.y).max(initial=0.0) > ACTIVE:
                    solver.update_settings(polishing=True)
                    solver.warm_start(x=found.x, y=found.y)
                    found = solver.solve(raise_error=False)
                    message, iterations = found.info.status, iterations + found.info.iter
                status = _STATUS.get(message, Status.FAILED)
                if message in ("maximum iterations reached", "run time limit reached"):
                    status = Status.INACCURATE if np.isfinite(found.x).all() else Status.FAILED
                if status not in (Status.SOLVED, Status.INACCURATE):
                    return Answer(status, iterations=iterations, message=message)
                x, y = np.array(found.x), np.array(found.y)
                return Answer(status, x, y, None, iterations, message)

            return solve

        return bounds.with_slack(solve_prepared(self, program, start, prepare), program)
