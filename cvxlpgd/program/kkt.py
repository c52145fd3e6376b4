"""The optimality system at a point: assemble, factor, solve.

At a solution z = (x, y, s) a change of the data, or of a cotangent's weight, moves z by the
(x_dot, y_dot, s_dot) that solve

    P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones.

A cone's pair moves by y_dot = B'u, -B s_dot = C u (`Cone.linearize`), so that with G = BA

    K (x_dot, u) = [ P   G' ] [x_dot]  =  [  f  ]        s_dot = g - A x_dot,
                   [ G  -C  ] [  u  ]     [ B g ]

a symmetric system whose null space is that of x times that of u. It is factored in one of the ways
of `factors/`, with a diagonal so small (delta, -delta) that it moves nothing, and refined until
the residual stagnates: along the null space the iterates stay at 0, the solution of least norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cvxlpgd.cones import Linearization
from cvxlpgd.program.data import ConeProgram, Point, Structure, norm
from cvxlpgd.program.factors import Factors, Mixed, factored
from cvxlpgd.sparse import product, transposed_product

CONSISTENT = 1e-6  # a system is solved where no more than this share of its right-hand side is left
PRODUCTS = 12  # refinements at most
RIGID = 1e-20  # a direction whose compliance is smaller is active
EASY = 1e-6  # a curved direction can be eliminated from here on: its curvature is 1 / compliance
REACHES = 3  # times a side is cut to what K reaches: each loses the null space's digits
DRIFT = 1e-2  # a system is not solved where refinement still moves its solution by this share
NEAR = 1e-3  # factors serve another point's systems whose entries differ by no more
STAGNANT = 0.5  # a residual that shrinks by less has stagnated
ROUNDING = 8 * np.finfo(float).eps  # of a solution and its right-hand side: no residual is smaller
APART = 1e6  # the cones' weights lie this far apart at most, around their mean
NOISE = 1e-2  # of the size that the data suggest: what is smaller than that is not looked at


class Pairs(NamedTuple):
    """A batch's complementary pairs and how they move, in the rows' weighted units.

    Parameters
    ----------
    weights : array (batch, m)
        t, such that t s and y / t are of about one size; one for each curved cone.
    y, s : arrays (batch, m)
        The pairs in their own units.
    compliance : array (batch, m)
        Of each direction, 0 where it is active and infinite where it is free.
    directions : list of array or None
        For each block of cones, (batch, count, rows, rows); None where they are the rows.
    """

    weights: np.ndarray
    y: np.ndarray
    s: np.ndarray
    compliance: np.ndarray
    directions: list[np.ndarray | None]

    @classmethod
    def of(
        cls, structure: Structure, z: Point, weights: np.ndarray, shift: np.ndarray | None = None
    ) -> Pairs:
        """The pairs nearest to a point's.

        `shift` (batch, m), in weighted units, is added to y where it is positive, to s where it is
        negative, along the cones' insides: it settles which side a pair without a side is on.
        """
        y, s = z.y / weights, z.s * weights
        if shift is not None:
            y, s = y + np.maximum(shift, 0.0), s + np.maximum(-shift, 0.0)
        y_new, s_new, compliance = np.empty_like(y), np.empty_like(s), np.empty_like(y)
        directions: list[np.ndarray | None] = []
        for cone, first, count in structure.blocks:
            rows = slice(first, first + cone.rows * count)
            shape = (len(y), count, cone.rows)
            parts = (v[:, rows].reshape(shape) for v in (y, s))
            pair: Linearization = cone.linearize(*parts)
            y_new[:, rows] = pair.y.reshape(len(y), -1)
            s_new[:, rows] = pair.s.reshape(len(y), -1)
            compliance[:, rows] = pair.compliance.reshape(len(y), -1)
            directions.append(pair.directions if pair.directions.ndim == 4 else None)
        return cls(weights, y_new * weights, s_new / weights, compliance, directions)

    def take(self, index: np.ndarray) -> Pairs:
        """Those of some samples."""
        directions = [v if v is None else v[index] for v in self.directions]
        weights, y, s, compliance = (v[index] for v in self[:4])
        return Pairs(weights, y, s, compliance, directions)

    def turned(
        self,
        structure: Structure,
        v: np.ndarray,
        transposed: bool = False,
        magnitudes: bool = False,
    ) -> np.ndarray:
        """B v, or B'v, or |B|v, for vectors (batch, m) in weighted units."""
        if all(B is None for B in self.directions):
            return v
        out = v.copy()
        for (cone, first, count), B in zip(structure.blocks, self.directions, strict=True):
            if B is not None:
                rows = slice(first, first + cone.rows * count)
                B = np.abs(B) if magnitudes else B
                part = v[:, rows].reshape(len(v), count, cone.rows, 1)
                turned = (B.swapaxes(-1, -2) if transposed else B) @ part
                out[:, rows] = turned.reshape(len(v), -1)
        return out


