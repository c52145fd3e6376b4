"""DAQP: a dense dual active-set solver for strictly convex QPs (https://darnstrom.github.io/daqp)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers._bounds import Bounds
from cvxlpgd.solvers._each import Answer
from cvxlpgd.solvers._prepared import Solve, Start, solve_prepared
from cvxlpgd.solvers._protocol import checked_options
from cvxlpgd.solvers._reduce import Reduction

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
}
# An active set is exact up to rounding; the tolerances only tell which constraints are violated.
_DEFAULTS = {"primal_tol": 1e-10, "dual_tol": 1e-12, "eps_prox": 0.0, "eq_reduction": -1}
ACTIVE, LOWER, EQUALITY = 1, 2, 5  # of DAQP's `sense`


@dataclass(frozen=True, init=False)
class DAQP:
    """DAQP with its own options, such as `DAQP(primal_tol=1e-8, iter_limit=1000)`.

    Options are those of https://darnstrom.github.io/daqp/parameters, and `eps` for primal_tol. By
    default that is 1e-10. The objective must be strictly convex in the variables that are left once
    those that equations define, as t = Sx does, are eliminated; other programs fail.
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
        import daqp

        structure, settings = program.structure, _DEFAULTS | dict(self.options)
        settings.pop("verbose", None)  # it has nothing to say
        bounds = Bounds.of(program)
        reduction = Reduction.of(structure, bounds)
        count = reduction.bounded + len(reduction.rows)
        base = np.zeros(max(count, reduction.bounded + 1), dtype=np.intc)
        base[reduction.bounded : reduction.bounded + reduction.equalities] = EQUALITY

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            reduced = reduction.at(P, A)
            model = daqp.Model()
            model.settings = settings
            zeros = np.zeros(len(base))
            # DAQP wants a row: 0 u <= 1
            rows = reduced.A if len(reduced.A) else np.zeros((1, len(reduced.H)))
            linear = np.zeros(len(reduced.H))
            flag, _ = model.setup(reduced.H, linear, rows, zeros, zeros, base.copy())
            if flag < 0:
                raise ValueError(
                    f"{_WORDS.get(flag, f'exit flag {flag}')}; take another solver, such as "
                    "Clarabel()"
                )

            def solved(f: np.ndarray, upper: np.ndarray, lower: np.ndarray, sense: Any) -> Any:
                flag = model.update(f=f, bupper=upper, blower=lower, sense=sense)
                return (None, None, flag, {"iterations": 0}) if flag < 0 else model.solve()

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                f, upper, lower = reduced.vectors(q, b)
                if len(upper) < len(base):
                    upper, lower = np.append(upper, 1.0), np.append(lower, -np.inf)
                state = begin.state if begin is not None else None
                sense = base if state is None else state.sense
                u, _, flag, info = solved(f, upper, lower, sense.copy())
                if state is not None and flag != 1:
                    u, _, flag, info = solved(f, upper, lower, base.copy())
                if flag != 1:
                    status = _STATUS.get(flag, Status.FAILED)
                    words = _WORDS.get(flag, f"exit flag {flag}")
                    return Answer(status, iterations=info["iterations"], message=words)
                multipliers = info["lam"]
                x, y = reduced.point(u, multipliers[:count], q, b)
                state = _Active(multipliers, base)
                return Answer(Status.SOLVED, x, y, None, info["iterations"], state=state)

            return solve

        solution = solve_prepared(self, program, start, prepare, parallel=False)
        return bounds.with_slack(solution, program)


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
