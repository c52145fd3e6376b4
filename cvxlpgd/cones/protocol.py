"""What a cone declares and does."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from cvxlpgd.cones.linearization import Linearization


class Cone(Protocol):
    """A frozen value: how many rows it takes, its projection, and how its pairs move.

    Everything else follows from these, as in `distances.py`.
    """

    @property
    def rows(self) -> int:
        """Rows of the program that it takes."""

    @property
    def interior(self) -> Any:
        """A point inside of both the cone and its dual, its distance from their boundaries about 1;
        None where the cone has no inside.
        """

    @property
    def symmetric(self) -> bool:
        """Whether it is its own dual, and homogeneous."""

    def project(self, v: Any) -> Any:
        """The nearest point of the cone, for arrays (..., rows)."""

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The derivative of the projection where it has one, else one of its neighbours'.

        Symmetric matrices (..., rows, rows) with eigenvalues in [0, 1], or (..., rows): the
        diagonal where nothing else is stored.
        """

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """How a pair (..., rows), s in the cone and y in its dual, moves and stays complementary.

        A cone that knows nothing better returns `by_projection(self, y, s)`.
        """

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """How long a pair can move before it has moved by its own size, (...): four arrays
        (..., rows). On cones of single rows: until y - s is 0, (..., rows). A cone that knows
        nothing better returns `reach_by_size(...)`.
        """
