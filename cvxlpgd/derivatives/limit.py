"""The limit tau -> 0 in closed form: the gradient of the linearized path, and how far to trust it.

Where rows are weakly active, their pair's side hidden by noise, the path has two pieces; the mean
of both is returned where they differ. Where the system has a null space that moves the gradient,
the path of least norm is returned, where the system cannot be solved, that of least squares; both
are said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cvxlpgd.derivatives import _perturb as perturb
from cvxlpgd.derivatives import path
from cvxlpgd.derivatives._protocol import Info
from cvxlpgd.derivatives.path import Velocity
from cvxlpgd.program import ConeProgram, Data, Point, Structure, norm

NUMBERS = 30_000_000  # of full matrices that are held at once
ROUNDED, EPSILON = 1e3, np.finfo(float).eps  # pieces that differ by rounding are one


@dataclass(frozen=True, eq=False)
class Limit:
    """A batch's gradients or tangents in the limit.

    Parameters
    ----------
    value : Data or Point
        w_bar at the entries, or z_dot.
    change, rounding, least : Data or Point
        What the last Newton step, and what rounding, do to it; and what is near to 0 beside it.
    hidden, random : Data or Point, or None
        A motion of it that the system does not see, and a random one to compare that with; None
        where the system sees everything.
    exists : bool array (batch,)
        Whether the system is solved, on one side at least.
    settled : bool array (batch,)
    split : tuple of Data or of Point, or None
        Half the difference of both pieces, and half of the sum of their sizes, 0 where there is
        one piece only; None where all samples have one.
    breakpoints : array (batch, 2)
        How far the path is straight forwards and backwards.
    """

    value: Any
    change: Any
    rounding: Any
    least: Any
    hidden: Any
    random: Any
    exists: np.ndarray
    settled: np.ndarray
    split: tuple[Any, Any] | None
    breakpoints: np.ndarray

    @property
    def regular(self) -> np.ndarray:
        """Where it is the derivative, as far as it is unique and has one piece, bool (batch,)."""
        return self.exists

    def info(self, tau: float) -> Info:
        """The report of a derivative that returns it."""
        info = Info.good(len(self.exists), tau)
        info.method[:], info.regular[:] = "path", self.regular
        info.breakpoints[:], info.settled[:] = self.breakpoints, self.settled
        hidden = () if self.hidden is None else (self.hidden, self.random)
        return replace(
            info,
            changes=(self.change, self.rounding),
            least=self.least,
            hidden=hidden,
            split=self.split,
        )


def vjp(program: ConeProgram, z: Point, point_bar: Point, entries: Data) -> Limit:
    """w_bar at the entries for a point's cotangent, computed for one of about unit size."""
    largest = np.maximum(np.maximum(norm(point_bar.x), norm(point_bar.y)), norm(point_bar.s))
    unit = _power_of_two(largest)[:, None]
    bar = Point(*(v / unit for _, v in point_bar._items()))
    z_bar, structure = perturb.without_slack(program, bar), program.structure

    def of(velocity: Point, at: Point, samples: np.ndarray) -> Data:
        w_bar = path.pulled(velocity, at, structure, entries)
        return perturb.with_slack(w_bar, program.take(samples), bar.s[samples], at.x, entries)

    def direction(samples: np.ndarray) -> path.Direction:
        return path.along_cotangent(z_bar.pick(samples))

    def without_bar(velocity: Point, at: Point, samples: np.ndarray) -> Data:
        return path.pulled(velocity, at, structure, entries)

    limit = _limit(program, z, direction, of, without_bar)
    return _times(limit, unit)


def jvp(program: ConeProgram, z: Point, w_dot: Data) -> Limit:
    """Z_dot for the data's tangent at the structure's varying entries."""
    batch = len(z.x)
    largest = np.zeros(batch)
    for _, dot in w_dot._items():
        largest = np.maximum(largest, norm(dot))
    unit = _power_of_two(largest)[:, None]
    dot = Data(*(np.broadcast_to(v, (batch, v.shape[1])) / unit for _, v in w_dot._items()))

    def of(velocity: Point, at: Point, samples: np.ndarray) -> Point:
        return velocity

    def direction(samples: np.ndarray) -> path.Direction:
        return path.along_data(dot.take(samples) if batch > 1 else dot)

    limit = _limit(program, z, direction, of, of)
    return _times(limit, unit)


