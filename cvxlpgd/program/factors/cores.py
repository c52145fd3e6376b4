"""What is left of systems after their division, factored.

    [H G'; G -C] (x, u) = (f, g)

A core serves some samples, each with its own columns and rows. `scale_x` and `scale_u` are E such
that EKE has entries of about 1, at these columns and rows, flat; `faulty` says where there are no
factors, `regular` where K is known to have no null space, both bool (samples,).
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from scipy.linalg import lapack

from cvxlpgd.program.factors.scaling import (
    DELTA,
    balance,
    pair_scales_of,
    scales_of,
    sparse_scale_of,
)
from cvxlpgd.program.threads import share_out

WORTH = 2e7  # multiplications from which a second thread pays
SAFE = 1e-6  # a core is regular if none of its scaled pivots is smaller
BETTER = 10.0  # times the pivot, for which scales are changed
NULL = 5 * DELTA  # pivots up to which a core is taken for singular
STEP = 8  # sizes of full cores are multiples of it
ORDER = "MMD_AT_PLUS_A"  # in which SuperLU eliminates


class Core(Protocol):
    """Factors of some samples' cores."""

    samples: np.ndarray
    scale_x: np.ndarray
    scale_u: np.ndarray
    faulty: np.ndarray
    regular: np.ndarray

    def put(self, right: np.ndarray, out: np.ndarray) -> None:
        """Write (x, u) of its samples, columns and rows into a stack, for those of (f, g).

        The stack has a column more than (x, u), which may be overwritten.
        """


@dataclass(frozen=True, eq=False)
class Places:
    """Samples, and the columns (samples, k) and rows (samples, l) of their cores.

    Each sample's are filled up to multiples of `STEP` by places that stand for nothing, so that
    more samples have cores of one size: the columns n and the rows m.
    """

    samples: np.ndarray
    cols: np.ndarray
    rows: np.ndarray
    shape: tuple[int, int]  # (m, n)

    @cached_property
    def real(self) -> tuple[np.ndarray, np.ndarray]:
        """Which columns and rows stand for something, bool (samples, k) and (samples, l)."""
        m, n = self.shape
        return self.cols < n, self.rows < m

    def take(self, index: np.ndarray) -> Places:
        """The places of some of the samples."""
        return Places(self.samples[index], self.cols[index], self.rows[index], self.shape)

    def pick(self, right: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The parts (samples, columns of the stack, k + l) of a stack, times scales."""
        own = right if len(self.samples) == len(right) else right[self.samples]
        places = np.minimum(self._both, right.shape[2] - 1)
        return np.take_along_axis(own, places[:, None], axis=2) * scale[:, None]

    def put(self, out: np.ndarray, values: np.ndarray) -> None:
        """Write values of these columns and rows into a stack with a column more."""
        columns = np.arange(out.shape[1])[:, None]
        out[self.samples[:, None, None], columns, self._both[:, None]] = values

    @cached_property
    def _both(self) -> np.ndarray:
        """The places in a stack of (x, u); what stands for nothing comes after all."""
        return np.concatenate([np.where(self.real[0], self.cols, sum(self.shape)),
                               self.rows + self.shape[1]], axis=1)  # fmt: skip


class Dense:
    """The cores of full matrices M (samples, k + l, k + l)."""

    def __init__(self, places: Places, M: np.ndarray) -> None:
        self.places, self.samples, k = places, places.samples, places.cols.shape[1]
        scale = scales_of(M)
        self.factors = _scaled_factors(M, scale, k)
        pivots = _pivots(self.factors)
        rest = np.flatnonzero((pivots <= SAFE) & (pivots > NULL))
        if len(rest):  # what looks nearly singular may be badly scaled
            far, balanced = balance(M[rest])
            rest = rest[far]
            factors = _scaled_factors(M[rest], balanced, k)
            larger = _pivots(factors)
            for i in np.flatnonzero(larger > BETTER * pivots[rest]):
                self.factors[rest[i]], scale[rest[i]] = factors[i], balanced[i]
                pivots[rest[i]] = larger[i]
        self.regular = pivots > SAFE
        cols, rows = places.real
        self.scale_x, self.scale_u = scale[:, :k][cols], scale[:, k:][rows]
        self.scale = np.where(np.concatenate([cols, rows], axis=1), scale, 0.0)
        self.faulty = np.array([fault != 0 for *_, fault in self.factors], dtype=bool)

    def put(self, right: np.ndarray, out: np.ndarray) -> None:
        """Solve by LU factors."""
        own = self.places.pick(right, self.scale)
        for part, (matrix, order, _) in zip(own, self.factors, strict=True):
            part[:] = lapack.dgetrs(matrix, order, part.T)[0].T
        self.places.put(out, own * self.scale[:, None])


class Square:
    """A linear program's: [0 G'; G 0], G (samples, k, k), where that is regular.

    G x = g,    G'u = f
    """

    def __init__(self, places: Places, G: np.ndarray) -> None:
        self.places, self.samples = places, places.samples
        rows, cols = pair_scales_of(G)
        real_cols, real_rows = places.real
        self.scale_x, self.scale_u = cols[real_cols], rows[real_rows]
        self.factors = _lu_factors(G * rows[:, :, None] * cols[:, None])
        self.scale = np.concatenate(
            [np.where(real_cols, cols, 0.0), np.where(real_rows, rows, 0.0)], axis=1
        )
        self.regular = _pivots(self.factors) > SAFE
        self.faulty = ~self.regular

    def put(self, right: np.ndarray, out: np.ndarray) -> None:
        """Solve both parts by the factors of G'."""
        own, k = self.places.pick(right, self.scale), self.places.cols.shape[1]
        for part, (matrix, order, _) in zip(own, self.factors, strict=True):
            part[:, :k], part[:, k:] = (
                lapack.dgetrs(matrix, order, part[:, k:].T, trans=1)[0].T,
                lapack.dgetrs(matrix, order, part[:, :k].T)[0].T,
            )
        self.places.put(out, own * self.scale[:, None])


