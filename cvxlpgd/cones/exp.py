"""The exponential cone cl{(x, y, z) : y > 0, y exp(x/y) <= z}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd._kernels import kernels_of
from cvxlpgd.cones._curved import Function, newton_root, of_triples, surface_derivative
from cvxlpgd.cones.linearization import Linearization, by_projection, ratio, reach_by_size


@dataclass(frozen=True)
class Exp:
    """One exponential cone, three rows in the order x, y, z."""

    rows = 3

    symmetric = False
    interior = (-1.0, 1.0, 1.0)

    def project(self, v: Any) -> Any:
        """Nearest point, by the root of one increasing function.

        Friberg, "Projection onto the exponential cone: a univariate root-finding problem", 2021:
        outside the simple cases the projection is p(r) (r, 1, e^r) and the rest, in the polar
        cone, d(r) (1, 1 - r, -e^-r), with (r² - r + 1) p = (r - 1) x + y and
        (r² - r + 1) d = x - r y, both positive; r makes their sum meet z.
        """
        return of_triples(_project, v)

    def excess(self, s: np.ndarray) -> np.ndarray:
        """How far z is too small, an upper bound of the distance; infinite where y <= 0."""
        x, y, z = np.moveaxis(s, -1, 0)
        with np.errstate(all="ignore"):
            return np.where(y > 0, np.maximum(y * np.exp(x / y) - z, 0.0), np.inf)

    def dual_excess(self, y: np.ndarray) -> np.ndarray:
        """How far w is too small for the dual cone cl{(u, v, w) : u < 0, -u exp(v/u - 1) <= w}."""
        u, v, w = np.moveaxis(y, -1, 0)
        with np.errstate(all="ignore"):
            return np.where(u < 0, np.maximum(-u * np.exp(v / u - 1) - w, 0.0), np.inf)

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """The projection p's: with g = y e^(x/y) - z, r = x/y there, ∇g = (e^r, e^r (1 - r), -1)
        and ∇²g = (e^r/y) hh' with h = (1, -r, 0); the multiplier is p_z - v_z.
        """
        return _derivative(v.reshape(-1, 3)).reshape(*v.shape, 3)

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        """On both curved boundaries s = p a, y = d c with a = (r, 1, e^r), c = (-1, r - 1, e^-r),
        complementary whatever p, d > 0 and r are. Then the direction c is active, and along
        e = dc/dr = (0, 1, -e^-r), where y_dot = d r_dot e and -e's_dot = p r_dot, the compliance
        is p/d: exact where p or d is below the rounding of s or y. As c's_dot = 0, e + c serves as
        well, and better where c is nearly -e. Elsewhere by projection.
        """
        flat_y, flat_s = y.reshape(-1, 3), s.reshape(-1, 3)
        y_new, s_new, directions, compliance, curved = _on_both_boundaries(flat_y, flat_s)
        rest = ~curved
        if rest.any():
            other = by_projection(self, flat_y[rest], flat_s[rest])
            y_new[rest], s_new[rest], directions[rest], compliance[rest] = other
        shape = y.shape
        return Linearization(
            y_new.reshape(shape), s_new.reshape(shape),
            directions.reshape(*shape, 3), compliance.reshape(shape),
        )  # fmt: skip

    def pair(self, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The complementary pair nearest to a pair that has moved: by coordinates where it is
        near to both boundaries, which takes no root; elsewhere by projection of y - s.
        """
        flat_y, flat_s = y.reshape(-1, 3), s.reshape(-1, 3)
        y_new, s_new, rest = _near_pairs(flat_y, flat_s)
        if rest.any():
            y_new[rest], s_new[rest] = _far_pair(flat_y[rest], flat_s[rest])
        return y_new.reshape(y.shape), s_new.reshape(s.shape)

    def reach(
        self, y: np.ndarray, s: np.ndarray, y_dot: np.ndarray, s_dot: np.ndarray
    ) -> np.ndarray:
        """On both boundaries the least of p / |p_dot|, d / |d_dot| and 1 / |r_dot|; elsewhere that
        of the pair's size.
        """
        by_size = reach_by_size(y, s, y_dot, s_dot)
        with np.errstate(all="ignore"):
            p, d = s[..., 1], -y[..., 0]
            turning = np.abs(s_dot[..., 0] - s[..., 0] / p * s_dot[..., 1]) / p  # of r = x / p
            parts = [ratio(p, np.abs(s_dot[..., 1])), ratio(d, np.abs(y_dot[..., 0]))]
            own = np.minimum.reduce([*parts, ratio(np.ones_like(p), turning)])
        return np.where((p > 0) & (d > 0), own, by_size)


