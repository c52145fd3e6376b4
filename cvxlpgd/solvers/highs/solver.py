"""HiGHS: simplex for linear, active sets for quadratic and branch and cut for integer programs.

https://highs.dev
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Point, Solution, Structure
from cvxlpgd.solvers.highs.ends import find_ends
from cvxlpgd.solvers.highs.model import Form
from cvxlpgd.solvers.highs.objects import check_options
from cvxlpgd.solvers.highs.setup import Setup
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.prepared import Prepare, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.parametric import Tolerances

# Where an interior point with crossover to a vertex is ahead of simplex on linear programs: where
# rows and columns are many, and hold so many entries that the factors of bases fill. CPU ms of
# simplex and of the interior point, for entries in each column, with half as many rows as columns:
# 5, n = 2000: 51, 57; 3000: 124, 112; 5000: 349, 201; 10,000: 2300, 870; 20, n = 400: 10, 17;
# 1000: 123, 97; 2000: 920, 280; dense, n = 400: 45, 65; 1000: 1250, 880; several periods, n = 3000:
# 870, 440; but 5, twice as many rows, n = 4000: 158, 374; shortest path, n = 9660: 267, 305;
# assignment, n = 10,000: 9, 60.
MANY, FILLED, WORK = 500, 3.0, 4500.0

# Up to how many columns integer programs go without HiGHS' feasibility jump, whose search for a
# first point takes long beside them. CPU ms with it and without: knapsack of 5 items 3.9, 0.8; 32
# items 3.3, 1.7; 24 hours of three units 17.6, 8.8; 210 columns of facilities 9.1, 5.6; a tour
# through 10 nodes 45, 41; but an assignment with a budget, n = 225: 17, 20; 400: 28, 53.
SMALL = 210
CHOSEN = frozenset({"solver", "run_crossover", "simplex_strategy"})  # by these users choose


def _is_interior(bounds: Bounds) -> bool:
    """Whether an interior point is measured to be ahead on programs with these rows."""
    entries, shape = bounds.pattern.size, bounds.pattern.shape
    each = entries / max(1, sum(shape))
    return min(shape) >= MANY and each >= FILLED and each * min(shape) >= WORK


@dataclass(frozen=True, init=False)
class HiGHS(Configured):
    """HiGHS with its own options, such as `HiGHS(dual_feasibility_tolerance=1e-7, presolve="off")`.

    Options are those of https://ergo-code.github.io/HiGHS/dev/options/definitions, and `eps` for
    the two feasibility tolerances, which are 1e-9 by default. Integer programs are solved to
    optimality, without a gap. Linear programs are re-solved from their own basis; large ones are
    solved by an interior point, which crosses over to a vertex, where no method is chosen.
    """

    name = "HIGHS"
    requires = ("highspy",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    integer = "linear"
    known = Options(
        "allow_unbounded_or_infeasible allowed_matrix_scale_factor dual_feasibility_tolerance "
        "dual_residual_tolerance highs_analysis_level highs_debug_level infinite_bound "
        "infinite_cost ipm_iteration_limit ipm_optimality_tolerance kkt_tolerance "
        "large_matrix_value log_file log_to_console mip_abs_gap mip_detect_symmetry "
        "mip_feasibility_tolerance mip_heuristic_effort mip_heuristic_run_feasibility_jump "
        "mip_heuristic_run_rens mip_heuristic_run_rins mip_heuristic_run_root_reduced_cost "
        "mip_heuristic_run_shifting mip_heuristic_run_zi_round mip_lp_age_limit "
        "mip_max_improving_sols "
        "mip_max_leaves mip_max_nodes mip_max_stall_nodes  mip_pool_age_limit mip_pool_soft_limit "
        "mip_pscost_minreliable mip_rel_gap  objective_bound objective_target optimality_tolerance "
        "parallel pdlp_iteration_limit  pdlp_optimality_tolerance pdlp_scaling_mode presolve "
        "primal_feasibility_tolerance  primal_residual_tolerance qp_iteration_limit "
        "qp_nullspace_limit  qp_regularization_value random_seed run_crossover "
        "simplex_crash_strategy  simplex_dual_edge_weight_strategy simplex_dualize_strategy "
        "simplex_iteration_limit  simplex_permute_strategy simplex_price_strategy "
        "simplex_primal_edge_weight_strategy  simplex_scale_strategy simplex_strategy "
        "simplex_update_limit small_matrix_value  solver threads time_limit user_bound_scale "
        "user_objective_scale verbose",
        defaults={
            "output_flag": False,
            "primal_feasibility_tolerance": 1e-9,
            "dual_feasibility_tolerance": 1e-9,
            "mip_feasibility_tolerance": 1e-9,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": 0.0,
            "qp_regularization_value": 0.0,  # HiGHS' own 1e-7 moves the solution by as much
            "simplex_scale_strategy": 4,  # by powers of two: no rounding stays behind
            "threads": 1,  # the batch is what runs in parallel; see `Setup._run_once`
            "parallel": "off",
        },
        tolerances=("primal_feasibility_tolerance", "dual_feasibility_tolerance"),
        time_limit="time_limit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; a linear program from its basis in `start`."""
        bounds = Bounds.of(program)
        prepare, form = self._prepare(program.structure, bounds), Form(program, bounds)
        return bounds.with_slack(solve_prepared(self, program, start, prepare, form=form), program)

    def ends(
        self, program: ConeProgram, solution: Solution, direction: Point, taus: np.ndarray
    ) -> Solution | None:
        """A linear program's by pivots from its basis in the solution, the others none."""
        tolerances = (f"{side}_feasibility_tolerance" for side in ("primal", "dual"))
        own = Tolerances(*(self.settings[name] for name in tolerances))
        prepare = self._prepare(program.structure, Bounds.of(program))
        return find_ends(self, program, solution, direction, taus, own, prepare)

    def _prepare(self, structure: Structure, bounds: Bounds) -> Prepare:
        """What sets matrices up."""
        settings, linear = self.settings, not structure.mixed_integer and not structure.P.size
        if linear:
            settings = {"presolve": "off"} | settings  # measured: it saves less than it takes
        if structure.mixed_integer and structure.n <= SMALL:
            settings = {"mip_heuristic_run_feasibility_jump": False} | settings
        interior = linear and not CHOSEN & settings.keys() and _is_interior(bounds)
        settings["output_flag"] = bool(settings.pop("verbose", settings["output_flag"]))
        check_options(tuple(sorted(settings.items())))
        return partial(Setup, structure, bounds, settings, interior)
