"""A batch of cone programs, and how far points are from solving them.

minimize ½x'Px + q'x   subject to  Ax + s = b,  s in K        dual: y in K*
L(x, y; w) = ½x'Px + q'x + y'(Ax - b),   w = (P, q, A, b),   z = (x, y, s)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.cones import distance, dual_distance
from cvxlpgd.program.data import Data, Point, norm, outer
from cvxlpgd.program.pattern import (
    Array,
    namespace_of,
    pick_columns,
    product,
    transposed_product,
)
from cvxlpgd.program.structure import Structure


@dataclass(frozen=True, eq=False)
class Residuals:
    """How far a point is from optimal, relative, the same for all solvers; arrays (batch,)."""

    primal: Array  # max(|Ax + s - b|, distance of s to K) / (1 + |b|)
    dual: Array  # max(|Px + q + A'y|, distance of y to K*) / (1 + |q|)
    gap: Array  # |x'Px + q'x + b'y| / (1 + |objective|)
    objective: Array  # ½x'Px + q'x

    @cached_property
    def largest(self) -> Array:
        """The relative KKT residual (batch,)."""
        xp = namespace_of(self.primal)
        return xp.maximum(xp.maximum(self.primal, self.dual), self.gap)


class Terms(NamedTuple):
    """What residuals are made of, (batch,): the three numerators, and the sizes of their terms."""

    primal: Array
    dual: Array
    gap: Array
    q: Array  # largest entries
    b: Array
    Px: Array
    Aty: Array
    qx: Array  # |q'x|
    by: Array  # |b'y|


@dataclass(frozen=True, eq=False)
class ConeProgram:
    """A batch of programs of one structure."""

    structure: Structure
    data: Data

    @cached_property
    def batch(self) -> int:
        """Number of samples."""
        lengths = [v.shape[0] for _, v in self.data.items()]
        return 0 if 0 in lengths else max(lengths)

    def take(self, index: Array) -> ConeProgram:
        """The programs at these positions."""
        return ConeProgram(self.structure, self.data.take(index))

    def objective(self, x: Array) -> Array:
        """½x'Px + q'x, (batch,)."""
        Px = product(self.structure.P, self.data.P, x)
        return _sum(x * (Px / 2 + self.data.q))

    def lagrangian_gradient(self, z: Point, entries: Data) -> Data:
        """∂L/∂w = (½xx', x, yx', -y) at these entries, each an array (batch, entries)."""
        x, y = z.x, z.y
        return Data(
            P=outer(x, x, self.structure.P, entries.P) / 2,
            q=pick_columns(x, entries.q),
            A=outer(y, x, self.structure.A, entries.A),
            b=-pick_columns(y, entries.b),
        )

    def residuals(self, z: Point) -> Residuals:
        """The relative KKT residuals of a point."""
        return self.measure(z)[0]

    def measure(self, z: Point) -> tuple[Residuals, Terms]:
        """The relative KKT residuals of a point, and what they are made of."""
        structure, w, xp = self.structure, self.data, namespace_of(z.x)
        Px = product(structure.P, w.P, z.x)
        Aty = transposed_product(structure.A, w.A, z.y)
        rows = product(structure.A, w.A, z.x) + z.s - w.b
        linear, square, of_b = _sum(z.x * w.q), _sum(z.x * Px), _sum(w.b * z.y)
        objective, gap = square / 2 + linear, xp.abs(square + linear + of_b)
        outside, dual_outside = self._cone_distances(z)
        terms = Terms(
            xp.maximum(norm(rows), outside),
            xp.maximum(norm(Px + w.q + Aty), dual_outside),
            gap, norm(w.q), norm(w.b), norm(Px), norm(Aty), xp.abs(linear), xp.abs(of_b),
        )  # fmt: skip
        primal, dual = terms.primal / (1 + terms.b), terms.dual / (1 + terms.q)
        return Residuals(primal, dual, gap / (1 + xp.abs(objective)), objective), terms

    def own_residual(self, z: Point, terms: Terms) -> Array:
        """The largest of the three residuals in the data's own units, without the 1, (batch,).

        x is as large as active rows allow and costs ask for; costs are of the size of q and P x. Of
        inactive rows' data, which say nothing of the solution's size, none counts.
        """
        w, xp = self.data, namespace_of(z.x)
        y, s = xp.abs(z.y) * norm(z.s)[:, None], xp.abs(z.s) * norm(z.y)[:, None]
        b = norm(xp.where((y > s) | (z.s == 0), w.b, w.b * 0.0))
        A, P = norm(w.A), norm(w.P)
        x = xp.maximum(_over(b, A), _over(terms.q, P))
        asked = xp.maximum(terms.q, P * x)  # 0 for a constant objective: f and the gap have no size
        f = xp.where(asked > 0, xp.maximum(xp.maximum(asked, terms.Px), terms.Aty), 0.0 * asked)
        size = xp.maximum(_sum(xp.abs(z.x * w.q)), _sum(xp.abs(w.b * z.y)))
        size = xp.where((asked > 0) & (x > 0), xp.maximum(size, f * x), 0.0 * x)
        own = xp.maximum(_over(terms.primal, xp.maximum(b, A * x)), _over(terms.dual, f))
        return xp.maximum(own, _over(terms.gap, size))

    def is_small_in_own_units(self, z: Point, terms: Terms, limit: float) -> Array:
        """Where the residual in the data's own units is at most the limit, bool (batch,).

        Mostly bounds from below of the units, |q|, |q'x| and |b'y|, and |A| |q| / |P|, settle it.
        """
        w, xp = self.data, namespace_of(z.x)
        x = _over(terms.q, norm(w.P))
        small = (terms.dual <= limit * terms.q) & (terms.primal <= limit * (norm(w.A) * x))
        small = small & (terms.gap <= limit * xp.maximum(terms.qx, terms.by))
        return small if bool(xp.all(small)) else self.own_residual(z, terms) <= limit

    def _cone_distances(self, z: Point) -> tuple[Array, Array]:
        """How far s is from its cones, and y from their duals, (batch,)."""
        xp, inequalities = namespace_of(z.x), self.structure.inequalities
        if xp is np and self.structure.polyhedral:  # all rows at once
            outside = np.where(inequalities, -z.s, np.abs(z.s)).max(axis=1, initial=0.0)
            return outside, (-z.y * inequalities).max(axis=1, initial=0.0)
        outside = dual_outside = z.x[:, 0] * 0.0
        for cone, _, s, y in self.structure.split(z.s, z.y):
            outside = xp.maximum(outside, norm(distance(cone, s)))
            dual_outside = xp.maximum(dual_outside, norm(dual_distance(cone, y)))
        return outside, dual_outside

    def proximal(self, rho: float, center: Array) -> ConeProgram:
        """The programs with (ρ/2) Σ_j ω_j (x_j - center_j)² added: P + ρΩ, q - ρΩ center."""
        if rho == 0.0:
            return self
        structure, w = self.structure.proximal, self.data
        xp = array_namespace(w.q)
        user = xp.asarray(self.structure.user, dtype=w.q.dtype, device=w.q.device)
        P = xp.zeros((w.P.shape[0], structure.P.size), dtype=w.P.dtype, device=w.P.device)
        P[:, structure.P.index(self.structure.P)] = w.P
        on_diagonal = np.flatnonzero(structure.P.rows == structure.P.cols)
        P[:, on_diagonal] += rho * user[structure.P.rows[on_diagonal]]
        return ConeProgram(structure, replace(w, P=P, q=w.q - rho * user * center))


def _over(part: Array, whole: Array) -> Array:
    """Part / whole, 0 where the whole is 0 and says nothing."""
    xp = namespace_of(part)
    seen = whole > 0
    return xp.where(seen, part / xp.where(seen, whole, 1.0), 0.0 * part)


def _sum(v: Array) -> Array:
    return v.sum(axis=-1) if isinstance(v, np.ndarray) else array_namespace(v).sum(v, axis=-1)
