"""The second-order cone {(t, u) : |u|_2 <= t}. It is its own dual."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace


@dataclass(frozen=True)
class SOC:
    """One second-order cone of `rows` rows, t first."""

    rows: int

    symmetric = True

    @property
    def interior(self) -> np.ndarray:
        """T = 1, u = 0."""
        return np.eye(self.rows)[0]

    def project(self, v: Any) -> Any:
        """Nearest point: v inside, 0 in the polar cone, else (t + |u|)/2 · (1, u/|u|)."""
        xp = array_namespace(v)
        t, u = v[..., :1], v[..., 1:]
        norm = xp.sqrt(xp.sum(u * u, axis=-1, keepdims=True))
        scale = (t + norm) / 2
        outside = xp.concat([scale, scale * u / xp.where(norm > 0, norm, 1.0)], axis=-1)
        return xp.where(norm <= t, v, xp.where(norm <= -t, v * 0.0, outside))
