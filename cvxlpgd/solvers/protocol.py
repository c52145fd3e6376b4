"""What a solver declares and does."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import metadata
from importlib.util import find_spec
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from cvxlpgd.errors import SolverNotInstalled, UnsuitableSolver
from cvxlpgd.program import ConeProgram, Point, Solution, Structure

# A point counts as solved up to this multiple of the accuracy asked for: solvers measure in norms
# of their own, which differ from the relative KKT residual by the sizes of Ax, s and A'y.
JUDGED_AT = 100.0
FINEST = 1e-8


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
        """This solver with more options: its own names, "eps" for all tolerances, "verbose",
        "time_limit" in seconds. Raises InvalidOption for a name that it does not have.
        """

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, from `start` where that helps. Never raises on a bad status.

        One that raises all the same is called again with each sample alone.
        """


@runtime_checkable
class WithEnds(Protocol):
    """A solver that can follow a solution as its program moves, by what it kept of it."""

    def ends(
        self, program: ConeProgram, solution: Solution, direction: Point, taus: np.ndarray
    ) -> Solution | None:
        """The solutions of (P, q + t x_bar, A, b - t y_bar), each t one of `taus` (ends, batch).

        `direction` is (x_bar, y_bar, 0). One batch for each end after the other; samples that it
        cannot follow are failed ones, and None is a batch of these: they are solved. What it
        returns is judged by its residuals, and solved where they are not small.
        """


@runtime_checkable
class Packaged(Protocol):
    """A solver that pip installs in a way of its own."""

    @property
    def packages(self) -> str:
        """What stands behind `pip install`."""


def is_solver(value: Any) -> bool:
    """Whether it is a solver: a value, not its class, with all that the protocol asks for."""
    return not isinstance(value, type) and isinstance(value, Solver)


def is_installed(solver: Solver) -> bool:
    """Whether everything that the solver requires can be imported; imports nothing."""
    return all(find_spec(module) is not None for module in solver.requires)


def missing_cones(solver: Solver, structure: Structure) -> list[str]:
    """The parts of a structure that the solver cannot take, cones and others, in words."""
    kinds = {type(cone) for cone in structure.cones} - solver.cones
    words = [f"{name} cones" for name in sorted(kind.__name__ for kind in kinds)]
    if structure.P.size and not solver.quadratic:
        words.append("a quadratic objective")
    if structure.mixed_integer and not solver.integer:
        words.append("integer variables")
    if structure.mixed_integer and structure.P.size and solver.integer == "linear":
        words.append("a quadratic objective of integer variables")
    return words


def _packages(solver: Solver) -> str:
    """What pip must install for it: this package's extra of its name, if there is one."""
    if isinstance(solver, Packaged):
        return solver.packages
    extras = metadata("cvxlpgd").get_all("Provides-Extra") or []
    name = solver.name.lower()
    return f'"cvxlpgd[{name}]"' if name in extras else " ".join(solver.requires)


def require(solver: Solver, structure: Structure) -> None:
    """Raise SolverNotInstalled, or UnsuitableSolver where it cannot take the structure."""
    if not is_installed(solver):
        raise SolverNotInstalled(
            f"{solver.name} is not installed; pip install {_packages(solver)}, or choose another "
            "solver "
            "(the command `cvxlpgd solvers` lists them)"
        )
    missing = missing_cones(solver, structure)
    if missing:
        raise UnsuitableSolver(
            f"{solver.name} cannot take {' and '.join(missing)}; choose another solver, or "
            "solver=None to have one chosen"
        )
