"""PIQP: a proximal interior-point solver for quadratic programs, dense and sparse.

https://predict-epfl.github.io/piqp
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Solution, Status, Structure
from cvxlpgd.solvers.options import Configured, Options, set_fields
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds

_STATUS = {
    "PIQP_SOLVED": Status.SOLVED,
    "PIQP_PRIMAL_INFEASIBLE": Status.INFEASIBLE,
    "PIQP_DUAL_INFEASIBLE": Status.UNBOUNDED,
}
# Up to so many variables, and from this share of entries on, the dense back end is ahead.
DENSE_VARIABLES, DENSE_SHARE = 150, 0.2


@dataclass(frozen=True, init=False)
class PIQP(Configured):
    """PIQP with its own options, such as `PIQP(eps_abs=1e-8, backend="sparse")`.

    Options are the fields of piqp's Settings, `backend` ("dense" or "sparse"; by size and density
    if not given), and `eps` for the four tolerances, which are 1e-10 by default. It cannot be
    warm-started.
    """

    name = "PIQP"
    requires = ("piqp",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    known = Options(
        "backend check_duality_gap delta_init eps_abs eps_dual_inf eps_duality_gap_abs "
        "eps_duality_gap_rel eps_primal_inf eps_rel infeasibility_threshold "
        "iterative_refinement_always_enabled iterative_refinement_eps_abs "
        "iterative_refinement_eps_rel iterative_refinement_max_iter "
        "iterative_refinement_min_improvement_rate  iterative_refinement_static_regularization_eps "
        "iterative_refinement_static_regularization_rel max_factor_retires max_iter "
        "preconditioner_iter preconditioner_scale_cost reg_finetune_dual_update_threshold "
        "reg_finetune_lower_limit reg_finetune_primal_update_threshold reg_lower_limit  rho_init "
        "tau verbose",
        defaults={
            "eps_abs": 1e-10,
            "eps_rel": 1e-10,
            "eps_duality_gap_abs": 1e-10,
            "eps_duality_gap_rel": 1e-10,
            "verbose": False,
        },
        tolerances=("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"),
        choices={"backend": ("dense", "sparse")},
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; `start` cannot help an interior-point method."""
        import piqp

        structure, bounds, settings = program.structure, Bounds.of(program), self.settings
        dense = (settings.pop("backend", None) or _backend(structure)) == "dense"
        # a wrong value is an error of the call, not of a sample
        set_fields(self.name, piqp.SparseSolver().settings, settings)
        prepare = partial(_Setup, structure, bounds, dense, settings)
        solution = solve_prepared(self, program, start, prepare, parallel=False, lasting=False)
        return bounds.with_slack(solution, program)


class _Setup:
    """One pair of matrices as PIQP reads them, in a new object for each sample.

    PIQP scales its data in place: an object that is used again rounds differently, even if `update`
    hands it everything anew, which would save 10 to 20 %.
    """

    def __init__(
        self,
        structure: Structure,
        bounds: Bounds,
        dense: bool,
        settings: Mapping[str, Any],
        P: np.ndarray,
        A: np.ndarray,
    ) -> None:
        self.bounds, self.dense, self.settings = bounds, dense, settings
        rows, zeros = bounds.pattern.matrix(A[bounds.entries]).tocsr(), bounds.equalities
        # its binding asks for an array that it may write to
        matrices = [structure.P.matrix(P.copy()), rows[:zeros].tocsc(), rows[zeros:].tocsc()]
        self.P, self.equal, self.unequal = (m.toarray() if dense else m for m in matrices)
        self.below = np.full(len(bounds.rows) - zeros, -np.inf)

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        import piqp

        bounds, zeros = self.bounds, self.bounds.equalities
        right, (lower, upper) = b[bounds.rows], bounds.limits(b)
        if (lower > upper).any():
            return Answer(Status.INFEASIBLE, message="bounds contradict each other")
        solver = piqp.DenseSolver() if self.dense else piqp.SparseSolver()
        set_fields("PIQP", solver.settings, self.settings)
        solver.setup(
            self.P, q, self.equal, right[:zeros], self.unequal, self.below, right[zeros:],
            lower, upper,
        )  # fmt: skip
        message = str(solver.solve()).rsplit(".", 1)[-1]
        result = solver.result
        iterations = result.info.iter
        status = _STATUS.get(message, Status.FAILED)
        if status != Status.SOLVED:
            return Answer(status, iterations=iterations, message=message, setups=1)
        multipliers = np.concatenate([result.y, np.array(result.z_u)])
        y = bounds.duals(multipliers, np.array(result.z_bl), np.array(result.z_bu))
        return Answer(status, np.array(result.x), y, None, iterations, message, setups=1)


def _backend(structure: Structure) -> str:
    """The back end that is measured to be ahead."""
    n, m = structure.n, structure.m
    share = (structure.P.size + structure.A.size) / max(1, n * (n + m))
    return "dense" if n <= DENSE_VARIABLES and share >= DENSE_SHARE else "sparse"
