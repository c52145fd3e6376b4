"""The nonnegative orthant {s : s >= 0}: inequality rows. It is its own dual."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones.linearization import Linearization, of_diagonal, ratio


@dataclass(frozen=True)
class NonNeg:
    """`rows` inequality rows."""

    rows: int

    symmetric = True

    @property
    def interior(self) -> np.ndarray:
        """The vector of ones."""
        return np.ones(self.rows)

    def project(self, v: Any) -> Any:
        """Nearest point of the cone: max(v, 0)."""
        return v * (v > 0)

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The projection's: 1 where v > 0, else 0."""
        return (v > 0).astype(float)

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """Rows where y > s are active: compliance 0; the others infinite."""
        return of_diagonal(self, y, s)

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """Each row's time until y - s is 0; infinite where it moves away from 0."""
        v, v_dot = y - s, y_dot - s_dot
        return np.where(v * v_dot < 0, ratio(np.abs(v), np.abs(v_dot)), np.inf)
