"""CVXPY: any of its installed solvers by name, through a problem written on the canonical data.

https://www.cvxpy.org; only what CVXPY documents is used: problems, get_problem_data, the chain that
it returns, unpack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import cvxpy as cp
import numpy as np

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.errors import InvalidOption, UnsuitableSolver
from cvxlpgd.program import ConeProgram, Solution, Status
from cvxlpgd.solvers.cvxpy.options import TABLE, CvxpyRow, flat, nested
from cvxlpgd.solvers.cvxpy.problem import SampleProblem
from cvxlpgd.solvers.options import checked_options
from cvxlpgd.solvers.run.each import Answer, Sample, sample, solve_each

_STATUS = {
    cp.OPTIMAL: Status.SOLVED,
    cp.OPTIMAL_INACCURATE: Status.INACCURATE,
    cp.settings.USER_LIMIT: Status.INACCURATE,
    cp.INFEASIBLE: Status.INFEASIBLE,
    cp.INFEASIBLE_INACCURATE: Status.INFEASIBLE,
    cp.UNBOUNDED: Status.UNBOUNDED,
    cp.UNBOUNDED_INACCURATE: Status.UNBOUNDED,
}
_ALL = frozenset({Zero, NonNeg, SOC, PSD, Exp, Pow})
_USUAL_ACCURACY = 1e-6  # of tolerances that the table does not know


@dataclass(frozen=True, init=False)
class CVXPY:
    """A solver of cvxpy.installed_solvers(), such as `CVXPY("MOSEK", eps=1e-9)`.

    Parameters
    ----------
    name : str
        As CVXPY writes it, in upper or lower case.
    options
        The options that CVXPY passes to that solver, and `eps`, `time_limit` and `verbose` where
        the solver has them. Where the defaults of common solvers are loose, tighter ones are used.

    Raises
    ------
    InvalidOption
        For a name that CVXPY does not know, or an option that the solver does not have.
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    arrays = "numpy"

    def __init__(self, name: str, **options: Any) -> None:
        object.__setattr__(self, "name", _known(name))
        row, given = self._row, flat(options)
        if "eps" in given and not row.tolerances:
            raise InvalidOption(
                f"cvxlpgd does not know what {self.name} calls its tolerances; give them by the "
                "names in its own documentation instead of eps"
            )
        known = {*row.tolerances, *([row.time_limit] if row.time_limit else [])}
        if row.names is None or self.name not in _installed():
            known |= {"verbose", *given} - {"eps", "time_limit"}
        elif given:
            names = row.names()
            known |= names | {name for name in given if name.partition(":")[0] in names}
        chosen = checked_options(self.name, given, frozenset(known), row.tolerances, row.time_limit)
        object.__setattr__(self, "options", tuple(sorted(chosen.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """This solver with more options."""
        return type(self)(self.name, **(dict(self.options) | flat(options)))

    @property
    def requires(self) -> tuple[str, ...]:
        """CVXPY, and what to install where CVXPY does not find the solver."""
        if self.name in _installed():
            return ("cvxpy",)
        return ("cvxpy", self._row.install or self.name.lower())

    @property
    def cones(self) -> frozenset[type]:
        """The cones that CVXPY compiles for this solver."""
        return frozenset(cone for cone in _ALL if _takes(self.name, frozenset({cone})))

    @property
    def quadratic(self) -> bool:
        """Whether CVXPY compiles a quadratic objective for it."""
        return _takes(self.name, frozenset({NonNeg}), quadratic=True)

    @property
    def integer(self) -> bool:
        """Whether CVXPY compiles integer variables for it."""
        return _takes(self.name, frozenset({NonNeg}), integer=True)

    @property
    def accuracy(self) -> float:
        """The largest of its tolerances, 1e-6 where they are not known."""
        settings, names = self._row.defaults | dict(self.options), self._row.tolerances
        known = [settings.get(name, _USUAL_ACCURACY) for name in names]
        return float(max(known, default=_USUAL_ACCURACY))

    @property
    def _row(self) -> CvxpyRow:
        return TABLE.get(self.name, CvxpyRow(""))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; samples with the same P and A share one compiled problem.

        Raises
        ------
        UnsuitableSolver
            Where CVXPY cannot compile the program for this solver.
        """
        structure, data = program.structure, program.data
        kinds = frozenset(type(cone) for cone in structure.cones)
        quadratic = structure.P.size > 0
        if not (kinds <= _ALL and _takes(self.name, kinds, quadratic, structure.mixed_integer)):
            raise UnsuitableSolver(
                f"CVXPY cannot compile for {self.name} what the program needs at once: "
                f"{', '.join(sorted(kind.__name__ for kind in kinds))} cones"
                f"{', a quadratic objective' * quadratic}"
                f"{', integer variables' * structure.mixed_integer}; choose another solver"
            )
        shared, problems = len(data.P) == len(data.A) == 1, dict[int, SampleProblem]()

        def one(i: int) -> Answer:
            w, key = sample(program, i), 0 if shared else i
            if key not in problems:
                problems.clear()
                problems[key] = SampleProblem(structure, w, self._row.pinned)
            problem = problems[key]
            solution = self._solution(problem, w)
            message = str(solution.status)
            if message == cp.settings.INFEASIBLE_OR_UNBOUNDED:
                # with q = 0 the objective is bounded
                feasible = self._solution(problem, w._replace(q=w.q * 0.0)).status
                unbounded = feasible in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
                return Answer(Status.UNBOUNDED if unbounded else Status.INFEASIBLE, message=message)
            status = _STATUS.get(message, Status.FAILED)
            iterations = int(solution.attr.get(cp.settings.NUM_ITERS) or 0)
            if status not in (Status.SOLVED, Status.INACCURATE):
                return Answer(status, iterations=iterations, message=message)
            x, y = np.ravel(solution.primal_vars[problem.x.id]), np.zeros(len(w.b))
            if not structure.mixed_integer:
                problem.cvxpy_problem.unpack(solution)
                y = problem.y()
            return Answer(status, x, y, w.b - w.A @ x, iterations, message)

        # One after the other: CVXPY and some of the solvers keep state of the whole process.
        return solve_each(program, one, parallel=False)

    def _solution(self, problem: SampleProblem, w: Sample) -> Any:
        """CVXPY's solution; Problem.solve would also warn, where the residuals are to judge."""
        problem.q.value, problem.b.value = w.q, w.b
        data, chain, inverse = problem.cvxpy_problem.get_problem_data(
            self.name, solver_opts=self._settings()
        )
        options = self._settings()
        verbose = bool(options.pop("verbose", False))
        raw = chain.solve_via_data(
            problem.cvxpy_problem, data, warm_start=False, verbose=verbose, solver_opts=options
        )
        return chain.invert(raw, inverse)

    def _settings(self) -> dict[str, Any]:
        return nested(self._row.defaults | dict(self.options))


@cache
def _installed() -> tuple[str, ...]:
    """CVXPY tries to import every solver that it knows, so it is asked once."""
    return tuple(cp.installed_solvers())


def _known(name: str) -> str:
    """CVXPY's spelling of a solver's name."""
    if not isinstance(name, str):
        raise InvalidOption(f"the name of a solver must be text, not {name!r}")
    upper, installed = name.upper(), _installed()
    if upper in installed or upper in TABLE or getattr(cp, upper, None) == upper:
        return upper
    raise InvalidOption(f"CVXPY has no solver {name!r}; installed are {', '.join(installed)}")


@cache
def _takes(
    name: str, cones: frozenset[type], quadratic: bool = False, integer: bool = False
) -> bool:
    """Whether CVXPY can compile a small problem of this kind for the solver."""
    x, X = cp.Variable(3, integer=integer), cp.Variable((2, 2), symmetric=True)
    samples = {
        Zero: x == 1,
        NonNeg: x >= 1,
        SOC: cp.SOC(x[0], x[1:]),
        PSD: X >> 0,
        Exp: cp.ExpCone(x[0], x[1], x[2]),
        Pow: cp.PowCone3D(x[0], x[1], x[2], 0.3),
    }
    objective = cp.Minimize(cp.sum_squares(x) if quadratic else cp.sum(x))
    try:
        cp.Problem(objective, [samples[cone] for cone in cones]).get_problem_data(name)
    except (cp.error.SolverError, ImportError):  # the latter where its own libraries clash
        return False
    return True
