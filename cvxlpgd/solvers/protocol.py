"""What a solver declares and does."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InvalidOption, SolverNotInstalled, UnsuitableSolver
from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.program.solution import Solution

# A point counts as solved up to this multiple of the accuracy asked for: solvers measure in norms
# of their own, which differ from the relative KKT residual by the sizes of Ax, s and A'y.
JUDGED_AT = 100.0
FINEST = 1e-8
COUNTS = frozenset({"max_iters", "max_iter", "iter_limit"})  # of iterations, as solvers call it


@runtime_checkable
class Solver(Protocol):
    """A frozen value: a solver and its options. A new one needs this and nothing else."""

    @property
    def name(self) -> str:
        """As users write it."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Modules that must be importable."""

    @property
    def cones(self) -> frozenset[type]:
        """Cone types it takes."""

    @property
    def quadratic(self) -> bool:
        """Whether it takes a P."""

    @property
    def integer(self) -> bool | str:
        """Whether it takes integer and boolean columns; "linear" if without a P only."""

    @property
    def arrays(self) -> str:
        """The arrays it works on: "numpy" or "torch"."""

    @property
    def accuracy(self) -> float:
        """The relative KKT residual that its options ask for."""

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options: its own names, and "eps" for all tolerances,
        "verbose", "time_limit" in seconds. Raises InvalidOption for a name it does not have.
        """

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, from `start` where that helps. Never raises on a bad status.

        One that raises all the same is called again with each sample alone.
        """


def checked_options(
    name: str,
    given: Mapping[str, Any],
    known: frozenset[str],
    tolerances: tuple[str, ...],
    time_limit: str | None,
) -> dict[str, Any]:
    """The solver's own options of a mapping that may also say "eps" and "time_limit".

    Raises
    ------
    InvalidOption
        For an option that is not in `known`, a value that is neither number nor text, or a time
        limit where the solver has none.
    """
    options = dict(given)
    if "eps" in options and "eps" not in known:
        eps = options.pop("eps")
        options = dict.fromkeys(tolerances, eps) | options
    limit = options.pop("time_limit", None) if "time_limit" not in known else None
    if limit is not None:
        if time_limit is None:
            raise InvalidOption(f"{name} has no time limit; use a solver that has one")
        options[time_limit] = limit
    unknown = sorted(map(str, options.keys() - known))
    if unknown:
        close = [match for word in unknown for match in get_close_matches(word, known)]
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise InvalidOption(
            f"{name} has no option {', '.join(map(repr, unknown))}; {hint}"
            f"it has eps and {', '.join(sorted(known))}"
        )
    for tolerance in tolerances:
        value = options.get(tolerance, 1.0)
        if not is_positive(value):
            raise InvalidOption(f"{name}: {tolerance} must be a positive number, not {value!r}")
    for option in COUNTS & options.keys():
        value = options[option]
        if isinstance(value, int | float | np.number) and not value >= 1:
            raise InvalidOption(f"{name}: {option} must be at least 1, not {value!r}")
    for option, value in options.items():
        if isinstance(value, list | dict | set | np.ndarray):
            raise InvalidOption(f"{name}: {option} must be a number or a text, not {value!r}")
    return options


def is_solver(value: Any) -> bool:
    """Whether it is a solver: a value, not its class, with all that the protocol asks for."""
    return not isinstance(value, type) and isinstance(value, Solver)


def is_installed(solver: Solver) -> bool:
    """Whether everything that the solver requires can be imported; imports nothing."""
    return all(find_spec(module) is not None for module in solver.requires)


def missing_cones(solver: Solver, structure: Structure) -> list[str]:
    """What of a structure the solver cannot take, in words."""
    missing = sorted({type(cone).__name__ for cone in structure.cones
                      if type(cone) not in solver.cones})  # fmt: skip
    words = [f"{cone} cones" for cone in missing]
    if structure.P.size and not solver.quadratic:
        words.append("a quadratic objective")
    if structure.mixed_integer and not solver.integer:
        words.append("integer variables")
    if structure.mixed_integer and structure.P.size and solver.integer == "linear":
        words.append("a quadratic objective of integer variables")
    return words


def require(solver: Solver, structure: Structure) -> None:
    """Raise unless the solver is installed and can take the structure.

    Raises
    ------
    SolverNotInstalled, UnsuitableSolver
    """
    if not is_installed(solver):
        modules = " ".join(solver.requires)
        raise SolverNotInstalled(
            f"{solver.name} is not installed; pip install {modules}, or choose another solver "
            "(the command `cvxlpgd solvers` lists them)"
        )
    missing = missing_cones(solver, structure)
    if missing:
        raise UnsuitableSolver(
            f"{solver.name} cannot take {' and '.join(missing)}; choose another solver, or "
            "solver=None to have one chosen"
        )
