"""The nouns: a batch of cone programs, their data, their points and their solutions.

    minimize ½x'Px + q'x   subject to  Ax + s = b,  s in K        dual: y in K*
    L(x, y; w) = ½x'Px + q'x + y'(Ax - b),   w = (P, q, A, b),   z = (x, y, s)

Every array has a leading batch axis. Data of length 1 along it are shared by the whole batch and
never copied. P and A are held as the values of their patterns' entries, P with both triangles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.cones import Cone, NonNeg, Zero, distance, dual_distance
from cvxlpgd.program.pattern import Array, Pattern, picked, product, transposed_product


class _Vector:
    """Sums, differences and multiples, field by field."""

    def __add__(self, other: Any) -> Any:
        return replace(self, **{k: v + getattr(other, k) for k, v in self.items()})  # type: ignore[type-var]

    def __sub__(self, other: Any) -> Any:
        return replace(self, **{k: v - getattr(other, k) for k, v in self.items()})  # type: ignore[type-var]

    def __mul__(self, factor: Any) -> Any:
        return replace(self, **{k: v * factor for k, v in self.items()})  # type: ignore[type-var]

    __rmul__ = __mul__

    def take(self, index: Array) -> Any:
        """The samples at these positions; fields shared by the batch stay as they are."""
        picked = {k: v if v.shape[0] == 1 else v[index] for k, v in self.items()}
        return replace(self, **picked)  # type: ignore[type-var]

    def items(self) -> Iterator[tuple[str, Any]]:
        """(name, array) of each field."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Data(_Vector):
    """w = (P, q, A, b): arrays (batch or 1, entries). Also tangents and cotangents of some entries.

    In a tangent or cotangent each field holds only the entries that it is said to hold; a field
    without any is an array (batch, 0).
    """

    P: Array
    q: Array
    A: Array
    b: Array


@dataclass(frozen=True, eq=False)
class Point(_Vector):
    """z = (x, y, s): arrays (batch, n), (batch, m), (batch, m)."""

    x: Array
    y: Array
    s: Array

    def pick(self, index: np.ndarray) -> Point:
        """The samples at these positions, also of a batch of one."""
        return Point(self.x[index], self.y[index], self.s[index])

    def any(self) -> np.ndarray:
        """Which samples have an entry that is not 0, bool (batch,)."""
        return np.asarray(
            to_device((self.x != 0).any(-1) | (self.y != 0).any(-1) | (self.s != 0).any(-1), "cpu")
        )


@dataclass(frozen=True, eq=False)
class Structure:
    """All that the programs of a layer have in common.

    Parameters
    ----------
    P, A : Pattern
        (n, n), both triangles, and (m, n).
    cones : tuple of Cone
        Their rows follow each other, in the order of `cones/registry.py`.
    integer, boolean : int arrays
        Columns of x that are integers, or 0 or 1.
    varying : Data of int arrays
        For each field, the entries that a parameter reaches.
    user : array (n,)
        The weights of the proximal term: how often the user's variables hold a column, 0 for the
        columns that canonicalization added.
    """

    P: Pattern
    A: Pattern
    cones: tuple[Cone, ...]
    integer: np.ndarray
    boolean: np.ndarray
    varying: Data
    user: np.ndarray

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.A.shape[1]

    @property
    def m(self) -> int:
        """Number of rows."""
        return self.A.shape[0]

    @property
    def mixed_integer(self) -> bool:
        """Whether any column is integer or boolean."""
        return len(self.integer) + len(self.boolean) > 0

    @cached_property
    def blocks(self) -> tuple[tuple[Cone, int, int], ...]:
        """(cone, first row, count) of each run of equal cones."""
        runs, first = [], 0
        for cone, run in groupby(self.cones):
            count = len(list(run))
            runs.append((cone, first, count))
            first += cone.rows * count
        return tuple(runs)

    @cached_property
    def polyhedral(self) -> bool:
        """Whether all rows are equations and inequalities."""
        return all(isinstance(cone, Zero | NonNeg) for cone in self.cones)

    @cached_property
    def inequalities(self) -> np.ndarray:
        """Which rows are inequalities, bool (m,)."""
        return np.concatenate([
            np.full(cone.rows * count, isinstance(cone, NonNeg)) for cone, _, count in self.blocks
        ] or [np.zeros(0, dtype=bool)])  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be worked out again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def proximal(self) -> Structure:
        """The same with the diagonal of the user's columns in P's pattern."""
        diagonal = np.flatnonzero(self.user)
        rows, cols = np.append(self.P.rows, diagonal), np.append(self.P.cols, diagonal)
        pattern = Pattern.of(self.P.shape, rows, cols)
        varying = replace(self.varying, P=pattern.index(self.P)[self.varying.P])
        return replace(self, P=pattern, varying=varying)


@dataclass(frozen=True, eq=False)
class Residuals:
    """How far a point is from optimal, relative, the same for all solvers; arrays (batch,).

    primal : max(|Ax + s - b|, distance of s to K) / (1 + |b|)
    dual : max(|Px + q + A'y|, distance of y to K*) / (1 + |q|)
    gap : |x'Px + q'x + b'y| / (1 + |objective|)
    own : the largest of the three in the data's own units, without the 1
        Of inactive rows' data, which say nothing of the solution's size, none counts.
    """

    primal: Array
    dual: Array
    gap: Array
    own: Array

    @property
    def largest(self) -> Array:
        """The relative KKT residual (batch,)."""
        xp = array_namespace(self.primal)
        return xp.maximum(xp.maximum(self.primal, self.dual), self.gap)


