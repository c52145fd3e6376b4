"""HiGHS: simplex for linear, active sets for quadratic and branch and cut for integer programs.

https://highs.dev
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds

_PRIMAL_SIMPLEX = 4
REGULARIZED = 1e-7
_VALUES = ("objective_function_value", "mip_dual_bound")
_COUNTS = ("simplex_iteration_count", "qp_iteration_count")


@dataclass(frozen=True, init=False)
class HiGHS(Configured):
    """HiGHS with its own options, such as `HiGHS(dual_feasibility_tolerance=1e-7, presolve="off")`.

    Options are those of https://ergo-code.github.io/HiGHS/dev/options/definitions, and `eps` for
    the two feasibility tolerances, which are 1e-9 by default. Integer programs are solved to
    optimality, without a gap. Linear programs are re-solved from their own basis.
    """

    name = "HIGHS"
    requires = ("highspy",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    integer = "linear"
    arrays = "numpy"
    known = Options(
        names=frozenset(
            "allow_unbounded_or_infeasible allowed_matrix_scale_factor dual_feasibility_tolerance "
            "dual_residual_tolerance highs_analysis_level highs_debug_level infinite_bound "
            "infinite_cost ipm_iteration_limit ipm_optimality_tolerance kkt_tolerance "
            "large_matrix_value log_file log_to_console mip_abs_gap mip_detect_symmetry "
            "mip_feasibility_tolerance mip_heuristic_effort mip_lp_age_limit "
            "mip_max_improving_sols mip_max_leaves mip_max_nodes mip_max_stall_nodes "
            "mip_pool_age_limit mip_pool_soft_limit mip_pscost_minreliable mip_rel_gap "
            "objective_bound objective_target optimality_tolerance parallel pdlp_iteration_limit "
            "pdlp_optimality_tolerance pdlp_scaling_mode presolve primal_feasibility_tolerance "
            "primal_residual_tolerance qp_iteration_limit qp_nullspace_limit "
            "qp_regularization_value random_seed run_crossover simplex_crash_strategy "
            "simplex_dual_edge_weight_strategy simplex_dualize_strategy simplex_iteration_limit "
            "simplex_permute_strategy simplex_price_strategy simplex_primal_edge_weight_strategy "
            "simplex_scale_strategy simplex_strategy simplex_update_limit small_matrix_value "
            "solver threads time_limit user_bound_scale user_objective_scale verbose".split()
        ),
        defaults={
            "output_flag": False,
            "primal_feasibility_tolerance": 1e-9,
            "dual_feasibility_tolerance": 1e-9,
            "mip_feasibility_tolerance": 1e-9,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": 0.0,
            "qp_regularization_value": 0.0,  # HiGHS' own 1e-7 moves the solution by as much
            "simplex_scale_strategy": 4,  # by powers of two: no rounding stays behind
            "threads": 1,  # the batch is what runs in parallel; see `_run`
            "parallel": "off",
        },
        tolerances=("primal_feasibility_tolerance", "dual_feasibility_tolerance"),
        time_limit="time_limit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; a linear program from its basis in `start`."""
        import highspy

        settings = self.settings
        if not program.structure.mixed_integer and not program.structure.P.size:
            settings = {"presolve": "off"} | settings  # measured: it saves less than it takes
        settings["output_flag"] = bool(settings.pop("verbose", settings["output_flag"]))
        model = _Model(highspy, program.structure, Bounds.of(program), settings)
        _check(tuple(sorted(settings.items())))

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            return model.prepared(P, A)

        return model.bounds.with_slack(solve_prepared(self, program, start, prepare), program)


class _State(NamedTuple):
    """Where a sample's solve ended, and the b it was for."""

    basis: Any
    b: np.ndarray


