"""Solutions refined by Newton's method on the optimality conditions, from a point nearby.

The points' pairs y, s are complementary in each cone, so that what is left are the equations

    f = Px + q + A'y = 0,    g = Ax + s - b = 0.

Along its cone a pair moves by y_dot = B'u, -B s_dot = C u (`cones/linearization.py`), so a Newton
step (dx, dy, ds) with M = B'(C + e)⁻¹B solves

    (P + d + A'MA) dx = -f - A'M g,    dy = M (A dx + g),    ds = -(A dx + g),

where the small d and e keep flat directions and redundant rows from making it singular; they slow
the steps down a little and move no solution. Afterwards the pair is the complementary one nearest
to (y + dy, s + ds). All of it is in weighted units, y / t and t s, t g, t A with t > 0, in which y
and s are of one size. That is one symmetric positive definite matrix for each sample, whose factor
serves as long as its steps contract.

A column a of A without curvature, all of whose entries are in one cone, is eliminated by itself:
there M - Ma (Ma)'/(a'Ma) takes the place of M for the other columns.

In many variables that matrix is full, where the data are sparse: there the Newton system is
factored as it stands, in v = y - s with D = DΠ_K*(v), dy = D dv beside it for the curved cones,

    [ P + d   A_l'D_l        A_c' ] [dx  ]   [ -f ]
    [ A       D_l - 1 - e    I_c  ] [dv  ] = [ -g ]     (- 1 - e alone on the curved cones' rows)
    [         -D_c           1    ] [dy_c]   [  0 ].

Busseti, Moursi, Boyd, "Solution refinement at regular points of conic problems", 2019, do this on
the homogeneous embedding, with LSQR.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones.refining import nearest_pair
from cvxlpgd.program import ConeProgram, Point, Structure, norm
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.threads import one_thread_each
from cvxlpgd.solvers.refine import systems
from cvxlpgd.solvers.refine.conditions import conditions, weigh
from cvxlpgd.solvers.refine.matrices import DenseFactors, SparseFactors
from cvxlpgd.solvers.refine.scales import Scales
from cvxlpgd.solvers.run.each import of_sample

CLOSE = 2e-15  # the next step, relative to the point, that is not worth taking
NEAR = 1e-6  # the last step, from which the next one's size can be told
ROUNDING = 2e-15  # of the terms that add up to f and g: their sums get no smaller
CERTAIN = 1e-11  # of the terms, and no larger, where the steps say that there is no more to do
STEPS, FACTORIZATIONS = 20, 6  # at most, for one sample
CONTRACTING = 0.1  # factors serve as long as each step is this part of the last one
REGULAR = 1e-5  # e: a smaller one loses digits of the factors, a larger one slows the steps
SMALLER = 1e-2  # the next e, of this one, where steps this small are slow
NEAR_ENOUGH = 1e-3
TOGETHER = 128  # samples at most: their factors are held at once
LARGEST = 300, 300_000  # rows of one curved cone, and numbers of all cones' derivatives, at most
ENTRIES = 100_000  # of a sparse system: from there on its factors take longer than new solves
KEPT = 8_000_000  # numbers that factors may have that are kept for the backward pass
HELD = 2e6  # entries of the sparse matrices that are factored at once


class Refinement(NamedTuple):
    """Points (batch, ...), which of them are solutions to rounding, and what that took."""

    point: Point
    ok: np.ndarray
    steps: np.ndarray
    factored: np.ndarray  # matrices; one that two samples share is the first one's
    factors: np.ndarray  # each sample's newest, for its next refinement to begin with, or None


class SampleFactors(NamedTuple):
    """A sample's factors: one of several."""

    factors: Any
    place: int

    def fits(self, program: ConeProgram, i: int) -> bool:
        """Whether it is of the i-th program's very matrices."""
        mine, w = self.factors.program.data, program.data
        return self.factors.program.structure is program.structure and all(
            one is other or np.array_equal(of_sample(one, self.place), of_sample(other, i))
            for one, other in ((mine.P, w.P), (mine.A, w.A))
        )


