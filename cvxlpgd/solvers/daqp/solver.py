"""DAQP: dense dual active sets, for strictly convex QPs and LPs (https://darnstrom.github.io/daqp)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Point, Solution, Status, Structure
from cvxlpgd.program.structure import latest_per_structure
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer, of_sample
from cvxlpgd.solvers.run.prepared import Start, solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import Reduced, Reduction, power_of_two

SOLVED = 1  # an exit flag
STATUS = {SOLVED: Status.SOLVED, -1: Status.INFEASIBLE, -3: Status.UNBOUNDED}
MESSAGES = {
    -1: "",  # the status says it
    -3: "",
    -2: "cycling",
    -4: "the iteration limit is reached",
    -5: "the objective is not strictly convex",
    -6: "the equalities contradict each other, or are redundant",
    -7: "the time limit is reached",
}
ACTIVE, LOWER, EQUALITY = 1, 2, 5  # of a row's `sense`
PROXIMAL = 1.0  # weight of a linear program's proximal term, with q and rows of size 1


@dataclass(frozen=True, init=False)
class DAQP(Configured):
    """DAQP with its own options, such as `DAQP(primal_tol=1e-8, iter_limit=1000)`.

    Options are those of https://darnstrom.github.io/daqp/parameters, and `eps` for primal_tol. By
    default that is 1e-10. The objective must be linear, or strictly convex in the variables that
    are left once those that equations define, as t = Sx does, are eliminated; others fail.
    """

    name = "DAQP"
    requires = ("daqp",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    known = Options(
        "primal_tol dual_tol zero_tol pivot_tol progress_tol cycle_tol iter_limit fval_bound "
        "sing_tol refactor_tol time_limit verbose",
        # An active set is exact up to rounding; tolerances only tell what is violated.
        defaults={"primal_tol": 1e-10, "dual_tol": 1e-12, "eps_prox": 0.0, "eq_reduction": -1},
        tolerances=("primal_tol",),
        time_limit="time_limit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, from the active set of `start`."""
        structure, bounds, settings = program.structure, Bounds.of(program), self.settings
        settings.pop("verbose", None)  # it has nothing to say
        if not structure.P.size:
            settings |= {"eps_prox": PROXIMAL, "eq_reduction": 0}
            linear = partial(_Linear, bounds, settings)
            # nothing of a set-up is worth keeping
            solution = solve_prepared(self, program, start, linear, lasting=False)
            return bounds.with_slack(solution, program)
        prepare = partial(_Quadratic, structure, _reductions(structure, bounds), settings)
        solution = solve_prepared(self, program, start, prepare, form=_Form(program))
        return bounds.with_slack(solution, program)


