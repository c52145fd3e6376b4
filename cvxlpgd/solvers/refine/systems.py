"""The matrices of Newton's steps: inverses of full ones, factors of sparse ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from cvxlpgd.program import ConeProgram, Structure, norm
from cvxlpgd.program.memo import per_structure
from cvxlpgd.program.pattern import Pattern, product, transposed_product
from cvxlpgd.program.threads import shared, workers

FLAT = 10.0  # d, relative to the diagonal, of e²
DENSE = 300  # columns up to which matrices are inverted: measured
PAIRS = 2.0  # pairs of entries, for each of the n² sums, up to which pairs are formed
WORTH = 4e6  # multiplications from which a second thread pays
ORDER = "MMD_AT_PLUS_A"  # of elimination: a quarter of COLAMD's time on portfolios


def is_diagonal(cone: Any) -> bool:
    """Whether its projection's derivative is a diagonal."""
    return bool(cone.derivative(np.zeros((0, cone.rows))).ndim == 2)


def each_block(structure: Structure, v: np.ndarray) -> Iterator[tuple[Any, slice, np.ndarray]]:
    """(cone, rows, v's part (batch, count, cone.rows)) of each run of equal cones."""
    for cone, first, count in structure.blocks:
        rows = slice(first, first + cone.rows * count)
        yield cone, rows, v[:, rows].reshape(len(v), count, cone.rows)


