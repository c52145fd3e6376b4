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

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """Of the projection: I inside, 0 in the polar cone, else
        ½ [1, w'; w, I + (t/|u|) (I - ww')] with w = u/|u|.
        """
        t, u = v[..., :1], v[..., 1:]
        norm = np.sqrt(np.sum(u * u, axis=-1, keepdims=True))
        w, share = u / np.where(norm > 0, norm, 1.0), t / np.where(norm > 0, norm, 1.0)
        found = np.zeros((*v.shape, v.shape[-1]))
        found[..., 0, 0] = 0.5
        found[..., 0, 1:] = found[..., 1:, 0] = w / 2
        found[..., 1:, 1:] = (share * w)[..., :, None] * w[..., None, :] / -2
        found[..., 1:, 1:] += (1 + share[..., None]) / 2 * np.eye(u.shape[-1])
        inside = (norm <= t)[..., None]
        return np.where(inside, np.eye(v.shape[-1]), np.where((norm <= -t)[..., None], 0.0, found))
