"""Which solver and which derivative serve a call: by a layer's settings, and by solver_args."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvxlpgd.derivatives import Derivative
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer.settings import Settings
from cvxlpgd.layer.spellings import DEFAULT, take_apart
from cvxlpgd.program import Structure
from cvxlpgd.solvers.choose.choice import choose_solver
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.executor import OnExecutor
from cvxlpgd.solvers.run.ladder import first_of


def choose(
    settings: Settings,
    structure: Structure,
    solver_args: Mapping[str, Any] | None = None,
    warm: bool = False,
) -> tuple[Solver, Derivative]:
    """The solver, with all of its options, and the derivative.

    Parameters
    ----------
    settings : Settings
    structure : Structure
    solver_args : dict, optional
        On top of those of the settings.
    warm : bool
        If True, a solver that gains from an earlier solution is chosen where there is a choice.

    Raises
    ------
    InvalidOption
        For an option that the solver does not have, or one that contradicts the settings.
    SolverNotInstalled, UnsuitableSolver, DerivativeFailed
        Where the solver or the derivative cannot serve programs of this structure.
    """
    spelled, always = take_apart(settings.options | dict(solver_args or {})), settings.always
    if spelled.derivative is not None and settings.derivative is not DEFAULT:
        raise InvalidOption('"mode" in solver_args contradicts the derivative= of the layer')
    if spelled.solver is not None and settings.solver is not None:
        raise InvalidOption('"solve_method" in solver_args contradicts the solver= of the layer')
    wanted = settings.solver if spelled.solver is None else spelled.solver
    solver = choose_solver(wanted, structure, always | spelled.options, warm=warm)
    if settings.fallback is not None:
        solver = first_of(solver, choose_solver(settings.fallback, structure, always, "fallback"))
    if settings.executor is not None:
        solver = OnExecutor(solver, settings.executor, always.get("time_limit"))
    derivative = settings.derivative if spelled.derivative is None else spelled.derivative
    require_structure(derivative, structure, solver)
    return solver, derivative
