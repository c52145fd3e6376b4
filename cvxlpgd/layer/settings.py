"""A layer's options: checked once, spelled as peers spell them, and who serves calls with them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cvxlpgd.checks import check_flag, is_number, is_one_of, is_positive
from cvxlpgd.derivatives import LPGD, Derivative, Implicit, check_derivative
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import Structure
from cvxlpgd.solvers.choose.choice import choose_solver, is_name
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.executor import OnExecutor
from cvxlpgd.solvers.run.ladder import first_of
from cvxlpgd.solvers.run.processes import Processes

DEFAULT = LPGD()

# cvxpylayers' and diffcp's modes; their "right" perturbs towards +tau
_MODES: dict[str, Implicit | LPGD] = {
    "lsqr": Implicit("lsqr"),
    "lsmr": Implicit("lsmr"),
    "dense": Implicit("dense"),
    "lpgd": LPGD(side="average"),
    "lpgd_right": LPGD(side="lower"),
    "lpgd_left": LPGD(side="upper"),
}


@dataclass(frozen=True, eq=False)
class Settings:
    """How a layer canonicalizes, solves and differentiates; see the adapters for each of them.

    Raises
    ------
    InvalidOption
        For a value that is not what it must be.
    """

    solver: str | Solver | None = None
    gp: bool = False
    verbose: bool = False
    canon_backend: str | None = None
    solver_args: Mapping[str, Any] | None = None
    derivative: Derivative = DEFAULT
    on_failure: str = "raise"
    fallback: str | Solver | None = None
    time_limit: float | None = None
    executor: Executor | Processes | None = None
    pieces: int | None = None
    always: dict[str, Any] = field(init=False, repr=False)  # options of every solver that is asked
    options: dict[str, Any] = field(init=False, repr=False)  # solver_args, a copy

    def __post_init__(self) -> None:
        check_derivative("derivative", self.derivative)
        check_flag("gp", self.gp)
        check_flag("verbose", self.verbose)
        name, executor = self.canon_backend, self.executor
        if name is not None and not (isinstance(name, str) and name):
            raise InvalidOption(f"canon_backend must be None or a name, not {name!r}")
        if executor is not None and not isinstance(executor, Executor | Processes):
            raise InvalidOption(
                f"executor must be a concurrent.futures.Executor or Processes(), not {executor!r}"
            )
        if self.pieces is not None:
            _check_pieces(self.pieces, executor)
        if not is_one_of(self.on_failure, ("raise", "nan")):
            raise InvalidOption(f'on_failure must be "raise" or "nan", not {self.on_failure!r}')
        always: dict[str, Any] = {"verbose": True} if self.verbose else {}
        if self.time_limit is not None:
            always["time_limit"] = _seconds(self.time_limit)
        object.__setattr__(self, "always", always)
        object.__setattr__(self, "options", as_mapping(self.solver_args))


def _check_pieces(pieces: Any, executor: Any) -> None:
    """InvalidOption unless it is a number of pieces for an executor."""
    if not (isinstance(pieces, int | np.integer) and is_positive(pieces)):
        raise InvalidOption(f"pieces must be a whole number > 0, not {pieces!r}")
    if executor is None:
        raise InvalidOption("pieces says how an executor shares the work: it needs executor=")


def _seconds(time_limit: Any) -> float:
    """A time limit in seconds; InvalidOption unless it is a number > 0."""
    if is_number(time_limit) and time_limit > 0:
        return float(time_limit)
    raise InvalidOption(f"time_limit must be a number of seconds > 0, not {time_limit!r}")


def choose(
    settings: Settings,
    structure: Structure,
    solver_args: Mapping[str, Any] | None = None,
    warm: bool = False,
) -> tuple[Solver, Derivative]:
    """The solver, with all of its options, and the derivative that serve programs of a structure.

    `solver_args` go on top of those of the settings. If `warm`, a solver that gains from an earlier
    solution is chosen where there is a choice.

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
        limit = always.get("time_limit")
        solver = OnExecutor(solver, settings.executor, limit, settings.pieces)
    derivative = settings.derivative if spelled.derivative is None else spelled.derivative
    require_structure(derivative, structure, solver)
    return solver, derivative


@dataclass(frozen=True)
class Spelled:
    """solver_args taken apart: a solver's name or None, its options, a derivative or None."""

    solver: str | None
    options: dict[str, Any]
    derivative: Derivative | None


def take_apart(solver_args: Mapping[str, Any]) -> Spelled:
    """Take solver_args apart.

    "solve_method" names the solver, and so does "solver" with a solver's name (with other values it
    is HiGHS' own option); "mode" with "derivative_kwargs" names the derivative. Numbers of threads
    are accepted and left to the library. All else is an option of the solver.

    Raises
    ------
    InvalidOption
        For an unknown mode, derivative_kwargs that the mode does not have, or "warm_start".
    """
    options = dict(solver_args)
    if "warm_start" in options:
        raise InvalidOption(
            '"warm_start" is an argument of the call, layer(..., warm_start=True), and not an '
            "option of a solver"
        )
    name = options.pop("solve_method", None)
    if name is None and is_name(options.get("solver")):
        name = options.pop("solver")
    if name is not None and not isinstance(name, str):
        raise InvalidOption(f'"solve_method" must be the name of a solver, not {name!r}')
    for threads in ("n_jobs_forward", "n_jobs_backward"):
        options.pop(threads, None)
    mode, settings = options.pop("mode", None), options.pop("derivative_kwargs", None)
    if mode is None:
        if settings is not None:
            raise InvalidOption('"derivative_kwargs" needs a "mode" beside it')
        return Spelled(name, options, None)
    if not isinstance(mode, str) or mode not in _MODES:
        raise InvalidOption(f'"mode" must be one of {", ".join(_MODES)}, not {mode!r}')
    try:
        if {"side", "mode"} & set(settings or {}):
            raise TypeError("the mode itself says which side or method it is")
        derivative: Any = replace(_MODES[mode], **dict(settings or {}))
    except TypeError as error:
        raise InvalidOption(f'"derivative_kwargs" of mode {mode!r}: {error}') from None
    return Spelled(name, options, derivative)


def check_single(single: Any, variables: int) -> bool:
    """Whether calls return their variable itself, for a layer of so many variables.

    Raises
    ------
    InvalidOption
        For a value that is not True or False, or True for a layer that has not one variable.
    """
    check_flag("single", single)
    if single and variables != 1:
        raise InvalidOption(
            f"single=True is for a layer of one variable, and this one has {variables}; leave it "
            "out, and take each call's tuple apart"
        )
    return bool(single)


def as_mapping(solver_args: Any) -> dict[str, Any]:
    """solver_args as a new dictionary; InvalidOption unless it is one with names for keys."""
    if solver_args is None:
        return {}
    if not isinstance(solver_args, Mapping):
        raise InvalidOption(f"solver_args must be a dict, not {type(solver_args).__name__}")
    for name in solver_args:
        if not isinstance(name, str):
            raise InvalidOption(f"solver_args has the key {name!r}; names of options are strings")
    return dict(solver_args)
