"""Solutions refined by Newton's method on the optimality conditions, from a point nearby.

With v = y - S s, where S > 0 weighs the cones, Moreau's decomposition gives y = Π_K*(v) and
S s = Π_K(-v), so that the conditions are the equations

    f = Px + q + A'y = 0,    g = S (Ax - b) + y - v = 0.

With D = DΠ_K*(v) = I - DΠ_K(-v), a Newton step (dx, dv) solves

    (P + d) dx + A'D dv = -f,    S A dx + (D - 1 - e) dv = -g,

where the small d and e keep flat directions and redundant rows from making it singular; they slow
the steps down a little and move no solution. So with W = (1 + e - D)⁻¹

    (P + d + A'DWS A) dx = -f - A'DW g,    dv = W (S A dx + g),

one symmetric positive definite matrix for each sample, whose inverse serves as long as its steps
contract. In many variables that matrix is full, where the data are sparse: there the Newton system
is factored as it stands, dy = D dv beside it for the curved cones,

    [ P + d   A_l'D_l        A_c' ] [dx  ]   [ -f ]
    [ S A     D_l - 1 - e    I_c  ] [dv  ] = [ -g ]     (- 1 - e alone on the curved cones' rows)
    [         -D_c           1    ] [dy_c]   [  0 ].

Busseti, Moursi, Boyd, "Solution refinement at regular points of conic problems", 2019, do this on
the homogeneous embedding, with LSQR.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from cvxlpgd.program import ConeProgram, Point, Structure, norm
from cvxlpgd.solvers._each import _workers, row, shared
from cvxlpgd.sparse import Pattern, product, transposed_product

CLOSE = 1e-13  # the next step, relative to the point, that is not worth taking
NEAR = 1e-6  # the last step, from which the next one's size can be told
ROUNDING = 1e-14  # of the terms that add up to f and g: their sums get no smaller
STEPS, FACTORIZATIONS = 20, 6  # at most, for one sample
CONTRACTING = 0.1  # an inverse serves as long as each step is this part of the last one
FLAT = 1e-9  # d, relative to the diagonal
REGULAR = 1e-5  # e: a smaller one loses digits of the inverse, a larger one slows the steps
SMALLER = 1e-2  # the next e, of this one, where steps this small are slow
NEAR_ENOUGH = 1e-3
RANGE = 1e3  # the cones' weights lie this far apart at most, around their mean
NOISE = 1e-2  # of the size that the data suggest: what is smaller than that is not looked at
TOGETHER = 128  # samples at most: their inverses are held at once
WORTH = 4e6  # multiplications from which a second thread pays
PAIRS = 2.0  # pairs of entries, for each of the n² sums, up to which pairs are formed
DENSE = 300  # columns up to which matrices are inverted: measured
LARGEST = 300, 300_000  # rows of one curved cone, and numbers of all cones' derivatives, at most
ORDER = "MMD_AT_PLUS_A"  # of elimination: a quarter of COLAMD's time on portfolios
KEPT = 8_000_000  # numbers that inverses may have that are kept for the backward pass
HELD = 2e6  # entries of the sparse matrices that are factored at once


class Refined(NamedTuple):
    """Points (batch, ...), which of them are solutions to rounding, and what that took.

    `factored` counts the matrices; one that two samples share is the first one's. `kept` holds what
    each sample's next refinement may begin with.
    """

    point: Point
    ok: np.ndarray
    steps: np.ndarray
    factored: np.ndarray
    kept: np.ndarray


class Kept(NamedTuple):
    """A sample's newest inverse: one of several."""

    inverses: Any
    place: int

    def fits(self, program: ConeProgram, i: int) -> bool:
        """Whether it is of the i-th program's very matrices."""
        mine, w = self.inverses.program.data, program.data
        return self.inverses.program.structure is program.structure and all(
            one is other or np.array_equal(row(one, self.place), row(other, i))
            for one, other in ((mine.P, w.P), (mine.A, w.A))
        )


def is_refinable(structure: Structure) -> bool:
    """Whether refining is possible, and worth while at the structure's size."""
    curved = [(c.rows, count) for c, _, count in structure.blocks if not _is_diagonal(c)]
    rows = max((r for r, _ in curved), default=0)
    numbers = sum(r * r * count for r, count in curved)
    small = rows <= LARGEST[0] and numbers <= LARGEST[1]
    return not structure.mixed_integer and structure.m > 0 and small


