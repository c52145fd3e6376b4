"""The zero cone {0}: equality rows. Its dual is the whole space."""

from dataclasses import dataclass
from typing import Any

import numpy as np


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
        """Of the projection: 0."""
        return np.zeros(v.shape)
