"""The optimality system at a point: factored, solved.

    K (x, u) = (f, g),    K as in `matrices.py`

It is factored in one of the ways of `factors/`, with a diagonal so small (delta, -delta) that it
moves nothing, and refined until the residual stagnates: along the null space the iterates stay at
0, the solution of least norm.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from cvxlpgd.program.data import norm
from cvxlpgd.program.factors import Factors, Mixed, factor
from cvxlpgd.program.matrices import ROUNDING, Matrices, Parts, Stack
from cvxlpgd.program.pairs import Pairs
from cvxlpgd.program.programs import ConeProgram

CONSISTENT = 1e-6  # a system is solved if at most this share of its right-hand side is left
PRODUCTS = 12  # refinements at most
REACHES = 3  # times a side is cut to what K reaches: each loses the null space's digits
ROUGH = 2  # times what is solved nearly is cut so
DRIFT = 1e-2  # a system is not solved where refinement still moves its solution by this share
NEAR = 1e-3  # factors serve another point's systems whose entries differ by no more
STAGNANT = 0.5  # a residual that shrinks by less has stagnated


class Motions(NamedTuple):
    """Solutions of a batch's systems, one for each right-hand side."""

    x: Stack
    u: Stack
    last_x: Stack  # the last correction: what rounding of its terms does to x, or more
    last_u: Stack
    residual: np.ndarray  # what is left of the right-hand sides in the scaled systems
    size: np.ndarray  # how large they were there; these are (batch, columns)
    drifts: np.ndarray  # where refinement moves on and on, along what K does not reach; bool

    def is_solved(self, column: int, floor: np.ndarray | float = 0.0) -> np.ndarray:
        """Where what is left is a small share of the right-hand side, or of `floor`, (batch,)."""
        residual, size = self.residual[:, column], self.size[:, column]
        solved = (residual <= CONSISTENT * size) & ~self.drifts[:, column]
        return np.asarray(solved | (residual <= floor))


Start = tuple[Motions, np.ndarray]


