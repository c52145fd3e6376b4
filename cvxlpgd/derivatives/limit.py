"""The limit tau -> 0 in closed form: the gradient of the linearized path, and how far to trust it.

Where rows are weakly active, their pair's side hidden by noise, the path has two pieces; the mean
of both is returned where they differ. Where the system has a null space that moves the gradient,
the path of least norm is returned, where the system cannot be solved, that of least squares; a
warning says both.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.evidence import Factor, Limit, Meaning, Piece, Values, magnitude
from cvxlpgd.derivatives.info import put
from cvxlpgd.derivatives.path import velocity as path
from cvxlpgd.derivatives.path.direction import AlongCotangent, AlongData, Direction
from cvxlpgd.derivatives.path.motions import MARGIN
from cvxlpgd.program import ConeProgram, Data, Point, norm
from cvxlpgd.program.factors import numbers
from cvxlpgd.program.motion import Motion

NUMBERS = 30_000_000  # of factors that are held at once
ROUNDED, EPSILON = 1e3, np.finfo(float).eps  # pieces that differ by rounding are one


def vjp(program: ConeProgram, z: Point, point_bar: Point, entries: Data, rho: float = 0.0) -> Limit:
    """w_bar = d/dt ∇L(z + t z_dot) at the entries, z_dot for a point's cotangent.

    It is computed for one of about unit size, with the proximal term of weight `rho` at z. The
    fields of `z` and `point_bar` are (batch, n), (batch, m) and (batch, m), those of the value
    (batch, entries).
    """
    if rho:
        plain, program = program.structure.P, program.proximal(rho, z.x)
        entries = replace(entries, P=program.structure.P.index(plain)[entries.P])
    largest = np.maximum(np.maximum(norm(point_bar.x), norm(point_bar.y)), norm(point_bar.s))
    unit = _power_of_two(largest)[:, None]
    bar = Point(*(v / unit for _, v in point_bar.items()))
    z_bar, structure = perturb.without_slack(program, bar), program.structure

    def motion(velocity: Point, at: Point, samples: np.ndarray, times: Factor = 1.0) -> Motion:
        s_bar = bar.s if len(samples) == len(bar.s) else bar.s[samples]
        return perturb.motion_of(velocity, at, s_bar, times)

    def of(velocity: Point, at: Point, samples: np.ndarray, times: Factor = 1.0) -> Data:
        return motion(velocity, at, samples, times).pull_back(structure, entries)

    def linear(velocity: Point, at: Point, samples: np.ndarray) -> Data:
        return Motion.of(velocity, at).pull_back(structure, entries)

    return _limit(program, z, AlongCotangent(z_bar), Meaning(Data, of, linear, motion), unit)


def jvp(program: ConeProgram, z: Point, w_dot: Data, rho: float = 0.0) -> Limit:
    """z_dot for the data's tangent at the varying entries, whose fields are (batch or 1, entries).

    With the proximal term of weight `rho` at z, whose fields are (batch, n), (batch, m) and
    (batch, m).
    """
    program = program.proximal(rho, z.x)
    batch = len(z.x)
    largest = np.maximum.reduce([np.broadcast_to(norm(dot), batch) for _, dot in w_dot.items()])
    unit = _power_of_two(largest)[:, None]
    dot = Data(*(np.broadcast_to(v, (batch, v.shape[1])) / unit for _, v in w_dot.items()))

    def of(velocity: Point, at: Point, samples: np.ndarray, times: Factor = 1.0) -> Point:
        return velocity * times

    return _limit(program, z, AlongData(dot), Meaning(Point, of, of, None), unit)


def _limit(
    program: ConeProgram, z: Point, direction: Direction, meaning: Meaning, unit: np.ndarray
) -> Limit:
    """The limit along a direction, as many samples at once as memory allows."""
    batch = len(z.x)
    together = max(1, NUMBERS // max(1, numbers(program.structure)))
    if batch <= together:
        return _of_samples(program, z, direction, meaning, unit, np.arange(batch))
    chunks = [np.arange(k, min(k + together, batch)) for k in range(0, batch, together)]
    parts = [
        _of_samples(
            program.take(chunk), z.pick(chunk), direction.take(chunk), meaning, unit[chunk], chunk
        )
        for chunk in chunks
    ]
    split = None
    if any(part.split is not None for part in parts):
        splits = [part.split or (part.value * 0.0, part.value * 0.0) for part in parts]
        split = _join([one for one, _ in splits]), _join([other for _, other in splits])
    exists, settled, far = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("exists", "settled", "breakpoints")
    )
    pieces = tuple(piece for part in parts for piece in part.pieces)
    motions = [part.motion for part in parts]
    motion = None if any(own is None for own in motions) else _join(motions)

    def evaluate() -> Values:
        return _join([part.value for part in parts])

    return Limit(evaluate, exists, settled, split, far, pieces, meaning, unit, motion)


def _of_samples(
    program: ConeProgram,
    z: Point,
    direction: Direction,
    meaning: Meaning,
    unit: np.ndarray,
    samples: np.ndarray,
) -> Limit:
    """The limit of some samples; those with a weakly active row have two pieces."""
    structure = program.structure
    velocity = path.follow(program, z, direction)
    weak = path.weakly_active(velocity, structure)
    exists, settled = velocity.consistent.copy(), velocity.settled.copy()
    reach = path.breakpoints(velocity, structure)
    kinked = np.flatnonzero(weak.any(axis=1))
    share = np.ones(len(samples))
    share[kinked] = 0.0
    pieces = [Piece(velocity, samples, share)]
    if not len(kinked):
        far, arguments = _over(reach, unit), (velocity.dot, velocity.at, samples, unit)
        evaluate = partial(meaning.of, *arguments)
        motion = meaning.motion and meaning.motion(*arguments)
        return Limit(evaluate, exists, settled, None, far, tuple(pieces), meaning, unit, motion)
    value = meaning.of(velocity.dot, velocity.at, samples)
    part, start, along = program.take(kinked), z.pick(kinked), direction.take(kinked)
    sides = [path.follow(part, start, along, sign * weak[kinked]) for sign in (1.0, -1.0)]
    one, other = (side.consistent for side in sides)
    shares = np.where(one & other, 0.5, np.where(other & ~one, 0.0, 1.0))
    values = [meaning.of(side.dot, side.at, samples[kinked]) for side in sides]
    both = _split(values, sides, meaning, samples[kinked], (one & other)[:, None])
    mean = values[0] * shares[:, None] + values[1] * (1 - shares)[:, None]
    chance = one != other  # one side alone: noise decides which
    counted = (sides[0].settled | (shares == 0)) & (sides[1].settled | (shares == 1))
    exists[kinked], settled[kinked] = one | other, counted & ~chance
    reach[kinked] = np.minimum(*(path.breakpoints(side, structure) for side in sides))
    pieces.append(Piece(sides[0], samples[kinked], shares))
    pieces.append(Piece(sides[1], samples[kinked], 1 - shares))
    nothing, far = value * 0.0, _over(reach, unit)
    value = put(value, kinked, mean) * unit
    split = put(nothing, kinked, both[0]) * unit, put(nothing, kinked, both[1]) * unit
    return Limit(lambda: value, exists, settled, split, far, tuple(pieces), meaning, unit)


def _split(
    values: list[Values],
    sides: list[path.Velocity],
    meaning: Meaning,
    samples: np.ndarray,
    both: np.ndarray,
) -> tuple[Values, Values]:
    """Half the difference of two pieces, less rounding, and half the sum of their sizes."""
    halves, sizes = {}, {}
    least = meaning.linear(magnitude(sides[0].hidden.least), magnitude(sides[0].at), samples)
    doubts = [meaning.linear(magnitude(v.doubt), magnitude(v.at), samples) for v in sides]
    for (name, a), (_, b) in zip(values[0].items(), values[1].items(), strict=True):
        rounding = ROUNDED * (np.abs(getattr(least, name)) + EPSILON * np.abs(a))
        rounding += MARGIN * sum(np.abs(getattr(doubt, name)) for doubt in doubts)
        seen = both & (np.abs(a - b) > rounding)
        halves[name] = np.where(seen, a - b, 0.0) / 2
        sizes[name] = np.where(both, np.abs(a) + np.abs(b), 0.0) / 2
    return type(values[0])(**halves), type(values[0])(**sizes)


def _over(reach: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Reach / unit, infinite where that overflows."""
    with np.errstate(over="ignore"):
        return reach / unit


def _join(parts: list[Values]) -> Values:
    """The values of all samples, from those of pieces of the batch."""
    names = [name for name, _ in parts[0].items()]
    return type(parts[0])(**{k: np.concatenate([getattr(v, k) for v in parts]) for k in names})


def _power_of_two(size: np.ndarray) -> np.ndarray:
    """The power of 2 below each size, 1 where it is 0 or not finite."""
    usual = (size > 0) & np.isfinite(size)
    return np.asarray(np.where(usual, 2.0 ** np.floor(np.log2(np.where(usual, size, 1.0))), 1.0))
