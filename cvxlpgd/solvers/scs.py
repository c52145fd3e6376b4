"""SCS: a first-order solver for all cones, quadratic objectives too (https://www.cvxgrp.org/scs)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import inf, log10, sqrt
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.program import USABLE, ConeProgram, Solution, Status, Structure
from cvxlpgd.program.rows import scs_cones
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer
from cvxlpgd.solvers.run.prepared import Start, solve_prepared

_STATUS = {
    1: Status.SOLVED,
    2: Status.INACCURATE,
    -1: Status.UNBOUNDED,
    -6: Status.UNBOUNDED,
    -2: Status.INFEASIBLE,
    -7: Status.INFEASIBLE,
}


# The scale that does not adapt, for data of size 1: from these most programs of the benchmarks, and
# of other kinds and sizes, are within Newton's reach after 25 iterations
FIXED, FIXED_EXP = 0.3, 3.0


@dataclass(frozen=True, init=False)
class SCS(Configured):
    """SCS with its own options, such as `SCS(eps_abs=1e-6, max_iters=5000)`.

    Options are those of https://www.cvxgrp.org/scs/api/settings.html, and `eps` for eps_abs and
    eps_rel together. By default both are 1e-9; scale is 3 with exponential cones, 0.1 with
    semidefinite ones and else 1, and there acceleration_lookback is 5 and acceleration_interval
    2 with second-order and power cones. With adaptive_scale=False and acceleration_lookback=0 SCS
    remembers nothing but its factorization: samples with the same matrices then share one, and the
    scale follows the sizes of each sample's data.
    """

    name = "SCS"
    requires = ("scs",)
    cones = frozenset({Zero, NonNeg, SOC, PSD, Exp, Pow})
    quadratic = True
    known = Options(
        "normalize scale adaptive_scale rho_x max_iters eps_abs eps_rel eps_infeas alpha "
        "time_limit_secs verbose acceleration_lookback acceleration_interval  write_data_filename "
        "log_csv_filename linear_solver",
        defaults={"eps_abs": 1e-9, "eps_rel": 1e-9, "eps_infeas": 1e-9, "verbose": False},
        tolerances=("eps_abs", "eps_rel"),
        time_limit="time_limit_secs",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, warm-started from `start`, at the scale at which that one ended."""
        structure = program.structure
        cones = scs_cones(structure)
        settings = _measured(structure, dict(self.options)) | self.settings
        cones = cones if structure.m else cones | {"l": 1}
        form = _Form(structure, cones, settings, "scale" in self.settings)
        adaptive, accelerated = (
            settings.get(name, True) for name in ("adaptive_scale", "acceleration_lookback")
        )
        if not adaptive and not accelerated and structure.m:
            return solve_prepared(self, program, start, partial(_Factored, form))
        prepare = partial(_Setup, form, _Newest())
        return solve_prepared(self, program, start, prepare, lasting=False)


@dataclass(frozen=True, eq=False)
class _Form:
    """A structure as SCS reads it, and the settings. Without rows it gets one, 0'x <= 1."""

    structure: Structure
    cones: dict[str, Any]
    settings: dict[str, Any]
    scaled: bool  # whether the settings' scale is the user's, and to be obeyed

    def matrices(self, P: np.ndarray, A: np.ndarray) -> dict[str, sp.csc_matrix]:
        """P's upper triangle, and A."""
        chosen, triangle = self.structure.P.upper
        rows = self.structure.A.matrix(A)
        if not self.structure.m:
            rows = sp.csc_matrix((1, self.structure.n))
        return {"P": triangle.matrix(P[chosen]), "A": rows}


class _Newest(threading.local):
    """The SCS object of each thread's newest solve, and which P, A and state that was for."""

    key: tuple[int, int, int] | None = None
    solver: Any = None


class _Setup:
    """One pair of matrices, factored once for each sample or both ends of its perturbation.

    An SCS object remembers its last solve: its scale, and Anderson's acceleration its last steps.
    So it serves both ends of one sample's perturbation, always in this order, and nothing else.
    """

    def __init__(self, form: _Form, newest: _Newest, P: np.ndarray, A: np.ndarray) -> None:
        self.form, self.newest = form, newest
        self.matrices, self.key = form.matrices(P, A), (id(P), id(A))

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        import scs

        form, newest = self.form, self.newest
        if not len(b):
            b, start = np.ones(1), None
        state = None if start is None else start.state
        key = None if state is None else (*self.key, id(state))
        reused = key is not None and newest.key == key
        if reused:
            solver = newest.solver
            solver.update(b=b, c=q)
        else:
            scale = {} if state is None else {"scale": state.scale}
            data = self.matrices | {"c": q, "b": b}
            solver = scs.SCS(data, form.cones, **(form.settings | scale))
        newest.key = None
        answer, end_scale = _answer(solver, start, form.structure.m)
        if answer.status in USABLE:
            newest.key, newest.solver = key, solver
            answer = answer._replace(state=_State(end_scale))
        return answer._replace(setups=int(not reused))


