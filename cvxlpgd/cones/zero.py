"""The zero cone {0}: equality rows. Its dual is the whole space."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones.linearization import Linearization, of_diagonal


@dataclass(frozen=True)
class Zero:
    """`rows` equality rows: s = 0, y free."""

    rows: int

    interior = None
    symmetric = False

    def project(self, v: Any) -> Any:
        """Nearest point of the cone: 0."""
        return v * 0.0

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The projection's: 0."""
        return np.zeros(v.shape)

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """Every row is active."""
        return of_diagonal(self, y, s)

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """Equalities are never left."""
        return np.full(y.shape, np.inf)