def is_diagonal(cone: Any) -> bool:
    """Whether its projection's derivative is a diagonal."""
    return bool(cone.derivative(np.zeros((0, cone.rows))).ndim == 2)


def weights(program: ConeProgram, z: Point) -> np.ndarray:
    """T (batch, m), such that y / t and t s are of one size in each cone.

    On rows of their own it is the row's size. A curved cone's follows its pair; where y or s is
    nothing but noise it counts as a small part of what the data would allow.
    """
    structure, w = program.structure, program.data
    rows = np.sqrt(product(structure.A, w.A**2, np.ones_like(z.x)))
    rows = np.where((rows > 0) & np.isfinite(rows), rows, 1.0)
    with np.errstate(all="ignore"):
        q = norm(w.q) + norm(w.P) * (norm(z.x) + norm(w.b / rows))
        y_size = np.maximum(norm(z.y * rows), NOISE * q)
        s_size = np.maximum(norm(z.s / rows), NOISE * (norm(w.b / rows) + norm(z.x)))
        diagonal = structure.P.rows == structure.P.cols
        curvature = norm(
            w.P[:, diagonal]
        )  # of a dual variable beside a slack, where all costs are 0
        mean = np.maximum(y_size / s_size, NOISE * curvature)
        mean = np.where((mean > 0) & np.isfinite(mean), mean, 1.0)[:, None]
        squares = mean / rows**2
        for cone, first, count in structure.blocks:
            if is_diagonal(cone):
                continue
            span = slice(first, first + cone.rows * count)
            y, s = (v[:, span].reshape(len(v), count, cone.rows) for v in (z.y, z.s))
            usual = mean / (rows[:, span].reshape(len(rows), count, -1) ** 2).mean(axis=-1)
            own = norm(y) / norm(s)
            known = (norm(y) > 0) & (norm(s) > 0)
            own = np.where(known, np.clip(own, usual / APART, usual * APART), usual)
            squares[:, span] = np.repeat(own, cone.rows, axis=1)
    return np.asarray(np.sqrt(squares))


