"""One pair of matrices in a Gurobi model: the model, vectors in, run, answer out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from cvxlpgd.program import Status, Structure
from cvxlpgd.solvers.gurobi.conic import Conic
from cvxlpgd.solvers.gurobi.environment import home, new_model
from cvxlpgd.solvers.gurobi.model import Linear, quadratic
from cvxlpgd.solvers.gurobi.statuses import (
    INFEASIBLE,
    NAMES,
    NUMERIC,
    OPEN,
    OPTIMAL,
    SHORT,
    STATUS,
    UNBOUNDED,
)
from cvxlpgd.solvers.highs.model import limits
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start
from cvxlpgd.solvers.translate.bounds import Bounds

PRIMAL, DUAL, BARRIER = 0, 1, 2  # of Method
# A linear program is solved by primal simplex where its first point, all variables at bounds,
# violates at most this share of the rows, else by dual simplex. ms: shortest paths on 5, 20 and 30
# nodes a side, where two rows are violated, 0.03, 0.4, 1.2 by primal, 0.05, 1.3, 4.4 by dual;
# assignment of 20 and 40, all rows, 0.24, 1.0 and 0.12, 0.4; random, n = 400, 7.5 and 4.6.
VIOLATED = 0.1
# To read a basis and to begin at it costs as much as tens of pivots.
WORTH_KEEPING = 100  # pivots
TOO_LARGE = "the program is larger than the license allows"


class _State(NamedTuple):
    """Where a linear program's solve ended, and the b it was for."""

    columns: np.ndarray
    rows: np.ndarray
    b: bytes


