"""CVXPY: any of its installed solvers by name, through a problem written on the canonical data.

https://www.cvxpy.org; only what CVXPY documents is used: problems, get_problem_data, the chain that
it returns, unpack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

import cvxpy as cp
import numpy as np

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.errors import InvalidOption, UnsuitableSolver
from cvxlpgd.program import ConeProgram, Solution, Status
from cvxlpgd.solvers._cvxpy_options import TABLE, Options, flat, nested
from cvxlpgd.solvers._cvxpy_problem import Written
from cvxlpgd.solvers._each import Answer, Sample, sample, solve_each
from cvxlpgd.solvers._protocol import checked_options

_STATUS = {
    cp.OPTIMAL: Status.SOLVED,
    cp.OPTIMAL_INACCURATE: Status.INACCURATE,
    cp.settings.USER_LIMIT: Status.INACCURATE,
    cp.INFEASIBLE: Status.INFEASIBLE,
    cp.INFEASIBLE_INACCURATE: Status.INFEASIBLE,
    cp.UNBOUNDED: Status.UNBOUNDED,
    cp.UNBOUNDED_INACCURATE: Status.UNBOUNDED,
}
_USUAL_ACCURACY = 1e-6  # of solvers whose tolerances the table does not know


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
        own, given = self._own, flat(options)
        if "eps" in given and not own.tolerances:
            raise InvalidOption(
                f"cvxlpgd does not know what {self.name} calls its tolerances; give them by the "
                "names in its own documentation instead of eps"
            )
        names = own.names or frozenset(given) - {"eps", "time_limit"} | {*own.tolerances, "verbose"}
        known = names if own.time_limit is None else names | {own.time_limit}
        chosen = checked_options(self.name, given, known, own.tolerances, own.time_limit)
        object.__setattr__(self, "options", tuple(sorted(chosen.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options."""
        return type(self)(self.name, **(dict(self.options) | flat(options)))

    @property
    def requires(self) -> tuple[str, ...]:
        """CVXPY, and what to install where CVXPY does not find the solver."""
        if self.name in cp.installed_solvers():
            return ("cvxpy",)
        return ("cvxpy", self._own.install or self.name.lower())

    @property
    def cones(self) -> frozenset[type]:
        """The cones that CVXPY compiles for this solver."""
        return _abilities(self.name).cones

    @property
    def quadratic(self) -> bool:
        """Whether CVXPY compiles a quadratic objective for it."""
        return _abilities(self.name).quadratic

    @property
    def integer(self) -> bool:
        """Whether CVXPY compiles integer variables for it."""
        return _abilities(self.name).integer

    @property
    def accuracy(self) -> float:
        """The largest of its tolerances, 1e-6 where their names are not known."""
        settings = self._own.defaults | dict(self.options)
        return float(max((settings[t] for t in self._own.tolerances), default=_USUAL_ACCURACY))

    @property
    def _own(self) -> Options:
        return TABLE.get(self.name, Options(""))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; samples with the same P and A share one compiled problem.

        Raises
        ------
        UnsuitableSolver
            Where CVXPY cannot compile the program for this solver.
        """
        w, mixed_integer = program.data, program.structure.mixed_integer
        written = Written(program.structure, sample(program, 0))
        try:
            self._compiled(written, sample(program, 0))
        except cp.error.SolverError as error:
            raise UnsuitableSolver(f"{error} Choose another solver.") from error
        shared, problems = len(w.P) == len(w.A) == 1, {0: written}

        def one(i: int) -> Answer:
            w = sample(program, i)
            if not shared and i not in problems:
                problems.clear()
                problems[i] = Written(program.structure, w)
            written = problems[0 if shared else i]
            solution = self._solved(written, w)
            message = str(solution.status)
            if message == cp.settings.INFEASIBLE_OR_UNBOUNDED:
                # with q = 0 the objective is bounded
                feasible = self._solved(written, w._replace(q=w.q * 0.0)).status
                unbounded = feasible in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
                return Answer(Status.UNBOUNDED if unbounded else Status.INFEASIBLE, message=message)
            status = _STATUS.get(message, Status.FAILED)
            iterations = int(solution.attr.get(cp.settings.NUM_ITERS) or 0)
            if status not in (Status.SOLVED, Status.INACCURATE):
                return Answer(status, iterations=iterations, message=message)
            written.problem.unpack(solution)
            x = written.x.value
            y = np.zeros(len(w.b)) if mixed_integer else written.y()
            return Answer(status, x, y, w.b - w.A @ x, iterations, message)

        # One after the other: CVXPY and some of the solvers keep state of the whole process.
        return solve_each(program, one, parallel=False)

    def _compiled(self, written: Written, w: Sample) -> tuple[Any, Any, Any]:
        written.q.value, written.b.value = w.q, w.b
        return written.problem.get_problem_data(self.name, solver_opts=self._settings())

    def _solved(self, written: Written, w: Sample) -> Any:
        """CVXPY's solution; Problem.solve would also warn, where the residuals are to judge."""
        data, chain, inverse = self._compiled(written, w)
        options = self._settings()
        verbose = bool(options.pop("verbose", False))
        raw = chain.solve_via_data(
            written.problem, data, warm_start=False, verbose=verbose, solver_opts=options
        )
        return chain.invert(raw, inverse)

    def _settings(self) -> dict[str, Any]:
        return nested(self._own.defaults | dict(self.options))


def _known(name: str) -> str:
    """CVXPY's spelling of a solver's name."""
    upper, installed = name.upper(), cp.installed_solvers()
    if upper in installed or upper in TABLE or getattr(cp, upper, None) == upper:
        return upper
    raise InvalidOption(f"CVXPY has no solver {name!r}; installed are {', '.join(installed)}")


class _Abilities(NamedTuple):
    cones: frozenset[type]
    quadratic: bool
    integer: bool


@cache
def _abilities(name: str) -> _Abilities:
    """What CVXPY can compile for a solver, found out by small problems."""
    x, X, k = cp.Variable(3), cp.Variable((2, 2), symmetric=True), cp.Variable(3, integer=True)
    samples = {
        Zero: x == 1,
        NonNeg: x >= 1,
        SOC: cp.SOC(x[0], x[1:]),
        PSD: X >> 0,
        Exp: cp.ExpCone(x[0], x[1], x[2]),
        Pow: cp.PowCone3D(x[0], x[1], x[2], 0.3),
    }

    def compiles(objective: Any, constraint: Any) -> bool:
        try:
            cp.Problem(cp.Minimize(objective), [constraint]).get_problem_data(name)
        except cp.error.SolverError:
            return False
        return True

    return _Abilities(
        frozenset(cone for cone, constraint in samples.items() if compiles(x[0], constraint)),
        compiles(cp.sum_squares(x), x >= 1),
        compiles(k[0], k >= 1),
    )