class Systems:
    """A batch's systems K at some pairs: factored when first needed, solved by refinement.

    The factors of systems `near`, at a point nearby, may serve.
    """

    def __init__(self, program: ConeProgram, pairs: Pairs, near: Systems | None = None) -> None:
        self.matrices, self.near = Matrices(program, pairs), near
        self.program, self.pairs, self.held = program, pairs, self.matrices.held
        # K (x, u), y_dot of u, and the right-hand side of rows that are off by g
        self.product, self.dual, self.side = (
            self.matrices.product,
            self.matrices.dual,
            self.matrices.side,
        )

    @cached_property
    def factors(self) -> Factors:
        """What solves them, nearly: those of systems nearby, where their directions are these."""
        own = np.flatnonzero(~self.is_near)
        if self.near is None or len(own) == len(self.held):
            return factor(self.matrices)
        if not len(own):
            return self.near.factors
        return Mixed(self.near.factors, factor(self.matrices.take(own)), own)

    @cached_property
    def is_near(self) -> np.ndarray:
        """Where those nearby hold the same rows and their directions differ by little, (batch,)."""
        other = self.near
        if other is None:
            return np.zeros(len(self.held), dtype=bool)
        mine, theirs = self.matrices, other.matrices
        near = (mine.held == theirs.held).all(axis=1) & (mine.curved == theirs.curved).all(axis=1)
        for B, B_near in zip(mine.pairs.directions, theirs.pairs.directions, strict=True):
            if B is not None and B_near is not None:
                near &= (np.abs(B - B_near) <= NEAR).all(axis=(1, 2, 3))
        apart = np.abs(mine.stretch - theirs.stretch)
        return near & np.all(apart <= NEAR * mine.stretch, axis=1)

    def is_same(self, other: Systems) -> np.ndarray:
        """Where other pairs, of the same program, make the same system, bool (batch,)."""
        if other is self:
            return np.ones(len(self.held), dtype=bool)
        straight = all(B is None for B in self.pairs.directions)
        return np.asarray((self.held == other.held).all(axis=1) & straight)

    def like(self, pairs: Pairs) -> Systems:
        """The systems at other pairs; these if no cone is curved and the same rows are active."""
        straight = all(B is None for B in pairs.directions)
        if straight and np.array_equal(np.isfinite(pairs.compliance), self.held):
            return self
        return Systems(self.program, pairs, self)

    def random(self) -> tuple[Stack, Stack]:
        """A motion (x, u) of every column and every held row, of about one size each."""
        n, m = self.program.structure.n, self.program.structure.m
        rng = np.random.default_rng(n + m)
        signs = rng.uniform(0.5, 1.5, n + m) * rng.choice([-1.0, 1.0], n + m)
        u = np.where(self.held, signs[n:] * self.factors.scale_u, 0.0)
        return (signs[:n] * self.factors.scale_x)[:, None], u[:, None]

    def size(self, top: Stack, low: Stack) -> np.ndarray:
        """The largest entries of right-hand sides in the scaled systems, (batch, columns)."""
        scale_x, scale_u = self.factors.scale_x[:, None], self.factors.scale_u[:, None]
        return np.asarray(np.maximum(norm(top * scale_x), norm(low * scale_u)))

    def solve(self, f: Stack, g: Stack, rough: int = 0, start: Start | None = None) -> Motions:
        """The solutions for right-hand sides (batch, columns, n or m), g as `side` makes it.

        What K cannot reach of one is left: that is the least squares' solution. The last `rough`
        columns are solved nearly, without refinement. `start` is motions to begin with and where
        they are near, bool (batch,).
        """
        motions = self._refine(f, g, rough, start)
        beyond = (motions.residual > CONSISTENT * motions.size) | motions.drifts
        if not beyond.any():
            return motions
        fine = beyond.copy()
        fine[:, fine.shape[1] - rough :] = False
        x, u = motions.x, motions.u
        nearly = beyond & ~fine
        for k in range(REACHES):
            top, low = self.product(x, u)
            if nearly.any() and k < ROUGH:
                near_x, near_u = self.factors.apply(top, low)
                x, u = _where(nearly, near_x, x), _where(nearly, near_u, u)
            if fine.any():
                f, g = (np.where(fine[:, :, None], v, 0.0) for v in (top, low))
                near_x, near_u, *_ = self._refine(f, g)
                x, u = _where(fine, near_x, x), _where(fine, near_u, u)
            elif k + 1 == ROUGH:
                break
        return motions._replace(x=x, u=u)

    def _refine(self, f: Stack, g: Stack, rough: int = 0, start: Start | None = None) -> Motions:
        """Solutions that may still hold what K cannot reach.

        Each sample and column stops for itself: its bits do not depend on the others.
        """
        factors = self.factors
        scale_x, scale_u = factors.scale_x[:, None], factors.scale_u[:, None]
        size = self.size(f, g)
        x, u, top, low = f * 0.0, g * 0.0, f, g
        begun = np.zeros_like(size, dtype=bool)
        if start is not None and start[1].any():
            begun[:] = start[1][:, None]
            x, u = _where(begun, start[0].x, x), _where(begun, start[0].u, u)
            Kx, Ku = self.product(x, u)
            top, low = f - Kx, g - Ku
        best_x, best_u, last_x, last_u = x, u, x * 0.0, u * 0.0
        least, drifts, going = self.size(top, low), size < 0, size > 0
        for k in range(PRODUCTS):
            if not going.any():
                break
            dx, du = factors.apply(top, low)
            x, u = x + dx, u + du
            Kx, Ku = self.product(x, u)
            top, low = f - Kx, g - Ku
            now, large = self.size(top, low), _size(x, u, scale_x, scale_u)
            rounded = now <= ROUNDING * (large + size)
            better = going & ((now < least) | rounded | (k == 0))
            best_x, best_u = _where(better, x, best_x), _where(better, u, best_u)
            last_x, last_u = _where(going, dx, last_x), _where(going, du, last_u)
            enough = begun | (k > 0)  # two steps from 0: small entries of the first may be rounding
            drifting = _size(dx, du, scale_x, scale_u) > DRIFT * large
            drifts = np.where(going & enough, drifting, drifts)
            going = going & (((now < STAGNANT * least) & ~rounded) | ~enough)
            going[:, going.shape[1] - rough :] = False
            least = np.where(better, now, least)
        least = np.where(np.isfinite(least), least, np.inf)
        return Motions(best_x, best_u, last_x, last_u, least, size, drifts)

    def least(self, x: Stack, u: Stack) -> tuple[Stack, Stack]:
        """The unit of rounding of all that a motion is solved together with, in each column's and
        row's scale, as (x, y): what is near to that may be 0.
        """
        factors, unit = self.factors, np.finfo(float).eps
        scale_x, scale_u = factors.scale_x[:, None], factors.scale_u[:, None]
        x, u = self._largest(x / scale_x, u / scale_u)
        return unit * x * scale_x, np.abs(self.dual(unit * u * scale_u * self.held[:, None]))

    def _largest(self, x: Stack, u: Stack) -> tuple[Stack, Stack]:
        """The largest entry of the part of the program that each belongs to; parts share none."""
        n, parts = self.program.structure.n, Parts.of(self.program.structure)
        both = np.abs(np.concatenate([x, u], axis=-1))
        if parts.number == 1:
            largest = np.broadcast_to(both.max(axis=-1, initial=0.0)[..., None], both.shape)
        else:
            sorted_by_part = both[..., parts.order]
            largest = np.maximum.reduceat(sorted_by_part, parts.starts, axis=-1)[..., parts.labels]
        return largest[..., :n], largest[..., n:]


def _size(x: Stack, u: Stack, scale_x: np.ndarray, scale_u: np.ndarray) -> np.ndarray:
    """The largest entries of solutions in the scaled systems, (batch, columns)."""
    return np.asarray(np.maximum(norm(x / scale_x), norm(u / scale_u)))


def _where(chosen: np.ndarray, one: Stack, other: Stack) -> Stack:
    """The columns of one where `chosen` (batch, columns), of the other elsewhere."""
    return one if chosen.all() else np.where(chosen[..., None], one, other)
