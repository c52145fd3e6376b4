"""What a derivative declares and does: once for a layer, and bound to a forward pass."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cvxlpgd.cones import Cone
from cvxlpgd.derivatives.info import Info
from cvxlpgd.errors import DerivativeFailed, InvalidOption
from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure
from cvxlpgd.program.motion import Motion
from cvxlpgd.solvers.protocol import Solver

# the remedy of derivatives that are zero at a vertex
FURTHER = (
    'LPGD() for the costs of a linear program, or LPGD(tau="informative"), which looks further'
)


class Bound(Protocol):
    """A derivative in one forward pass: all that may change between calls is read."""

    @property
    def arrays(self) -> str:
        """The arrays that it takes and returns: "numpy", or "any" for those of the program."""
        return "numpy"

    @property
    def separates(self) -> bool:
        """Whether parameters of q alone, of b alone and others are differentiated one by one."""
        return False

    def spread(self, batch_shape: tuple[int, ...]) -> Bound:
        """The same for a batch with more axes."""
        return self

    def take(self, index: np.ndarray) -> Bound:
        """The same for the samples at these positions of the flattened batch."""
        return self

    @abstractmethod
    def vjp(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data, Info]:
        """The data's cotangent at these entries, each field (batch, entries), for the point's,
        whose fields are (batch, n), (batch, m) and (batch, m).
        """

    def pull(
        self, program: ConeProgram, solution: Solution, point_bar: Point, entries: Data
    ) -> tuple[Data | Motion, Info]:
        """As `vjp`, or a motion whose pull-back at the entries that cotangent is: gradients of what
        samples share are then summed without every sample's own.
        """
        return self.vjp(program, solution, point_bar, entries)

    @abstractmethod
    def jvp(self, program: ConeProgram, solution: Solution, data_dot: Data) -> tuple[Point, Info]:
        """The point's tangent for the data's at the structure's varying entries, each field
        (batch or 1, entries).
        """


@runtime_checkable
class Derivative(Protocol):
    """A frozen value: a method and its settings. A new one writes what is abstract here."""

    @property
    @abstractmethod
    def cones(self) -> frozenset[type]:
        """Cone types it differentiates through; {Cone} is all of them."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What to try where its gradient is zero."""

    @property
    def perturbation(self) -> tuple[Any, str] | None:
        """(tau, side) of a method that perturbs programs by a size and to a side."""
        return None

    def check(self, structure: Structure, solver: Solver) -> None:
        """Raise where it cannot serve programs of this structure, solved by `solver`, whatever
        their cones. Asked when a layer is made; reads nothing that may change between calls.
        """
        return

    def refuse(self, structure: Structure, entries: Data) -> None:
        """Raise where it has no derivative for these entries of the data."""
        return

    @abstractmethod
    def bind(self, structure: Structure, solver: Solver, batch_shape: tuple[int, ...]) -> Bound:
        """For one forward pass of programs that it serves, with all that may change read once."""


def require_structure(derivative: Derivative, structure: Structure, solver: Solver) -> None:
    """Raise unless a derivative serves programs of this structure, solved by `solver`.

    Raises
    ------
    CvxlpgdError
        What its own check raises, and DerivativeFailed for a cone that it does not name.
    """
    derivative.check(structure, solver)
    types = set() if Cone in derivative.cones else {type(cone) for cone, _, _ in structure.blocks}
    unknown = sorted(cone.__name__ for cone in types - derivative.cones)
    if unknown:
        raise DerivativeFailed(
            f"{type(derivative).__name__}() cannot differentiate through "
            f"{' and '.join(unknown)} cones; use LPGD()"
        )


def check_derivative(name: str, value: Any) -> None:
    """Raise InvalidOption unless it is a derivative."""
    if isinstance(value, type) or not isinstance(value, Derivative):
        raise InvalidOption(f"{name} must be a value such as LPGD(), not {value!r}")
