"""What a solver declares that is another one with something around it."""

from __future__ import annotations

from cvxlpgd.solvers.protocol import Solver


class Around:
    """Declares what `solver` does, and works on NumPy arrays."""

    solver: Solver
    arrays = "numpy"

    @property
    def name(self) -> str:
        """The solver's name."""
        return self.solver.name

    @property
    def requires(self) -> tuple[str, ...]:
        """What the solver requires."""
        return self.solver.requires

    @property
    def cones(self) -> frozenset[type]:
        """The cones that the solver takes."""
        return self.solver.cones

    @property
    def quadratic(self) -> bool:
        """Whether the solver takes a P."""
        return self.solver.quadratic

    @property
    def integer(self) -> bool | str:
        """Whether the solver takes integers."""
        return self.solver.integer

    @property
    def accuracy(self) -> float:
        """The solver's accuracy."""
        return self.solver.accuracy
