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

from typing import NamedTuple

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Structure
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.threads import one_thread_each
from cvxlpgd.solvers.refine import systems
from cvxlpgd.solvers.refine.conditions import weigh
from cvxlpgd.solvers.refine.kept import SampleFactors, restore
from cvxlpgd.solvers.refine.scales import Scales
from cvxlpgd.solvers.refine.steps import Factors, Samples, distinct, take_steps

TOGETHER = 128  # samples at most: their factors are held at once
LARGEST = 300, 300_000  # rows of one curved cone, and numbers of all cones' derivatives, at most
ENTRIES = 100_000  # of a sparse system: from there on its factors take longer than new solves
KEPT = 8_000_000  # numbers of the factors of so many, which are kept for the backward pass
HELD = 2e6  # entries of the sparse matrices that are factored at once


class Refinement(NamedTuple):
    """Points (batch, ...), which of them are solutions to rounding, and what that took."""

    point: Point
    ok: np.ndarray
    steps: np.ndarray
    factored: np.ndarray  # matrices; one that two samples share is the first one's
    factors: np.ndarray  # each sample's newest, for its next refinement to begin with, or None


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


def _together(structure: Structure) -> int:
    """How many samples are refined side by side at most."""
    if structure.n <= systems.DENSE:
        return TOGETHER
    return max(1, int(HELD / systems.layout(structure).pattern.size))


def _in_pieces(program: ConeProgram, start: Point, earlier: np.ndarray) -> Refinement:
    count = -(-program.batch // _together(program.structure))
    if count <= 1:
        return _side_by_side(program, start, earlier)
    # both ends of a perturbation in one piece
    _, like = distinct(program, (start.x, start.y, start.s), np.arange(program.batch))
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
    factors, which, place, fits = _earlier_factors(program, earlier)
    t = np.ones_like(start.s) if fits.all() else weigh(program, start)
    for k, one in enumerate(factors):
        mine = fits & (which == k)
        t[mine] = one.weights[place[mine]]
    begin = Samples.of(program, start, t, which, place, fits)
    end, factored = take_steps(program, begin, factors)
    newest = np.full(program.batch, None)
    # by each one's own numbers: what is kept of a sample does not depend on its batch
    most = KEPT / min(TOGETHER, _together(program.structure))
    for i in np.flatnonzero(end.ok & (end.steps > 0)):
        own = SampleFactors(factors[end.which[i]], int(end.place[i]))
        if own.numbers <= most:
            newest[i] = own
    return Refinement(end.point, end.ok, end.steps, factored, newest)


def _earlier_factors(
    program: ConeProgram, earlier: np.ndarray
) -> tuple[list[Factors], np.ndarray, np.ndarray, np.ndarray]:
    """The factors that fit; and (batch,) which one is a sample's, its place there, and whether."""
    which, place = np.zeros((2, program.batch), dtype=int)
    fits = np.array([own is not None and own.fits(program, i) for i, own in enumerate(earlier)])
    factors: list[Factors] = []
    for i, own in restore(program, earlier, np.flatnonzero(fits)):
        same = [k for k, one in enumerate(factors) if one is own.factors]
        if not same:
            factors.append(own.factors)
        which[i], place[i] = same[0] if same else len(factors) - 1, own.place
    return factors, which, place, fits
