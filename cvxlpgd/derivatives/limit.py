"""The limit tau -> 0 in closed form: the gradient of the linearized path, and how far to trust it.

Where rows are weakly active, their pair's side hidden by noise, the path has two pieces; the mean
of both is returned where they differ. Where the system has a null space that moves the gradient,
the path of least norm is returned, where the system cannot be solved, that of least squares; both
are said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.derivatives import path
from cvxlpgd.derivatives import perturbation as perturb
from cvxlpgd.derivatives.path import Direction, Velocity
from cvxlpgd.derivatives.protocol import Info
from cvxlpgd.program import ConeProgram, Data, Point, norm
from cvxlpgd.program.factors import numbers

NUMBERS = 30_000_000  # of factors that are held at once
ROUNDED, EPSILON = 1e3, np.finfo(float).eps  # pieces that differ by rounding are one

Values = Any  # Data or Point


class Meaning(NamedTuple):
    """What is made of velocities: gradients at some entries of the data, or tangents.

    Parameters
    ----------
    of : (velocity, at, samples) -> Values
    linear : the same without what does not depend on the velocity
    """

    of: Callable[[Point, Point, np.ndarray], Values]
    linear: Callable[[Point, Point, np.ndarray], Values]


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece of some samples' paths, and its share in their values.

    Parameters
    ----------
    velocity : Velocity
    samples : int array
    share : array (samples,)
        1, ½ where the value is the mean of two pieces, 0 where others make it.
    """

    velocity: Velocity
    samples: np.ndarray
    share: np.ndarray


@dataclass(frozen=True, eq=False)
class Limit:
    """A batch's gradients or tangents in the limit.

    Parameters
    ----------
    value : Data or Point
        w_bar at the entries, or z_dot.
    exists : bool array (batch,)
        Whether the system is solved, on one side at least.
    settled : bool array (batch,)
    split : tuple of Data or of Point, or None
        Half the difference of both pieces, and half of the sum of their sizes, 0 where there is
        one piece only; None where all samples have one.
    breakpoints : array (batch, 2)
        How far the path is straight forwards and backwards.
    pieces : tuple of Piece
    meaning : Meaning
    unit : array (batch, 1)
        What the direction was divided by before it was followed.
    """

    value: Values
    exists: np.ndarray
    settled: np.ndarray
    split: tuple[Values, Values] | None
    breakpoints: np.ndarray
    pieces: tuple[Piece, ...]
    meaning: Meaning
    unit: np.ndarray

    @property
    def regular(self) -> np.ndarray:
        """Where it is the derivative, as far as it is unique and has one piece, bool (batch,)."""
        return self.exists

    def info(self, tau: float) -> Info:
        """The report of a derivative that returns it."""
        info = Info.good(len(self.exists), tau)
        info.method[:], info.regular[:] = "path", self.regular
        info.breakpoints[:], info.settled[:] = self.breakpoints, self.settled
        return replace(info, evidence=self)

    def bounds(self) -> tuple[Values, Values]:
        """What no entry's error, and what no entry's rounding, exceeds: fields (batch, 1).

        The first is the change by the last Newton step and by rounding, the second what is near
        to 0 and rounding alone.
        """
        names = [name for name, _ in self.value.items()]
        total, floor = (
            type(self.value)(**{name: np.zeros((len(self.exists), 1)) for name in names})
            for _ in range(2)
        )
        for piece in self.pieces:
            v = piece.velocity
            doubt, least, dot, at = (_largest(of) for of in (v.doubt, v.least, v.dot, v.at))
            moved = doubt if v.dot is v.earlier else _sum(_largest(v.dot - v.earlier), doubt)
            shifted, nothing = _largest(v.at - v.before), (0.0, 0.0)
            total_parts = _combined(names, moved, shifted, dot, at)
            floor_parts = _combined(names, _sum(doubt, least), nothing, dot, at)
            share = piece.share * self.unit[piece.samples, 0]
            for out, parts in ((total, total_parts), (floor, floor_parts)):
                for name, largest in parts.items():
                    getattr(out, name)[piece.samples, 0] += share * largest
        return total, floor

    def changes(self, samples: np.ndarray) -> tuple[Values, Values, Values, Values]:
        """Of some samples: what the last Newton step, and what rounding, do to the value; the sizes
        of the terms that add up to it; and what is near to 0 beside what it is solved with.
        """
        of, linear = self.meaning

        def change(v: Velocity, where: np.ndarray) -> Values:
            return of(v.dot, v.at, where) - of(v.earlier, v.before, where)

        def terms(v: Velocity, where: np.ndarray) -> Values:
            return linear(_size(v.dot), _size(v.at), where)

        return (
            self._summed(change, samples),
            self._summed(lambda v, where: linear(v.doubt, v.at, where), samples),
            self._summed(terms, samples),
            self._summed(lambda v, where: linear(_size(v.least), _size(v.at), where), samples),
        )

    @property
    def sees_everything(self) -> np.ndarray:
        """Where no motion is hidden from the systems, bool (batch,)."""
        sees = np.ones(len(self.exists), dtype=bool)
        for piece in self.pieces:
            null = piece.velocity.null
            hidden = ((null.x != 0).any(axis=1) | (null.y != 0).any(axis=1)) & (piece.share > 0)
            sees[piece.samples[hidden]] = False
        return sees

    def hidden(self, samples: np.ndarray) -> tuple[Values, Values]:
        """Of some samples: a motion of the value that the systems do not see, and a random one to
        compare it with.
        """
        linear = self.meaning.linear

        def of(name: str) -> Values:
            def motion(v: Velocity, where: np.ndarray) -> Values:
                return linear(getattr(v, name), v.at, where)

            return self._summed(motion, samples)

        return of("null"), of("random")

    def _summed(self, of: Callable[[Velocity, np.ndarray], Values], samples: np.ndarray) -> Values:
        """The sum over the pieces of some samples, each at its share."""
        total: Values = None
        place = np.full(len(self.exists), -1)
        place[samples] = np.arange(len(samples))
        for piece in self.pieces:
            chosen = np.flatnonzero((place[piece.samples] >= 0) & (piece.share > 0))
            if not len(chosen):
                continue
            where = piece.samples[chosen]
            part = of(piece.velocity.take(chosen), where) * piece.share[chosen, None]
            if total is None:
                total = type(part)(
                    **{k: np.zeros((len(samples), v.shape[1])) for k, v in part.items()}
                )
            for name, v in part.items():
                getattr(total, name)[place[where]] += v
        return total * self.unit[samples]


