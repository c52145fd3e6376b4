"""What a derivative does."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from cvxlpgd.derivatives.info import Info
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Data, Point, Structure
from cvxlpgd.program.solution import Solution
from cvxlpgd.solvers.protocol import Solver


@runtime_checkable
class Derivative(Protocol):
    """A frozen value: a method and its settings. A new one needs this and nothing else."""

    @property
    def remedy(self) -> str:
        """What to try where its gradient is zero."""

    def require(self, structure: Structure, solver: Solver) -> None:
        """Raise where the method cannot serve programs of this structure, solved by `solver`."""

    def require_entries(self, structure: Structure, entries: Data) -> None:
        """Raise where the method has no derivative for these entries of the data."""

    def fixed(self, batch_shape: tuple[int, ...]) -> Self:
        """The same with all that may change between calls read once, for one forward pass."""

    def take(self, index: np.ndarray) -> Self:
        """The same for some samples of the flattened batch."""

    def separates(self, structure: Structure) -> bool:
        """Whether parameters of q alone, of b alone and others are differentiated one by one."""

    def vjp(
        self,
        program: ConeProgram,
        solution: Solution,
        point_bar: Point,
        entries: Data,
        solver: Solver,
    ) -> tuple[Data, Info]:
        """The data's cotangent at these entries (each field (batch, entries)) for the point's."""

    def jvp(
        self, program: ConeProgram, solution: Solution, data_dot: Data, solver: Solver
    ) -> tuple[Point, Info]:
        """The point's tangent for the data's tangent at the structure's varying entries."""


def check_derivative(name: str, value: Any) -> None:
    """Raise InvalidOption unless it is a derivative."""
    if isinstance(value, type) or not isinstance(value, Derivative):
        raise InvalidOption(f"{name} must be a value such as LPGD(), not {value!r}")
