"""Central differences of tightly solved programs: slow, and the judge of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.checks import is_positive
from cvxlpgd.cones import Cone
from cvxlpgd.derivatives import limit
from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.path.velocity import is_followed
from cvxlpgd.derivatives.protocol import FURTHER, Bound, Derivative
from cvxlpgd.derivatives.tau import sizes
from cvxlpgd.derivatives.tau.settings import is_linear
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure
from cvxlpgd.solvers.protocol import Solver, require
from cvxlpgd.solvers.refine.newton import is_refinable
from cvxlpgd.solvers.refine.solver import Refined
from cvxlpgd.solvers.run.ladder import is_plain

WITHIN = 0.25  # of the way to the next breakpoint: the stencil goes to 2 h
STENCIL = {1.0: 8 / 12, -1.0: -8 / 12, 2.0: -1 / 12, -2.0: 1 / 12}


@dataclass(frozen=True)
class FiniteDifference(Derivative):
    """Fourth-order central differences of the solution.

        z_dot = [8 z(w + h w_dot) - 8 z(w - h w_dot) - z(w + 2h w_dot) + z(w - 2h w_dot)] / 12 h

    It checks other derivatives. A forward derivative costs four solves. A gradient costs four
    solves for each entry of the data, so use it on small problems.

    Parameters
    ----------
    step : float
        h relative to the data, > 0. An entry moves by at most 2 step times its own size, and no
        further than half of the way to where another inequality becomes active or inactive. A
        large step cuts off more of the curvature, a small one magnifies the solver's noise.

    Raises
    ------
    InvalidOption
        For a step that is not > 0.
    """

    step: float = 1e-4
    cones = frozenset({Cone})
    remedy = FURTHER

    def __post_init__(self) -> None:
        if not is_positive(self.step):
            raise InvalidOption(f"step must be a number > 0, not {self.step!r}")

    def check(self, structure: Structure, solver: Solver) -> None:
        """Any solver that takes the program will do."""
        require(solver, structure)

    def bind(self, structure: Structure, solver: Solver, batch_shape: tuple[int, ...]) -> Bound:
        """The solver's own solutions, refined to rounding where that is possible."""
        return Stencil(self.step, _refine(solver, structure))


@dataclass(frozen=True)
class Stencil(Bound):
    """The differences with this relative step, by a solver."""

    step: float
    solver: Solver

    def vjp(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data, Info]:
        """z_bar'(∂z/∂w_k) for each entry k in turn; entries of P move with their mirror image."""
        varying, batch = program.structure.varying, program.batch
        xp = array_namespace(program.data.q)
        like = {"dtype": program.data.q.dtype}
        nothing = {name: xp.zeros((batch, len(v)), **like) for name, v in varying.items()}
        infos, columns = [Info.good(batch)], {}
        for name, wanted in entries.items():
            columns[name] = xp.zeros((batch, len(wanted)), **like)
            for column, entry in enumerate(np.searchsorted(getattr(varying, name), wanted)):
                unit = xp.zeros_like(nothing[name])
                unit[:, entry] = 1.0
                if name == "P":
                    mirror = program.structure.P.mirror[varying.P[entry]]
                    unit[:, entry] = 0.5
                    unit[:, np.searchsorted(varying.P, mirror)] += 0.5
                z_dot, info = self.jvp(program, solution, Data(**(nothing | {name: unit})))
                columns[name][:, column] = sum(
                    xp.sum(v * getattr(z_dot, field), axis=-1) for field, v in point_bar.items()
                )
                infos.append(info)
        ok = np.all([info.ok for info in infos], axis=0)
        inaccurate = np.any([info.inaccurate for info in infos], axis=0)
        return Data(**columns), Info.good(batch, ok=ok, inaccurate=inaccurate)

    def jvp(self, program: ConeProgram, solution: Solution, data_dot: Data) -> tuple[Point, Info]:
        """The point's tangent."""
        h = self._step(program, solution.point, data_dot)
        ends = perturb.solve_along(program, solution, data_dot, h, list(STENCIL), self.solver)
        z_dot = solution.point * 0.0
        for end, z in ends.points().items():
            z_dot = z_dot + z * STENCIL[end]
        return z_dot * (1.0 / h)[:, None], ends.info

    def _step(self, program: ConeProgram, z: Point, data_dot: Data) -> np.ndarray:
        """The step h (batch,): a share of what moves, and of the way to the next breakpoint."""
        h = sizes.for_tangent(program, z, data_dot, self.step)
        if not is_followed(program.structure):
            return h
        reach = limit.jvp(program, z, data_dot).breakpoints.min(axis=1)
        return np.asarray(np.where(reach > 0, np.minimum(h, WITHIN * reach), h))


def _refine(solver: Solver, structure: Structure) -> Solver:
    """The solver, its solutions refined to rounding where that is possible."""
    useful = is_refinable(structure) and not is_linear(structure)
    return Refined(solver) if useful and is_plain(solver) else solver