def refine(program: ConeProgram, start: Point, kept: np.ndarray | None = None) -> Refined:
    """Newton's method for each sample, many of them side by side.

    Samples that start at the same point with the same matrices share their first inverse; one that
    is `kept` from an earlier refinement serves where it fits.
    """
    if kept is None:
        kept = np.full(program.batch, None)
    _, like = _distinct(program, (start.x, start.y, start.s), np.arange(program.batch))
    together = TOGETHER
    if program.structure.n > DENSE:
        together = max(1, int(HELD / _layout(program.structure).pattern.size))
    count = -(-program.batch // together)
    if count <= 1:
        return _side_by_side(program, start, kept)
    pieces = [np.flatnonzero(like % count == k) for k in range(count)]
    found = [_side_by_side(program.take(some), start.pick(some), kept[some]) for some in pieces]
    order = np.argsort(np.concatenate(pieces))
    x, y, s = (
        np.concatenate([getattr(part.point, name) for part in found])[order]
        for name in ("x", "y", "s")
    )
    fields = (np.concatenate(parts)[order] for parts in zip(*(f[1:] for f in found), strict=True))
    return Refined(Point(x, y, s), *fields)


def _side_by_side(program: ConeProgram, start: Point, kept: np.ndarray) -> Refined:
    structure, batch = program.structure, program.batch
    weights = _weights(program, start)
    ok, contracting = np.zeros((2, batch), dtype=bool)
    steps, tried, factored = np.zeros((3, batch), dtype=int)
    e = np.full(batch, REGULAR)
    last = np.zeros(batch)  # the size of each sample's last step
    home, place = np.zeros((2, batch), dtype=int)  # which inverse serves it
    kind = _Inverses if structure.n <= DENSE else _Factors
    inverses: list[_Inverses | _Factors] = []
    for i in range(batch):
        if kept[i] is not None and kept[i].fits(program, i):
            same = [k for k, one in enumerate(inverses) if one is kept[i].inverses]
            if not same:
                inverses.append(kept[i].inverses)
            home[i], place[i] = same[0] if same else len(inverses) - 1, kept[i].place
            weights[i], contracting[i] = kept[i].inverses.weights[place[i]], True
    x, v = start.x.copy(), start.y - weights * start.s
    left = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(v).all(axis=1))
    while len(left):
        f, g, small = _conditions(program.take(left), x[left], v[left], weights[left])
        ok[left[small]] = True
        left, f, g = left[~small], f[~small], g[~small]
        stale = left[~contracting[left]]
        if len(stale):
            first, place[stale] = _distinct(program, (x, v, weights), stale)
            some = program.take(first)
            inverses.append(kind.of(some, x[first], v[first], weights[first], e[first]))
            home[stale] = len(inverses) - 1
            tried[stale] += 1
            factored[first] += 1
        dx, dv = np.empty_like(f), np.empty_like(g)
        for k in np.unique(home[left]):
            mine = home[left] == k
            dx[mine], dv[mine] = inverses[k].steps(place[left[mine]], f[mine], g[mine])
        x[left] += dx
        v[left] += dv
        steps[left] += 1
        with np.errstate(all="ignore"):
            size = np.maximum(norm(dx) / norm(x[left]), norm(dv) / norm(v[left]))
            shrunk = np.minimum(size / last[left], 1.0)
        ok[left] = (size <= NEAR) & (size * shrunk <= CLOSE)
        slow = (shrunk > CONTRACTING) & (last[left] > 0)
        e[left[slow & (size < NEAR_ENOUGH)]] *= SMALLER
        contracting[left] = ~slow
        last[left] = size
        more = ~ok[left] & np.isfinite(size) & (steps[left] < STEPS)
        left = left[more & (contracting[left] | (tried[left] < FACTORIZATIONS))]
    y = _dual(structure, v)
    newest = np.full(batch, None)
    for sample in np.flatnonzero(ok & (steps > 0)):
        if inverses[home[sample]].numbers <= KEPT:
            newest[sample] = Kept(inverses[home[sample]], int(place[sample]))
    return Refined(Point(x, y, (y - v) / weights), ok, steps, factored, newest)


def _is_diagonal(cone: Any) -> bool:
    """Whether its projection's derivative is a diagonal."""
    return bool(cone.derivative(np.zeros((0, cone.rows))).ndim == 2)


def _blocks(structure: Structure, v: np.ndarray) -> Iterator[tuple[Any, slice, np.ndarray]]:
    """(cone, rows, v's part (batch, count, cone.rows)) of each run of equal cones."""
    for cone, first, count in structure.blocks:
        rows = slice(first, first + cone.rows * count)
        yield cone, rows, v[:, rows].reshape(len(v), count, cone.rows)


def _dual(structure: Structure, v: np.ndarray) -> np.ndarray:
    """Π_K*(v) = v + Π_K(-v)."""
    y = v.copy()
    for cone, rows, part in _blocks(structure, v):
        y[:, rows] += cone.project(-part).reshape(len(v), -1)
    return y


def _weights(program: ConeProgram, z: Point) -> np.ndarray:
    """S, such that y and S s are of one size in each curved cone, within limits; (batch, m).

    Where y or s is nothing but noise it counts as a small part of what the data would allow.
    """
    w, weights = program.data, np.empty_like(z.s)
    with np.errstate(all="ignore"):
        entries = norm(w.A)
        y_size = np.maximum(norm(z.y), NOISE * (norm(w.q) + norm(w.P) * norm(z.x)) / entries)
        s_size = np.maximum(norm(z.s), NOISE * (norm(w.b) + entries * norm(z.x)))
        mean = y_size / s_size
        mean = np.where((mean > 0) & np.isfinite(mean), mean, 1.0)[:, None]
        for (cone, rows, y), (_, _, s) in zip(
            _blocks(program.structure, z.y), _blocks(program.structure, z.s), strict=True
        ):
            own = np.clip(norm(y) / norm(s) / mean, 1 / RANGE, RANGE)
            known = (norm(y) > 0) & (norm(s) > 0) & (not _is_diagonal(cone))
            weights[:, rows] = np.repeat(np.where(known, own, 1.0) * mean, s.shape[2], axis=1)
    return weights


