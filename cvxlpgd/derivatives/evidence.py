"""How far a gradient or tangent in the limit is to be trusted: its error, and what is not unique.

The value is linear in the velocities of its pieces; what the last Newton step, rounding, and
motions that a system does not see do to these, they do to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.path.velocity import Velocity
from cvxlpgd.program import Point, norm
from cvxlpgd.program.motion import Motion

UNBOUNDED = 1e200  # of a bound that nobody works out: entries must be looked at
Values = Any  # Data or Point
Factor = np.ndarray | float  # (samples, 1)


class Meaning(NamedTuple):
    """What is made of velocities: gradients at some entries of the data, or tangents."""

    kind: type  # of the values
    of: Callable[..., Values]  # (velocity, at, samples, times=1.0) -> values, so often
    linear: Callable[[Point, Point, np.ndarray], Values]  # without what no velocity is in
    motion: Callable[..., Motion] | None  # as `of`: what values are the pull-backs of

    @property
    def names(self) -> list[str]:
        """The fields of the values."""
        return [field.name for field in fields(self.kind)]


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece of some samples' paths, and its share in their values.

    It is 1, or ½ where the value is the mean of two pieces, or 0 where others make it.
    """

    velocity: Velocity
    samples: np.ndarray  # int (samples,)
    share: np.ndarray  # (samples,)


@dataclass(frozen=True, eq=False)
class Limit:
    """A batch's gradients or tangents in the limit.

    `exists` says whether the system is solved, on one side at least: the value is the derivative,
    as far as it is unique and has one piece. `split` is half the difference of both pieces, and
    half of the sum of their sizes, 0 where there is one piece only.
    """

    evaluate: Callable[[], Values]
    exists: np.ndarray  # bool (batch,)
    settled: np.ndarray  # bool (batch,)
    split: tuple[Values, Values] | None  # None where all samples have one piece
    breakpoints: np.ndarray  # (batch, 2): how far the path is straight forwards and backwards
    pieces: tuple[Piece, ...]
    meaning: Meaning
    unit: np.ndarray  # (batch, 1): what the direction was divided by before it was followed
    motion: Motion | None = None  # what the value is the pull-back of, where it is one motion's

    @cached_property
    def value(self) -> Values:
        """w_bar at the entries, or z_dot."""
        return self.evaluate()

    def info(self, tau: float) -> Info:
        """The report of a derivative that returns it."""
        return Info.good(
            len(self.exists), tau=tau, method="path", regular=self.exists,
            breakpoints=self.breakpoints, settled=self.settled, evidence=self,
        )  # fmt: skip

    def beside(self, info: Info) -> Info:
        """The report of a derivative that returns the sum of it and of differences."""
        method = np.full(len(self.exists), "path and differences")
        regular = self.exists.astype(object)
        return replace(info, method=method, regular=regular, breakpoints=self.breakpoints)

    def bounds(self) -> tuple[Values, Values]:
        """What no entry's error, and what no entry's rounding, exceeds: fields (batch, 1).

        The first is the change by the last Newton step and by rounding, the second what is near
        to 0 and rounding alone.
        """
        names = self.meaning.names
        total, floor = ({k: np.zeros((len(self.exists), 1)) for k in names} for _ in range(2))
        for piece in self.pieces:
            v = piece.velocity
            doubt, dot, at = (_largest(of) for of in (v.doubt, v.dot, v.at))
            moved = doubt if v.dot is v.earlier else _sum(_largest(v.dot - v.earlier), doubt)
            shifted, nothing = _largest(v.at - v.before), (0.0, 0.0)
            total_parts = _terms(names, moved, shifted, dot, at)
            floor_parts = _terms(names, _sum(doubt, v.least_sizes), nothing, dot, at)
            share = piece.share * self.unit[piece.samples, 0]
            for out, parts in ((total, total_parts), (floor, floor_parts)):
                for name, largest in parts.items():
                    out[name][piece.samples, 0] += share * largest
        if "s" in floor:  # what a slack's tangent is made of says how near to 0 it is
            floor["s"][:] = UNBOUNDED
        return self.meaning.kind(**total), self.meaning.kind(**floor)

    def changes(self, samples: np.ndarray) -> list[Values]:
        """What the last Newton step, and what rounding, do to some samples' value; the sizes of the
        terms that add up to it; and what is near to 0 beside what it is solved with.
        """
        of, linear = self.meaning.of, self.meaning.linear
        parts: list[Callable[[Velocity, np.ndarray], Values]] = [
            lambda v, where: of(v.dot, v.at, where) - of(v.earlier, v.before, where),
            lambda v, where: linear(v.doubt, v.at, where),
            lambda v, where: linear(magnitude(v.dot), magnitude(v.at), where),
            lambda v, where: linear(magnitude(v.hidden.least), magnitude(v.at), where),
        ]
        return [self._over_pieces(part, samples) for part in parts]

    @property
    def is_complete(self) -> np.ndarray:
        """Where no motion is hidden from the systems, bool (batch,)."""
        sees = np.ones(len(self.exists), dtype=bool)
        for piece in self.pieces:
            if not piece.velocity.sees.all():
                null = piece.velocity.hidden.null
                hidden = ((null.x != 0).any(axis=1) | (null.y != 0).any(axis=1)) & (piece.share > 0)
                sees[piece.samples[hidden]] = False
        return sees

    def unseen(self, samples: np.ndarray) -> tuple[Values, Values]:
        """A motion of some samples' value that no system sees, and a random one to compare with."""
        linear = self.meaning.linear
        null = self._over_pieces(lambda v, where: linear(v.hidden.null, v.at, where), samples)
        return null, self._over_pieces(
            lambda v, where: linear(v.hidden.random, v.at, where), samples
        )

    def _over_pieces(
        self, of: Callable[[Velocity, np.ndarray], Values], samples: np.ndarray
    ) -> Values:
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


def _terms(
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


def magnitude(z: Point) -> Point:
    """(|x|, |y|, |s|)."""
    return Point(*(np.abs(v) for _, v in z.items()))
