"""Central differences of tightly solved programs: slow, and the judge of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.checks import is_positive
from cvxlpgd.derivatives import _perturb as perturb
from cvxlpgd.derivatives._protocol import Info
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Data, Point, Structure
from cvxlpgd.schedules import Relative
from cvxlpgd.solution import Solution
from cvxlpgd.solvers._protocol import Solver, require

STENCIL = {1.0: 8 / 12, -1.0: -8 / 12, 2.0: -1 / 12, -2.0: 1 / 12}


@dataclass(frozen=True)
class FiniteDifference:
    """Fourth-order central differences of the solution.

        z_dot = [8 z(w + h w_dot) - 8 z(w - h w_dot) - z(w + 2h w_dot) + z(w - 2h w_dot)] / 12 h

    Its jvp is native; its vjp asks for one jvp for each entry of the data, so it is for tests.

    Parameters
    ----------
    step : float
        h, relative: no field of the data moves by more than 2 step times its largest entry.
        Larger steps cut off more of the curvature, smaller ones magnify the solver's noise.
    """

    step: float = 1e-4

    def __post_init__(self) -> None:
        if not is_positive(self.step):
            raise InvalidOption(f"step must be a number > 0, not {self.step!r}")

    def require(self, structure: Structure, solver: Solver) -> None:
        """Any solver that takes the program will do."""
        require(solver, structure)

    def require_entries(self, structure: Structure, entries: Data) -> None:
        """It has one for all entries."""

    def fixed(self, batch_shape: tuple[int, ...]) -> FiniteDifference:
        """Nothing changes between calls."""
        return self

    def take(self, index: np.ndarray) -> FiniteDifference:
        """Nothing differs between samples."""
        return self

    def vjp(
        self,
        program: ConeProgram,
        solution: Solution,
        point_bar: Point,
        entries: Data,
        solver: Solver,
    ) -> tuple[Data, Info]:
        """z_bar'(∂z/∂w_k) for each entry k in turn; entries of P move with their mirror image."""
        varying, batch = program.structure.varying, program.batch
        xp = array_namespace(program.data.q)
        like = {"dtype": program.data.q.dtype}
        nothing = {name: xp.zeros((batch, len(v)), **like) for name, v in varying._items()}
        total, columns = Info.good(batch), {}
        for name, wanted in entries._items():
            columns[name] = xp.zeros((batch, len(wanted)), **like)
            for column, entry in enumerate(np.searchsorted(getattr(varying, name), wanted)):
                unit = xp.zeros_like(nothing[name])
                unit[:, entry] = 1.0
                if name == "P":
                    mirror = program.structure.P.mirrored[varying.P[entry]]
                    unit[:, entry] = 0.5
                    unit[:, np.searchsorted(varying.P, mirror)] += 0.5
                z_dot, info = self.jvp(program, solution, Data(**(nothing | {name: unit})), solver)
                columns[name][:, column] = sum(
                    xp.sum(v * getattr(z_dot, field), axis=-1) for field, v in point_bar._items()
                )
                total.ok[:] &= info.ok
                total.inaccurate[:] |= info.inaccurate
        return Data(**columns), total

    def jvp(
        self, program: ConeProgram, solution: Solution, data_dot: Data, solver: Solver
    ) -> tuple[Point, Info]:
        """The point's tangent."""
        h = perturb.tangent_step(Relative(self.step), program, data_dot, solver.accuracy)
        found = perturb.solved_along(program, solution, data_dot, h, list(STENCIL), solver)
        z_dot = solution.point * 0.0
        for end, z in found.points().items():
            z_dot = z_dot + z * STENCIL[end]
        return z_dot * (1.0 / h)[:, None], found.info
