"""The second-order cone {(t, u) : |u|_2 <= t}. It is its own dual."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.cones.linearization import Linearization, ratio


@dataclass(frozen=True)
class SOC:
    """One second-order cone of `rows` rows, t first."""

    rows: int

    symmetric = True

    @property
    def interior(self) -> np.ndarray:
        """The point t = 1, u = 0."""
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
        """The projection's: I inside, 0 in the polar cone, else
        ½ [1, w'; w, I + (t/|u|) (I - ww')] with w = u/|u|.
        """
        t, u = v[..., :1], v[..., 1:]
        norm = np.sqrt(np.sum(u * u, axis=-1, keepdims=True))
        w, share = u / np.where(norm > 0, norm, 1.0), t / np.where(norm > 0, norm, 1.0)
        D = np.zeros((*v.shape, v.shape[-1]))
        D[..., 0, 0] = 0.5
        D[..., 0, 1:] = D[..., 1:, 0] = w / 2
        D[..., 1:, 1:] = (share * w)[..., :, None] * w[..., None, :] / -2
        D[..., 1:, 1:] += (1 + share[..., None]) / 2 * np.eye(u.shape[-1])
        inside = (norm <= t)[..., None]
        return np.where(inside, np.eye(v.shape[-1]), np.where((norm <= -t)[..., None], 0.0, D))

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """With v = y - s of the spectral values t ± |u| and w = u/|u|: where they have both signs
        y = (t + |u|)/2 (1, w) cannot grow but along itself, s cannot but along (1, -w), and in the
        tangents (0, e), e'w = 0, the compliance is (|u| - t)/(|u| + t).
        """
        v = y - s
        t, u = v[..., :1], v[..., 1:]
        norm = np.sqrt(np.sum(u * u, axis=-1, keepdims=True))
        high, low = t + norm, t - norm
        w = np.where(norm > 0, u / np.where(norm > 0, norm, 1.0), np.eye(1, u.shape[-1])[0])
        ray = np.concatenate([np.ones_like(t), w], axis=-1)
        ray_s = np.concatenate([np.ones_like(t), -w], axis=-1)
        inside, outside = low >= 0, high <= 0
        y_new, s_new = high / 2 * ray, -low / 2 * ray_s
        directions = np.zeros((*v.shape, v.shape[-1]))
        directions[..., 0, :] = ray * np.sqrt(0.5)
        directions[..., 1:-1, 1:] = _tangents(w)
        compliance = np.broadcast_to(ratio(-low, high), v.shape).copy()
        compliance[..., 0], compliance[..., -1] = 0.0, np.inf
        for side, of_y in ((inside, 1.0), (outside, 0.0)):
            if side.any():
                y_new = np.where(side, of_y * v, y_new)
                s_new = np.where(side, (of_y - 1.0) * v, s_new)
                compliance = np.where(side, 0.0 if of_y else np.inf, compliance)
                identity = of_y * np.eye(v.shape[-1])
                directions = np.where(side[..., None], identity, directions)
        return Linearization(y_new, s_new, directions, compliance)

    def stiffness(self, y: np.ndarray, s: np.ndarray, e: np.ndarray) -> np.ndarray:
        """B'(C + e)⁻¹B of the linearization, whose tangents B and compliance c add up to
        (1 - ww') / (c + e): with h = 1 / (c + e) and g = 1 / 2e
        it is [g, gw'; gw, h + (g - h) ww'].
        """
        v = y - s
        t, u = v[..., :1], v[..., 1:]
        norm = np.sqrt(np.sum(u * u, axis=-1, keepdims=True))
        high, low, e = t + norm, t - norm, e[..., None]
        w = np.where(norm > 0, u / np.where(norm > 0, norm, 1.0), np.eye(1, u.shape[-1])[0])
        inside, outside = low >= 0, high <= 0
        h = np.where(outside, 0.0, np.where(inside, 1 / e, 1 / (ratio(-low, high) + e)))
        g = np.where(inside | outside, 0.0, 0.5 / e)
        M = np.empty((*v.shape, v.shape[-1]))
        M[..., 0, 0] = np.where(inside | outside, h, g)[..., 0]
        M[..., 0, 1:] = M[..., 1:, 0] = g * w
        M[..., 1:, 1:] = (np.where(inside | outside, 0.0, g - h) * w)[..., :, None] * w[
            ..., None, :
        ]
        places = np.arange(1, v.shape[-1])
        M[..., places, places] += h
        return M

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """The least of |l| / |l_dot| of both spectral values, and sqrt|l l'| over the speed across
        u: turning counts too.
        """
        v, v_dot = y - s, y_dot - s_dot
        t, u, norm = v[..., 0], v[..., 1:], np.sqrt(np.sum(v[..., 1:] ** 2, axis=-1))
        w = u / np.where(norm > 0, norm, 1.0)[..., None]
        along = np.sum(w * v_dot[..., 1:], axis=-1)
        across = v_dot[..., 1:] - w * along[..., None]
        high, low = t + norm, t - norm
        return np.minimum.reduce([
            ratio(np.abs(high), np.abs(v_dot[..., 0] + along)),
            ratio(np.abs(low), np.abs(v_dot[..., 0] - along)),
            ratio(np.sqrt(np.abs(high * low)), np.sqrt(np.sum(across * across, axis=-1))),
        ])  # fmt: skip


def _tangents(w: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the vectors across w (..., k), by Householder: (..., k - 1, k)."""
    if not w.shape[-1]:
        return np.zeros((*w.shape, 0))
    h = w.copy()
    h[..., 0] += np.where(w[..., 0] >= 0, 1.0, -1.0)
    square = np.sum(h * h, axis=-1)[..., None, None]
    reflection = np.eye(w.shape[-1]) - 2 * h[..., :, None] * h[..., None, :] / square
    return np.asarray(reflection[..., 1:, :])