def conditions(program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
    """(Px + q + A'y, Ax + s - b): 0 at a solution whose pairs are complementary."""
    structure, w = program.structure, program.data
    f = product(structure.P, w.P, z.x) + w.q + transposed_product(structure.A, w.A, z.y)
    return f, product(structure.A, w.A, z.x) + z.s - w.b


def rounding(program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
    """The size of the terms that add up to the conditions, times the unit of rounding."""
    structure, w = program.structure, program.data
    P, A, x, y = np.abs(w.P), np.abs(w.A), np.abs(z.x), np.abs(z.y)
    f = product(structure.P, P, x) + np.abs(w.q) + transposed_product(structure.A, A, y)
    g = product(structure.A, A, x) + np.abs(z.s) + np.abs(w.b)
    unit = np.finfo(float).eps
    return unit * f, unit * g


class Motion(NamedTuple):
    """Solutions of a batch's systems for one right-hand side each.

    Parameters
    ----------
    x, y, u : arrays (batch, n), (batch, m), (batch, m)
    residual, size : arrays (batch,)
        What is left of the right-hand sides, and how large they were, in the scaled systems.
    drifts : bool array (batch,)
        Where refinement moves the solution on and on, along what K does not reach.
    """

    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    residual: np.ndarray
    size: np.ndarray
    drifts: np.ndarray

    def is_solved(self, floor: np.ndarray | float = 0.0) -> np.ndarray:
        """Where what is left is a small share of the right-hand side, or of `floor`, (batch,)."""
        solved = (self.residual <= CONSISTENT * self.size) & ~self.drifts
        return np.asarray(solved | (self.residual <= floor))


class Systems:
    """A batch's systems K at some pairs: factored when first needed, solved by refinement.

    Rows are those of stretch B t: a curved direction is divided by the root of its compliance, so
    that -C is -1 there and 0 on active rows; free rows are 0.

    Parameters
    ----------
    program : ConeProgram
    pairs : Pairs
    near : Systems, optional
        At a point nearby, whose factors may serve.
    """

    def __init__(self, program: ConeProgram, pairs: Pairs, near: Systems | None = None) -> None:
        self.program, self.pairs, self.near = program, pairs, near
        compliance = np.where(pairs.compliance < RIGID, 0.0, pairs.compliance)
        self.easy = compliance >= EASY
        self.held = np.isfinite(compliance)
        self.curved = self.held & (compliance > 0)
        root = 1 / np.sqrt(np.where(self.curved, compliance, 1.0))
        self.stretch = np.where(self.held, root, 0.0)

    @cached_property
    def factors(self) -> Factors:
        """What solves them, nearly: those of systems nearby, where their directions are these."""
        if self.near is None:
            return factored(self)
        own = np.flatnonzero(~self._is_near(self.near))
        if not len(own):
            return self.near.factors
        if len(own) == len(self.held):
            return factored(self)
        return Mixed(self.near.factors, factored(self.take(own)), own)

    def _is_near(self, other: Systems) -> np.ndarray:
        """Where the same rows are held and the directions differ by little, bool (batch,)."""
        near = (self.held == other.held).all(axis=1) & (self.curved == other.curved).all(axis=1)
        for mine, theirs in zip(self.pairs.directions, other.pairs.directions, strict=True):
            if mine is not None and theirs is not None:
                near &= (np.abs(mine - theirs) <= NEAR).all(axis=(1, 2, 3))
        return near & np.all(np.abs(self.stretch - other.stretch) <= NEAR * self.stretch, axis=1)

    def rows(self, v: np.ndarray) -> np.ndarray:
        """Stretch B t v, (batch, m)."""
        turned = self.pairs.turned(self.program.structure, self.pairs.weights * v)
        return self.stretch * turned

    def dual(self, u: np.ndarray) -> np.ndarray:
        """Y_dot of u: t B' stretch u."""
        turned = self.pairs.turned(self.program.structure, self.stretch * u, transposed=True)
        return self.pairs.weights * turned

    def product(self, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """K (x, u)."""
        structure, w = self.program.structure, self.program.data
        top = product(structure.P, w.P, x) + transposed_product(structure.A, w.A, self.dual(u))
        return top, self.rows(product(structure.A, w.A, x)) - np.where(self.curved, u, 0.0)

    def take(self, index: np.ndarray) -> Systems:
        """Those of some samples."""
        return Systems(self.program.take(index), self.pairs.take(index))

    def like(self, pairs: Pairs) -> Systems:
        """Those at other pairs: these where no cone is curved and the same rows are active."""
        straight = all(B is None for B in pairs.directions)
        if straight and np.array_equal(np.isfinite(pairs.compliance), self.held):
            return self
        return Systems(self.program, pairs, self)

    def solve(self, sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Motion]:
        """The motions for right-hand sides (f (batch, n), g (batch, m))."""
        return [self._motion(f, self._side(g)) for f, g in sides]

    def _side(self, g: np.ndarray) -> np.ndarray:
        """Stretch B t g, 0 where that is nothing but rounding of its terms."""
        structure, scaled = self.program.structure, self.pairs.weights * g
        out = self.pairs.turned(structure, scaled)
        terms = self.pairs.turned(structure, np.abs(scaled), magnitudes=True)
        return self.stretch * np.where(np.abs(out) > ROUNDING * terms, out, 0.0)

    def probe(self) -> tuple[Motion, Motion]:
        """A random motion, and its part that K does not see, 0 where K is regular."""
        batch, n, m = len(self.held), self.program.structure.n, self.program.structure.m
        rng, factors = np.random.default_rng(n + m), self.factors
        signs = rng.uniform(0.5, 1.5, n + m) * rng.choice([-1.0, 1.0], n + m)
        x = np.broadcast_to(signs[:n], (batch, n)) * factors.scale_x
        u = np.where(self.held, signs[n:] * factors.scale_u, 0.0)
        z_x, z_u, nothing = x, u, np.zeros(batch)
        if not factors.regular.all():
            z_x, z_u, *_ = self._refined(*self.product(x, u))
            known = factors.regular[:, None]
            z_x, z_u = np.where(known, x, z_x), np.where(known, u, z_u)
        null = Motion(x - z_x, self.dual(u - z_u), u - z_u, nothing, nothing, nothing > 0)
        return Motion(x, self.dual(u), u, nothing, nothing, nothing > 0), null

    def rough(self, f: np.ndarray, g: np.ndarray) -> Motion:
        """The motion for a right-hand side, about: not refined."""
        rows = self.rows(g)
        x, u = self.factors.apply(f, rows)
        size = np.maximum(norm(f * self.factors.scale_x), norm(rows * self.factors.scale_u))
        return Motion(x, self.dual(u), u, size * 0.0, size, size < 0)

    def doubt(self, motion: Motion, f: np.ndarray, g: np.ndarray) -> Motion:
        """What rounding of a solution's own terms does to it, by random signs."""
        structure, w = self.program.structure, self.program.data
        unit = np.finfo(float).eps
        P, A, x, y = np.abs(w.P), np.abs(w.A), np.abs(motion.x), np.abs(motion.y)
        top = product(structure.P, P, x) + transposed_product(structure.A, A, y) + np.abs(f)
        low = product(structure.A, A, x) + np.abs(g)
        signs = np.random.default_rng(1).choice([-1.0, 1.0], top.shape[1] + low.shape[1])
        top, low = unit * top * signs[: top.shape[1]], unit * low * signs[top.shape[1] :]
        x_off, u_off = self.factors.apply(top, self.rows(low))
        return Motion(x_off, self.dual(u_off), u_off, motion.residual, motion.size, motion.drifts)

    def least(self, motion: Motion) -> Motion:
        """The unit of rounding of all that a motion is solved together with, in each column's and
        row's scale: what is near to that may be 0.
        """
        factors, unit = self.factors, np.finfo(float).eps
        x, u = self._largest(motion.x / factors.scale_x, motion.u / factors.scale_u)
        x, u = unit * x * factors.scale_x, unit * u * factors.scale_u * self.held
        return Motion(x, np.abs(self.dual(u)), u, motion.residual, motion.size, motion.drifts)

    def _largest(self, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest entry of the part of the program that each belongs to; parts share none."""
        structure = self.program.structure
        memory = structure.memory
        if "parts" not in memory:
            n, size = structure.n, structure.n + structure.m
            first = np.arange(structure.m)  # a curved cone's rows belong together
            for cone, start, count in structure.blocks:
                if not is_diagonal(cone):
                    span = start + np.arange(cone.rows * count)
                    first[span] = start + (span - start) // cone.rows * cone.rows
            rows = np.concatenate([structure.P.rows, structure.A.rows + n, first + n])
            cols = np.concatenate([structure.P.cols, structure.A.cols, np.arange(structure.m) + n])
            links = sp.coo_array((np.ones(len(rows)), (rows, cols)), shape=(size, size))
            memory["parts"] = connected_components(links, directed=False)
        count, labels = memory["parts"]
        both = np.abs(np.concatenate([x, u], axis=1))
        if count == 1:
            largest = np.broadcast_to(both.max(axis=1, initial=0.0)[:, None], both.shape)
        else:
            order = np.argsort(labels, kind="stable")
            starts = np.searchsorted(labels[order], np.arange(count))
            largest = np.maximum.reduceat(both[:, order], starts, axis=1)[:, labels]
        return largest[:, : structure.n], largest[:, structure.n :]

    def _motion(self, f: np.ndarray, g: np.ndarray) -> Motion:
        x, u, residual, size, drifts = self._refined(f, g)
        beyond = (residual > CONSISTENT * size) | drifts
        for _ in range(
            REACHES * beyond.any()
        ):  # what K can reach of it: the least squares' solution
            top, low = self.product(x, u)
            rest = beyond[:, None]
            x_near, u_near, *_ = self._refined(np.where(rest, top, 0.0), np.where(rest, low, 0.0))
            x, u = np.where(rest, x_near, x), np.where(rest, u_near, u)
        return Motion(x, self.dual(u), u, residual, size, drifts)

    def _refined(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, ...]:
        """K⁻¹ (f, g), what is left of each sample's, and its size, both in the scaled systems; and
        where it drifts.

        Each sample stops for itself: its bits do not depend on the others.
        """
        factors = self.factors

        def scaled(top: np.ndarray, low: np.ndarray) -> np.ndarray:
            return np.maximum(norm(top * factors.scale_x), norm(low * factors.scale_u))

        def largest(x: np.ndarray, u: np.ndarray) -> np.ndarray:
            return np.maximum(norm(x / factors.scale_x), norm(u / factors.scale_u))

        size = scaled(f, g)
        x, u, top, low = f * 0.0, g * 0.0, f, g
        best_x, best_u, least, drifts = x, u, size.copy(), size < 0
        going = size > 0
        for k in range(PRODUCTS):
            if not going.any():
                break
            dx, du = factors.apply(top, low)
            x, u = x + dx, u + du
            Kx, Ku = self.product(x, u)
            top, low = f - Kx, g - Ku
            now, large = scaled(top, low), largest(x, u)
            rounded = now <= ROUNDING * (large + size)
            better = going & ((now < least) | rounded | (k == 0))
            best_x = np.where(better[:, None], x, best_x)
            best_u = np.where(better[:, None], u, best_u)
            if k:  # at least twice: the first one's small entries may be cancellation
                drifts = np.where(going, largest(dx, du) > DRIFT * large, drifts)
                going &= (now < STAGNANT * least) & ~rounded
            least = np.where(better, now, least)
        return best_x, best_u, np.where(np.isfinite(least), least, np.inf), size, drifts
