"""SCS: a first-order solver for all cones, quadratic objectives too (https://www.cvxgrp.org/scs)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.program.rows import scs_cones
from cvxlpgd.program.solution import USABLE, Solution, Status
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Solve, Start, solve_prepared

_STATUS = {
    1: Status.SOLVED,
    2: Status.INACCURATE,
    -1: Status.UNBOUNDED,
    -6: Status.UNBOUNDED,
    -2: Status.INFEASIBLE,
    -7: Status.INFEASIBLE,
}


@dataclass(frozen=True, init=False)
class SCS(Configured):
    """SCS with its own options, such as `SCS(eps_abs=1e-6, max_iters=5000)`.

    Options are those of https://www.cvxgrp.org/scs/api/settings.html, and `eps` for eps_abs and
    eps_rel together. By default both are 1e-9; scale is 3 with exponential cones, 0.1 with
    semidefinite ones and else 1, and there acceleration_lookback is 5 and acceleration_interval
    2 with second-order and power cones. With adaptive_scale=False and acceleration_lookback=0 SCS
    remembers nothing but its factorization: samples with the same matrices then share one.
    """

    name = "SCS"
    requires = ("scs",)
    cones = frozenset({Zero, NonNeg, SOC, PSD, Exp, Pow})
    quadratic = True
    integer = False
    arrays = "numpy"
    known = Options(
        names=frozenset(
            "normalize scale adaptive_scale rho_x max_iters eps_abs eps_rel eps_infeas alpha "
            "time_limit_secs verbose acceleration_lookback acceleration_interval "
            "write_data_filename log_csv_filename linear_solver".split()
        ),
        defaults={"eps_abs": 1e-9, "eps_rel": 1e-9, "eps_infeas": 1e-9, "verbose": False},
        tolerances=("eps_abs", "eps_rel"),
        time_limit="time_limit_secs",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, warm-started from `start`, at the scale at which that one ended."""
        import scs

        structure = program.structure
        cones = scs_cones(structure)
        settings = _measured(structure, dict(self.options)) | self.settings
        chosen, triangle = structure.P.upper
        n, rows = structure.n, slice(structure.m)
        # An object remembers its last solve: its scale, and Anderson's acceleration its last steps.
        # It serves both ends of one sample's perturbation, always in this order, and nothing else.
        newest = threading.local()

        def prepare(P: np.ndarray, A: np.ndarray) -> Solve:
            matrices = {"P": triangle.matrix(P[chosen]), "A": structure.A.matrix(A)}

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                data, own_cones, own = matrices | {"c": q, "b": b}, cones, settings
                key = None
                if not len(b):  # SCS wants a row: 0 x <= 1
                    data |= {"A": sp.csc_matrix((1, n)), "b": np.ones(1)}
                    own_cones, begin = cones | {"l": 1}, None
                elif begin is not None and begin.state is not None:
                    own = settings | {"scale": begin.state.scale}
                    key = (id(P), id(A), id(begin.state))
                again = key is not None and getattr(newest, "key", None) == key
                solver = newest.solver if again else scs.SCS(data, own_cones, **own)
                if again:
                    solver.update(b=b, c=q)
                newest.key = None
                answer, scale = _answer(solver, begin, rows)
                if answer.status in USABLE:
                    newest.key, newest.solver = key, solver
                    answer = answer._replace(state=_State(scale))
                return answer._replace(setups=int(not again))

            return solve

        def prepare_once(P: np.ndarray, A: np.ndarray) -> Solve:
            """An object that remembers nothing of its solves but the factorization."""
            matrices = {"P": triangle.matrix(P[chosen]), "A": structure.A.matrix(A)}
            nobodys = {"c": np.zeros(n), "b": np.zeros(structure.m)}  # it scales by its first ones
            solver = scs.SCS(matrices | nobodys, cones, **settings)

            def solve(q: np.ndarray, b: np.ndarray, begin: Start | None) -> Answer:
                solver.update(b=b, c=q)
                return _answer(solver, begin, rows)[0]

            return solve

        adaptive, accelerated = (
            settings.get(name, True) for name in ("adaptive_scale", "acceleration_lookback")
        )
        if not adaptive and not accelerated and structure.m:
            return solve_prepared(self, program, start, prepare_once)
        return solve_prepared(self, program, start, prepare, lasting=False)


def _measured(structure: Structure, options: Mapping[str, Any]) -> dict[str, Any]:
    """The dual scale to begin with, and how often to accelerate.

    Measured: the scale halves the iterations of most small programs. Shorter and more frequent
    accelerations take a third off the rest; with semidefinite and exponential cones they cost more
    than that. A scale that does not adapt is best at 0.1 with second-order cones (58 iterations
    instead of 120).
    """
    kinds = {type(cone) for cone in structure.cones}
    fixed = not options.get("adaptive_scale", True)
    if PSD in kinds or (fixed and not structure.P.size and Exp not in kinds):
        return {"scale": 0.1}  # SCS' own
    if Exp in kinds:
        return {"scale": 3.0}
    if not kinds & {SOC, Pow}:
        return {"scale": 1.0}
    return {"scale": 1.0, "acceleration_lookback": 5, "acceleration_interval": 2}


def _answer(solver: Any, begin: Start | None, rows: slice) -> tuple[Answer, float]:
    """What an object makes of its newest vectors, and the scale at which it ended."""
    warm = {} if begin is None else {"x": begin.x, "y": begin.y, "s": begin.s}
    found = solver.solve(warm_start=bool(warm), **warm)
    info = found["info"]
    status = _STATUS.get(info["status_val"], Status.FAILED)
    answer = Answer(status, iterations=info["iter"], message=info["status"])
    if status in USABLE:
        answer = answer._replace(x=found["x"], y=found["y"][rows], s=found["s"][rows])
    elif status == Status.INFEASIBLE:  # y is a ray, as x is of an unbounded program
        answer = answer._replace(y=found["y"][rows])
    elif status == Status.UNBOUNDED:
        answer = answer._replace(x=found["x"])
    return answer, info["scale"]


@dataclass(frozen=True, eq=False)
class _State:
    """The scale at which a sample's solve ended, from which its next one starts."""

    scale: float
