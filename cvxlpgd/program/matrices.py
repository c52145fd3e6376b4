"""The matrices of optimality systems: assembled at some pairs, multiplied.

At a solution z = (x, y, s) a change of the data, or of a cotangent's weight, moves z by the
(x_dot, y_dot, s_dot) that solve

    P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones.

A cone's pair moves by y_dot = B'u, -B s_dot = C u (`Cone.linearize`), so that with G = BA

    K (x_dot, u) = [ P   G' ] [x_dot]  =  [  f  ]        s_dot = g - A x_dot,
                   [ G  -C  ] [  u  ]     [ B g ]

a symmetric system whose null space is that of x times that of u.

Several right-hand sides are solved together: vectors are stacks (batch, columns, n or m).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cvxlpgd.program.data import Data, Point
from cvxlpgd.program.pairs import Pairs, is_diagonal
from cvxlpgd.program.pattern import product, products, transposed_product
from cvxlpgd.program.programs import ConeProgram
from cvxlpgd.program.structure import Structure, per_structure

RIGID = 1e-20  # a direction whose compliance is smaller is active
EASY = 1e-6  # a curved direction can be eliminated from here on: its curvature is 1 / compliance
CACHED = 100_000  # numbers of temporary arrays, where a batch can be taken in pieces
ROUNDING = 8 * np.finfo(float).eps  # a sum below this share of its terms is nothing but rounding

Stack = np.ndarray  # (batch, columns, n or m)


def conditions(program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
    """(Px + q + A'y, Ax + s - b): 0 at a solution whose pairs are complementary."""
    structure, w = program.structure, program.data
    f = product(structure.P, w.P, z.x) + w.q + transposed_product(structure.A, w.A, z.y)
    return f, product(structure.A, w.A, z.x) + z.s - w.b


def rounding(program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
    """The size of the terms that add up to the conditions, times the unit of rounding."""
    structure, w = program.structure, program.data
    pieces = _pieces(w, len(z.x))
    if len(pieces) > 1:
        parts = [rounding(program.take(piece), z.pick(piece)) for piece in pieces]
        top, low = zip(*parts, strict=True)
        return np.concatenate(top), np.concatenate(low)
    P, A, x, y = np.abs(w.P), np.abs(w.A), np.abs(z.x), np.abs(z.y)
    f = product(structure.P, P, x) + np.abs(w.q) + transposed_product(structure.A, A, y)
    g = product(structure.A, A, x) + np.abs(z.s) + np.abs(w.b)
    return np.finfo(float).eps * f, np.finfo(float).eps * g


def _pieces(w: Data, batch: int) -> list[np.ndarray]:
    """The samples in pieces whose matrices fit a processor's cache."""
    own = max([v.shape[1] for v in (w.P, w.A) if len(v) > 1], default=0)
    together = max(1, CACHED // max(1, own))
    return [np.arange(k, min(k + together, batch)) for k in range(0, max(1, batch), together)]


class Matrices:
    """A batch's matrices K at some pairs.

    Rows are those of stretch B t: a curved direction is divided by the root of its compliance, so
    that -C is -1 there and 0 on active rows; free rows are 0. Of rows, bool (batch, m), `held` are
    not free, `curved` those of them with a compliance, `easy` those that can be eliminated.
    """

    def __init__(self, program: ConeProgram, pairs: Pairs) -> None:
        self.program, self.pairs = program, pairs
        self.held = np.isfinite(pairs.compliance)
        self.any_curved = not program.structure.polyhedral
        if program.structure.polyhedral:
            self.curved = self.easy = np.zeros_like(self.held)
            self.stretch = self.held.astype(float)
            self.height = self.stretch * pairs.weights
            return
        compliance = np.where(pairs.compliance < RIGID, 0.0, pairs.compliance)
        self.easy = compliance >= EASY
        self.curved = self.held & (compliance > 0)
        root = 1 / np.sqrt(np.where(self.curved, compliance, 1.0))
        self.stretch = np.where(self.held, root, 0.0)
        self.height = self.stretch * pairs.weights
        self.any_curved = bool(self.curved.any())

    def take(self, index: np.ndarray) -> Matrices:
        """The matrices of some samples."""
        return Matrices(self.program.take(index), self.pairs.take(index))

    def turned_back(self, u: Stack) -> Stack:
        """B' stretch u, which is y_dot / t."""
        return self.pairs.turn(self.program.structure, self.stretch[:, None] * u, transposed=True)

    def dual(self, u: Stack) -> Stack:
        """The y_dot of u: t B' stretch u."""
        if self.pairs.are_straight:
            return self.height[:, None] * u
        return self.pairs.weights[:, None] * self.turned_back(u)

    def product(self, both: Stack) -> Stack:
        """K (x, u), for stacks of (x, u)."""
        n = self.program.structure.n
        x, u = both[..., :n], both[..., n:]
        out = np.empty(both.shape)
        top, low = out[..., :n], out[..., n:]
        top[:] = self.back(u)
        if self.program.structure.P.size:
            top += self.curvature(x)
        low[:] = self.across(x)
        if self.any_curved:
            low -= self.curved[:, None] * u
        return out

    def across(self, x: Stack) -> Stack:
        """G x."""
        structure, pairs = self.program.structure, self.pairs
        Ax = products(structure.A, self.program.data.A, x)
        if pairs.are_straight:
            return self.height[:, None] * Ax
        return self.stretch[:, None] * pairs.turn(structure, pairs.weights[:, None] * Ax)

    def back(self, u: Stack) -> Stack:
        """G'u."""
        w = self.program.data
        return products(self.program.structure.A, w.A, self.dual(u), transposed=True)

    def curvature(self, x: Stack) -> Stack:
        """P x."""
        return products(self.program.structure.P, self.program.data.P, x)

    def side(self, g: Stack) -> Stack:
        """The product stretch B t g, 0 where that is nothing but rounding of its terms."""
        structure, pairs = self.program.structure, self.pairs
        if pairs.are_straight:
            return self.height[:, None] * g
        scaled = pairs.weights[:, None] * g
        out = pairs.turn(structure, scaled)
        terms = pairs.turn(structure, np.abs(scaled), magnitudes=True)
        return self.stretch[:, None] * np.where(np.abs(out) > ROUNDING * terms, out, 0.0)


class Signs(NamedTuple):
    """Random numbers of a structure, the same in every sample."""

    motion: np.ndarray  # a motion (x, u), (n + m,), of sizes from a half to one and a half
    top: np.ndarray  # signs of columns, (n,)
    low: np.ndarray  # signs of rows, (m,)


@per_structure
def random_signs(structure: Structure) -> Signs:
    """The random numbers of a structure."""
    n, m = structure.n, structure.m
    rng = np.random.default_rng(n + m)
    motion = rng.uniform(0.5, 1.5, n + m) * rng.choice([-1.0, 1.0], n + m)
    top, low = (
        np.random.default_rng(seed).choice([-1.0, 1.0], size) for seed, size in enumerate((n, m))
    )
    return Signs(motion, top, low)


class Parts(NamedTuple):
    """The parts of a program that share no entry: how many, which one each column and row is of,
    the columns and rows sorted by part, and where each part begins among these.
    """

    number: int
    labels: np.ndarray
    order: np.ndarray
    starts: np.ndarray

    @staticmethod
    @per_structure
    def of(structure: Structure) -> Parts:
        """The parts of a structure."""
        n, size = structure.n, structure.n + structure.m
        first = np.arange(structure.m)  # a curved cone's rows belong together
        for cone, start, count in structure.blocks:
            if not is_diagonal(cone):
                span = start + np.arange(cone.rows * count)
                first[span] = start + (span - start) // cone.rows * cone.rows
        rows = np.concatenate([structure.P.rows, structure.A.rows + n, first + n])
        cols = np.concatenate([structure.P.cols, structure.A.cols, np.arange(structure.m) + n])
        links = sp.coo_array((np.ones(len(rows)), (rows, cols)), shape=(size, size))
        number, labels = connected_components(links, directed=False)
        order = np.argsort(labels, kind="stable")
        return Parts(number, labels, order, np.searchsorted(labels[order], np.arange(number)))