class Inverses(NamedTuple):
    """The inverses (k, n, n) of k samples' matrices, and what their steps need besides."""

    program: ConeProgram
    weights: np.ndarray
    inverse: np.ndarray
    blocks: list[tuple[slice, np.ndarray, np.ndarray]]  # rows, W, DW

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return int(self.inverse.size) + sum(W.size + DW.size for _, W, DW in self.blocks)

    @classmethod
    def of(
        cls, program: ConeProgram, x: np.ndarray, v: np.ndarray, weights: np.ndarray, e: np.ndarray
    ) -> Inverses:
        """The inverses at these points, for these e (k,)."""
        structure, w, (k, n) = program.structure, program.data, x.shape
        H = np.zeros((k, n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        blocks = []
        for (cone, rows, part), gram in zip(
            each_block(structure, v), _grams(structure), strict=True
        ):
            D_K = cone.derivative(-part)
            if D_K.ndim == 3:
                W = 1 / (e[:, None, None] + D_K)
                DW = (1 - D_K) * W
                scaled = DW.reshape(k, -1, 1, 1)
            else:
                identity = np.eye(cone.rows)
                own = e[:, None, None, None]
                W = _inverted(own * identity + D_K)
                DW = scaled = (1 + own) * W - identity
            S = weights[:, rows].reshape(*scaled.shape[:3], 1)
            gram.add(H, w.A, scaled * S)
            blocks.append((rows, W, DW))
        # of unit diagonal, so that d is in each column's own unit
        diagonal = H[:, range(n), range(n)]
        scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        scale = scale[:, :, None] * scale[:, None, :]
        inverse = scale * _inverted(scale * H + FLAT * (e**2)[:, None, None] * np.eye(n))
        return cls(program, weights, inverse, blocks)

    def steps(
        self, places: np.ndarray, f: np.ndarray, g: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(dx, dv) for conditions f, g of samples at these places."""
        A, some = self.program.structure.A, self.program.take(places).data
        moved, dv = np.empty_like(g), np.empty_like(g)
        for rows, _, DW in self.blocks:
            moved[:, rows] = _applied(DW[places], g[:, rows])
        rest = f + transposed_product(A, some.A, moved)
        dx = -(self.inverse[places] @ rest[:, :, None])[:, :, 0]
        g = g + self.weights[places] * product(A, some.A, dx)
        for rows, W, _ in self.blocks:
            dv[:, rows] = _applied(W[places], g[:, rows])
        return dx, dv


class Factors(NamedTuple):
    """The sparse factors of k samples' systems, of order `size`."""

    program: ConeProgram
    weights: np.ndarray
    factors: list[Any]
    size: int

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return sum(int(lu.nnz) for lu in self.factors if lu is not None)

    @classmethod
    def of(
        cls, program: ConeProgram, x: np.ndarray, v: np.ndarray, weights: np.ndarray, e: np.ndarray
    ) -> Factors:
        """The factors at these points, for these e (k,)."""
        structure, w, k = program.structure, program.data, len(x)
        where, diagonal = layout(structure), np.ones((k, structure.m))
        derivatives = []
        for cone, rows, part in each_block(structure, v):
            D_K = cone.derivative(-part)
            if D_K.ndim == 3:
                diagonal[:, rows] = 1 - D_K.reshape(k, -1)
            else:
                derivatives.append((D_K - np.eye(cone.rows)).reshape(k, -1))
                diagonal[:, rows] = 0.0
        A, curved = structure.A, where.curved
        times_D = np.where(curved[A.rows], 1.0, diagonal[:, A.rows])
        ones = np.ones((k, int(curved.sum())))
        values = np.zeros((k, where.pattern.size))
        parts = [times_D * w.A, weights[:, A.rows] * w.A, diagonal - 1 - e[:, None], ones, ones]
        for places, part in zip(where.places, [*parts, *derivatives], strict=True):
            values[:, places] = part
        values[:, where.P] += w.P
        largest = norm(w.P) + norm(w.q) / np.where(norm(x) > 0, norm(x), 1.0)
        values[:, where.diagonal] += (FLAT * e**2 * np.where(largest > 0, largest, 1.0))[:, None]
        factors: list[Any] = [None] * k

        def factor(i: int) -> None:
            with suppress(RuntimeError):  # it is singular: no step is taken
                factors[i] = sla.splu(where.pattern.matrix(values[i]), permc_spec=ORDER)

        shared(deque(range(k)), factor)
        return cls(program, weights, factors, where.pattern.shape[0])

    def steps(
        self, places: np.ndarray, f: np.ndarray, g: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(dx, dv) for conditions f, g of samples at these places."""
        n, m = f.shape[1], g.shape[1]
        found = np.full((len(f), self.size), np.nan)
        for k, place in enumerate(places):
            if self.factors[place] is not None:
                rest = np.concatenate([-f[k], -g[k], np.zeros(self.size - n - m)])
                found[k] = self.factors[place].solve(rest)
        return found[:, :n], found[:, n : n + m]


class _Layout(NamedTuple):
    """Where the parts of a sparse Newton system stand in its pattern.

    `curved`, bool (m,), are the rows of curved cones; `P` and `diagonal` share entries, which add
    up; `places` are those of A'D, S A, the diagonal of dv, dy in its two rows, and each -D_c.
    """

    pattern: Pattern
    curved: np.ndarray
    P: np.ndarray
    diagonal: np.ndarray
    places: list[np.ndarray]


@per_structure
def layout(structure: Structure) -> _Layout:
    """The layout of a structure's systems."""
    n, m, P, A = structure.n, structure.m, structure.P, structure.A
    curved = np.zeros(m, dtype=bool)
    blocks = []
    for cone, first, count in structure.blocks:
        if not is_diagonal(cone):
            curved[first : first + cone.rows * count] = True
            blocks.append(np.arange(first, first + cone.rows * count).reshape(count, cone.rows))
    dy = n + m + np.cumsum(curved) - 1  # of the curved rows
    x, v, y = np.arange(n), n + np.arange(m), dy[curved]
    multiplied = np.where(curved, dy, v)
    parts = [(A.cols, multiplied[A.rows]), (v[A.rows], A.cols), (v, v), (v[curved], y), (y, y)]
    for block in blocks:
        left, right = np.broadcast_arrays(dy[block][:, :, None], v[block][:, None, :])
        parts.append((left.ravel(), right.ravel()))
    everything = [(P.rows, P.cols), (x, x), *parts]
    size = n + m + len(y)
    pattern = Pattern.of(
        (size, size), *(np.concatenate([p[k] for p in everything]) for k in (0, 1))
    )
    places = [np.searchsorted(pattern.flat, cols * size + rows) for rows, cols in everything]
    return _Layout(pattern, curved, places[0], places[1], places[2:])


class _Gram(NamedTuple):
    """A'MA, M block diagonal, for a run of equal cones: by products of pairs of A's entries.

    Entries `left` and `right` of A meet in entry `between` of M and add up to the entries `places`
    of A'MA by the matrix `sums`.
    """

    left: np.ndarray
    right: np.ndarray
    between: np.ndarray
    places: np.ndarray
    sums: sp.csr_array

    def add(self, H: np.ndarray, A: np.ndarray, M: np.ndarray) -> None:
        """Add it to H (k, n, n), for the values of A (k or 1, entries) and M (k, count, r, r)."""
        products = A[:, self.left] * A[:, self.right] * M.reshape(len(M), -1)[:, self.between]
        H.reshape(len(H), -1)[:, self.places] += (self.sums @ products.T).T


class _DenseGram(NamedTuple):
    """The same by dense products, for cones that many of A's entries meet in."""

    rows: slice
    here: np.ndarray
    pattern: Pattern

    def add(self, H: np.ndarray, A: np.ndarray, M: np.ndarray) -> None:
        """Add it to H."""
        k, count, r, n = *M.shape[:3], H.shape[1]
        full = np.zeros((len(A), self.rows.stop - self.rows.start, n))
        full[:, self.pattern.rows[self.here] - self.rows.start, self.pattern.cols[self.here]] = A[
            :, self.here
        ]
        moved = (M @ full.reshape(-1, count, r, n)).reshape(k, count * r, n)
        H += full.swapaxes(1, 2) @ moved


@per_structure
def _grams(structure: Structure) -> list[_Gram | _DenseGram]:
    """How A'MA is made for each run of equal cones."""
    grams: list[_Gram | _DenseGram] = []
    A, n = structure.A, structure.n
    for cone, first, count in structure.blocks:
        r, rows = 1 if is_diagonal(cone) else cone.rows, slice(first, first + cone.rows * count)
        here = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop))
        here = here[np.argsort((A.rows[here] - first) // r, kind="stable")]
        each = np.bincount((A.rows[here] - first) // r, minlength=cone.rows * count // r)
        if (each**2).sum() > PAIRS * n * n:
            grams.append(_DenseGram(rows, here, A))
            continue
        # every entry beside every one of its cone's
        times = np.repeat(each, each)
        left = np.repeat(here, times)
        begin = np.repeat(np.repeat(np.cumsum(each) - each, each), times)
        within = np.arange(len(left)) - np.repeat(np.cumsum(times) - times, times)
        right = here[begin + within]
        i, j = A.rows[left] - first, A.rows[right] - first
        between = i // r * r * r + i % r * r + j % r
        places, position = np.unique(A.cols[left] * n + A.cols[right], return_inverse=True)
        ones, pairs = np.ones(len(left)), np.arange(len(left))
        sums = sp.csr_array((ones, (position, pairs)), shape=(len(places), len(left)))
        grams.append(_Gram(left, right, between, places, sums))
    return grams


def _applied(block: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A block's diagonals (k, count, rows) or matrices (k, count, rows, rows) times v (k, all)."""
    shaped = v.reshape(block.shape[:3])
    found = block * shaped if block.ndim == 3 else (block @ shaped[..., None])[..., 0]
    return np.asarray(found.reshape(v.shape))


def _inverted(H: np.ndarray) -> np.ndarray:
    """The inverses (k, n, n), in threads; NaN for singular ones: no step is taken there."""
    flat = H.reshape(-1, *H.shape[-2:])
    out = np.empty_like(flat)

    def invert(rows: slice) -> None:
        try:
            out[rows] = np.linalg.inv(flat[rows])
        except np.linalg.LinAlgError:
            for i in range(rows.start, rows.stop):
                try:
                    out[i] = np.linalg.inv(flat[i])
                except np.linalg.LinAlgError:
                    out[i] = np.nan

    parts = min(workers(), len(flat)) if flat.size * flat.shape[-1] > WORTH else 1
    cuts = [round(len(flat) * k / parts) for k in range(parts + 1)]
    shared(deque(slice(a, b) for a, b in pairwise(cuts)), invert)
    return out.reshape(H.shape)
