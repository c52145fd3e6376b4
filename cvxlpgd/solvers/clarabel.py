"""Clarabel: an interior-point solver for all cones, quadratic objectives too (https://clarabel.org)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.program import ConeProgram, Pattern, Solution, Status, Structure
from cvxlpgd.program.rows import Order, unknown_cone, upper_triangle
from cvxlpgd.solvers.options import Configured, Options, set_fields
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start, solve_prepared

STATUS = {
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
    known = Options(
        "max_iter time_limit verbose max_step_fraction tol_gap_abs tol_gap_rel tol_feas "
        "tol_infeas_abs tol_infeas_rel tol_ktratio reduced_tol_gap_abs reduced_tol_gap_rel "
        "reduced_tol_feas reduced_tol_infeas_abs reduced_tol_infeas_rel reduced_tol_ktratio "
        "equilibrate_enable equilibrate_max_iter equilibrate_min_scaling  equilibrate_max_scaling "
        "linesearch_backtrack_step min_switch_step_length  min_terminate_step_length max_threads "
        "direct_kkt_solver direct_solve_method  static_regularization_enable "
        "static_regularization_constant  static_regularization_proportional "
        "dynamic_regularization_enable  dynamic_regularization_eps dynamic_regularization_delta "
        "iterative_refinement_enable  iterative_refinement_reltol iterative_refinement_abstol "
        "iterative_refinement_max_iter  iterative_refinement_stop_ratio presolve_enable "
        "input_sparse_dropzeros  chordal_decomposition_enable chordal_decomposition_merge_method "
        "chordal_decomposition_compact chordal_decomposition_complete_dual",
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

        structure = program.structure
        form = _Form(
            structure,
            upper_triangle(structure),
            [_cone(clarabel, cone) for cone in structure.cones],
            [_settings(clarabel, options) for options in self._ladder()],
        )
        return solve_prepared(self, program, start, partial(_Setup, form))

    def _ladder(self) -> list[dict[str, Any]]:
        """The settings to try one after the other."""
        settings, tolerances = self.settings, self.known.tolerances
        tightest = min(settings[name] for name in tolerances)
        # without equilibration first: a nearly zero q upsets the scaling, and the steps cycle
        return [settings, settings | {"equilibrate_enable": False}] + [
            settings | {name: max(settings[name], rung) for name in tolerances}
            for rung in _LADDER
            if rung > tightest
        ]


@dataclass(frozen=True, eq=False)
class _Form:
    """A structure as Clarabel reads it, and the settings to try one after the other."""

    structure: Structure
    order: Order
    cones: list[Any]
    ladder: list[Any]

    @cached_property
    def rows(self) -> tuple[np.ndarray, Pattern]:
        """Where the entries of A stand in Clarabel's order of rows, and their pattern."""
        return self.order.pattern(self.structure.A)


class _Setup:
    """One pair of matrices: an object at the first settings, new ones at each of the others."""

    def __init__(self, form: _Form, P: np.ndarray, A: np.ndarray) -> None:
        self.form, structure = form, form.structure
        chosen, triangle = structure.P.upper
        entries, rows = form.rows
        self.P, self.A = triangle.matrix(P[chosen]), rows.matrix(A[entries])
        # set up with vectors that are no sample's: the scaling depends on them
        self.first = self._new(np.ones(structure.n), np.ones(structure.m), form.ladder[0])

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        order, answers = self.form.order, []
        for settings in self.form.ladder:
            answers.append(self._at(settings, q, b[order.rows]).solve())
            if str(answers[-1].status) in _SURE or _distance(answers[-1]) <= _CLOSE:
                break
        answer = min(reversed(answers), key=_distance)  # the last one if none has a point
        message = str(answer.status)
        status = STATUS.get(message, Status.FAILED)
        if status == Status.FAILED:
            return Answer(status, iterations=answer.iterations, message=message)
        if status == Status.UNBOUNDED:  # x is a ray, as y is of an infeasible program
            ray = np.array(answer.x)
            return Answer(status, ray, iterations=answer.iterations, message=message)
        y, s = np.array(answer.z)[order.places], np.array(answer.s)[order.places]
        x = None if status == Status.INFEASIBLE else np.array(answer.x)
        return Answer(status, x, y, s, answer.iterations, message)

    def _at(self, settings: Any, q: np.ndarray, b: np.ndarray) -> Any:
        """An object at these settings, with these vectors."""
        if settings is not self.form.ladder[0] or not self.first.is_data_update_allowed():
            return self._new(q, b, settings)
        self.first.update(q=q, b=b)
        return self.first

    def _new(self, q: np.ndarray, b: np.ndarray, settings: Any) -> Any:
        import clarabel

        return clarabel.DefaultSolver(self.P, q, self.A, b, self.form.cones, settings)


def _distance(answer: Any) -> float:
    """About how far a point is from the solution; infinite for a status without a point."""
    if STATUS.get(str(answer.status)) not in (Status.SOLVED, Status.INACCURATE):
        return np.inf
    gap = abs(answer.obj_val - answer.obj_val_dual) / (1 + abs(answer.obj_val))
    return float(max(answer.r_prim, answer.r_dual, gap**0.5))


def _settings(clarabel: Any, options: Mapping[str, Any]) -> Any:
    settings = clarabel.DefaultSettings()
    set_fields("CLARABEL", settings, options)
    return settings


def _cone(clarabel: Any, cone: Cone) -> Any:
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
    raise unknown_cone(cone, "Clarabel")
