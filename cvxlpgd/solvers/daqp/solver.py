"""DAQP: dense dual active sets, for strictly convex QPs and LPs (https://darnstrom.github.io/daqp)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import is_
from typing import Any, NamedTuple, Self

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.program.memo import latest_per_structure
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.daqp.linear import solve_linear
from cvxlpgd.solvers.protocol import checked_options
from cvxlpgd.solvers.run.each import Answer, row
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import Reduced, Reduction

_STATUS = {
    1: Status.SOLVED,
    -1: Status.INFEASIBLE,
    -3: Status.UNBOUNDED,
}
_WORDS = {
    -1: "",  # the status says it
    -3: "",
    -2: "cycling",
    -4: "the iteration limit is reached",
    -5: "the objective is not strictly convex",
    -6: "the equalities contradict each other, or are redundant",
    -7: "the time limit is reached",
}
# An active set is exact up to rounding; the tolerances only tell which constraints are violated.
_DEFAULTS = {"primal_tol": 1e-10, "dual_tol": 1e-12, "eps_prox": 0.0, "eq_reduction": -1}
ACTIVE, LOWER, EQUALITY = 1, 2, 5  # of DAQP's `sense`


@dataclass(frozen=True, init=False)
class DAQP:
    """DAQP with its own options, such as `DAQP(primal_tol=1e-8, iter_limit=1000)`.

    Options are those of https://darnstrom.github.io/daqp/parameters, and `eps` for primal_tol. By
    default that is 1e-10. The objective must be linear, or strictly convex in the variables that
    are left once those that equations define, as t = Sx does, are eliminated; others fail.
    """

    options: tuple[tuple[str, Any], ...]
    name = "DAQP"
    requires = ("daqp",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    integer = False
    arrays = "numpy"
    option_names = frozenset(
        "primal_tol dual_tol zero_tol pivot_tol progress_tol cycle_tol iter_limit fval_bound "
        "sing_tol refactor_tol time_limit verbose".split()
    )

    def __init__(self, **options: Any) -> None:
        own = checked_options(self.name, options, self.option_names, ("primal_tol",), "time_limit")
        object.__setattr__(self, "options", tuple(sorted(own.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options."""
        return type(self)(**(dict(self.options) | dict(options)))

    @property
    def accuracy(self) -> float:
        """The tolerance of violated constraints."""
        return float((_DEFAULTS | dict(self.options))["primal_tol"])

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, from the active set of `start`."""
        structure, settings = program.structure, _DEFAULTS | dict(self.options)
        settings.pop("verbose", None)  # it has nothing to say
        if not structure.P.size:
            return solve_linear(self, settings, _WORDS, program, start)
        bounds = Bounds.of(program)
        reductions = _reductions(structure, bounds)

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            made = _set_up(reductions, settings, P, A)
            if made.flag < 0:
                raise ValueError(
                    f"{_WORDS.get(made.flag, f'exit flag {made.flag}')}; take another solver, such "
                    "as Clarabel()"
                )
            model, reduced, base, size = made.model, made.reduced, made.base, made.size

            def solved(f: np.ndarray, upper: np.ndarray, lower: np.ndarray, sense: Any) -> Any:
                flag = model.update(f=f, bupper=upper, blower=lower, sense=sense)
                return (None, None, flag, {"iterations": 0}) if flag < 0 else model.solve()

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                f, upper, lower = reduced.vectors(q, b)
                if len(upper) < len(base):
                    upper, lower = np.append(upper, 1.0), np.append(lower, -np.inf)
                state = begin.state if begin is not None else None
                if state is not None and len(state.base) != len(base):
                    state = None  # of the other elimination
                sense = base if state is None else state.sense
                u, _, flag, info = solved(f, upper, lower, sense.copy())
                if state is not None and flag != 1:
                    u, _, flag, info = solved(f, upper, lower, base.copy())
                if flag != 1:
                    return _unsolved(flag, info["iterations"])
                multipliers = info["lam"]
                x, y = reduced.point(u, multipliers[:size], q, b)
                state = _Active(multipliers, base)
                return Answer(Status.SOLVED, x, y, None, info["iterations"], state=state)

            return solve

        solution = solve_prepared(self, program, start, prepare)
        return bounds.with_slack(solution, program)


def _unsolved(flag: int, iterations: int) -> Answer:
    """The answer for an exit flag, without a point."""
    words = _WORDS.get(flag, f"exit flag {flag}")
    return Answer(_STATUS.get(flag, Status.FAILED), iterations=iterations, message=words)


def strictly_convex(program: ConeProgram) -> bool:
    """Whether DAQP takes the first sample's P, once defined variables are eliminated."""
    w = program.data
    reductions = _reductions(program.structure, Bounds.of(program))
    return _set_up(reductions, _DEFAULTS, row(w.P, 0), row(w.A, 0)).flag >= 0


class _Reductions(NamedTuple):
    """The ways to eliminate variables, in the order in which they are tried.

    First without canonicalization's own variables: more of P stays diagonal, which is faster. Then
    without the user's defined variables too; None where there are none.
    """

    first: Reduction
    second: Reduction | None


@latest_per_structure(is_)
def _reductions(structure: Structure, bounds: Bounds) -> _Reductions:
    first, wider = (Reduction.of(structure, bounds, user) for user in (False, True))
    return _Reductions(first, wider if len(wider.defined) > len(first.defined) else None)


class _SetUp(NamedTuple):
    """A model, its program, its `sense` when cold, and how many multipliers are the program's."""

    flag: int
    model: Any
    reduced: Reduced
    base: np.ndarray
    size: int


def _set_up(
    reductions: _Reductions, settings: Mapping[str, Any], P: np.ndarray, A: np.ndarray
) -> _SetUp:
    """The first set-up that DAQP takes, else the one that it refused; flag < 0 is a refusal."""
    made = _set_up_with(reductions.first, settings, P, A)
    wider = reductions.second if made.flag < 0 else None
    if wider is None or not A[wider.pivots].all():
        return made
    again = _set_up_with(wider, settings, P, A)
    return made if again.flag < 0 else again


def _set_up_with(
    reduction: Reduction, settings: Mapping[str, Any], P: np.ndarray, A: np.ndarray
) -> _SetUp:
    import daqp

    reduced = reduction.at(P, A)
    size = reduction.bounded + len(reduction.rows)
    # DAQP wants a row: 0 u <= 1
    base = np.zeros(max(size, reduction.bounded + 1), dtype=np.intc)
    base[reduction.bounded : reduction.bounded + reduction.equalities] = EQUALITY
    rows = reduced.A if len(reduced.A) else np.zeros((1, len(reduced.H)))
    model, zeros = daqp.Model(), np.zeros(len(base))
    model.settings = dict(settings)
    linear = np.zeros(len(reduced.H))
    flag, _ = model.setup(reduced.H, linear, rows, zeros, zeros, base.copy())
    return _SetUp(flag, model, reduced, base, size)


@dataclass(frozen=True, eq=False)
class _Active:
    """An active set, by the signs of its multipliers."""

    multipliers: np.ndarray
    base: np.ndarray

    @cached_property
    def sense(self) -> np.ndarray:
        """As DAQP wants it."""
        of_set = ACTIVE * (self.multipliers != 0) + LOWER * (self.multipliers < 0)
        sense = np.where(self.base == EQUALITY, EQUALITY, of_set)
        return np.asarray(sense, dtype=np.intc)
