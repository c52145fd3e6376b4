"""One pair of matrices in a HiGHS object: the model, vectors in, run, answer out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import Status, Structure
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start
from cvxlpgd.solvers.translate.bounds import Bounds

PRIMAL_SIMPLEX = 4
REGULARIZED = 1e-7
_VALUES = ("objective_function_value", "mip_dual_bound")
_COUNTS = ("simplex_iteration_count", "qp_iteration_count")


def highs_model(structure: Structure, bounds: Bounds, P: np.ndarray, A: np.ndarray) -> Any:
    """A HiGHS model of one pair of matrices, values (entries,); its vectors are to be changed."""
    import highspy

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
        kinds = [highspy.HighsVarType.kContinuous] * structure.n
        for j in (*structure.integer, *structure.boolean):
            kinds[j] = highspy.HighsVarType.kInteger
        lp.integrality_ = kinds
    if structure.P.size:
        lower = np.flatnonzero(structure.P.rows >= structure.P.cols)
        counts = np.bincount(structure.P.cols[lower], minlength=structure.n)
        hessian = model.hessian_
        hessian.dim_ = structure.n
        hessian.format_ = highspy.HessianFormat.kTriangular
        hessian.start_ = np.concatenate([[0], np.cumsum(counts)])
        hessian.index_, hessian.value_ = structure.P.rows[lower], P[lower]
    return model


def limits(
    structure: Structure, bounds: Bounds, b: np.ndarray, slack: float
) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) of the variables (n,) at b (m,); those of boolean ones are 0 and 1.

    Bounds of integers are whole: HiGHS' presolve loses optimal points to fractional ones. By
    `slack` a bound may miss the next whole number.
    """
    (lower, upper), boolean = bounds.limits(b), structure.boolean
    integer = np.concatenate([structure.integer, boolean])
    lower[integer] = np.ceil(lower[integer] - slack)
    upper[integer] = np.floor(upper[integer] + slack)
    lower[boolean] = np.maximum(lower[boolean], 0.0)
    upper[boolean] = np.minimum(upper[boolean], 1.0)
    return lower, upper


class _State(NamedTuple):
    """Where a sample's solve ended, and the b it was for."""

    basis: Any
    b: np.ndarray


