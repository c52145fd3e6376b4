"""Lagrangian proximal gradient descent: differences of the Lagrangian's gradient.

Paulus, Martius, Musil, "LPGD: A General Framework for Backpropagation through Embedded
Optimization Layers", ICML 2024, arXiv 2407.05920.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cvxlpgd.checks import check_flag, is_one_of
from cvxlpgd.cones import Cone
from cvxlpgd.derivatives import limit
from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.ends import bend, between, is_silent
from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.integers import refuse_rows, with_multipliers
from cvxlpgd.derivatives.protocol import Bound, Derivative
from cvxlpgd.derivatives.tau import settings, sizes
from cvxlpgd.derivatives.tau.retries import or_nearby, retry_larger, retry_smaller
from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure
from cvxlpgd.program.motion import Motion
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.choose.choice import as_solver
from cvxlpgd.solvers.protocol import Solver, require
from cvxlpgd.solvers.run.arrays import array_like

ENDS = {"lower": (1.0, 0.0), "upper": (0.0, -1.0), "average": (1.0, -1.0)}


@dataclass(frozen=True)
class LPGD(Derivative):
    """The gradient of a Lagrange-Moreau envelope of the loss.

        z(t) = argmin_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y) + (rho/2) |x - x*|²_omega
        w_bar = [∇L(z(hi tau)) - ∇L(z(lo tau))] / (tau (hi - lo))

    with (hi, lo) = (1, 0) for side "lower", (0, -1) for "upper" and (1, -1) for "average". A small
    tau approximates the exact derivative where that exists, with an error of O(tau) on one side and
    O(tau²) on average. A large tau reaches other vertices and other active sets, so the gradient
    informs where the exact one is zero.

    Parameters
    ----------
    tau : "auto", "informative", float, Relative, array or callable
        Size of the perturbation, > 0, in units of the objective over the loss.

        "auto" takes the limit tau -> 0 in closed form, without another solve. Where that limit is
        zero by the structure of the program, tau has the size of the data instead: for the costs
        of linear and integer programs, and for the right-hand sides of linear programs through
        their dual variables. There it grows tenfold, at most twice, for samples whose difference is
        only noise.

        "informative" takes differences in every program, and tau grows up to six times.

        An array has the batch shape. A callable, such as a schedule, returns any of these and is
        read once per forward pass.
    rho : float
        Weight of the proximal term, >= 0. It keeps a perturbed program bounded and its solution
        near x*. It biases the gradient, and makes a linear program quadratic.
    side : "average", "lower" or "upper"
        "average" costs two perturbed programs, the others one.
    solver : Solver or str, optional
        Solves all perturbed programs. If None, quadratic programs with linear rows follow the
        linearized path, linear programs pivot from the basis of their solution, and the layer's
        solver is asked for what is left.
    integer_constraints : bool
        If True, constraint parameters of an integer program get gradients: the multipliers of the
        program whose integers are fixed. That is a heuristic, because these multipliers do not know
        other integers, and it is 0 in a program without continuous variables.

    Raises
    ------
    InvalidOption
        For a tau, rho or side out of range.
    UnsuitableSolver
        From the layer, if the solver cannot take the perturbed programs.

    References
    ----------
    Paulus, Martius, Musil, "LPGD: A General Framework for Backpropagation through Embedded
    Optimization Layers", ICML 2024, arXiv 2407.05920.

    Examples
    --------
    >>> LPGD()  # the limit where it informs, else a tau of the data's size
    LPGD(tau='auto', rho=0.0, side='average', solver=None, integer_constraints=False)
    >>> LPGD(tau=0.1, side="lower").tau
    0.1
    """

    tau: str | float | Relative | np.ndarray | Callable[[], Any] = "auto"
    rho: float = 0.0
    side: Literal["average", "lower", "upper"] = "average"
    solver: Solver | str | None = None
    integer_constraints: bool = False
    cones = frozenset({Cone})

    @property
    def remedy(self) -> str:
        """What looks further than this tau."""
        if is_one_of(self.tau, ("auto",)):
            return 'LPGD(tau="informative"), which looks further'
        if is_one_of(self.tau, ("informative",)):
            return "parameters that are less saturated, since no larger tau moved a solution"
        return 'a larger tau, or LPGD(tau="informative"), which finds one'

    def __post_init__(self) -> None:
        settings.check(self.tau, self.rho, self.side, ENDS)
        check_flag("integer_constraints", self.integer_constraints)

    @property
    def perturbation(self) -> tuple[Any, str]:
        """(tau, side)."""
        return self.tau, self.side

    def check(self, structure: Structure, solver: Solver) -> None:
        """The re-solves need a solver that takes the program with its proximal term."""
        require(self._solver(solver), structure.proximal if self.rho else structure)

    def refuse(self, structure: Structure, entries: Data) -> None:
        """An integer program has multipliers only if they are asked for."""
        if not self.integer_constraints:
            refuse_rows(structure, entries)

    def bind(self, structure: Structure, solver: Solver, batch_shape: tuple[int, ...]) -> Bound:
        """With tau read, and spread over the batch where it is an array."""
        by_path = self.solver is None
        bound = Resolves(self, structure, self._solver(solver), self.tau, by_path)
        return bound.spread(batch_shape)

    def _solver(self, solver: Solver) -> Solver:
        """The solver of the perturbed programs."""
        return solver if self.solver is None else as_solver(self.solver, "the solver of LPGD")


@dataclass(frozen=True, eq=False)
class Resolves(Bound):
    """LPGD in one forward pass."""

    lpgd: LPGD
    structure: Structure
    solver: Solver  # of the perturbed programs
    tau: Any  # str, float, Relative or array (*batch shape): as `lpgd` has it, read
    by_path: bool = True  # if False, the solver is asked for all perturbed programs

    @property
    def arrays(self) -> str:
        """Differences at a given tau are taken where the solutions are."""
        given = not isinstance(self.tau, str) and not self.lpgd.integer_constraints
        return "any" if given else "numpy"

    @property
    def separates(self) -> bool:
        """A linear program's costs, right-hand sides and matrices, where tau is automatic."""
        return settings.separates(self.tau, self.structure)

    def spread(self, batch_shape: tuple[int, ...]) -> Resolves:
        """Tau, read if it is a callable; an array is spread over the batch."""
        return replace(self, tau=settings.read(self.tau, batch_shape))

    def take(self, index: np.ndarray) -> Resolves:
        """Tau may differ between samples."""
        if not isinstance(self.tau, np.ndarray):
            return self
        return replace(self, tau=self.tau.reshape(-1)[index])

    def vjp(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data, Info]:
        """The data's cotangent: the limit where tau is automatic, differences elsewhere."""
        w_bar, info = self.pull(program, solution, point_bar, entries)
        if isinstance(w_bar, Motion):
            w_bar = w_bar.pull_back(self.structure, entries)
        return w_bar, info

    def pull(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data | Motion, Info]:
        """The data's cotangent, or a motion that it is the pull-back of."""
        far, near = settings.split_cotangent(self.tau, self.structure, point_bar, entries)
        if near is None:
            assert far is not None
            return self.differences(program, solution, far, entries)
        gradient = limit.vjp(program, solution.point, near, entries, self.lpgd.rho)
        if far is not None:
            motion, info = self.differences(program, solution, far, entries)
            value = motion.pull_back(self.structure, entries) + gradient.value
            return value, gradient.beside(info)
        if gradient.motion is not None and gradient.exists.all():
            return gradient.motion, gradient.info(0.0)

        def nearby(lost: np.ndarray) -> tuple[Data, Info]:
            part = program.take(lost), solution.take(lost), point_bar.take(lost)
            motion, info = self.differences(*part, entries)
            return motion.pull_back(self.structure, entries), info

        return or_nearby(gradient, nearby)

    def differences(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Motion, Info]:
        """[g(hi) - g(lo)] / (tau (hi - lo)), g(t) = ∇L(z(t tau)), as a motion that it is the
        pull-back of; tau grows where that is noise.
        """
        hi, lo = ENDS[self.lpgd.side]
        accuracy = self.solver.accuracy
        z_bar = perturb.without_slack(program, point_bar)
        tau = sizes.cotangent_step(self.tau, program, solution.point, z_bar, accuracy)
        is_near = not (settings.is_automatic(self.tau) and settings.is_linear(self.structure))

        def difference(samples: np.ndarray, tau: np.ndarray) -> tuple[Motion, Info]:
            base, start, bar, s_bar = program, solution, z_bar, point_bar.s
            if len(samples) < len(s_bar):
                base, start = program.take(samples), solution.take(samples)
                bar, s_bar = z_bar.take(samples), s_bar[samples]
            z, ends = start.point, [t for t in (hi, lo) if t]
            points = perturb.solve_ends(
                base, start, bar, tau, ends, self.lpgd.rho, self.solver, is_near, self.by_path
            )
            if self.lpgd.integer_constraints and len(entries.A) + len(entries.b):
                z, points = with_multipliers(base, z, points)
            z_hi, z_lo, width, info = points.span(hi, lo, z)
            apart, middle = between(z_hi, z_lo)
            over = array_like(1.0 / (tau * width), z_hi.x)[:, None]
            # yx' at hi less that at lo is apart.y middle.x' + middle.y apart.x'
            moved = Point(apart.x * over, apart.y * over, apart.s)
            motion = perturb.motion_of(moved, middle, s_bar)
            bent = bend(apart, middle, z, accuracy, points.residual) * (info.side == "average")
            unresolved = is_silent(base, z_hi, z_lo, entries, accuracy) & info.ok
            info = replace(info, unresolved=unresolved, bend=bent)
            return motion, info

        best = sizes.multiple(program, z_bar) > 0
        growths = settings.most_growths(self.tau, self.structure)
        motion, info = retry_larger(difference, tau, growths, best)
        return motion, replace(info, best=best)

    def jvp(self, program: ConeProgram, solution: Solution, data_dot: Data) -> tuple[Point, Info]:
        """The solution's tangent: the limit where tau is automatic, differences elsewhere."""
        if not settings.has_limit(self.tau, self.structure):
            return self.tangent_differences(program, solution, data_dot)
        tangent = limit.jvp(program, solution.point, data_dot, self.lpgd.rho)

        def nearby(lost: np.ndarray) -> tuple[Point, Info]:
            part = program.take(lost), solution.take(lost), data_dot.take(lost)
            return self.tangent_differences(*part)

        return or_nearby(tangent, nearby)

    def tangent_differences(
        self, program: ConeProgram, solution: Solution, data_dot: Data
    ) -> tuple[Point, Info]:
        """[z(w + hi tau w_dot) - z(w + lo tau w_dot)] / (tau (hi - lo))."""
        (hi, lo), accuracy = ENDS[self.lpgd.side], self.solver.accuracy
        tau = sizes.tangent_step(self.tau, program, solution.point, data_dot, accuracy)

        def difference(samples: np.ndarray, tau: np.ndarray) -> tuple[Point, Info]:
            start, ends = solution.take(samples), [t for t in (hi, lo) if t]
            base = program.take(samples).proximal(self.lpgd.rho, start.point.x)
            w_dot = data_dot.take(samples)
            points = perturb.solve_along(base, start, w_dot, tau, ends, self.solver)
            z_hi, z_lo, width, info = points.span(hi, lo, start.point)
            over = array_like(1.0 / (tau * width), z_hi.x)
            return (z_hi - z_lo) * over[:, None], info

        return retry_smaller(difference, tau)