def is_refinable(structure: Structure) -> bool:
    """Whether refining is possible, and worth while at the structure's size."""
    curved = [(c.rows, count) for c, _, count in structure.blocks if not is_diagonal(c)]
    rows = max((r for r, _ in curved), default=0)
    numbers = sum(r * r * count for r, count in curved)
    if structure.mixed_integer or not structure.m or rows > LARGEST[0] or numbers > LARGEST[1]:
        return False
    return structure.n <= systems.DENSE or systems.layout(structure).pattern.size <= ENTRIES


def refine(program: ConeProgram, start: Point, earlier: np.ndarray | None = None) -> Refinement:
    """Newton's method for each sample, many of them side by side, badly scaled ones scaled.

    Samples that start at the same point with the same matrices share their first factors; `earlier`
    ones, object array (batch,) of SampleFactors or None, serve where they fit.
    """
    if earlier is None:
        earlier = np.full(program.batch, None)
    scales = Scales.of(program)
    if scales is None:
        return _in_pieces(program, start, earlier)
    refinement = _in_pieces(scales.program(program), scales.scale(start), earlier)
    return refinement._replace(point=scales.unscale(refinement.point))


def _in_pieces(program: ConeProgram, start: Point, earlier: np.ndarray) -> Refinement:
    structure, most = program.structure, TOGETHER
    if structure.n > systems.DENSE:
        most = max(1, int(HELD / systems.layout(structure).pattern.size))
    count = -(-program.batch // most)
    if count <= 1:
        return _side_by_side(program, start, earlier)
    # both ends of a perturbation in one piece
    _, like = _distinct(program, (start.x, start.y, start.s), np.arange(program.batch))
    pieces = [np.flatnonzero(like % count == k) for k in range(count)]
    pieces = [piece for piece in pieces if len(piece)]
    parts = [_side_by_side(program.take(i), start.pick(i), earlier[i]) for i in pieces]
    order = np.argsort(np.concatenate(pieces))
    points = [(part.point.x, part.point.y, part.point.s) for part in parts]
    z, fields = (
        [np.concatenate(values)[order] for values in zip(*several, strict=True)]
        for several in (points, [part[1:] for part in parts])
    )
    return Refinement(Point(*z), *fields)


def _side_by_side(program: ConeProgram, start: Point, earlier: np.ndarray) -> Refinement:
    # the last bits of a matrix product depend on BLAS' threads; what runs away to infinity is left
    with one_thread_each(), np.errstate(all="ignore"):
        return _newton(program, start, earlier)


def _newton(program: ConeProgram, start: Point, earlier: np.ndarray) -> Refinement:
    structure, batch = program.structure, program.batch
    ok, done = np.zeros((2, batch), dtype=bool)
    steps, tried, factored = np.zeros((3, batch), dtype=int)
    e = np.full(batch, REGULAR)
    last = np.zeros(batch)  # the size of each sample's last step
    kind = DenseFactors if structure.n <= systems.DENSE else SparseFactors
    factors, which, place, contracting = _earlier_factors(program, earlier)
    weights = np.ones_like(start.s) if contracting.all() else weigh(program, start)
    for k, one in enumerate(factors):
        mine = contracting & (which == k)
        weights[mine] = one.weights[place[mine]]
    x, (y, s) = start.x.copy(), nearest_pairs(structure, start.y, start.s, weights)
    left = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(y - s).all(axis=1))
    while len(left):
        z, t = Point(x[left], y[left], s[left]), weights[left]
        f, g, error = conditions(program.take(left), z, t)
        # small steps are not enough: they may be so in a direction that d or e holds back
        ok[left] = error <= np.where(done[left], CERTAIN, ROUNDING)
        more = ~ok[left] & (steps[left] < STEPS)
        more &= contracting[left] | (tried[left] < FACTORIZATIONS)
        if not more.all():
            left, f, g, z, t = left[more], f[more], g[more], z.pick(more), t[more]
        if not len(left):
            break
        stale = left[~contracting[left]]
        if len(stale):
            first, place[stale] = _distinct(program, (x, y, s, weights), stale)
            at = Point(x[first], y[first], s[first]), weights[first], e[first]
            factors.append(kind.of(program.take(first), *at))
            which[stale] = len(factors) - 1
            tried[stale] += 1
            factored[first] += 1
        if len(factors) == 1:
            dx, dy, ds = factors[0].steps(place[left], f, g)
        else:
            dx, dy, ds = (np.empty_like(v) for v in (f, g, g))
            for k in np.unique(which[left]):
                mine = which[left] == k
                step = factors[k].steps(place[left[mine]], f[mine], g[mine])
                dx[mine], dy[mine], ds[mine] = step
        x[left] += dx
        moved = nearest_pairs(structure, z.y + dy, z.s + ds, t)
        y[left], s[left] = moved
        steps[left] += 1
        dv, v = dy / t - t * ds, moved[0] / t - t * moved[1]
        size = np.maximum(norm(dx) / norm(x[left]), norm(dv) / norm(v))
        shrunk = np.minimum(size / last[left], 1.0)
        done[left] = (size <= NEAR) & (size * shrunk <= CLOSE)
        slow = (shrunk > CONTRACTING) & (last[left] > 0)
        e[left[slow & (size < NEAR_ENOUGH)]] *= SMALLER
        contracting[left] = ~slow
        last[left] = size
        left = left[np.isfinite(size)]
    newest = np.full(batch, None)
    kept = [one.numbers <= KEPT for one in factors]
    for sample in np.flatnonzero(ok & (steps > 0)):
        if kept[which[sample]]:
            newest[sample] = SampleFactors(factors[which[sample]], int(place[sample]))
    return Refinement(Point(x, y, s), ok, steps, factored, newest)