class Setup:
    """One pair of matrices in a HiGHS object, which remembers its options and its newest b."""

    def __init__(
        self,
        structure: Structure,
        bounds: Bounds,
        settings: dict[str, Any],
        P: np.ndarray,
        A: np.ndarray,
    ) -> None:
        import highspy

        self.highspy, self.settings = highspy, settings
        self.structure, self.bounds = structure, bounds
        self.linear = not structure.P.size and not structure.mixed_integer
        self.columns = np.arange(structure.n, dtype=np.int32)
        self.rows = np.arange(len(bounds.rows), dtype=np.int32)
        self.below = np.full(len(bounds.rows), -np.inf)
        self.simplex = settings.get("simplex_strategy", 1)
        self.options = {"simplex_strategy": self.simplex}  # as they are by now
        self.b: np.ndarray | None = None
        self.solver = _silent_class()()
        set_options(self.solver, settings)
        self.solver.passModel(highs_model(structure, bounds, P, A))

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        """Solve for these vectors (n,) and (m,), a linear program from the basis of `start`."""
        solver = self.solver
        solver.clearSolver()
        solver.changeColsCost(len(self.columns), self.columns, q)
        own_b = self._set_bounds(b)
        state = start.state if start is not None and self.linear else None
        self._begin_at(state, b)
        status, message = self._run()
        counts = _COUNTS[:1] if self.linear else _COUNTS
        iterations = sum(max(solver.getInfoValue(name)[1], 0) for name in counts)
        point = solver.getSolution()
        if status not in (Status.SOLVED, Status.INACCURATE) or not len(point.col_value):
            if status not in (Status.INFEASIBLE, Status.UNBOUNDED):
                status = Status.FAILED
            return Answer(status, iterations=iterations, message=message)
        x = np.array(point.col_value)
        if self.structure.mixed_integer:
            value, bound = (solver.getInfoValue(name)[1] for name in _VALUES)
            gap = abs(value - bound) / (1 + abs(value))
            return Answer(status, x, np.zeros(len(b)), None, iterations, message, gap=gap)
        reduced = np.array(point.col_dual)
        y = self.bounds.duals(
            -np.array(point.row_dual), np.maximum(reduced, 0.0), np.maximum(-reduced, 0.0)
        )
        basis = _State(solver.getBasis(), own_b) if self.linear else None
        return Answer(status, x, y, None, iterations, message, basis)

    def _set_bounds(self, b: np.ndarray) -> np.ndarray:
        """Put b's bounds into the object where they are not yet, and return a b of its own."""
        if self.b is not None and np.array_equal(self.b, b):
            return self.b
        self.b = b.copy()
        upper, lower, equal = b[self.bounds.rows], self.below.copy(), slice(self.bounds.equalities)
        lower[equal] = upper[equal]
        slack = self.settings.get("mip_feasibility_tolerance", 0.0)
        bounds = limits(self.structure, self.bounds, b, slack)
        self.solver.changeColsBounds(len(self.columns), self.columns, *bounds)
        self.solver.changeRowsBounds(len(self.rows), self.rows, lower, upper)
        return self.b

    def _begin_at(self, state: _State | None, b: np.ndarray) -> None:
        """Begin at an earlier basis, without presolve, or at none."""
        # with b as it was the basis stays primal feasible, and only the cost has moved
        same = state is not None and np.array_equal(state.b, b)
        self._set_option("simplex_strategy", PRIMAL_SIMPLEX if same else self.simplex)
        if self.linear:
            self._set_option("presolve", self.settings["presolve"] if state is None else "off")
        if state is not None:
            self.solver.setBasis(state.basis)

    def _set_option(self, name: str, value: Any) -> None:
        """Set an option where it is another one."""
        if self.options.get(name) != value:
            self.options[name] = value
            self.solver.setOptionValue(name, value)

    def _run(self) -> tuple[Status, str]:
        """Run, again where HiGHS gave up, and say what became of it."""
        self._run_once()
        status, message = self._status()
        if self.structure.P.size and self._is_unset():  # mostly at a singular P: its own way
            self._set_option("qp_regularization_value", REGULARIZED)
            self.solver.clearSolver()
            self._run_once()
            self._set_option("qp_regularization_value", self.settings["qp_regularization_value"])
            status, message = self._status()
        return status, message

    def _run_once(self) -> None:
        """Run, and leave no scheduler behind.

        A thread of Python's has one of HiGHS' schedulers, of as many threads as its first run asked
        for, and any later run that asks for another number fails. Ours is taken back, so that the
        caller's own runs may ask for what they like; where there is one already, it serves.
        """
        status = self.solver.run()
        if status == self.highspy.HighsStatus.kError and self._is_unset():
            self._set_option("threads", 0)
            self.solver.run()
            self._set_option("threads", self.settings["threads"])
        elif self.settings["threads"] == 1:
            self.highspy.Highs.resetGlobalScheduler(True)

    def _is_unset(self) -> bool:
        """Whether HiGHS has no status to tell."""
        return bool(self.solver.getModelStatus() == self.highspy.HighsModelStatus.kNotset)

    def _status(self) -> tuple[Status, str]:
        """What became of the run; presolve leaves it open at times: again without."""
        kinds, solver = self.highspy.HighsModelStatus, self.solver
        status = solver.getModelStatus()
        if status == kinds.kOptimal:
            return Status.SOLVED, ""
        if status == kinds.kUnboundedOrInfeasible:
            self._set_option("presolve", "off")
            self._run_once()
            self._set_option("presolve", self.settings.get("presolve", "choose"))
            status = solver.getModelStatus()
        statuses = {
            kinds.kOptimal: Status.SOLVED,
            kinds.kModelEmpty: Status.SOLVED,
            kinds.kInfeasible: Status.INFEASIBLE,
            kinds.kUnbounded: Status.UNBOUNDED,
        }
        message = solver.modelStatusToString(status)
        stopped = (kinds.kTimeLimit, kinds.kIterationLimit, kinds.kSolutionLimit)
        point = solver.getInfoValue("primal_solution_status")[1]
        if status in stopped and point == self.highspy.kSolutionStatusFeasible:
            return Status.INACCURATE, message
        return statuses.get(status, Status.FAILED), message


@cache
def _silent_class() -> Any:
    """HiGHS' class; its newer constructors say who they are before an option could forbid it."""
    import highspy

    class Silent(highspy.Highs):
        def enableCallbacks(self) -> None:
            self.setOptionValue("output_flag", False)
            highspy.Highs.enableCallbacks(self)

    return Silent


def set_options(solver: Any, settings: Mapping[str, Any]) -> None:
    """Set options, silence first; InvalidOption for a value that HiGHS does not take."""
    solver.setOptionValue("output_flag", False)
    for name, value in sorted(settings.items(), key=lambda item: item[0] == "output_flag"):
        try:
            status = solver.setOptionValue(name, value)
        except TypeError as error:
            raise InvalidOption(f"HIGHS: {name} cannot be {value!r}: {error}") from None
        if str(status).endswith("kError"):
            raise InvalidOption(f"HIGHS: {name} cannot be {value!r}")


@lru_cache(maxsize=64)
def check_options(settings: tuple[tuple[str, Any], ...]) -> None:
    """A wrong value is an error of the call, not of a sample."""
    set_options(_silent_class()(), dict(settings))
