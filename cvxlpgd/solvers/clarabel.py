"""Clarabel: an interior-point solver for all cones, quadratic objectives too (https://clarabel.org)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram
from cvxlpgd.program.rows import upper_triangle
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared

_STATUS = {
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.INACCURATE,
    "InsufficientProgress": Status.INACCURATE,
    "PrimalInfeasible": Status.INFEASIBLE,
    "AlmostPrimalInfeasible": Status.INFEASIBLE,
    "DualInfeasible": Status.UNBOUNDED,
    "AlmostDualInfeasible": Status.UNBOUNDED,
}
_SURE = ("Solved", "PrimalInfeasible", "DualInfeasible")
_LADDER = (1e-10, 1e-8)  # a solve that breaks off far from its tolerances is made again at these
_CLOSE = 1e-6  # of the estimated distance


@dataclass(frozen=True, init=False)
class Clarabel(Configured):
    """Clarabel with its own options, such as `Clarabel(tol_gap_abs=1e-6, max_iter=100)`.

    Options are the fields of clarabel.DefaultSettings, and `eps` for tol_gap_abs, tol_gap_rel and
    tol_feas together. By default the gap's and tol_infeas_rel are 1e-12 and tol_feas is 1e-10; a
    sample that breaks off far from them is solved again without equilibration, then at 1e-10 and
    1e-8. It cannot be warm-started.
    """

    name = "CLARABEL"
    requires = ("clarabel",)
    cones = frozenset({Zero, NonNeg, SOC, PSD, Exp, Pow})
    quadratic = True
    integer = False
    arrays = "numpy"
    known = Options(
        names=frozenset(
            "max_iter time_limit verbose max_step_fraction tol_gap_abs tol_gap_rel tol_feas "
            "tol_infeas_abs tol_infeas_rel tol_ktratio reduced_tol_gap_abs reduced_tol_gap_rel "
            "reduced_tol_feas reduced_tol_infeas_abs reduced_tol_infeas_rel reduced_tol_ktratio "
            "equilibrate_enable equilibrate_max_iter equilibrate_min_scaling "
            "equilibrate_max_scaling linesearch_backtrack_step min_switch_step_length "
            "min_terminate_step_length max_threads direct_kkt_solver direct_solve_method "
            "static_regularization_enable static_regularization_constant "
            "static_regularization_proportional dynamic_regularization_enable "
            "dynamic_regularization_eps dynamic_regularization_delta iterative_refinement_enable "
            "iterative_refinement_reltol iterative_refinement_abstol iterative_refinement_max_iter "
            "iterative_refinement_stop_ratio presolve_enable input_sparse_dropzeros "
            "chordal_decomposition_enable chordal_decomposition_merge_method "
            "chordal_decomposition_compact chordal_decomposition_complete_dual".split()
        ),
        # An interior point's distance from the solution is about the square root of its gap. At
        # Clarabel's own tol_infeas_rel of 1e-8 feasible programs with entries of 1e5 count as
        # infeasible.
        defaults={
            "verbose": False,
            "max_threads": 1,
            "tol_gap_abs": 1e-12,
            "tol_gap_rel": 1e-12,
            "tol_feas": 1e-10,
            "tol_infeas_rel": 1e-12,
        },
        tolerances=("tol_gap_abs", "tol_gap_rel", "tol_feas"),
        time_limit="time_limit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; `start` cannot help an interior-point method."""
        import clarabel

        order = upper_triangle(program.structure)
        options = self.settings
        tightest = min(options[name] for name in self.known.tolerances)
        # without equilibration first: a nearly zero q upsets the scaling, and the steps cycle
        ladder = [options, options | {"equilibrate_enable": False}] + [
            options | {name: max(options[name], rung) for name in self.known.tolerances}
            for rung in _LADDER
            if rung > tightest
        ]
        tried = [_settings(clarabel, rung) for rung in ladder]
        cones = [_translated(clarabel, cone) for cone in program.structure.cones]
        structure = program.structure
        chosen, triangle = structure.P.upper
        entries, rows = order.pattern(structure.A)
        ones = np.ones(structure.n), np.ones(structure.m)

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            # set up with vectors that are no sample's: the scaling depends on them
            matrices = triangle.matrix(P[chosen]), rows.matrix(A[entries])
            kept = clarabel.DefaultSolver(
                matrices[0], ones[0], matrices[1], ones[1], cones, tried[0]
            )

            def made(rung: Any, q: np.ndarray, b: np.ndarray) -> Any:
                if rung is not tried[0] or not kept.is_data_update_allowed():
                    return clarabel.DefaultSolver(matrices[0], q, matrices[1], b, cones, rung)
                kept.update(q=q, b=b)
                return kept

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                b, answers = b[order.rows], []
                for rung in tried:
                    answers.append(made(rung, q, b).solve())
                    if str(answers[-1].status) in _SURE or _distance(answers[-1]) <= _CLOSE:
                        break
                answer = min(reversed(answers), key=_distance)  # the last one if none has a point
                message = str(answer.status)
                status = _STATUS.get(message, Status.FAILED)
                if status == Status.FAILED:
                    return Answer(status, iterations=answer.iterations, message=message)
                if status == Status.UNBOUNDED:  # x is a ray, as y is of an infeasible program
                    ray = np.array(answer.x)
                    return Answer(status, ray, iterations=answer.iterations, message=message)
                y, s = np.array(answer.z)[order.places], np.array(answer.s)[order.places]
                x = None if status == Status.INFEASIBLE else np.array(answer.x)
                return Answer(status, x, y, s, answer.iterations, message)

            return solve

        return solve_prepared(self, program, start, prepare)


def _distance(answer: Any) -> float:
    """About how far a point is from the solution; infinite for a status without a point."""
    if _STATUS.get(str(answer.status)) not in (Status.SOLVED, Status.INACCURATE):
        return np.inf
    gap = abs(answer.obj_val - answer.obj_val_dual) / (1 + abs(answer.obj_val))
    return float(max(answer.r_prim, answer.r_dual, gap**0.5))


def _settings(clarabel: Any, options: Mapping[str, Any]) -> Any:
    settings = clarabel.DefaultSettings()
    for name, value in options.items():
        try:
            setattr(settings, name, value)
        except (OverflowError, TypeError) as error:
            raise InvalidOption(f"CLARABEL: {name} cannot be {value!r}: {error}") from None
    return settings


def _translated(clarabel: Any, cone: Cone) -> Any:
    match cone:
        case Zero():
            return clarabel.ZeroConeT(cone.rows)
        case NonNeg():
            return clarabel.NonnegativeConeT(cone.rows)
        case SOC():
            return clarabel.SecondOrderConeT(cone.rows)
        case PSD():
            return clarabel.PSDTriangleConeT(cone.order)
        case Exp():
            return clarabel.ExponentialConeT()
        case Pow():
            return clarabel.PowerConeT(cone.alpha)
    raise TypeError(cone)
