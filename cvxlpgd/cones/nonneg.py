"""The nonnegative orthant {s : s >= 0}: inequality rows. It is its own dual."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NonNeg:
    """`rows` inequality rows."""

    rows: int

    symmetric = True

    @property
    def interior(self) -> np.ndarray:
        """Ones."""
        return np.ones(self.rows)

    def project(self, v: Any) -> Any:
        """Nearest point of the cone: max(v, 0)."""
        return v * (v > 0)

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """Of the projection: 1 where v > 0, else 0."""
        return (v > 0).astype(float)