class Entries(NamedTuple):
    """Entries of matrices of several samples: whose, where and what."""

    sample: np.ndarray
    row: np.ndarray
    col: np.ndarray
    value: np.ndarray


class Sparse:
    """The cores of sparse matrices: G alone where a linear program's is square and regular, else K.

    `cols` and `rows` are each sample's. The entries of H and G count samples within `samples`, rows
    and columns within the core. `rigid`, bool, are all rows of all samples; `linear` says whether H
    is 0 whatever the values are; `n` is how many columns the program has.
    """

    def __init__(
        self,
        samples: np.ndarray,
        cols: list[np.ndarray],
        rows: list[np.ndarray],
        H: Entries,
        G: Entries,
        rigid: np.ndarray,
        linear: bool,
        n: int,
    ) -> None:
        self.samples, self.cols, self.rows, self.n = samples, cols, rows, n
        k, size = np.array([len(v) for v in cols]), np.array([len(v) for v in rows])
        self.ends = np.cumsum(k + size)
        self.starts = self.ends - k - size
        self.middles = self.starts + k
        K, is_row = self._assemble(H, G, rigid)
        self.scale = sparse_scale_of(K)
        self.scale_x, self.scale_u = self.scale[~is_row], self.scale[is_row]
        self.regular = np.zeros(len(samples), dtype=bool)
        self.factors: list[Any] = [None] * len(samples)
        columns = np.repeat(np.arange(len(is_row)), np.diff(K.indptr))
        data = K.data * self.scale[K.indices] * self.scale[columns]
        for i in np.flatnonzero(k == size).tolist() if linear else ():
            self._factor_square(i, K, data)
        data[K.indices == columns] += np.where(is_row, -DELTA, DELTA)
        for i, factors in enumerate(self.factors):
            if factors is None:
                matrix = _part(K, data, self.starts[i], self.ends[i], self.starts[i])
                with suppress(RuntimeError):  # it is singular even so
                    self.factors[i] = sla.splu(matrix, permc_spec=ORDER)
        self.faulty = np.array([factors is None for factors in self.factors], dtype=bool)

    def _assemble(
        self, H: Entries, G: Entries, rigid: np.ndarray
    ) -> tuple[sp.csc_array, np.ndarray]:
        """All samples' K in one matrix, its diagonal stored, and which of it are rows of G."""
        total = int(self.ends[-1])
        every, is_row = np.arange(total), np.zeros(total, dtype=bool)
        for middle, end in zip(self.middles, self.ends, strict=True):
            is_row[middle:end] = True
        diagonal = np.zeros(total)
        diagonal[is_row] = -rigid.astype(float)
        of_H, of_G, low = self.starts[H.sample], self.starts[G.sample], self.middles[G.sample]
        row = np.concatenate([of_H + H.row, low + G.row, of_G + G.col, every])
        col = np.concatenate([of_H + H.col, of_G + G.col, low + G.row, every])
        value = np.concatenate([H.value, G.value, G.value, diagonal])
        return sp.csc_array((value, (row, col)), shape=(total, total)), is_row

    def _factor_square(self, i: int, K: sp.csc_array, data: np.ndarray) -> None:
        """Factor one sample's G, if that is regular."""
        matrix = _part(K, data, self.starts[i], self.middles[i], self.middles[i])
        try:
            factors = sla.splu(matrix, permc_spec="COLAMD")
        except RuntimeError:
            return
        if np.abs(factors.U.diagonal()).min(initial=1.0) > SAFE:
            self.factors[i], self.regular[i] = factors, True

    def put(self, right: np.ndarray, out: np.ndarray) -> None:
        """Solve by sparse LU factors."""
        f, g, x, u = (
            right[..., : self.n],
            right[..., self.n :],
            out[..., : self.n],
            out[..., self.n :],
        )
        for i, (sample, factors) in enumerate(zip(self.samples, self.factors, strict=True)):
            if factors is None:
                continue
            cols, rows = self.cols[i], self.rows[i]
            of_x = self.scale[self.starts[i] : self.middles[i], None]
            of_u = self.scale[self.middles[i] : self.ends[i], None]
            top, low = f[sample][:, cols].T * of_x, g[sample][:, rows].T * of_u
            if self.regular[i]:
                top, low = factors.solve(low), factors.solve(top, "T")
            else:
                both = factors.solve(np.concatenate([top, low]))
                top, low = both[: len(cols)], both[len(cols) :]
            x[sample][:, cols], u[sample][:, rows] = (top * of_x).T, (low * of_u).T