class _Form:
    """A batch's vectors of reduced programs, and the way back: at once if it shares matrices."""

    def __init__(self, program: ConeProgram) -> None:
        self.q, self.b, self.batch = program.data.q, program.data.b, program.batch
        self.shared = len(program.data.P) == len(program.data.A) == 1
        self.all: tuple[np.ndarray, ...] | None = None

    def vectors(self, i: int, setup: _Quadratic) -> tuple[np.ndarray, ...]:
        """(f, upper, lower) of the i-th sample."""
        if not self.shared:
            f, upper, lower = setup.model.vectors(*self._rows(i))
            return f[0], upper[0], lower[0]
        if self.all is None:  # two threads may do the same
            self.all = setup.model.vectors(self.q, self.b)
        return tuple(of_sample(v, i) for v in self.all)

    def point(self, answers: Sequence[Answer]) -> Point:
        """(x, y) of the whole programs; no slack."""
        (n, m), batch = (self.q.shape[1], self.b.shape[1]), self.batch
        x, y, s = np.full((batch, n), np.nan), np.full((batch, m), np.nan), np.full((batch, m), 0.0)
        solved = [i for i, answer in enumerate(answers) if answer.x is not None]
        if not solved:
            return Point(x, y, s)
        if not self.shared:
            for i in solved:
                u, multipliers = (np.array([answers[i][k]]) for k in (1, 2))
                x[i], y[i] = answers[i].state.model.point(u, multipliers, *self._rows(i))
            return Point(x, y, s)
        u, multipliers = (np.array([answers[i][k] for i in solved]) for k in (1, 2))
        q, b = (v if len(v) == 1 or len(solved) == batch else v[solved] for v in (self.q, self.b))
        x[solved], y[solved] = answers[solved[0]].state.model.point(u, multipliers, q, b)
        return Point(x, y, s)

    def _rows(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return of_sample(self.q, i)[None], of_sample(self.b, i)[None]


class _Quadratic:
    """One pair of matrices in a DAQP model."""

    def __init__(
        self,
        structure: Structure,
        reductions: _Reductions,
        settings: Mapping[str, Any],
        P: np.ndarray,
        A: np.ndarray,
    ) -> None:
        self.model = _model(structure, reductions, settings, P, A)
        if self.model.flag < 0:
            words = _message(self.model.flag)
            raise ValueError(f"{words}; take another solver, such as Clarabel()")

    def solve(
        self, f: np.ndarray, upper: np.ndarray, lower: np.ndarray, start: Start | None
    ) -> Answer:
        """The solution u of a reduced program, and the multipliers of its limits."""
        model, active = self.model, None if start is None else start.state
        if active is not None and len(active.model.cold) != len(model.cold):
            active = None  # of the other elimination
        u, flag, info = self._run(f, upper, lower, model.cold if active is None else active.sense)
        if active is not None and flag != SOLVED:
            u, flag, info = self._run(f, upper, lower, model.cold)
        iterations = info["iterations"]
        if flag != SOLVED:
            status = STATUS.get(flag, Status.FAILED)
            return Answer(status, iterations=iterations, message=_message(flag))
        multipliers = info["lam"]
        state = _Active(multipliers, model)
        return Answer(Status.SOLVED, u, multipliers, None, iterations, state=state)

    def _run(
        self, f: np.ndarray, upper: np.ndarray, lower: np.ndarray, sense: np.ndarray
    ) -> tuple[Any, int, dict[str, Any]]:
        """(u, exit flag, info) from the active set that `sense` says."""
        daqp = self.model.daqp
        flag = daqp.update(f=f, bupper=upper, blower=lower, sense=sense.copy())
        if flag < 0:
            return None, flag, {"iterations": 0}
        u, _, flag, info = daqp.solve()
        return u, flag, info


def _message(flag: int) -> str:
    return MESSAGES.get(flag, f"exit flag {flag}")


def strictly_convex(program: ConeProgram) -> bool:
    """Whether DAQP takes the first sample's P, once defined variables are eliminated."""
    w = program.data
    reductions = _reductions(program.structure, Bounds.of(program))
    P, A = of_sample(w.P, 0), of_sample(w.A, 0)
    return _model(program.structure, reductions, DAQP.known.defaults, P, A).flag >= 0


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
    return _Reductions(
        first, wider if len(wider.columns.defined) > len(first.columns.defined) else None
    )


class _Model(NamedTuple):
    """A DAQP model of a reduced program, refused where flag < 0."""

    flag: int
    daqp: Any
    reduced: Reduced
    cold: np.ndarray  # its `sense` where no active set is known
    size: int  # how many of its limits are the program's: DAQP wants one at least

    def vectors(self, q: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """(f, upper, lower) of samples, see `Reduced.vectors`."""
        f, upper, lower = self.reduced.vectors(q, b)
        if self.size < len(self.cold):
            one = np.ones((len(upper), 1))
            upper, lower = np.hstack([upper, one]), np.hstack([lower, -np.inf * one])
        return f, upper, lower

    def point(
        self, u: np.ndarray, multipliers: np.ndarray, q: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of samples, see `Reduced.point`."""
        return self.reduced.point(u, multipliers[:, : self.size], q, b)


def _model(
    structure: Structure,
    reductions: _Reductions,
    settings: Mapping[str, Any],
    P: np.ndarray,
    A: np.ndarray,
) -> _Model:
    """The first model that DAQP does not refuse, else the first one."""
    varies = len(structure.varying.P) + len(structure.varying.A) > 0
    of_constants = None if varies else _reduced_constants(structure, (reductions.first, P, A))
    first = _reduced_model(of_constants or reductions.first.at(P, A), settings)
    wider = reductions.second if first.flag < 0 else None
    if wider is None or not A[wider.columns.pivots].all():
        return first
    second = _reduced_model(wider.at(P, A), settings)
    return first if second.flag < 0 else second


Matrices = tuple[Reduction, np.ndarray, np.ndarray]


def _are_same(one: Matrices, other: Matrices) -> bool:
    return one[0] is other[0] and all(map(np.array_equal, one[1:], other[1:]))


@latest_per_structure(_are_same)
def _reduced_constants(structure: Structure, matrices: Matrices) -> Reduced:
    """The reduced matrices of a structure whose matrices no parameter reaches."""
    reduction, P, A = matrices
    return reduction.at(P, A)


def _reduced_model(reduced: Reduced, settings: Mapping[str, Any]) -> _Model:
    import daqp

    reduction = reduced.reduction
    size = reduction.bounded + len(reduction.columns.rows)
    # DAQP wants a row: 0 u <= 1
    cold = np.zeros(max(size, reduction.bounded + 1), dtype=np.intc)
    cold[reduction.bounded : reduction.bounded + reduction.equalities] = EQUALITY
    rows = reduced.A if len(reduced.A) else np.zeros((1, len(reduced.H)))
    model, f, b = daqp.Model(), np.zeros(len(reduced.H)), np.zeros(len(cold))
    model.settings = dict(settings)
    flag, _ = model.setup(reduced.H, f, rows, b, b, cold.copy())
    return _Model(flag, model, reduced, cold, size)


@dataclass(frozen=True, eq=False)
class _Active:
    """An active set, by the signs of its multipliers."""

    multipliers: np.ndarray
    model: _Model

    @cached_property
    def sense(self) -> np.ndarray:
        """As DAQP wants it."""
        active = ACTIVE * (self.multipliers != 0) + LOWER * (self.multipliers < 0)
        sense = np.where(self.model.cold == EQUALITY, EQUALITY, active)
        return np.asarray(sense, dtype=np.intc)


class _Linear:
    """One linear program's A as DAQP reads it; remembers the limits of its newest b.

        minimize q'x   subject to  l <= [x; Ax] <= r

    DAQP's proximal-point iterations begin from nothing each time: for some tens of variables that
    is faster than a simplex method that begins at a basis.
    """

    def __init__(
        self, bounds: Bounds, settings: dict[str, Any], P: np.ndarray, A: np.ndarray
    ) -> None:
        self.bounds, self.settings = bounds, settings
        self.sense = np.zeros(bounds.n + len(bounds.rows), dtype=np.intc)
        self.sense[bounds.n : bounds.n + bounds.equalities] = EQUALITY
        rows = np.ascontiguousarray(bounds.pattern.matrix(A[bounds.entries]).toarray())
        # rows far from size 1 would be taken for empty ones
        self.heights = power_of_two(np.abs(rows).max(axis=1, initial=0.0))
        self.rows = rows / self.heights[:, None]
        self.b: np.ndarray | None = None
        self.limits: tuple[np.ndarray, np.ndarray]

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        import daqp

        if self.b is None or not np.array_equal(self.b, b):
            self.b, self.limits = b.copy(), self._limits(b)
        scale = 2.0 ** math.frexp(max(q.max(), -q.min()))[1]  # rounds nothing
        x, _, flag, info = daqp.solve(
            None, q / scale, self.rows, *self.limits, self.sense.copy(), **self.settings
        )
        if flag != SOLVED:
            # its proximal iterations call bounded programs unbounded at times: no verdict
            message = MESSAGES.get(flag) or "no solution was found"
            return Answer(Status.FAILED, iterations=info["iterations"], message=message)
        multipliers, n = info["lam"] * scale, len(q)
        of_bounds, of_rows = multipliers[:n], multipliers[n:] / self.heights
        y = self.bounds.duals(of_rows, np.maximum(-of_bounds, 0.0), np.maximum(of_bounds, 0.0))
        return Answer(Status.SOLVED, x, y, None, info["iterations"], setups=1)

    def _limits(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(r, l): those of the variables, then those of the rows."""
        bounds = self.bounds
        lower, upper = bounds.limits(b)
        right = b[bounds.rows] / self.heights
        left = np.full(len(right), -np.inf)
        left[: bounds.equalities] = right[: bounds.equalities]
        return np.concatenate([upper, right]), np.concatenate([lower, left])
