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

from cvxlpgd.program.factors import Factors, Mixed, factor
from cvxlpgd.program.matrices import ROUNDING, Matrices, Parts, Stack, random_signs
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

    both: Stack  # (x, u), (batch, columns, n + m)
    last: Stack  # the last correction: what rounding of its terms does to `both`, or more
    residual: np.ndarray  # what is left of the right-hand sides in the scaled systems
    size: np.ndarray  # how large they were there; these are (batch, columns)
    length: np.ndarray  # how large the solutions are there
    drifts: np.ndarray  # where refinement moves on and on, along what K does not reach; bool
    quick: np.ndarray  # where a second correction leaves rounding; bool
    n: int

    @property
    def x(self) -> Stack:
        """(batch, columns, n)."""
        return self.both[..., : self.n]

    @property
    def u(self) -> Stack:
        """(batch, columns, m)."""
        return self.both[..., self.n :]

    def is_solved(self, column: int, floor: np.ndarray | float = 0.0) -> np.ndarray:
        """Where what is left is a small share of the right-hand side, or of `floor`, (batch,)."""
        residual, size = self.residual[:, column], self.size[:, column]
        solved = (residual <= CONSISTENT * size) & ~self.drifts[:, column]
        return np.asarray(solved | (residual <= floor))


class Start(NamedTuple):
    """Motions to begin with."""

    both: Stack  # (x, u), (batch, columns, n + m)
    near: np.ndarray  # where they are near, bool (batch,)
    quick: np.ndarray  # where a correction of them leaves rounding, bool (batch,)