Pair = tuple[Any, Any]  # the largest entries of x and of y, (batch,) each


def _largest(z: Point) -> Pair:
    return norm(z.x), norm(z.y)


def _sum(one: Pair, other: Pair) -> Pair:
    return one[0] + other[0], one[1] + other[1]


def _combined(
    names: list[str], moved: Pair, shifted: Pair, dot: Pair, at: Pair
) -> dict[str, np.ndarray]:
    """What no entry's change exceeds, for those of the velocity and of the point."""
    if "q" not in names:
        return {"x": moved[0], "y": moved[1], "s": moved[1] * 0.0}
    crossed = dot[1] * shifted[0] + dot[0] * shifted[1] + shifted[0]  # the last is s_bar's share
    return {
        "P": moved[0] * at[0] + dot[0] * shifted[0],
        "q": moved[0],
        "A": moved[1] * at[0] + moved[0] * at[1] + crossed,
        "b": moved[1],
    }


def _size(z: Point) -> Point:
    return Point(*(np.abs(v) for _, v in z.items()))


def vjp(program: ConeProgram, z: Point, point_bar: Point, entries: Data) -> Limit:
    """w_bar at the entries for a point's cotangent, computed for one of about unit size."""
    largest = np.maximum(np.maximum(norm(point_bar.x), norm(point_bar.y)), norm(point_bar.s))
    unit = _power_of_two(largest)[:, None]
    bar = Point(*(v / unit for _, v in point_bar.items()))
    z_bar, structure = perturb.without_slack(program, bar), program.structure

    def of(velocity: Point, at: Point, samples: np.ndarray) -> Data:
        w_bar = path.pulled(velocity, at, structure, entries)
        s_bar = bar.s if len(samples) == len(bar.s) else bar.s[samples]
        return perturb.with_slack(w_bar, program, s_bar, at.x, entries)

    def linear(velocity: Point, at: Point, samples: np.ndarray) -> Data:
        return path.pulled(velocity, at, structure, entries)

    return _limit(program, z, path.AlongCotangent(z_bar), Meaning(of, linear), unit)


