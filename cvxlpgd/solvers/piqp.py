"""PIQP: a proximal interior-point solver for quadratic programs, dense and sparse.

https://predict-epfl.github.io/piqp
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared
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
    integer = False
    arrays = "numpy"
    known = Options(
        names=frozenset(
            "backend check_duality_gap delta_init eps_abs eps_dual_inf eps_duality_gap_abs "
            "eps_duality_gap_rel eps_primal_inf eps_rel infeasibility_threshold "
            "iterative_refinement_always_enabled iterative_refinement_eps_abs "
            "iterative_refinement_eps_rel iterative_refinement_max_iter "
            "iterative_refinement_min_improvement_rate "
            "iterative_refinement_static_regularization_eps "
            "iterative_refinement_static_regularization_rel max_factor_retires max_iter "
            "preconditioner_iter preconditioner_scale_cost reg_finetune_dual_update_threshold "
            "reg_finetune_lower_limit reg_finetune_primal_update_threshold reg_lower_limit "
            "rho_init tau verbose".split()
        ),
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

        structure, bounds = program.structure, Bounds.of(program)
        settings = self.settings
        backend = settings.pop("backend", None) or _backend(structure)
        _set(piqp.SparseSolver(), settings)  # a wrong value is an error of the call
        zeros = bounds.equalities
        loose = np.full(len(bounds.rows) - zeros, -np.inf)

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            rows = bounds.pattern.matrix(A[bounds.entries]).tocsr()
            matrices = [structure.P.matrix(P), rows[:zeros].tocsc(), rows[zeros:].tocsc()]
            objective, equal, unequal = (m.toarray() if backend == "dense" else m for m in matrices)

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                right = b[bounds.rows]
                lower, upper = bounds.limits(b)
                if (lower > upper).any():
                    return Answer(Status.INFEASIBLE, message="bounds contradict each other")
                # PIQP scales its data in place: an object that is used again rounds differently,
                # even if `update` hands it everything anew, which would save 10 to 20 %
                solver = piqp.DenseSolver() if backend == "dense" else piqp.SparseSolver()
                _set(solver, settings)
                solver.setup(
                    objective, q, equal, right[:zeros], unequal, loose, right[zeros:], lower, upper
                )
                message = str(solver.solve()).rsplit(".", 1)[-1]
                result = solver.result
                iterations = result.info.iter
                status = _STATUS.get(message, Status.FAILED)
                if status != Status.SOLVED:
                    return Answer(status, iterations=iterations, message=message, setups=1)
                multipliers = np.concatenate([result.y, np.array(result.z_u)])
                y = bounds.duals(multipliers, np.array(result.z_bl), np.array(result.z_bu))
                x = np.array(result.x)
                return Answer(status, x, y, None, iterations, message, setups=1)

            return solve

        solution = solve_prepared(self, program, start, prepare, parallel=False, lasting=False)
        return bounds.with_slack(solution, program)


def _backend(structure: Structure) -> str:
    """The back end that is measured to be ahead."""
    n, m = structure.n, structure.m
    share = (structure.P.size + structure.A.size) / max(1, n * (n + m))
    return "dense" if n <= DENSE_VARIABLES and share >= DENSE_SHARE else "sparse"


def _set(solver: Any, settings: Mapping[str, Any]) -> None:
    """Set options.

    Raises
    ------
    InvalidOption
        For a value that PIQP does not take.
    """
    for name, value in settings.items():
        try:
            setattr(solver.settings, name, value)
        except TypeError as error:
            raise InvalidOption(f"PIQP: {name} cannot be {value!r}: {error}") from None