@dataclass(frozen=True, eq=False)
class ConeProgram:
    """A batch of programs of one structure."""

    structure: Structure
    data: Data

    @property
    def batch(self) -> int:
        """Number of samples."""
        lengths = {v.shape[0] for _, v in self.data.items()}
        return 0 if 0 in lengths else max(lengths)

    def take(self, index: Array) -> ConeProgram:
        """The programs at these positions."""
        return replace(self, data=self.data.take(index))

    def objective(self, x: Array) -> Array:
        """½x'Px + q'x, (batch,)."""
        Px = product(self.structure.P, self.data.P, x)
        return _sum(x * (Px / 2 + self.data.q))

    def lagrangian_gradient(self, z: Point, entries: Data) -> Data:
        """∂L/∂w = (½xx', x, yx', -y) at these entries, each an array (batch, entries)."""
        x, y = z.x, z.y
        return Data(
            P=outer(x, x, self.structure.P, entries.P) / 2,
            q=picked(x, entries.q),
            A=outer(y, x, self.structure.A, entries.A),
            b=-picked(y, entries.b),
        )

    def residuals(self, z: Point) -> Residuals:
        """The relative KKT residuals of a point."""
        structure, w = self.structure, self.data
        Px = product(structure.P, w.P, z.x)
        Aty = transposed_product(structure.A, w.A, z.y)
        rows = product(structure.A, w.A, z.x) + z.s - w.b
        objective = _sum(z.x * (Px / 2 + w.q))
        gap = _sum(z.x * (Px + w.q)) + _sum(w.b * z.y)
        outside, dual_outside = self._cone_distances(z)
        xp = array_namespace(z.x)
        primal = xp.maximum(norm(rows), outside)
        dual = xp.maximum(norm(Px + w.q + Aty), dual_outside)
        # x is as large as active rows allow and costs ask for, and so are costs that x bends
        y, s = xp.abs(z.y) * norm(z.s)[:, None], xp.abs(z.s) * norm(z.y)[:, None]
        b = norm(xp.where((y > s) | (z.s == 0), w.b, w.b * 0.0))
        A, P, q = norm(w.A), norm(w.P), norm(w.q)
        x = xp.maximum(_over(b, A), _over(q, P))
        asked = xp.maximum(q, P * x)  # 0 of a constant objective: f and the gap have no size
        f = xp.where(asked > 0, xp.maximum(xp.maximum(asked, norm(Px)), norm(Aty)), 0.0 * asked)
        terms = xp.maximum(_sum(xp.abs(z.x * w.q)), _sum(xp.abs(w.b * z.y)))
        terms = xp.where((asked > 0) & (x > 0), xp.maximum(terms, f * x), 0.0 * x)
        own = xp.maximum(_over(primal, xp.maximum(b, A * x)), _over(dual, f))
        return Residuals(
            primal=primal / (1 + norm(w.b)),
            dual=dual / (1 + norm(w.q)),
            gap=xp.abs(gap) / (1 + xp.abs(objective)),
            own=xp.maximum(own, _over(xp.abs(gap), terms)),
        )

    def _cone_distances(self, z: Point) -> tuple[Array, Array]:
        xp = array_namespace(z.x)
        outside = dual_outside = z.x[:, 0] * 0.0
        for cone, first, count in self.structure.blocks:
            rows = slice(first, first + cone.rows * count)
            s = xp.reshape(z.s[:, rows], (len(z.s), count, cone.rows))
            y = xp.reshape(z.y[:, rows], (len(z.y), count, cone.rows))
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


def outer(left: Array, right: Array, pattern: Pattern, entries: np.ndarray) -> Array:
    """The entries of (left right') per sample, (batch, entries)."""
    rows, cols = pattern.rows[entries], pattern.cols[entries]
    block = np.flatnonzero(cols == cols[0]) if len(cols) else cols
    height = len(block)
    if height > 1 and _is_dense(rows, cols, height):
        # a dense block, column by column: the outer product lies in memory as its entries do
        across = picked(right, cols[::height])
        found = across[:, :, None] * picked(left, rows[:height])[:, None, :]
        return array_namespace(found).reshape(found, (len(left), len(rows)))
    return picked(left, rows) * picked(right, cols)


def _is_dense(rows: np.ndarray, cols: np.ndarray, height: int) -> bool:
    """Whether entries are a dense block of this height, column by column."""
    if len(rows) % height:
        return False
    rows, cols = rows.reshape(-1, height), cols.reshape(-1, height)
    return bool((rows == rows[0]).all() and (cols == cols[:, :1]).all())


def norm(v: Array) -> Array:
    """The largest absolute value along the last axis, 0 where that is empty."""
    if isinstance(v, np.ndarray) and v.shape[-1]:
        return np.abs(np.maximum(v.max(axis=-1), -v.min(axis=-1)))
    xp = array_namespace(v)
    if v.shape[-1] == 0:
        return xp.zeros(v.shape[:-1], dtype=v.dtype, device=v.device)
    return xp.abs(xp.maximum(xp.max(v, axis=-1), -xp.min(v, axis=-1)))  # -0.0 is 0.0


def _over(part: Array, whole: Array) -> Array:
    """Part / whole, 0 where the whole is 0 and says nothing."""
    xp = array_namespace(part, whole)
    return xp.where(whole > 0, part / xp.where(whole > 0, whole, 1.0), 0.0 * part)


def _sum(v: Array) -> Array:
    return array_namespace(v).sum(v, axis=-1)
