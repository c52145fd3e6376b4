"""The exact derivative of the solution map, by diffcp's operators at the forward's point.

Agrawal, Barratt, Boyd, Busseti, Moursi, "Differentiating through a cone program", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cvxlpgd.checks import is_one_of
from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.derivatives import limit
from cvxlpgd.derivatives.embedding import MODES, SOLVED, embed
from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.path.direction import all_entries, data_sides
from cvxlpgd.derivatives.path.velocity import is_followed
from cvxlpgd.derivatives.protocol import FURTHER, Bound, Derivative
from cvxlpgd.derivatives.tau.settings import check_rho
from cvxlpgd.errors import DerivativeFailed, InvalidOption, SolverNotInstalled
from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure, norm
from cvxlpgd.program.rows import lift
from cvxlpgd.solvers.protocol import Solver

APART = 1e-2  # of the path's gradient: a difference that is warned of


@dataclass(frozen=True)
class Implicit(Derivative, Bound):
    """diffcp's exact derivative at the forward's own point, with P lifted to a second-order cone.

        z = (x, y - s, 1),   N(z) = (Q - I) Π(z) + z = 0 at a solution,   M = DN(z)
        (q_bar, b_bar) = -(∂N/∂(q, b))' M⁻ᵀ z_bar
        A_bar = y q_bar' - b_bar x',   P_bar = ½ (q_bar x' + x q_bar')

    It is there to compare with: `Exact()` is the same derivative where both exist, is faster and
    also takes power cones. It needs the extra `diffcp`.

    Parameters
    ----------
    mode : "lsqr", "lsmr" or "dense"
        How the systems with M are solved. The residual of each solution is checked: if it is too
        large the next mode is tried, and if all fail InaccurateGradientWarning is emitted.
    rho : float
        Weight of a proximal term at x*, >= 0. It makes the systems regular and biases the result.

    Raises
    ------
    InvalidOption
        For an unknown mode, or a rho out of range.
    SolverNotInstalled
        From the layer, without diffcp.
    DerivativeFailed
        From the layer, for power cones and for integer variables.

    References
    ----------
    Agrawal, Barratt, Boyd, Busseti, Moursi, "Differentiating through a cone program", 2019,
    arXiv 1904.09043.
    """

    mode: Literal["lsqr", "lsmr", "dense"] = "lsqr"
    rho: float = 0.0
    cones = frozenset({Zero, NonNeg, SOC, PSD, Exp})
    remedy = FURTHER

    def __post_init__(self) -> None:
        if not is_one_of(self.mode, MODES):
            raise InvalidOption(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        check_rho(self.rho)

    def check(self, structure: Structure, solver: Solver) -> None:
        """Diffcp must be installed; it knows no power cones, and integers have no derivative."""
        from importlib.util import find_spec

        if find_spec("diffcp") is None:
            raise SolverNotInstalled(
                'Implicit() needs diffcp: pip install "cvxlpgd[diffcp]", or use LPGD()'
            )
        if any(isinstance(cone, Pow) for cone in structure.cones):
            raise DerivativeFailed(
                "Implicit() cannot differentiate through power cones (diffcp's derivative there "
                "is wrong); use LPGD()"
            )
        if structure.mixed_integer:
            raise DerivativeFailed(
                "the exact derivative of an integer program is zero or undefined; use LPGD()"
            )

    def bind(self, structure: Structure, solver: Solver, batch_shape: tuple[int, ...]) -> Implicit:
        """The derivative itself: it reads nothing, and asks no solver."""
        return self

    def vjp(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data, Info]:
        """The data's cotangent at these entries."""
        z, solved = solution.point, np.ones(program.batch, dtype=bool)
        q_bar, b_bar = z.x * 0.0, z.y * 0.0
        for i, embedding in enumerate(self._embeddings(program, z)):
            bars = point_bar.x[i], point_bar.y[i], point_bar.s[i]
            q_bar[i], b_bar[i], solved[i] = embedding.vjp(*bars, self.mode)
        P, A = program.structure.P, program.structure.A
        row, col = P.rows[entries.P], P.cols[entries.P]
        k, j = A.rows[entries.A], A.cols[entries.A]
        w_bar = Data(
            P=(q_bar[:, row] * z.x[:, col] + z.x[:, row] * q_bar[:, col]) / 2,
            q=q_bar[:, entries.q],
            A=z.y[:, k] * q_bar[:, j] - b_bar[:, k] * z.x[:, j],
            b=b_bar[:, entries.b],
        )
        wrong = _is_contradicted(program, z, point_bar, entries, w_bar, self.rho)
        flat = _is_flat(program, w_bar, z, point_bar)
        return w_bar, Info.good(
            program.batch, method="embedding", inaccurate=~solved | wrong, unresolved=flat
        )

    def jvp(self, program: ConeProgram, solution: Solution, data_dot: Data) -> tuple[Point, Info]:
        """The point's tangent."""
        z = solution.point
        f, b_dot = data_sides(program.structure, all_entries(program, data_dot), z)
        z_dot, solved, q_dot = z * 0.0, np.ones(program.batch, dtype=bool), -f
        for i, embedding in enumerate(self._embeddings(program, z)):
            dots = embedding.jvp(q_dot[i], b_dot[i], self.mode)
            z_dot.x[i], z_dot.y[i], z_dot.s[i], solved[i] = dots
        return z_dot, Info.good(program.batch, inaccurate=~solved)

    def _embeddings(self, program: ConeProgram, z: Point) -> Any:
        lifted = lift(program.proximal(self.rho, z.x))
        return (embed(lifted, z, i) for i in range(program.batch))


def _is_contradicted(
    program: ConeProgram, z: Point, point_bar: Point, entries: Data, w_bar: Data, rho: float
) -> np.ndarray:
    """Where the linearized path has another gradient, and knows it to be the derivative, (batch,).

    diffcp projects onto exponential cones in coordinates in which small entries are lost.
    """
    if not is_followed(program.proximal(rho, z.x).structure):
        return np.zeros(program.batch, dtype=bool)
    exact = limit.vjp(program, z, point_bar, entries, rho)
    apart, least = np.zeros(program.batch, dtype=bool), SOLVED * _size(z, point_bar)
    for (name, mine), (_, right) in _pairs(w_bar, exact.value):
        off = norm(mine - right)
        seen = off * (1 + norm(getattr(program.data, name))) > least
        apart |= seen & (off > APART * norm(right))
    one_piece = exact.split is None
    return np.asarray(apart & exact.exists & exact.settled & one_piece)


def _is_flat(program: ConeProgram, w_bar: Data, z: Point, z_bar: Point) -> np.ndarray:
    """Whether no field of w moves the loss by more than rounding, as q at a vertex, (batch,)."""
    largest = np.zeros(program.batch)
    for name, bar in w_bar.items():
        largest = np.maximum(largest, norm(bar) * (1 + norm(getattr(program.data, name))))
    return np.asarray(largest <= SOLVED * _size(z, z_bar))


def _size(z: Point, z_bar: Point) -> np.ndarray:
    """By how much a share of everything would move the loss, (batch,)."""
    terms = [norm(bar) * (1 + norm(v)) for (_, bar), (_, v) in _pairs(z_bar, z)]
    return np.asarray(sum(terms[1:], terms[0]))


def _pairs(z_bar: Any, z: Any) -> Any:
    return zip(z_bar.items(), z.items(), strict=True)
