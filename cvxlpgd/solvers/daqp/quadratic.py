"""Quadratic programs in DAQP: a batch's vectors in, set-ups of its matrices, points out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Status, Structure
from cvxlpgd.solvers.daqp.flags import ACTIVE, EQUALITY, LOWER, SOLVED, STATUS, message_of
from cvxlpgd.solvers.daqp.models import Model, Reductions, model_of
from cvxlpgd.solvers.run.each import Answer, of_sample
from cvxlpgd.solvers.run.prepared import Start


class Form:
    """A batch's vectors of reduced programs, and the way back: at once if it shares matrices."""

    def __init__(self, program: ConeProgram) -> None:
        self.q, self.b, self.batch = program.data.q, program.data.b, program.batch
        self.shared = len(program.data.P) == len(program.data.A) == 1
        self.all: tuple[np.ndarray, ...] | None = None

    def vectors(self, i: int, setup: Quadratic) -> tuple[np.ndarray, ...]:
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


class Quadratic:
    """One pair of matrices in a DAQP model."""

    def __init__(
        self,
        structure: Structure,
        reductions: Reductions,
        settings: Mapping[str, Any],
        P: np.ndarray,
        A: np.ndarray,
    ) -> None:
        self.model = model_of(structure, reductions, settings, P, A)
        if self.model.flag < 0:
            words = message_of(self.model.flag)
            raise ValueError(f"{words}; take another solver, such as Clarabel()")

    def solve(
        self, f: np.ndarray, upper: np.ndarray, lower: np.ndarray, start: Start | None
    ) -> Answer:
        """The solution u of a reduced program, and the multipliers of its limits."""
        model, active = self.model, None if start is None else start.state
        if active is not None and len(active.sense) != len(model.cold):
            active = None  # of the other elimination
        u, flag, info = self._run(f, upper, lower, model.cold if active is None else active.sense)
        if active is not None and flag != SOLVED:
            u, flag, info = self._run(f, upper, lower, model.cold)
        iterations = info["iterations"]
        if flag != SOLVED:
            status = STATUS.get(flag, Status.FAILED)
            return Answer(status, iterations=iterations, message=message_of(flag))
        multipliers = info["lam"]
        state = Active(multipliers, model)
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


@dataclass(frozen=True, eq=False)
class Active:
    """An active set, by the signs of its multipliers."""

    multipliers: np.ndarray
    model: Model

    @cached_property
    def sense(self) -> np.ndarray:
        """As DAQP wants it."""
        active = ACTIVE * (self.multipliers != 0) + LOWER * (self.multipliers < 0)
        sense = np.where(self.model.cold == EQUALITY, EQUALITY, active)
        return np.asarray(sense, dtype=np.intc)

    def __getstate__(self) -> dict[str, Any]:
        """What another process can start from: a model stays where it is."""
        return {"sense": self.sense}
