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
from cvxlpgd.derivatives.protocol import FURTHER, Bound, Derivative
from cvxlpgd.errors import DerivativeFailed
from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure
from cvxlpgd.program.motion import Motion
from cvxlpgd.solvers.protocol import Solver


@dataclass(frozen=True)
class Exact(Derivative, Bound):
    """The exact derivative.

        P x_dot + A'y_dot = -x_bar,   A x_dot + s_dot = -y_bar,   (y_dot, s_dot) along the cones
        w_bar = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot)

    It is one linear system at the solution, for every cone, without another solve. At a kink the
    result is the mean of both sides. Where the gradient is not unique the result is the one of
    least norm, and where there is none it is that of least squares. In these cases
    `layer.info.regular` is False and IrregularGradientWarning is emitted. The costs of a linear
    program get the gradient 0, with DegenerateGradientWarning.

    Raises
    ------
    DerivativeFailed
        From the layer, for integer variables and for programs whose system is too large to factor.

    References
    ----------
    Agrawal, Barratt, Boyd, Busseti, Moursi, "Differentiating through a cone program", 2019,
    arXiv 1904.09043, derive it from the homogeneous embedding.
    """

    cones = frozenset({Cone})
    remedy = FURTHER

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