NEAR = 1e-2  # of a pair's size: this near to both boundaries its coordinates can be read
TURN = 0.5  # r's by s and by y differ by no more, beside 1 and how far r was off
REACHED = 0.1  # of the smaller one of y and s: this near a pair is nearest to both boundaries


class _Coordinates(NamedTuple):
    """The pair s = p a, y = d c nearest to pairs (k, 3), by p, d and r; see `Exp.linearize`.

    `up` and `down` are the factors of a and c that keep them from overflowing: s = (p up) a / up.
    """

    r: np.ndarray
    p: np.ndarray  # of a times `up`
    d: np.ndarray  # of c times `down`
    up: np.ndarray
    down: np.ndarray
    c: np.ndarray
    y: np.ndarray
    s: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, s: np.ndarray) -> _Coordinates:
        """The coordinates; NaN, or not positive, where a pair is not near to both boundaries."""
        # r from the one of s and y that knows it better
        by_s = s[:, 1] * -_size(y) <= y[:, 0] * _size(s)
        r = np.where(by_s, s[:, 0] / s[:, 1], 1 - y[:, 1] / y[:, 0])
        return cls.at(r, lambda a: _sum(s * a) / _sum(a * a), lambda c: _sum(y * c) / _sum(c * c))

    @classmethod
    def at(cls, r: np.ndarray, p_of: Function, d_of: Function) -> _Coordinates:
        """The coordinates for r, with p of a and d of c."""
        up, down = np.exp(np.minimum(-r, 0.0)), np.exp(np.minimum(r, 0.0))
        a = np.stack([r * up, up, np.where(r > 0, 1.0, down)], axis=1)
        c = np.stack([-down, (r - 1) * down, np.where(r > 0, up, 1.0)], axis=1)
        p, d = p_of(a), d_of(c)
        return cls(r, p, d, up, down, c, d[:, None] * c, p[:, None] * a)

    def holds(
        self, y: np.ndarray, s: np.ndarray, near_y: np.ndarray, near_s: np.ndarray
    ) -> np.ndarray:
        """Where they are the coordinates of these pairs, up to these distances."""
        holds = (self.p > 0) & (self.d > 0) & np.isfinite(self.r)
        return np.asarray(holds & (_size(y - self.y) <= near_y) & (_size(s - self.s) <= near_s))


