"""Lagrangian proximal gradient descent: differences of the Lagrangian's gradient.

Paulus, Martius, Musil, "LPGD: A General Framework for Backpropagation through Embedded
Optimization Layers", ICML 2024, arXiv 2407.05920.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.checks import check_flag
from cvxlpgd.derivatives import limit, noise
from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.integers import refuse_rows, with_multipliers
from cvxlpgd.derivatives.path.velocity import is_followed
from cvxlpgd.derivatives.samples import put
from cvxlpgd.derivatives.tau import settings, step
from cvxlpgd.derivatives.tau.retries import enlarged, placed, reduced
from cvxlpgd.derivatives.tau.sizes import is_linear
from cvxlpgd.program import ConeProgram, Data, Point, Structure
from cvxlpgd.program.solution import Solution
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.choose.choice import given
from cvxlpgd.solvers.protocol import Solver, require

ENDS = {"lower": (1.0, 0.0), "upper": (0.0, -1.0), "average": (1.0, -1.0)}
ENLARGED = 6  # how often an informative tau may grow tenfold
SIGHTED = 2  # and that of a linear program's costs, which is of their size at first


@dataclass(frozen=True)
class LPGD:
    """The gradient of a Lagrange-Moreau envelope of the loss.

        z(t) = argmin_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y) + (rho/2) |x - x*|²_omega
        w_bar = [∇L(z(hi tau)) - ∇L(z(lo tau))] / (tau (hi - lo))

    with (hi, lo) = (1, 0) for side "lower", (0, -1) for "upper", (1, -1) for "average": differences
    of perturbed programs' solutions. As tau -> 0 with rho = 0 it is the exact derivative where that
    exists, with an error of O(tau) one-sided and O(tau²) averaged; a large tau sees other vertices
    and other active sets.

    Parameters
    ----------
    tau : "auto", "informative", float, Relative, array of the batch shape, or a callable that
        returns one of these
        Size of the perturbation, > 0. "auto" is the limit tau -> 0 in closed form, by the
        linearized path, without another solve; where the limit says nothing by design, which is
        for the costs of linear and of integer programs, and the right-hand sides of linear ones
        through their dual variables, tau is of those data's own size, and grows tenfold, at most
        twice, for samples whose difference is nothing but noise. "informative" takes differences in
        programs of any kind, and tau grows at most 6 times. A callable, such as a schedule, is read
        once per forward.
    rho : float
        Weight of the proximal term, >= 0. It keeps a perturbed program bounded and near x*; it
        biases the gradient, and makes a linear program quadratic.
    side : "average", "lower" or "upper"
        Average solves two programs, the others one.
    solver : Solver or str, optional
        Another solver for the perturbed programs.
    integer_constraints : bool
        Whether an integer program's constraint parameters get gradients, by the multipliers of the
        program with its integers fixed where they are. That is a heuristic: those multipliers know
        nothing of other integers, and a program without continuous variables has none (0).
    """

    tau: str | float | Relative | np.ndarray | Callable[[], Any] = "auto"
    rho: float = 0.0
    side: Literal["average", "lower", "upper"] = "average"
    solver: Solver | str | None = None
    integer_constraints: bool = False
    remedy = 'LPGD(tau="informative"), which looks further'

    def __post_init__(self) -> None:
        settings.check(self.tau, self.rho, self.side, ENDS)
        check_flag("integer_constraints", self.integer_constraints)

    def require(self, structure: Structure, solver: Solver) -> None:
        """The re-solves need a solver that takes the program with its proximal term."""
        require(self._again(solver), structure.proximal if self.rho else structure)

    def require_entries(self, structure: Structure, entries: Data) -> None:
        """An integer program has multipliers only if they are asked for."""
        if not self.integer_constraints:
            refuse_rows(structure, entries)

    def separates(self, structure: Structure) -> bool:
        """A linear program's costs, right-hand sides and matrices, where tau is automatic."""
        return self.is_automatic and is_linear(structure) and not structure.mixed_integer

    @property
    def is_automatic(self) -> bool:
        """Whether tau is "auto"."""
        return isinstance(self.tau, str) and self.tau == "auto"

    def _again(self, solver: Solver) -> Solver:
        """The solver of the perturbed programs."""
        return solver if self.solver is None else given(self.solver, "the solver of LPGD")

    def fixed(self, batch_shape: tuple[int, ...]) -> LPGD:
        """The same with tau read, and spread over the batch where it is an array."""
        return replace(self, tau=settings.fixed_tau(self.tau, batch_shape))

    def take(self, index: np.ndarray) -> LPGD:
        """The same for some samples."""
        if not isinstance(self.tau, np.ndarray):
            return self
        return replace(self, tau=self.tau.reshape(-1)[index])

    def vjp(
        self,
        program: ConeProgram,
        solution: Solution,
        point_bar: Point,
        entries: Data,
        solver: Solver,
    ) -> tuple[Data, Info]:
        """The data's cotangent at these entries, each field (batch, entries)."""
        if not self.is_automatic or program.structure.mixed_integer:
            return self._differences(program, solution, point_bar, entries, solver)
        if not is_followed(program.structure):
            return self._differences(program, solution, point_bar, entries, solver)
        far, near = self._parts(program.structure, point_bar, entries)
        base = program.proximal(self.rho, solution.point.x)
        places = base.structure.P.index(program.structure.P)
        moved = replace(entries, P=places[entries.P])
        if far is None:
            gradient = limit.vjp(base, solution.point, near, moved)
            lost = np.flatnonzero(~gradient.exists)
            w_bar, info = gradient.value, gradient.info(0.0)
            if len(lost):  # no derivative exists: what the solutions do nearby
                part = program.take(lost), solution.take(lost), point_bar.take(lost)
                other, its = self._differences(*part, entries, solver)
                its = replace(its, regular=np.full(len(lost), False), kink=np.nan_to_num(its.bend))
                w_bar, info = placed(w_bar, _unsettled(info, lost), lost, other, its)
            return w_bar, info
        w_bar, info = self._differences(program, solution, far, entries, solver)
        if near.any().any():
            gradient = limit.vjp(base, solution.point, near, moved)
            exact = gradient.info(0.0)
            info = replace(
                info,
                method=np.full(program.batch, "path and differences"),
                regular=exact.regular,
                breakpoints=exact.breakpoints,
            )
            w_bar = w_bar + gradient.value
        return w_bar, info

    def _parts(
        self, structure: Structure, point_bar: Point, entries: Data
    ) -> tuple[Point | None, Point]:
        """The parts of a cotangent to be seen at a finite tau, None where there is none, and in the
        limit.

        A linear program's x does not depend on q, nor its y on b, until the next vertex: where q
        alone is asked for the part of x, where b alone is the part of y would be 0.
        """
        zero, others = point_bar * 0.0, len(entries.A) + len(entries.P)
        only_q, only_b = not others + len(entries.b), not others + len(entries.q)
        if not is_linear(structure) or not (only_q or only_b):
            return None, point_bar
        y = replace(zero, y=point_bar.y)
        x = replace(point_bar, y=zero.y)
        far, near = (x, y) if only_q else (y, x)
        return (far, near) if far.any().any() else (None, point_bar)

    def _differences(
        self,
        program: ConeProgram,
        solution: Solution,
        point_bar: Point,
        entries: Data,
        solver: Solver,
    ) -> tuple[Data, Info]:
        """The difference at tau; one that must inform grows where it is nothing."""
        again = self._again(solver)
        z_bar = perturb.without_slack(program, point_bar)
        tau = step.cotangent_step(self.tau, program, solution.point, z_bar, again.accuracy)

        def difference(samples: np.ndarray, tau: np.ndarray) -> tuple[Data, Info]:
            some = program.take(samples), solution.take(samples), z_bar.take(samples)
            w_bar, mean, info = self._difference(*some, tau, entries, again)
            s_bar = point_bar.s[samples]
            return perturb.with_slack(w_bar, some[0], s_bar, mean, entries), info

        structure = program.structure
        times = 0
        if isinstance(self.tau, str) and not self.is_automatic:
            times = ENLARGED
        elif self.is_automatic and (is_linear(structure) or structure.mixed_integer):
            times = SIGHTED
        return enlarged(difference, tau, times)

    def _difference(
        self,
        program: ConeProgram,
        solution: Solution,
        z_bar: Point,
        tau: np.ndarray,
        entries: Data,
        solver: Solver,
    ) -> tuple[Data, np.ndarray, Info]:
        """w_bar, the mean x of both ends, and what became of the re-solves."""
        hi, lo = ENDS[self.side]
        xp = array_namespace(solution.point.x)
        ends = [t for t in (hi, lo) if t]
        near = not (self.is_automatic and is_linear(program.structure))
        found = perturb.solved_ends(program, solution, z_bar, tau, ends, self.rho, solver, near)
        z = solution.point
        if self.integer_constraints and len(entries.A) + len(entries.b):
            z, found = with_multipliers(program, z, found)
        high, low, width, info = found.span(hi, lo, z)
        g_high = program.lagrangian_gradient(high, entries)
        g_low = program.lagrangian_gradient(low, entries)
        w_bar = (g_high - g_low) * (1.0 / xp.asarray(tau * width))[:, None]
        unseen = noise.is_noise(g_high, g_low, solver.accuracy)
        bend = noise.bend(high, low, z, solver.accuracy, found.residual)
        bend *= info.side == "average"
        return w_bar, (high.x + low.x) / 2, replace(info, unresolved=unseen & info.ok, bend=bend)

    def jvp(
        self, program: ConeProgram, solution: Solution, data_dot: Data, solver: Solver
    ) -> tuple[Point, Info]:
        """The solution's tangent: the limit, or an ordinary difference at tau."""
        followed = is_followed(program.structure) and self.is_automatic
        if not followed:
            return self._tangent_differences(program, solution, data_dot, solver)
        base = program.proximal(self.rho, solution.point.x)
        tangent = limit.jvp(base, solution.point, data_dot)
        value, info = tangent.value, tangent.info(0.0)
        lost = np.flatnonzero(~tangent.exists)
        if len(lost):
            part = program.take(lost), solution.take(lost), data_dot.take(lost)
            other, its = self._tangent_differences(*part, solver)
            its = replace(its, regular=np.full(len(lost), False))
            value, info = placed(value, _unsettled(info, lost), lost, other, its)
        return value, info

    def _tangent_differences(
        self, program: ConeProgram, solution: Solution, data_dot: Data, solver: Solver
    ) -> tuple[Point, Info]:
        """[z(w + tau w_dot) - z(w - tau w_dot)] / 2 tau, one-sided where the side is."""
        again = self._again(solver)
        tau = step.tangent_step(self.tau, program, solution.point, data_dot, again.accuracy)
        hi, lo = ENDS[self.side]
        ends = [t for t in (hi, lo) if t]

        def difference(samples: np.ndarray, tau: np.ndarray) -> tuple[Point, Info]:
            start = solution.take(samples)
            base = program.take(samples).proximal(self.rho, start.point.x)
            found = perturb.solved_along(base, start, data_dot.take(samples), tau, ends, again)
            high, low, width, info = found.span(hi, lo, start.point)
            return (high - low) * (1.0 / (tau * width))[:, None], info

        return reduced(difference, tau)


def _unsettled(info: Info, lost: np.ndarray) -> Info:
    return replace(info, settled=put(info.settled, lost, False))