class Setup:
    """One pair of matrices in a Gurobi model, which remembers its parameters and its newest b.

    A model is reset before each solve: it must not remember what it solved before.
    """

    def __init__(
        self,
        structure: Structure,
        linear: Linear,
        bounds: Bounds,
        settings: Mapping[str, Any],
        chosen: bool,
        P: np.ndarray,
        A: np.ndarray,
        pin: bool = True,
    ) -> None:
        """If `chosen`, the method of linear programs is the user's."""
        import gurobipy

        self.gurobipy = gurobipy
        # what is kept for a structure must not keep it
        self.structure, self.of, self.bounds = linear.structure, ref(structure), bounds
        self.entries, self.settings, self.P, self.A = linear.entries, settings, P, A
        self.linear, self.chosen, self.pin = linear, chosen, pin
        self.curved, self.mixed = structure.m > bounds.m, structure.mixed_integer
        self.is_linear = not (self.curved or structure.P.size or self.mixed)
        self.pivots = self.is_linear and not chosen
        self.sound = True
        self._build(structure)

    def _build(self, structure: Structure) -> None:
        """The model, in this thread's environment."""
        bounds, self.home = self.bounds, home()
        self.seen, self.empty, self.cold = b"", "", DUAL
        self.values: dict[str, Any] = {}  # of parameters that were changed
        self.other: Setup | None = None  # without pins
        self.conic = Conic(structure, bounds, self.A, self.pin) if self.curved else None
        own = dict(self.settings)
        if self.conic is not None and self.conic.disks_only and not self.mixed:
            own = {"Presolve": 0} | own  # measured: it saves less than it takes
        with self.home.lock:
            self.model = model = new_model(self.home, own)
            kinds = np.full(structure.n, "C")
            kinds[structure.integer], kinds[structure.boolean] = "I", "B"
            self.x = model.addMVar(structure.n, lb=-np.inf, vtype=kinds)
            self.matrix = bounds.pattern.matrix(self.A[self.entries[bounds.entries]]).tocsr()
            self.senses = np.full(len(bounds.rows), "<")
            self.senses[: bounds.equalities] = "="
            zeros = np.zeros(len(bounds.rows))
            self.rows = model.addMConstr(self.matrix, self.x, self.senses, zeros)
            if structure.P.size:
                model.setMObjective(quadratic(structure, self.P), np.zeros(structure.n), 0.0)
            if self.conic is not None:
                self.conic.put_in(model, self.x)
            model.update()

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        """Solve for these vectors (n,) and (m,), a linear program from the basis of `start`.

        The answer has x, and multipliers as `Form` reads them.
        """
        if not self.home.is_here:  # this process was forked: Gurobi's objects stay with the parent
            self._build(self._own_structure())
        if self.conic is not None and not self.conic.pins.hold(q, b):
            return self._without_pins().solve(q, b, start)
        self.sound = False
        try:
            with self.home.lock:
                answer = self._solve(q, b, start)
        except self.gurobipy.GurobiError as error:
            if error.errno == self.gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
                return Answer(Status.FAILED, message=TOO_LARGE)
            raise
        self.sound = True
        return answer

    def _solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        model = self.model
        model.reset()
        self.x.setAttr("Obj", q)
        self._set_b(b)
        if self.empty:
            return Answer(Status.INFEASIBLE, message=self.empty)
        if self.pivots:
            self._begin_at(start.state if start is not None else None)
        model.optimize()
        code = model.getAttr("Status")
        if code != OPTIMAL:
            code = self._settle(code)
        iterations = model.getAttr("IterCount")
        if not self.is_linear:
            iterations += model.getAttr("BarIterCount")
        status, message = STATUS.get(code, Status.FAILED), ""
        if code != OPTIMAL:
            message = NAMES.get(code, f"status {code}")
            stopped = status == Status.FAILED and model.getAttr("SolCount") > 0
            if stopped and self._has_duals():
                status = Status.INACCURATE
        if status not in (Status.SOLVED, Status.INACCURATE):
            return Answer(status, iterations=int(iterations), message=message)
        x = self.x.getAttr("X")
        if self.mixed:
            value, bound = model.getAttr("ObjVal"), model.getAttr("ObjBound")
            gap = abs(value - bound) / (1 + abs(value))
            return Answer(status, x, None, None, int(iterations), message, gap=gap)
        y = -self.rows.getAttr("Pi") if len(self.senses) else np.zeros(0)
        if self.conic is not None:
            y = np.concatenate([y, self.conic.duals(x)])
        keeps = self.pivots and iterations >= WORTH_KEEPING
        state = self._state() if keeps else None
        return Answer(status, x, y, None, int(iterations), message, state)

    def _set_b(self, b: np.ndarray) -> None:
        """Put b into the model where it is not yet."""
        seen = b.tobytes()
        if seen == self.seen:
            return
        self.seen, bounds = seen, self.bounds
        slack = self.settings["IntFeasTol"]
        lower, upper = limits(self.structure, bounds, b, slack)
        right = b[bounds.rows]
        if self.conic is not None:
            pins = self.conic.pins
            lower[pins.columns] = upper[pins.columns] = pins.values(b)
            self.empty = self.conic.set_b(b)
        self.x.setAttr("LB", lower)
        self.x.setAttr("UB", upper)
        if len(right):
            self.rows.setAttr("RHS", right)
        if self.pivots:
            first = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper, 0.0))
            rest = self.matrix @ first - right
            far = self.settings["FeasibilityTol"]
            violated = np.where(self.senses == "=", np.abs(rest), rest) > far
            self.cold = PRIMAL if violated.sum() <= VIOLATED * len(rest) else DUAL

    def _begin_at(self, state: _State | None) -> None:
        """Begin at an earlier basis, or at none."""
        if state is None:
            self._set("Method", self.cold)
            return
        # with b as it was the basis stays primal feasible, and only the cost has moved
        self._set("Method", PRIMAL if state.b == self.seen else DUAL)
        self.x.setAttr("VBasis", state.columns.astype(int))
        self.rows.setAttr("CBasis", state.rows.astype(int))

    def _state(self) -> _State:
        columns, rows = self.x.getAttr("VBasis"), self.rows.getAttr("CBasis")
        return _State(columns.astype(np.int8), rows.astype(np.int8), self.seen)

    def _settle(self, code: int) -> int:
        """What became of a run that is not optimal; another run where that is open."""
        if not self.is_linear and not self.mixed and code in (OPEN, NUMERIC, SHORT):
            # the homogeneous barrier tells programs without a solution best; where it does not
            # either, they mostly have none: a claim, which needs a certificate to be believed
            code = self._run_with({"DualReductions": 0, "BarHomogeneous": 1, "Method": BARRIER})
            lost = code in (OPEN, NUMERIC) or (code == SHORT and not self._has_duals())
            return UNBOUNDED if lost else code
        if code in (OPEN, NUMERIC):
            return self._run_with({"DualReductions": 0, "NumericFocus": 3})
        if code == UNBOUNDED and self.mixed:  # a ray, but is there a point to begin at?
            self.x.setAttr("Obj", np.zeros(self.structure.n))
            return UNBOUNDED if self._run_with({"DualReductions": 0}) == OPTIMAL else INFEASIBLE
        return code

    def _has_duals(self) -> bool:
        """Whether there are multipliers; a barrier that broke off may have none."""
        if self.mixed:
            return True
        try:
            self.rows.getAttr("Pi")
        except (AttributeError, self.gurobipy.GurobiError):
            return False
        return True

    def _run_with(self, parameters: Mapping[str, Any]) -> int:
        """The status of another run, with parameters that are taken back."""
        before = {name: self.model.getParamInfo(name)[2] for name in parameters}
        self.model.reset()
        for name, value in parameters.items():
            self.model.setParam(name, value)
        self.model.optimize()
        code = self.model.getAttr("Status")
        for name, value in before.items():
            self.model.setParam(name, value)
        return int(code)

    def _set(self, name: str, value: Any) -> None:
        """Set a parameter where it is another one."""
        if self.values.get(name) != value:
            self.values[name] = value
            self.model.setParam(name, value)

    def _without_pins(self) -> Setup:
        if self.other is None:
            own = self._own_structure(), self.linear, self.bounds, self.settings, self.chosen
            self.other = Setup(*own, self.P, self.A, pin=False)
        return self.other

    def _own_structure(self) -> Structure:
        structure = self.of()
        assert structure is not None  # that of the program which is being solved
        return structure
