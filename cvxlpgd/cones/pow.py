"""The three-dimensional power cone {(x, y, z) : x^a y^(1-a) >= |z|, x, y >= 0}."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones._curved import increasing_root, of_triples, surface_derivative
from cvxlpgd.cones.linearization import Linearization, by_projection, ratio, reach_by_size


@dataclass(frozen=True)
class Pow:
    """One power cone, three rows in the order x, y, z.

    Parameters
    ----------
    alpha : float in (0, 1)
        The exponent of x.
    """

    alpha: float
    rows = 3

    symmetric = False
    interior = (1.0, 1.0, 0.0)

    def project(self, v: Any) -> Any:
        """Nearest point, by the root of one increasing function.

        Hien, "Differential properties of Euclidean projection onto power cone", 2015: outside the
        simple cases |z| of the projection is the r in (0, |z|) with r = x(r)^a y(r)^(1-a), where
        2 x(r) = x + sqrt(x² + 4 a r (|z| - r)) and y(r) likewise with 1 - a.
        """
        return of_triples(lambda triples: _project(triples, self.alpha), v)

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The projection p's, where g = |z| - x^a y^(1-a): with f = |z| at p it is
        ∇g = (-a f/x, -(1-a) f/y, ±1), ∇²g = a (1-a) f hh' with h = (1/x, -1/y, 0); the
        multiplier is |v_z| - |p_z|.
        """
        return _derivative(v.reshape(-1, 3), self.alpha).reshape(*v.shape, 3)

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """The eigenvectors of the projection's derivative are its directions."""
        return by_projection(self, y, s)

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """The least of x / |x_dot| and y / |y_dot| of the one in the cone, |z| / |z_dot| of the
        other, where both are on their boundaries; elsewhere that of the pair's size.
        """
        sizes = (s[..., 0], s[..., 1], np.abs(y[..., 2]))
        speeds = (s_dot[..., 0], s_dot[..., 1], y_dot[..., 2])
        parts = [ratio(v, np.abs(v_dot)) for v, v_dot in zip(sizes, speeds, strict=True)]
        boundary = np.minimum.reduce(sizes) > 0
        return np.where(boundary, np.minimum.reduce(parts), reach_by_size(y, s, y_dot, s_dot))


def _cases(v: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points are inside, in the polar cone, and in the plane z = 0 outside of both."""
    x, y, z = v[:, 0], v[:, 1], np.abs(v[:, 2])
    inside = (x >= 0) & (y >= 0) & (_power(x, y, a) >= z)
    polar = (x <= 0) & (y <= 0) & (_power(-x / a, -y / (1 - a), a) >= z)
    return inside, polar, (z == 0) & ~inside & ~polar


def _derivative(v: np.ndarray, a: float) -> np.ndarray:
    inside, polar, flat = _cases(v, a)
    out = np.zeros((len(v), 3, 3))
    out[inside] = np.eye(3)
    out[flat, 0, 0], out[flat, 1, 1] = v[flat, 0] > 0, v[flat, 1] > 0
    out[flat, 2, 2] = _across(v[flat, 0], v[flat, 1], a)
    rest = ~(inside | polar | flat)
    if rest.any():
        p = _project(v[rest], a)
        x, y, f, one = p[:, 0], p[:, 1], np.abs(p[:, 2]), np.ones(len(p))
        with np.errstate(all="ignore"):
            normal = np.stack([-a * f / x, (a - 1) * f / y, np.sign(v[rest, 2])], axis=1)
            # h times x, and its weight over x²: neither overflows where x is small
            h = np.stack([one, -x / y, 0 * one], axis=1)
            weight = (np.abs(v[rest, 2]) - f) * a * (1 - a) * f / x**2
            out[rest] = surface_derivative(normal, h, weight)
    return out


def _across(x: np.ndarray, y: np.ndarray, a: float) -> np.ndarray:
    """dp_z/dz at z = 0 outside of both cones, where one of x and y is not positive.

    For x = -l and y = t > 0 the boundary |z| = x^a y^(1-a) gives x ~ |z|^(1/a): |z| costs l x for
    the quadratic part of z, nothing beside it if a < 1/2, everything if a > 1/2, and if a = 1/2,
    where x = z²/t, the share 1 / (1 + 2 l/t); and likewise for y with 1 - a.
    """
    low, high = np.minimum(x, y), np.maximum(x, y)
    power = np.where(x <= y, a, 1 - a)
    with np.errstate(all="ignore"):
        even = np.where(high > 0, 1 / (1 - 2 * low / high), 0.0)
    return np.where(high <= 0, 0.0, np.where(power < 0.5, 1.0, np.where(power > 0.5, 0.0, even)))


def _project(v: np.ndarray, a: float) -> np.ndarray:
    x, y, z = v[:, 0], v[:, 1], np.abs(v[:, 2])
    inside, polar, flat = _cases(v, a)
    out = np.where(inside[:, None], v, 0.0)
    out[flat] = np.stack([np.maximum(x, 0), np.maximum(y, 0), 0 * z], axis=-1)[flat]
    rest = ~(inside | polar | flat)
    if rest.any():
        out[rest] = _project_curved(x[rest], y[rest], z[rest], a)
        out[rest, 2] *= np.sign(v[rest, 2])
    return out


def _power(x: np.ndarray, y: np.ndarray, a: float) -> np.ndarray:
    return np.maximum(x, 0.0) ** a * np.maximum(y, 0.0) ** (1 - a)


def _project_curved(x: np.ndarray, y: np.ndarray, z: np.ndarray, a: float) -> np.ndarray:
    def coordinate(value: np.ndarray, weight: float, product: np.ndarray) -> np.ndarray:
        root = np.sqrt(value**2 + 4 * weight * product)
        # for a negative value the sum cancels: multiply by its conjugate instead
        with np.errstate(all="ignore"):
            conjugate = np.where(root > 0, 2 * weight * product / (root - value), 0.0)
        return np.where(value > 0, (value + root) / 2, conjugate)

    def excess(r: np.ndarray, rest: np.ndarray) -> np.ndarray:
        return r - _power(coordinate(x, a, r * rest), coordinate(y, 1 - a, r * rest), a)

    # the smaller one of r and |z| - r is looked for, so that neither is lost in the difference
    high = excess(z / 2, z / 2) < 0

    def parts(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(high, z - u, u), np.where(high, u, z - u)

    def increasing(u: np.ndarray) -> np.ndarray:
        return np.where(high, -1, 1) * excess(*parts(u))

    r, rest = parts(increasing_root(increasing, np.zeros_like(z), z / 2))
    return np.stack([coordinate(x, a, r * rest), coordinate(y, 1 - a, r * rest), r], axis=-1)