def jvp(program: ConeProgram, z: Point, w_dot: Data) -> Limit:
    """Z_dot for the data's tangent at the structure's varying entries."""
    batch = len(z.x)
    largest = np.zeros(batch)
    for _, dot in w_dot.items():
        largest = np.maximum(largest, norm(dot))
    unit = _power_of_two(largest)[:, None]
    dot = Data(*(np.broadcast_to(v, (batch, v.shape[1])) / unit for _, v in w_dot.items()))

    def of(velocity: Point, at: Point, samples: np.ndarray) -> Point:
        return velocity

    return _limit(program, z, path.AlongData(dot), Meaning(of, of), unit)


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
        splits = [_one_piece(part) if part.split is None else part.split for part in parts]
        split = _joined([one for one, _ in splits]), _joined([other for _, other in splits])
    return Limit(
        value=_joined([part.value for part in parts]),
        exists=np.concatenate([part.exists for part in parts]),
        settled=np.concatenate([part.settled for part in parts]),
        split=split,
        breakpoints=np.concatenate([part.breakpoints for part in parts]),
        pieces=tuple(piece for part in parts for piece in part.pieces),
        meaning=meaning,
        unit=unit,
    )


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
    value = meaning.of(velocity.dot, velocity.at, samples)
    if not len(kinked):
        value, far = value * unit if (unit != 1).any() else value, _over(reach, unit)
        return Limit(value, exists, settled, None, far, tuple(pieces), meaning, unit)
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
    pieces += [
        Piece(side, samples[kinked], its)
        for side, its in zip(sides, (shares, 1 - shares), strict=True)
    ]
    nothing, far = value * 0.0, _over(reach, unit)
    value = _placed(value, kinked, mean) * unit
    halves = tuple(_placed(nothing, kinked, v) * unit for v in both)
    split = halves[0], halves[1]
    return Limit(value, exists, settled, split, far, tuple(pieces), meaning, unit)


def _split(
    values: list[Values],
    sides: list[Velocity],
    meaning: Meaning,
    samples: np.ndarray,
    both: np.ndarray,
) -> tuple[Values, Values]:
    """Half the difference of two pieces, less rounding, and half the sum of their sizes."""
    halves: dict[str, np.ndarray] = {}
    sizes: dict[str, np.ndarray] = {}
    least = meaning.linear(_size(sides[0].least), _size(sides[0].at), samples)
    for (name, a), (_, b) in zip(values[0].items(), values[1].items(), strict=True):
        rounding = ROUNDED * (getattr(least, name) + EPSILON * np.abs(a))
        seen = both & (np.abs(a - b) > rounding)
        halves[name] = np.where(seen, a - b, 0.0) / 2
        sizes[name] = np.where(both, np.abs(a) + np.abs(b), 0.0) / 2
    return type(values[0])(**halves), type(values[0])(**sizes)


def _over(reach: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Reach / unit, infinite where that overflows."""
    with np.errstate(over="ignore"):
        return reach / unit


def _joined(parts: list[Values]) -> Values:
    """The values of all samples, from those of pieces of the batch."""
    names = [name for name, _ in parts[0].items()]
    return type(parts[0])(**{k: np.concatenate([getattr(v, k) for v in parts]) for k in names})


def _one_piece(limit: Limit) -> tuple[Values, Values]:
    """The split of a limit of one piece."""
    return limit.value * 0.0, limit.value * 0.0


def _placed(whole: Values, samples: np.ndarray, part: Values) -> Values:
    """The values with those of some samples in their places."""
    out = {}
    for name, v in whole.items():
        out[name] = v.copy()
        out[name][samples] = getattr(part, name)
    return type(whole)(**out)


def _power_of_two(size: np.ndarray) -> np.ndarray:
    """The power of 2 below each size, 1 where it is 0 or not finite."""
    usual = (size > 0) & np.isfinite(size)
    return np.asarray(np.where(usual, 2.0 ** np.floor(np.log2(np.where(usual, size, 1.0))), 1.0))
