"""Gurobi: simplex, barrier, and branch and cut (https://www.gurobi.com). It needs a license."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones import SOC, NonNeg, Zero
from cvxlpgd.errors import UnsuitableSolver
from cvxlpgd.program import ConeProgram, Solution, Structure
from cvxlpgd.program.rows import unknown_cone
from cvxlpgd.solvers.gurobi.environment import check_options, home
from cvxlpgd.solvers.gurobi.idle import Key, idle_setups
from cvxlpgd.solvers.gurobi.model import Form, linear_of
from cvxlpgd.solvers.gurobi.names import NAMES
from cvxlpgd.solvers.gurobi.polish import polished
from cvxlpgd.solvers.gurobi.setup import BARRIER, PRIMAL, TOO_LARGE, Setup
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.prepared import solve_prepared

IDLE = 8  # models that are kept of a structure after a call
# Variables up to which simplex is measured, without presolve. Quadratic programs, ms by primal and
# dual simplex and barrier: dense, n = 30: 0.26, 0.22, 0.55; 100: 4.5, 4.5, 11; 150: 5.9, 8.1, 20;
# with factors, n = 55: 0.09, 0.12, 0.14; 198: 0.39, 0.73, 1.0; control, n = 60: 0.25, 0.21, 0.31;
# 180: 1.4, 0.9, 0.8.
SMALL_LINEAR, SMALL_QUADRATIC = 2000, 200


@dataclass(frozen=True, init=False)
class Gurobi(Configured):
    """Gurobi with its own parameters, such as `Gurobi(Threads=4, MIPFocus=1)`.

    Parameters are those of https://docs.gurobi.com, and `eps` for FeasibilityTol, OptimalityTol,
    BarConvTol and BarQCPConvTol together. By default the first two are 1e-9, Gurobi's finest, the
    others 1e-12 and 1e-10; integer programs are solved without a gap; and Threads is 1, since the
    batch is what runs in parallel. Linear programs up to 2000 variables are solved by simplex
    without presolve, quadratic ones up to 200 likewise, where Method and Presolve are not
    given. A linear program that took many pivots starts from its basis.
    """

    name = "GUROBI"
    requires = ("gurobipy",)
    cones = frozenset({Zero, NonNeg, SOC})
    quadratic = True
    integer = True
    known = Options(
        NAMES,
        defaults={
            "OutputFlag": 0,
            "Threads": 1,
            "FeasibilityTol": 1e-9,
            "OptimalityTol": 1e-9,
            "IntFeasTol": 1e-9,
            "BarConvTol": 1e-12,
            "BarQCPConvTol": 1e-10,
            "MIPGap": 0.0,
            "MIPGapAbs": 0.0,
            "NonConvex": 0,  # a P that is not positive semidefinite is an error, and no search
            "QCPDual": 1,
        },
        tolerances=("FeasibilityTol", "OptimalityTol", "BarConvTol", "BarQCPConvTol"),
        time_limit="TimeLimit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; a linear program from its basis in `start`.

        Raises
        ------
        SolverNotInstalled
            Where Gurobi has no valid license.
        UnsuitableSolver
            Where the license does not allow programs of this size.
        """
        structure = program.structure
        for cone in structure.cones:
            if not isinstance(cone, Zero | NonNeg | SOC):
                raise unknown_cone(cone, "Gurobi")
        linear = linear_of(structure)
        bounds, settings = linear.bounds(program), self._settings(structure)
        given, w = tuple(sorted(settings.items())), program.data
        home()  # without a license this raises, here and not in a sample
        check_options(given)
        chosen = structure.n > SMALL_LINEAR or "Method" in dict(self.options)
        shared = len(w.P) == len(w.A) == 1
        idle = idle_setups(structure, Key(given, bounds, chosen, w.P, w.A)) if shared else []
        used: list[Setup] = []

        def prepare(P: np.ndarray, A: np.ndarray) -> Setup:
            try:
                setup = idle.pop()
            except IndexError:
                setup = Setup(structure, linear, bounds, settings, chosen, P, A)
            used.append(setup)
            return setup

        solution = solve_prepared(self, program, start, prepare, form=Form(program, bounds))
        if shared:
            idle.extend([setup for setup in used if setup.sound][:IDLE])
        if TOO_LARGE in solution.messages:
            raise UnsuitableSolver(
                f"{self.name}'s license does not allow a program of this size: {structure.n} "
                f"variables, {structure.m} rows"
                f"{', a quadratic objective' * bool(structure.P.size)} (the one that pip installs "
                "ends at 2000 variables, 2000 rows, and 200 variables of a program with squares); "
                "install another license, or choose another solver"
            )
        curved = structure.m > bounds.m and not structure.mixed_integer
        return polished(program, solution) if curved else solution

    def _settings(self, structure: Structure) -> dict[str, Any]:
        """The parameters for programs of a structure."""
        settings, curved = self.settings, SOC in map(type, structure.cones)
        settings["OutputFlag"] = int(bool(settings.pop("verbose", settings["OutputFlag"])))
        if structure.mixed_integer or curved:
            return settings
        if not structure.P.size:
            return ({"Presolve": 0} if structure.n <= SMALL_LINEAR else {}) | settings
        if structure.n <= SMALL_QUADRATIC:
            return {"Presolve": 0, "Method": PRIMAL} | settings
        return {"Method": BARRIER} | settings
