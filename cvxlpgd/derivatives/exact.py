"""The exact derivative of the solution map, by the linearized path: every cone, both modes.

Agrawal, Barratt, Boyd, Busseti, Moursi, "Differentiating through a cone program", 2019, derive it
from the homogeneous embedding; here it is the velocity of LPGD's perturbed solutions at tau = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxlpgd.cones import Cone
from cvxlpgd.derivatives import limit
from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.path import velocity
from cvxlpgd.derivatives.protocol import Bound, Derivative
from cvxlpgd.errors import DerivativeFailed
from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure
from cvxlpgd.program.motion import Motion
from cvxlpgd.solvers.protocol import Solver


@dataclass(frozen=True)
class Exact(Derivative, Bound):
    """The exact derivative.

        P x_dot + A'y_dot = -x_bar,   A x_dot + s_dot = -y_bar,   (y_dot, s_dot) along the cones
        w_bar = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot)

    It holds for every cone. Where the solution has a kink it is the mean of both sides, where it is
    not unique the one of least norm, where there is none that of least squares: `info.regular` says
    so, and a warning. A linear program's costs have the gradient 0, which a warning says too.

    Raises
    ------
    DerivativeFailed
        For integer variables, and for programs whose system is too large to factor.
    """

    cones = frozenset({Cone})
    remedy = 'LPGD(tau="informative"), which looks further'

    def check(self, structure: Structure, solver: Solver) -> None:
        """Integers have no derivative; a system must fit into memory."""
        if structure.mixed_integer:
            raise DerivativeFailed(
                "the exact derivative of an integer program is zero or undefined; use LPGD()"
            )
        if not velocity.is_followed(structure):
            raise DerivativeFailed(
                f"Exact() factors a system with more than {velocity.ENTRIES:,} entries here, which "
                "is too much; use LPGD(), which solves perturbed programs instead"
            )

    def bind(self, structure: Structure, solver: Solver, batch_shape: tuple[int, ...]) -> Exact:
        """The derivative itself: it reads nothing, and asks no solver."""
        return self

    def vjp(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data, Info]:
        """The data's cotangent at these entries."""
        gradient = limit.vjp(program, solution.point, point_bar, entries)
        return gradient.value, gradient.info(np.nan)

    def pull(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data | Motion, Info]:
        """The data's cotangent, or the motion that it is the pull-back of."""
        gradient = limit.vjp(program, solution.point, point_bar, entries)
        value = gradient.value if gradient.motion is None else gradient.motion
        return value, gradient.info(np.nan)

    def jvp(self, program: ConeProgram, solution: Solution, data_dot: Data) -> tuple[Point, Info]:
        """The point's tangent."""
        tangent = limit.jvp(program, solution.point, data_dot)
        return tangent.value, tangent.info(np.nan)