class Systems:
    """A batch's systems K at some pairs: factored when first needed, solved by refinement.

    The factors of systems `near`, at a point nearby, may serve, and what `same` systems, of the
    same program data, know of these, for some of their samples.
    """

    def __init__(
        self,
        program: ConeProgram,
        pairs: Pairs,
        near: Systems | None = None,
        same: tuple[Systems, np.ndarray] | None = None,
    ) -> None:
        self.matrices, self.near, self.same = Matrices(program, pairs), near, same
        self.program, self.pairs, self.held = program, pairs, self.matrices.held
        # y_dot of u, also in the rows' units, and the right-hand side of rows that are off by g
        self.dual, self.turned_back, self.side = (
            self.matrices.dual,
            self.matrices.turned_back,
            self.matrices.side,
        )

    @cached_property
    def factors(self) -> Factors:
        """What solves them, nearly: those of systems nearby, where their directions are these."""
        own = np.flatnonzero(~self.is_near)
        if self.near is None or len(own) == len(self.held):
            same = None if self.same is None else (self.same[0].factors, self.same[1])
            return factor(self.matrices, same)
        if not len(own):
            return self.near.factors
        return Mixed(self.near.factors, factor(self.matrices.take(own)), own)

    @cached_property
    def scale(self) -> np.ndarray:
        """E, such that EKE has entries of about 1, (batch, 1, n + m)."""
        both = np.concatenate([self.factors.scale_x, self.factors.scale_u], axis=1)
        return np.asarray(both[:, None])

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
        same = (self.held == other.held).all(axis=1)
        return np.asarray(same & self.pairs.are_straight)

    def like(self, pairs: Pairs) -> Systems:
        """The systems at other pairs; these if no cone is curved and the same rows are active."""
        if pairs.are_straight and np.array_equal(np.isfinite(pairs.compliance), self.held):
            return self
        return Systems(self.program, pairs, self)

    @cached_property
    def random(self) -> Stack:
        """A motion (x, u) of every column and every held row, of about one size each."""
        both = random_signs(self.program.structure).motion * self.scale
        n = self.program.structure.n
        both[..., n:] = np.where(self.held[:, None], both[..., n:], 0.0)
        return both

    @cached_property
    def unseen(self) -> Stack:
        """The random motion's part that the systems do not see, 0 where they are regular."""
        random, regular = self.random, self.factors.regular[:, None, None]
        if regular.all():
            return random * 0.0
        return np.where(
            regular, 0.0, random - self._solve(self.matrices.product(random), proof=False).both
        )

    def size(self, f: Stack, g: Stack) -> np.ndarray:
        """The largest entries of right-hand sides in the scaled systems, (batch, columns)."""
        return self._size(np.concatenate([f, g], axis=-1))

    def solve(
        self, f: Stack, g: Stack, rough: int = 0, start: Start | None = None, proof: bool = True
    ) -> Motions:
        """The solutions for right-hand sides (batch, columns, n or m), g as `side` makes it.

        What K cannot reach of one is left: that is the least squares' solution. The last `rough`
        columns are solved nearly, without refinement. Without `proof` the last correction is
        trusted where those before say that it leaves rounding: the residual is that before it.
        """
        return self._solve(np.concatenate([f, g], axis=-1), rough, start, proof)

    def _solve(
        self, right: Stack, rough: int = 0, start: Start | None = None, proof: bool = True
    ) -> Motions:
        motions = self._refine(right, rough, start, proof)
        beyond = (motions.residual > CONSISTENT * motions.size) | motions.drifts
        if not beyond.any():
            return motions
        both, fine = motions.both.copy(), slice(beyond.shape[1] - rough)
        nearly = slice(fine.stop, None)
        for _ in range(REACHES if beyond[:, fine].any() else 0):
            reached = self.matrices.product(both[:, fine])
            closer = self._refine(np.where(beyond[:, fine, None], reached, 0.0))
            both[:, fine] = _where(beyond[:, fine], closer.both, both[:, fine])
        for _ in range(ROUGH if beyond[:, nearly].any() else 0):
            closer_by = self.factors.apply(self.matrices.product(both[:, nearly]))
            both[:, nearly] = _where(beyond[:, nearly], closer_by, both[:, nearly])
        return motions._replace(both=both)

    def _refine(
        self, right: Stack, rough: int = 0, start: Start | None = None, proof: bool = True
    ) -> Motions:
        """Solutions that may still hold what K cannot reach.

        Each sample and column stops for itself: its bits do not depend on the others.
        """
        product, apply, size = self.matrices.product, self.factors.apply, self._size(right)
        going = size > 0
        if start is None:
            begun = np.zeros_like(going)
            both = apply(right)
        else:
            begun = np.broadcast_to(start.near[:, None], going.shape)
            both = start.both if begun.all() else _where(begun, start.both, apply(right))
        if not going.all():
            both = np.where(going[:, :, None], both, 0.0)
        rest = right - product(both)
        least, length, last = self._size(rest), self._length(both), both
        going[:, going.shape[1] - rough :] = False
        going &= ~(begun & (least <= ROUNDING * (length + size)))
        best, drifts = both, np.zeros_like(going)
        quick = _ends(least, size, size)
        if start is not None:
            quick &= ~begun | start.quick[:, None]
        trusted = np.zeros_like(going) if proof else quick
        for _ in range(PRODUCTS - 1):
            if not going.any():
                break
            step = apply(rest)
            both, last = both + step, _where(going, step, last)
            length = np.where(going, self._length(both), length)
            drifts = np.where(going, self._length(step) > DRIFT * length, drifts)
            best, going = _where(going & trusted, both, best), going & ~trusted
            if not going.any():
                break
            rest = right - product(both)
            now = self._size(rest)
            rounded = now <= ROUNDING * (length + size)
            better = going & ((now < least) | rounded)
            best = _where(better, both, best)
            going = going & (now < STAGNANT * least) & ~rounded
            trusted = trusted if proof else _ends(now, least, size)
            least = np.where(better, now, least)
        least = np.where(np.isfinite(least), least, np.inf)
        return Motions(best, last, least, size, length, drifts, quick, self.program.structure.n)

    def _size(self, right: Stack) -> np.ndarray:
        """The largest entries of right-hand sides in the scaled systems, (batch, columns)."""
        return _largest(right * self.scale)

    def _length(self, both: Stack) -> np.ndarray:
        """The largest entries of solutions in the scaled systems, (batch, columns)."""
        return _largest(both / self.scale)

    def least_of(self, both: Stack) -> tuple[Stack, Stack]:
        """The unit of rounding of all that a motion is solved together with, in each column's and
        row's scale, as (x, y): what is near to that may be 0.
        """
        n, parts = self.program.structure.n, Parts.of(self.program.structure)
        sizes = np.abs(both / self.scale)
        if parts.number == 1:
            largest = sizes.max(axis=-1, keepdims=True)
        else:
            sorted_by_part = sizes[..., parts.order]
            largest = np.maximum.reduceat(sorted_by_part, parts.starts, axis=-1)[..., parts.labels]
        unit = np.finfo(float).eps * largest * self.scale
        return unit[..., :n], np.abs(self.dual(unit[..., n:] * self.held[:, None]))


def _ends(now: np.ndarray, before: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Where another correction leaves rounding, if it shrinks what is left as much as the last."""
    return np.asarray(now / before * now <= ROUNDING * size)


def _largest(v: np.ndarray) -> np.ndarray:
    """The largest absolute value along the last axis of an array, which is overwritten."""
    return np.asarray(np.abs(v, out=v).max(axis=-1))


def _where(chosen: np.ndarray, one: Stack, other: Stack) -> Stack:
    """The columns of one where `chosen` (batch, columns), of the other elsewhere."""
    return one if chosen.all() else np.where(chosen[..., None], one, other)