class _Factored:
    """SCS objects that remember nothing of their solves but the factorization, one for each scale.

    A sample's scale follows the sizes of its own data, in decades: most of a batch have the same.
    """

    def __init__(self, form: _Form, P: np.ndarray, A: np.ndarray) -> None:
        self.form, self.matrices = form, form.matrices(P, A)
        self.curvature = _size(P) / _size(A) if A.any() else 0.0
        self.solvers: dict[float, Any] = {}

    def solve(self, q: np.ndarray, b: np.ndarray, start: Start | None) -> Answer:
        import scs

        form, rows = self.form, self.form.structure.m
        scale = form.settings["scale"] * (1.0 if form.scaled else self._decade(q, b))
        solver, more = self.solvers.get(scale), 0
        if solver is None:
            more = int(bool(self.solvers))  # set-ups besides the first
            # set up with vectors that are no sample's: SCS' scaling depends on them
            vectors = {"c": np.zeros(form.structure.n), "b": np.zeros(rows)}
            settings = form.settings | {"scale": scale}
            solver = self.solvers[scale] = scs.SCS(self.matrices | vectors, form.cones, **settings)
        solver.update(b=b, c=q)
        return _answer(solver, start, rows)[0]._replace(setups=more)

    def _decade(self, q: np.ndarray, b: np.ndarray) -> float:
        """The power of ten nearest to max(|q| / |b|, |P| / |A|): how large y is beside s."""
        pairs = ((_size(q), _size(b)), (self.curvature, 1.0))
        ratio = max((over / under for over, under in pairs if under), default=0.0)
        return float(10.0 ** round(log10(ratio))) if 0 < ratio < inf else 1.0


def _size(v: np.ndarray) -> float:
    """The root mean square of the entries that are not 0; 0 where all are."""
    square = float(np.add.reduce(v * v))  # unlike dot it does not wait for other threads
    return sqrt(square / np.count_nonzero(v)) if square else 0.0


def _measured(structure: Structure, options: Mapping[str, Any]) -> dict[str, Any]:
    """The dual scale to begin with, and how often to accelerate.

    Measured: the scale halves the iterations of most small programs. Shorter and more frequent
    accelerations take a third off the rest; with semidefinite and exponential cones they cost more
    than that. A scale that does not adapt begins where Newton's method takes over soonest.
    """
    kinds = {type(cone) for cone in structure.cones} - {Zero, NonNeg}
    if not options.get("adaptive_scale", True):
        return {"scale": FIXED_EXP if kinds == {Exp} else FIXED}
    if PSD in kinds:
        return {"scale": 0.1}  # SCS' own
    if Exp in kinds:
        return {"scale": 3.0}
    if not kinds & {SOC, Pow}:
        return {"scale": 1.0}
    return {"scale": 1.0, "acceleration_lookback": 5, "acceleration_interval": 2}


def _answer(solver: Any, start: Start | None, rows: int) -> tuple[Answer, float]:
    """An object's answer for its newest vectors, and the scale at which it ended."""
    warm = {} if start is None else {"x": start.x, "y": start.y, "s": start.s}
    point = solver.solve(warm_start=bool(warm), **warm)
    info = point["info"]
    status = _STATUS.get(info["status_val"], Status.FAILED)
    answer = Answer(status, iterations=info["iter"], message=info["status"])
    if status in USABLE:
        answer = answer._replace(x=point["x"], y=point["y"][:rows], s=point["s"][:rows])
    elif status == Status.INFEASIBLE:  # y is a ray, as x is of an unbounded program
        answer = answer._replace(y=point["y"][:rows])
    elif status == Status.UNBOUNDED:
        answer = answer._replace(x=point["x"])
    return answer, info["scale"]


@dataclass(frozen=True, eq=False)
class _State:
    """The scale at which a sample's solve ended, from which its next one starts."""

    scale: float