def _near_pairs(y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs nearest to pairs (k, 3) by coordinates, and which are not near to them."""
    kernels = kernels_of(__package__)
    if kernels is not None:
        return kernels.near_pairs(y, s, REACHED)
    with np.errstate(all="ignore"):
        at = _Coordinates.of(y, s)
        near = REACHED * np.minimum(_size(y), _size(s))
        return at.y, at.s, ~at.holds(y, s, near, near)


def _far_pair(y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The complementary pairs of pairs (k, 3) that have moved far.

    A step along both boundaries leaves p = s_y, d = -y_u, and r + r_dot in s_x / s_y and 1 + y_v/d,
    but 1 + r_dot of e^r in s_z and 1 - r_dot of e^-r in y_w: less than r + r_dot would have, not
    more, as inside of a cone. Then r is that of s_z or y_w, the one that grew: one of them may even
    be negative, and a projection would take the pair to an apex. Others are projected.
    """
    with np.errstate(all="ignore"):
        p, d = s[:, 1], -y[:, 0]
        r_s, r_y = s[:, 0] / p, 1 + y[:, 1] / d
        turned = np.where(p * _size(y) >= d * _size(s), r_s, r_y)
        low = np.where(s[:, 2] > 0, np.log(s[:, 2] / p), -np.inf)
        high = np.where(y[:, 2] > 0, np.log(d / y[:, 2]), np.inf)
        r = np.where(turned - low <= high - turned, low, high)
        at = _Coordinates.at(r, lambda a: p / a[:, 1], lambda c: d / -c[:, 0])
        holds = (p > 0) & (d > 0) & (np.abs(r_s - r_y) <= TURN * (1 + np.abs(r - turned)))
        holds &= (low <= turned + NEAR) & (high >= turned - NEAR) & np.isfinite(r)
    rest = ~holds
    if rest.any():
        v = y[rest] - s[rest]
        at.s[rest] = kept = _project(-v)
        at.y[rest] = v + kept
    return at.y, at.s


def _on_both_boundaries(y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, ...]:
    """The linearization (k, ...) by coordinates, and where it holds, bool (k,)."""
    with np.errstate(all="ignore"):
        at = _Coordinates.of(y, s)
        r, above, zero = at.r, at.r > 0, np.zeros_like(at.r)
        small = np.where(above, at.up, at.down)
        # for r < 0 with c added, which is active: it does not overflow
        e = np.stack(
            [np.where(above, 0.0, -1.0), np.where(above, 1.0, r), np.where(above, -small, 0.0)],
            axis=1,
        )
        width, length = np.sqrt(_sum(e * e)), np.sqrt(_sum(at.c * at.c))
        between = (at.p * at.up) / (at.d * at.down) / width**2
        directions = np.stack([at.c / length[:, None], e / width[:, None], 0 * e], axis=1)
        compliance = np.stack([zero, between, zero + np.inf], axis=1)
        curved = at.holds(y, s, NEAR * _size(y), NEAR * _size(s))
        return at.y, at.s, directions, compliance, curved


def _size(v: np.ndarray) -> np.ndarray:
    """The largest entry of triples (k, 3)."""
    v = np.abs(v)
    return np.maximum(np.maximum(v[:, 0], v[:, 1]), v[:, 2])


def _sum(v: np.ndarray) -> np.ndarray:
    """The sum of triples (k, 3)."""
    return v[:, 0] + v[:, 1] + v[:, 2]


def _cases(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points are inside, in the polar cone, and nearest to the face y = 0."""
    x, y, z = v.T
    with np.errstate(all="ignore"):
        inside = ((y > 0) & (y * np.exp(x / y) <= z)) | ((y == 0) & (x <= 0) & (z >= 0))
        polar = ((x > 0) & (x * np.exp(y / x - 1) <= -z)) | ((x == 0) & (y <= 0) & (z <= 0))
    return inside, polar, (x <= 0) & (y <= 0)


def _derivative(v: np.ndarray) -> np.ndarray:
    inside, polar, face = _cases(v)
    out = np.zeros((len(v), 3, 3))
    out[inside] = np.eye(3)
    on_face = face & ~inside & ~polar
    out[on_face, 0, 0], out[on_face, 2, 2] = 1.0, v[on_face, 2] > 0
    rest = ~(inside | polar | face)
    if rest.any():
        x, y, z = _project(v[rest]).T
        with np.errstate(all="ignore"):
            r = x / y
            slope, one, zero = z / y, np.ones_like(r), np.zeros_like(r)
            normal = np.stack([slope, slope * (1 - r), -one], axis=1)
            weight = (z - v[rest, 2]) * slope / y
            out[rest] = surface_derivative(normal, np.stack([one, -r, zero], axis=1), weight)
    return out


def _project(v: np.ndarray) -> np.ndarray:
    x, y, z = v.T
    inside, polar, face = _cases(v)
    out = np.where(inside[:, None], v, 0.0)
    on_face = face & ~inside & ~polar
    out[on_face] = np.stack([x, 0 * y, np.maximum(z, 0.0)], axis=-1)[on_face]
    rest = ~(inside | polar | face)
    if rest.any():
        out[rest] = _project_curved(v[rest])
    return out


def _project_curved(v: np.ndarray) -> np.ndarray:
    x, y, z = parts = np.ascontiguousarray(v.T)

    def primal(r: np.ndarray) -> np.ndarray:
        return ((r - 1) * x + y) / (r * r - r + 1)

    def polar(r: np.ndarray) -> np.ndarray:
        return (x - r * y) / (r * r - r + 1)

    def excess(r: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log of p(r) e^r over z + d(r) e^-r, or of p(r) e^r - z over d(r) e^-r, the one that is
        positive, and its slope: nearly linear, which p e^r - d e^-r - z is not.
        """
        x, y, z = parts[:, which]
        N, N_dot, up = r * r - r + 1, 2 * r - 1, np.exp(r)
        p, d, down = ((r - 1) * x + y) / N, (x - r * y) / N, 1 / up
        p_dot, d_dot, above = (x - p * N_dot) / N, -(y + d * N_dot) / N, z > 0
        total = np.where(above, z + d * down, p * up - z)
        value = r + np.log(np.where(above, p / total, total / d))
        slope = np.where(
            above, p_dot / p - (d_dot - d) * down / total, (p_dot + p) * up / total - d_dot / d
        )
        return value, 1 + slope

    with np.errstate(all="ignore"):
        bound, ratio = 1 - y / x, x / y
        low = np.maximum(np.where(x > 0, bound, -np.inf), np.where(y < 0, ratio, -np.inf))
        high = np.minimum(np.where(x < 0, bound, np.inf), np.where(y > 0, ratio, np.inf))
        r = newton_root(excess, low, high)
        # each from the summand that does not cancel: p e^r for r <= 0, else z + d e^-r
        top = np.maximum(np.where(r > 0, z + polar(r) * np.exp(-r), primal(r) * np.exp(r)), 0.0)
        p = np.where(r > 0, top * np.exp(-r), np.maximum(primal(r), 0.0))
        return np.stack([p * r, p, top], axis=-1)