@dataclass(frozen=True, eq=False)
class _Model:
    """What HiGHS needs to know of a structure."""

    highspy: Any
    structure: Structure
    bounds: Bounds
    settings: dict[str, Any]

    def prepared(self, P: np.ndarray, A: np.ndarray) -> Solve:
        """A HiGHS object with these matrices."""
        structure, bounds = self.structure, self.bounds
        linear = not structure.P.size and not structure.mixed_integer
        solver = _silent()()
        _set(solver, self.settings)
        solver.passModel(self._model(P, A))
        columns = np.arange(structure.n, dtype=np.int32)
        rows = np.arange(len(bounds.rows), dtype=np.int32)
        below = np.full(len(rows), -np.inf)
        first = slice(bounds.equalities)
        strategy = self.settings.get("simplex_strategy", 1)

        newest: dict[str, Any] = {"simplex_strategy": strategy}  # what the object holds by now

        def put(name: str, value: Any) -> None:
            if newest.get(name) != value:
                newest[name] = value
                self._put(solver, name, value)

        def move(b: np.ndarray) -> None:
            if "b" in newest and np.array_equal(newest["b"], b):
                return
            newest["b"] = b.copy()
            upper = b[bounds.rows]
            lower = below.copy()
            lower[first] = upper[first]
            solver.changeColsBounds(len(columns), columns, *self._limits(b))
            solver.changeRowsBounds(len(rows), rows, lower, upper)

        def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
            solver.clearSolver()
            solver.changeColsCost(len(columns), columns, q)
            move(b)
            state = begin.state if begin is not None and linear else None
            # with b as it was the basis stays primal feasible, and only the cost has moved
            same = state is not None and np.array_equal(state.b, b)
            put("simplex_strategy", _PRIMAL_SIMPLEX if same else strategy)
            if linear:
                put("presolve", self.settings["presolve"] if state is None else "off")
            if state is not None:
                solver.setBasis(state.basis)
            self._run(solver)
            status, message = self._status(solver)
            unset = solver.getModelStatus() == self.highspy.HighsModelStatus.kNotset
            if structure.P.size and unset:  # it gave up, mostly at a singular P: its own way
                put("qp_regularization_value", REGULARIZED)
                solver.clearSolver()
                self._run(solver)
                put("qp_regularization_value", self.settings["qp_regularization_value"])
                status, message = self._status(solver)
            counts = ("simplex_iteration_count",) if linear else _COUNTS
            iterations = sum(max(solver.getInfoValue(name)[1], 0) for name in counts)
            found = solver.getSolution()
            if status not in (Status.SOLVED, Status.INACCURATE) or not len(found.col_value):
                kept = status if status in (Status.INFEASIBLE, Status.UNBOUNDED) else Status.FAILED
                return Answer(kept, iterations=iterations, message=message)
            x = np.array(found.col_value)
            if structure.mixed_integer:
                value, bound = (solver.getInfoValue(name)[1] for name in _VALUES)
                gap = abs(value - bound) / (1 + abs(value))
                return Answer(status, x, np.zeros(len(b)), None, iterations, message, gap=gap)
            reduced = np.array(found.col_dual)
            y = bounds.duals(
                -np.array(found.row_dual), np.maximum(reduced, 0.0), np.maximum(-reduced, 0.0)
            )
            basis = _State(solver.getBasis(), newest["b"]) if linear else None
            return Answer(status, x, y, None, iterations, message, basis)

        return solve

    def _limits(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the variables; those of boolean ones are 0 and 1.

        Those of both are whole: HiGHS' presolve loses optimal points to fractional ones.
        """
        lower, upper = self.bounds.limits(b)
        boolean = self.structure.boolean
        integer = np.concatenate([self.structure.integer, boolean])
        slack = self.settings.get("mip_feasibility_tolerance", 0.0)
        lower[integer] = np.ceil(lower[integer] - slack)
        upper[integer] = np.floor(upper[integer] + slack)
        lower[boolean] = np.maximum(lower[boolean], 0.0)
        upper[boolean] = np.minimum(upper[boolean], 1.0)
        return lower, upper

    def _model(self, P: np.ndarray, A: np.ndarray) -> Any:
        """The model, its vectors to be changed."""
        highspy, structure, bounds = self.highspy, self.structure, self.bounds
        model = highspy.HighsModel()
        lp, matrix = model.lp_, bounds.pattern.matrix(A[bounds.entries])
        lp.num_col_, lp.num_row_ = structure.n, len(bounds.rows)
        lp.col_cost_ = np.zeros(structure.n)
        lp.col_lower_, lp.col_upper_ = np.zeros(structure.n), np.zeros(structure.n)
        lp.row_lower_ = lp.row_upper_ = np.zeros(len(bounds.rows))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
        lp.a_matrix_.value_ = matrix.data
        if structure.mixed_integer:
            whole = [highspy.HighsVarType.kContinuous] * structure.n
            for j in (*structure.integer, *structure.boolean):
                whole[j] = highspy.HighsVarType.kInteger
            lp.integrality_ = whole
        if structure.P.size:
            lower = np.flatnonzero(structure.P.rows >= structure.P.cols)
            counts = np.bincount(structure.P.cols[lower], minlength=structure.n)
            hessian = model.hessian_
            hessian.dim_ = structure.n
            hessian.format_ = highspy.HessianFormat.kTriangular
            hessian.start_ = np.concatenate([[0], np.cumsum(counts)])
            hessian.index_, hessian.value_ = structure.P.rows[lower], P[lower]
        return model

    def _put(self, solver: Any, name: str, value: Any) -> None:
        solver.setOptionValue(name, value)

    def _run(self, solver: Any) -> None:
        """Run, and leave no scheduler behind.

        A thread of Python's has one of HiGHS' schedulers, of as many threads as its first run asked
        for, and any later run that asks for another number fails. Ours is taken back, so that the
        caller's own runs may ask for what they like; where there is one already, it serves.
        """
        status = solver.run()
        unset = solver.getModelStatus() == self.highspy.HighsModelStatus.kNotset
        if status == self.highspy.HighsStatus.kError and unset:
            self._put(solver, "threads", 0)
            solver.run()
            self._put(solver, "threads", self.settings["threads"])
        elif self.settings["threads"] == 1:
            self.highspy.Highs.resetGlobalScheduler(True)

    def _status(self, solver: Any) -> tuple[Status, str]:
        """What became of the solve; presolve leaves it open at times: again without."""
        kinds = self.highspy.HighsModelStatus
        status = solver.getModelStatus()
        if status == kinds.kOptimal:
            return Status.SOLVED, ""
        if status == kinds.kUnboundedOrInfeasible:
            self._put(solver, "presolve", "off")
            self._run(solver)
            self._put(solver, "presolve", self.settings.get("presolve", "choose"))
            status = solver.getModelStatus()
        found = {
            kinds.kOptimal: Status.SOLVED,
            kinds.kModelEmpty: Status.SOLVED,
            kinds.kInfeasible: Status.INFEASIBLE,
            kinds.kUnbounded: Status.UNBOUNDED,
        }
        message = solver.modelStatusToString(status)
        limits = (kinds.kTimeLimit, kinds.kIterationLimit, kinds.kSolutionLimit)
        has_point = solver.getInfoValue("primal_solution_status")[1]
        if status in limits and has_point == self.highspy.kSolutionStatusFeasible:
            return Status.INACCURATE, message
        return found.get(status, Status.FAILED), message


@lru_cache(maxsize=64)
def _check(settings: tuple[tuple[str, Any], ...]) -> None:
    """A wrong value is an error of the call, not of a sample."""
    _set(_silent()(), dict(settings))


@cache
def _silent() -> Any:
    """HiGHS' class; its newer constructors say who they are before an option could forbid it."""
    import highspy

    class Silent(highspy.Highs):
        def enableCallbacks(self) -> None:
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()

    return Silent


def _set(solver: Any, settings: Mapping[str, Any]) -> None:
    """Set options; the first one is silence.

    Raises
    ------
    InvalidOption
        For a value that HiGHS does not take.
    """
    solver.setOptionValue("output_flag", False)
    for name, value in sorted(settings.items(), key=lambda item: item[0] == "output_flag"):
        try:
            status = solver.setOptionValue(name, value)
        except TypeError as error:
            raise InvalidOption(f"HIGHS: {name} cannot be {value!r}: {error}") from None
        if str(status).endswith("kError"):
            raise InvalidOption(f"HIGHS: {name} cannot be {value!r}")
