"""One pair of matrices in a HiGHS object: the model, vectors in, run, answer out."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.program import Status, Structure
from cvxlpgd.solvers.highs.model import highs_model, limits
from cvxlpgd.solvers.highs.objects import set_options, silent_class
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start
from cvxlpgd.solvers.translate.bounds import Bounds

PRIMAL_SIMPLEX = 4
REGULARIZED = 1e-7
_VALUES = ("objective_function_value", "mip_dual_bound")
_COUNTS = ("simplex_iteration_count", "ipm_iteration_count", "qp_iteration_count")


class _State(NamedTuple):
    """Where a sample's solve ended, and the b it was for."""

    basis: Any
    b: np.ndarray

    def __reduce__(self) -> tuple[Any, ...]:
        """The basis by the statuses of its columns and rows."""
        basis = self.basis
        statuses = [
            np.array([int(status) for status in part], dtype=np.int8)
            for part in (basis.col_status, basis.row_status)
        ]
        return _state, (*statuses, basis.valid, self.b)


def _state(columns: np.ndarray, rows: np.ndarray, valid: bool, b: np.ndarray) -> _State:
    """The state with a basis of these statuses."""
    import highspy

    statuses = {int(v): v for v in highspy.HighsBasisStatus.__members__.values()}
    basis = highspy.HighsBasis()
    basis.col_status, basis.row_status = (
        [statuses[k] for k in part.tolist()] for part in (columns, rows)
    )
    basis.valid, basis.alien = valid, False
    return _State(basis, b)


_process = os.getpid()


def _leave_parents_scheduler(highspy: Any) -> None:
    """In a forked process, forget a scheduler whose threads stayed behind in the parent.

    A run would wait for them, and so would a reset that blocks.
    """
    global _process
    if _process != os.getpid():
        _process = os.getpid()
        highspy.Highs.resetGlobalScheduler(False)


class Setup:
    """One pair of matrices in a HiGHS object, which remembers its options and its newest b."""

    def __init__(
        self,
        structure: Structure,
        bounds: Bounds,
        settings: dict[str, Any],
        interior: bool,
        P: np.ndarray,
        A: np.ndarray,
    ) -> None:
        """If `interior`, what has no basis to begin at is solved by an interior point."""
        import highspy

        self.highspy, self.settings = highspy, settings
        self.structure, self.bounds = structure, bounds
        self.linear = not structure.P.size and not structure.mixed_integer
        self.columns = np.arange(structure.n, dtype=np.int32)
        self.rows = np.arange(len(bounds.rows), dtype=np.int32)
        self.below = np.full(len(bounds.rows), -np.inf)
        self.simplex = settings.get("simplex_strategy", 1)
        self.interior = interior
        self.options = {"simplex_strategy": self.simplex}  # as they are by now
        self.b: np.ndarray | None = None
        self.solver = silent_class()()
        set_options(self.solver, settings)
        self.solver.passModel(highs_model(structure, bounds, P, A))

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        """Solve for these vectors (n,) and (m,), a linear program from the basis of `start`.

        The answer has x and HiGHS' duals of rows and of columns, see `Form`.
        """
        solver = self.solver
        solver.clearSolver()
        solver.changeColsCost(len(self.columns), self.columns, q)
        own_b = self._set_bounds(b)
        state = start.state if start is not None and self.linear else None
        self._begin_at(state, b)
        status, message = self._run()
        counts = _COUNTS[: 1 + self.interior] if self.linear else _COUNTS
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
            return Answer(status, x, None, None, iterations, message, gap=gap)
        rows, columns = np.array(point.row_dual), np.array(point.col_dual)
        basis = _State(solver.getBasis(), own_b) if self.linear else None
        return Answer(status, x, rows, columns, iterations, message, basis)

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
        if self.interior:
            self._set_option("solver", "ipx" if state is None else "simplex")
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
        if self.options.get("solver") == "ipx" and status == Status.SOLVED:
            # the vertex that it crossed over to is known to the interior point's accuracy; from no
            # basis, where it did not cross over, simplex begins anew
            basis = self.solver.getBasis()
            self._set_option("solver", "simplex")
            self.solver.clearSolver()
            if basis.valid:
                self.solver.setBasis(basis)
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
        _leave_parents_scheduler(self.highspy)
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