def _conditions(
    program: ConeProgram, x: np.ndarray, v: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f, g, and whether both are nothing but rounding."""
    structure, w = program.structure, program.data
    y = _dual(structure, v)
    Px, Aty = product(structure.P, w.P, x), transposed_product(structure.A, w.A, y)
    Ax, b = weights * product(structure.A, w.A, x), weights * w.b
    f, g = Px + w.q + Aty, Ax - b + y - v
    small = norm(f) <= ROUNDING * (norm(w.q) + norm(Px) + norm(Aty))
    for cone, first, count in structure.blocks:
        rows = slice(first, first + cone.rows * count)
        terms = norm(Ax[:, rows]) + norm(b[:, rows]) + norm(v[:, rows])
        small &= norm(g[:, rows]) <= ROUNDING * terms
    return f, g, small


def _distinct(
    program: ConeProgram, arrays: Iterable[np.ndarray], samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The samples unlike all before them, and for each sample which of those it is like."""
    arrays = [*arrays, *(v for v in (program.data.P, program.data.A) if len(v) > 1)]
    found: dict[tuple[bytes, ...], int] = {}
    like = [found.setdefault(tuple(v[i].tobytes() for v in arrays), len(found)) for i in samples]
    return samples[np.unique(like, return_index=True)[1]], np.array(like)


class _Inverses(NamedTuple):
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
    ) -> _Inverses:
        """The inverses at these points, for these e (k,)."""
        structure, w, (k, n) = program.structure, program.data, x.shape
        H = np.zeros((k, n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        blocks = []
        for (cone, rows, part), gram in zip(_blocks(structure, v), _grams(structure), strict=True):
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
        inverse = scale * _inverted(scale * H + FLAT * np.eye(n))
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


class _Factors(NamedTuple):
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
    ) -> _Factors:
        """The factors at these points, for these e (k,)."""
        structure, w, k = program.structure, program.data, len(x)
        layout, diagonal = _layout(structure), np.ones((k, structure.m))
        derivatives = []
        for cone, rows, part in _blocks(structure, v):
            D_K = cone.derivative(-part)
            if D_K.ndim == 3:
                diagonal[:, rows] = 1 - D_K.reshape(k, -1)
            else:
                derivatives.append((D_K - np.eye(cone.rows)).reshape(k, -1))
                diagonal[:, rows] = 0.0
        A, curved = structure.A, layout.curved
        times_D = np.where(curved[A.rows], 1.0, diagonal[:, A.rows])
        ones = np.ones((k, int(curved.sum())))
        values = np.zeros((k, layout.pattern.size))
        parts = [times_D * w.A, weights[:, A.rows] * w.A, diagonal - 1 - e[:, None], ones, ones]
        for places, part in zip(layout.places, [*parts, *derivatives], strict=True):
            values[:, places] = part
        values[:, layout.P] += w.P
        largest = norm(w.P) + norm(w.q) / np.where(norm(x) > 0, norm(x), 1.0)
        values[:, layout.diagonal] += (FLAT * np.where(largest > 0, largest, 1.0))[:, None]
        factors: list[Any] = [None] * k

        def factor(i: int) -> None:
            with suppress(RuntimeError):  # it is singular: no step is taken
                factors[i] = sla.splu(layout.pattern.matrix(values[i]), permc_spec=ORDER)

        shared(deque(range(k)), factor)
        return cls(program, weights, factors, layout.pattern.shape[0])

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


@lru_cache(maxsize=16)
def _layout(structure: Structure) -> _Layout:
    n, m, P, A = structure.n, structure.m, structure.P, structure.A
    curved = np.zeros(m, dtype=bool)
    blocks = []
    for cone, first, count in structure.blocks:
        if not _is_diagonal(cone):
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


@lru_cache(maxsize=16)
def _grams(structure: Structure) -> list[_Gram | _DenseGram]:
    """How A'MA is made for each run of equal cones."""
    grams: list[_Gram | _DenseGram] = []
    A, n = structure.A, structure.n
    for cone, first, count in structure.blocks:
        r, rows = 1 if _is_diagonal(cone) else cone.rows, slice(first, first + cone.rows * count)
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

    parts = min(_workers(), len(flat)) if flat.size * flat.shape[-1] > WORTH else 1
    cuts = [round(len(flat) * k / parts) for k in range(parts + 1)]
    shared(deque(slice(a, b) for a, b in pairwise(cuts)), invert)
    return out.reshape(H.shape)