def nearest_pairs(
    structure: Structure, y: np.ndarray, s: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The complementary pairs nearest to y / t and t s, as y and s."""
    y, s = y / weights, s * weights
    free = structure.inequalities & (y < s)
    y_new, s_new = np.where(free, 0.0, y - s), np.where(free, s - y, 0.0)
    for cone, rows, y_own, s_own in structure.split(y, s):
        if not is_diagonal(cone):
            pair = nearest_pair(cone, y_own, s_own)
            y_new[:, rows], s_new[:, rows] = (v.reshape(len(y), -1) for v in pair)
    return y_new * weights, s_new / weights


def _earlier_factors(
    program: ConeProgram, earlier: np.ndarray
) -> tuple[list[DenseFactors | SparseFactors], np.ndarray, np.ndarray, np.ndarray]:
    """The factors that fit; and (batch,) which one is a sample's, its place there, and whether."""
    which, place = np.zeros((2, program.batch), dtype=int)
    fits = np.zeros(program.batch, dtype=bool)
    factors: list[DenseFactors | SparseFactors] = []
    for i, own in enumerate(earlier):
        if own is not None and own.fits(program, i):
            same = [k for k, one in enumerate(factors) if one is own.factors]
            if not same:
                factors.append(own.factors)
            which[i], place[i] = same[0] if same else len(factors) - 1, own.place
            fits[i] = True
    return factors, which, place, fits


def _distinct(
    program: ConeProgram, arrays: Iterable[np.ndarray], samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The samples unlike all before them, and for each sample which of those it is like."""
    arrays = [*arrays, *(v for v in (program.data.P, program.data.A) if len(v) > 1)]
    first: dict[tuple[bytes, ...], int] = {}
    like = [first.setdefault(tuple(v[i].tobytes() for v in arrays), len(first)) for i in samples]
    return samples[np.unique(like, return_index=True)[1]], np.array(like)
