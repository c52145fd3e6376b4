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

from cvxlpgd.program.data import Point
from cvxlpgd.program.pairs import Pairs, is_diagonal
from cvxlpgd.program.pattern import product, products, transposed_product
from cvxlpgd.program.programs import ConeProgram
from cvxlpgd.program.structure import Structure, per_structure

RIGID = 1e-20  # a direction whose compliance is smaller is active
EASY = 1e-6  # a curved direction can be eliminated from here on: its curvature is 1 / compliance
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
    P, A, x, y = np.abs(w.P), np.abs(w.A), np.abs(z.x), np.abs(z.y)
    f = product(structure.P, P, x) + np.abs(w.q) + transposed_product(structure.A, A, y)
    g = product(structure.A, A, x) + np.abs(z.s) + np.abs(w.b)
    return np.finfo(float).eps * f, np.finfo(float).eps * g


class Matrices:
    """A batch's matrices K at some pairs.

    Rows are those of stretch B t: a curved direction is divided by the root of its compliance, so
    that -C is -1 there and 0 on active rows; free rows are 0. Of rows, bool (batch, m), `held` are
    not free, `curved` those of them with a compliance, `easy` those that can be eliminated.
    """

    def __init__(self, program: ConeProgram, pairs: Pairs) -> None:
        self.program, self.pairs = program, pairs
        self.held = np.isfinite(pairs.compliance)
        if program.structure.polyhedral:
            self.curved = self.easy = np.zeros_like(self.held)
            self.stretch = self.held.astype(float)
            return
        compliance = np.where(pairs.compliance < RIGID, 0.0, pairs.compliance)
        self.easy = compliance >= EASY
        self.curved = self.held & (compliance > 0)
        root = 1 / np.sqrt(np.where(self.curved, compliance, 1.0))
        self.stretch = np.where(self.held, root, 0.0)

    def take(self, index: np.ndarray) -> Matrices:
        """The matrices of some samples."""
        return Matrices(self.program.take(index), self.pairs.take(index))

    def dual(self, u: Stack) -> Stack:
        """The y_dot of u: t B' stretch u."""
        turned = self.pairs.turn(self.program.structure, self.stretch[:, None] * u, transposed=True)
        return self.pairs.weights[:, None] * turned

    def product(self, x: Stack, u: Stack) -> tuple[Stack, Stack]:
        """K (x, u)."""
        top, low = self.back(u), self.across(x)
        if self.program.structure.P.size:
            top = self.curvature(x) + top
        return top, low - self.curved[:, None] * u if self.curved.any() else low

    def across(self, x: Stack) -> Stack:
        """G x."""
        structure, w = self.program.structure, self.program.data
        scaled = self.pairs.weights[:, None] * products(structure.A, w.A, x)
        return self.stretch[:, None] * self.pairs.turn(structure, scaled)

    def back(self, u: Stack) -> Stack:
        """G'u."""
        w = self.program.data
        return products(self.program.structure.A, w.A, self.dual(u), transposed=True)

    def curvature(self, x: Stack) -> Stack:
        """P x."""
        return products(self.program.structure.P, self.program.data.P, x)

    def side(self, g: Stack) -> Stack:
        """The product stretch B t g, 0 where that is nothing but rounding of its terms."""
        structure, scaled = self.program.structure, self.pairs.weights[:, None] * g
        out = self.pairs.turn(structure, scaled)
        if out is not scaled:
            terms = self.pairs.turn(structure, np.abs(scaled), magnitudes=True)
            out = np.where(np.abs(out) > ROUNDING * terms, out, 0.0)
        return self.stretch[:, None] * out


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