def _limit(program: ConeProgram, z: Point, direction: Any, of: Any, linear: Any) -> Limit:
    """The limit along `direction(samples)`; `of` and `linear` make values of velocities."""
    n, m = program.structure.n, program.structure.m
    together = max(1, NUMBERS // max(1, n * (n + m)))
    parts = [
        _of_samples(program, z, direction, of, linear, np.arange(k, min(k + together, len(z.x))))
        for k in range(0, len(z.x), together)
    ]
    return parts[0] if len(parts) == 1 else _concatenated(parts)


def _of_samples(
    program: ConeProgram, z: Point, direction: Any, of: Any, linear: Any, chosen: np.ndarray
) -> Limit:
    """The limit of some samples."""
    structure = program.structure
    if len(chosen) < len(z.x):
        program, z = program.take(chosen), z.pick(chosen)
    first = path.follow(program, z, direction(chosen))
    weak = path.weakly_active(first, structure)
    limit = _one_piece(first, structure, chosen, of, linear)
    samples = np.flatnonzero(weak.any(axis=1))
    if not len(samples):
        return limit
    some, start = program.take(samples), z.pick(samples)
    sides = []
    for side in (1.0, -1.0):
        velocity = path.follow(some, start, direction(chosen[samples]), side * weak[samples])
        sides.append(_one_piece(velocity, structure, chosen[samples], of, linear))
    joined = _joined(*sides)
    # one side alone, of a pair whose middle has no derivative: which one is chance
    chance = (sides[0].exists != sides[1].exists) & ~limit.exists[samples]
    return _placed(limit, samples, replace(joined, settled=joined.settled & ~chance))


def _one_piece(
    velocity: Velocity, structure: Structure, samples: np.ndarray, of: Any, linear: Any
) -> Limit:
    value = of(velocity.dot, velocity.at, samples)
    moved = velocity.earlier is not velocity.dot or velocity.before is not velocity.at
    earlier = of(velocity.earlier, velocity.before, samples) if moved else value

    def size(v: Point) -> Point:
        return Point(*(np.abs(part) for _, part in v._items()))

    def motion(of: Point | None) -> Any:
        return None if of is None else linear(of, velocity.at, samples)

    return Limit(
        value, value - earlier, motion(velocity.doubt),
        linear(size(velocity.least), size(velocity.at), samples), motion(velocity.null),
        motion(velocity.random), velocity.consistent, velocity.settled, None,
        path.breakpoints(velocity, structure),
    )  # fmt: skip


def _joined(one: Limit, other: Limit) -> Limit:
    """Both pieces' mean; the one that exists where only one does."""
    both = one.exists & other.exists
    weight = np.where(both, 0.5, np.where(other.exists & ~one.exists, 0.0, 1.0))[:, None]

    def mean(a: Any, b: Any) -> Any:
        if a is None or b is None:  # one of them has nothing to hide
            return a if b is None else b
        return a * weight + b * (1 - weight)

    here = weight[:, 0] > 0
    there = weight[:, 0] < 1
    names = ("value", "change", "rounding", "least", "hidden", "random")
    means = {name: mean(getattr(one, name), getattr(other, name)) for name in names}
    return Limit(
        **means,
        exists=one.exists | other.exists,
        settled=(one.settled | ~here) & (other.settled | ~there),
        split=_split(one, other, both[:, None]),
        breakpoints=np.minimum(one.breakpoints, other.breakpoints),
    )


def _split(one: Limit, other: Limit, both: np.ndarray) -> tuple[Any, Any]:
    """Half the difference of two pieces, less rounding, and half the sum of their sizes."""
    halves: dict[str, np.ndarray] = {}
    sizes: dict[str, np.ndarray] = {}
    for (name, a), (_, b) in zip(one.value._items(), other.value._items(), strict=True):
        rounding = ROUNDED * (getattr(one.least, name) + EPSILON * np.abs(a))
        seen = both & (np.abs(a - b) > rounding)
        halves[name] = np.where(seen, a - b, 0.0) / 2
        sizes[name] = np.where(both, np.abs(a) + np.abs(b), 0.0) / 2
    return type(one.value)(**halves), type(one.value)(**sizes)


def _times(limit: Limit, unit: np.ndarray) -> Limit:
    """The limit for a direction that is `unit` (batch, 1) times as large."""
    return replace(
        limit,
        **{k: getattr(limit, k) * unit for k in ("value", "change", "rounding", "least")},
        split=limit.split and tuple(v * unit for v in limit.split),
        breakpoints=limit.breakpoints / unit,
    )


def _concatenated(parts: list[Limit]) -> Limit:
    """The limits of all samples from those of pieces."""

    def joined(values: list[Any]) -> Any:
        if isinstance(values[0], np.ndarray):
            return np.concatenate(values)
        names = values[0].__dataclass_fields__
        return type(values[0])(**{k: joined([getattr(v, k) for v in values]) for k in names})

    out: dict[str, Any] = {}
    for name in Limit.__dataclass_fields__:
        values = [getattr(part, name) for part in parts]
        if all(v is None for v in values):
            out[name] = None
        elif name == "split":
            splits = [_none(part) if part.split is None else part.split for part in parts]
            out[name] = tuple(joined(list(v)) for v in zip(*splits, strict=True))
        else:
            pairs = zip(values, parts, strict=True)
            out[name] = joined([part.value * 0.0 if v is None else v for v, part in pairs])
    return Limit(**out)


def _none(limit: Limit) -> tuple[Any, Any]:
    """The split of a limit of one piece."""
    return limit.value * 0.0, limit.value * 0.0


def _placed(whole: Limit, samples: np.ndarray, part: Limit) -> Limit:
    """The whole with the part's samples written over."""

    def put(a: Any, b: Any) -> Any:
        if isinstance(a, np.ndarray):
            out = a.copy()
            out[samples] = b
            return out
        pairs = zip(a._items(), b._items(), strict=True)
        return type(a)(**{name: put(v, u) for (name, v), (_, u) in pairs})

    optional = ("hidden", "random", "split")
    names = [name for name in Limit.__dataclass_fields__ if name not in optional]
    values: dict[str, Any] = {}
    for name in names:
        values[name] = put(getattr(whole, name), getattr(part, name))
    if part.split is not None:
        pairs = zip(_none(whole), part.split, strict=True)
        values["split"] = tuple(put(mine, theirs) for mine, theirs in pairs)
    if whole.hidden is not None or part.hidden is not None:
        for name in ("hidden", "random"):
            mine, theirs = (
                limit.value * 0.0 if getattr(limit, name) is None else getattr(limit, name)
                for limit in (whole, part)
            )
            values[name] = put(mine, theirs)
    return replace(whole, **values)


def _power_of_two(size: np.ndarray) -> np.ndarray:
    """The power of 2 below each size, 1 where it is 0 or not finite."""
    usual = (size > 0) & np.isfinite(size)
    return np.asarray(np.where(usual, 2.0 ** np.floor(np.log2(np.where(usual, size, 1.0))), 1.0))