def _part(K: sp.csc_array, data: np.ndarray, start: int, end: int, first: int) -> sp.csc_array:
    """These columns of a matrix with other values, its rows from the first one on."""
    span = slice(K.indptr[start], K.indptr[end])
    rows, values = K.indices[span] - first, data[span]
    columns = np.repeat(np.arange(end - start), np.diff(K.indptr[start : end + 1]))
    inside = rows >= 0
    counts = np.bincount(columns[inside], minlength=end - start)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(K.indices.dtype)
    size = end - start
    return sp.csc_array((values[inside], rows[inside], indptr), shape=(size, size))


def _scaled_factors(M: np.ndarray, scale: np.ndarray, k: int) -> list[Any]:
    """The LU factors of scaled matrices, DELTA added in k columns, -DELTA in the others."""
    scaled, diagonal = M * scale[:, :, None], np.arange(M.shape[1])
    scaled *= scale[:, None]
    scaled[:, diagonal, diagonal] += np.where(diagonal < k, DELTA, -DELTA)
    return _lu_factors(scaled)


def _lu_factors(M: np.ndarray) -> list[Any]:
    """The LU factors of transposed matrices, which are overwritten; in threads where that pays."""
    factors: list[Any] = [None] * len(M)

    def factor(i: int) -> None:
        factors[i] = lapack.dgetrf(M[i].T, overwrite_a=True)

    if len(M) * M.shape[1] ** 3 > WORTH:
        share_out(deque(range(len(M))), factor)
    else:
        for i in range(len(M)):
            factor(i)
    return factors


def _pivots(factors: list[Any]) -> np.ndarray:
    """The smallest pivots of LU factors, (samples,)."""
    return np.array([np.abs(matrix.diagonal()).min() for matrix, *_ in factors])
