"""The path of the perturbed solutions, linearized: where it goes, how far, how well that is known.

    z(t) = argmin_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y)  ~  z* + t (x_dot, y_dot, s_dot)

    P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones

with f = -x_bar and g = -y_bar for a cotangent, and for the data's direction w_dot
f = -(P_dot x + q_dot + A_dot'y) and g = b_dot - A_dot x. Its gradient is the exact derivative
w_bar = d/dt ∇L(z* + t z_dot) = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot).

One more Newton step is taken first; w_bar's change by it, and by rounding, is the error bar.

The path is not straight at rows that are weakly active, where v = y - s is smaller than its own
noise, and at breakpoints, those of inequalities the t at which v + t v_dot is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.cones import Cone
from cvxlpgd.derivatives.info import put
from cvxlpgd.derivatives.path.direction import Direction
from cvxlpgd.derivatives.path.motions import MARGIN, Along, Hidden, PathMotions, Sizes
from cvxlpgd.program import ConeProgram, Point, Structure
from cvxlpgd.program.kkt import Systems
from cvxlpgd.program.pairs import Pairs, is_diagonal, weights
from cvxlpgd.program.threads import one_thread_each

ENTRIES = 2_000_000  # of a system: one with more is not factored
ROUNDS = 4  # Newton steps at most, until the active rows settle
LARGE = 1e-6  # a Newton step of this share of y and s is not the last one
NUDGE = 4.0  # times its noise is a weakly active row moved to either side
MOST = 1e-2  # of all pairs' size: none is moved further to give it a side
TINY = 1e-300
FAR = 10.0  # times a shift: a spectral value that is larger does not change sign by it
CURVED = 1e-3  # share of its own size that a curved boundary's pair may move


@dataclass(frozen=True, eq=False)
class Velocity:
    """How the solutions of a batch move, per sample."""

    dot: Point  # (x_dot, y_dot, s_dot)
    at: Point  # the solutions, one Newton step better
    earlier: Point  # `dot` and `at` as they were before that step
    before: Point
    doubt: Point  # what rounding of the system's terms does to `dot`
    consistent: np.ndarray  # whether the system is solved, bool (batch,)
    settled: np.ndarray  # whether the step is solved and changed no active row, bool (batch,)
    weights: np.ndarray  # the rows' units, (batch, m)
    noise: np.ndarray  # of y - s in these units, (batch, m): what is smaller is not known
    least_sizes: Sizes  # what no entry of least's x and y exceeds, (batch,)
    sees: np.ndarray  # where the system is known to see every motion, bool (batch,)
    source: Along | Hidden  # of what is worked out only where it is asked for

    @property
    def hidden(self) -> Hidden:
        """What is near to 0 beside `dot`, and what the system does not see."""
        return self.source if isinstance(self.source, Hidden) else self.source.hidden

    def take(self, index: np.ndarray) -> Velocity:
        """The velocities of some samples, in order."""
        if len(index) == len(self.settled):
            return self
        return _each(lambda v: v[index], self)

    def put(self, index: np.ndarray, part: Velocity) -> Velocity:
        """These, with others at some samples."""
        return _each(lambda whole, v: put(whole, index, v), self, part)


def _each(change: Callable[..., np.ndarray], *velocities: Velocity) -> Velocity:
    """A velocity whose arrays are changed ones of others."""

    def own(*values: Any) -> Any:
        if isinstance(values[0], Point):
            fields = zip(*(v.items() for v in values), strict=True)
            return Point(*(change(*(array for _, array in field)) for field in fields))
        return change(*values)

    first = velocities[0]
    names = (name for name in vars(first) if name not in ("source", "least_sizes"))
    arrays = {name: own(*(getattr(v, name) for v in velocities)) for name in names}
    hidden = (own(*of) for of in zip(*(v.hidden for v in velocities), strict=True))
    least = Sizes(*(change(*of) for of in zip(*(v.least_sizes for v in velocities), strict=True)))
    return Velocity(**arrays, source=Hidden(*hidden), least_sizes=least)


def is_followed(structure: Structure) -> bool:
    """Whether a structure's systems are small enough to be factored."""
    curved = sum(c.rows**2 * count for c, _, count in structure.blocks if not is_diagonal(c))
    size = structure.P.size + 2 * structure.A.size + curved
    return not structure.mixed_integer and size <= ENTRIES


def follow(
    program: ConeProgram, z: Point, direction: Direction, shift: np.ndarray | None = None
) -> Velocity:
    """The velocity of the path that leaves z in a direction.

    `shift`, (batch, m), says which side weakly active rows are on, see `Pairs.of`.
    """
    with one_thread_each(), np.errstate(all="ignore"):
        return _follow(program, z, direction, weights(program, z), shift, ROUNDS)


def _follow(
    program: ConeProgram,
    z: Point,
    direction: Direction,
    t: np.ndarray,
    shift: np.ndarray | None,
    rounds: int,
) -> Velocity:
    """The velocity one Newton step from z, or more where the active rows do not settle yet."""
    structure = program.structure
    pairs = Pairs.of(structure, z, t, shift)
    here, systems = Point(z.x, pairs.y, pairs.s), Systems(program, pairs)
    side = direction.sides(program, here)
    motions = PathMotions.of(systems, here, side)
    moved = np.abs(motions.y) + np.abs(motions.s)
    v_step, v_rounded = moved[:, motions.step], MARGIN * moved[:, motions.rounded]
    then = here + motions.point(motions.step)
    after, same = _settle(systems, pairs, then, t, shift, v_rounded)
    at = Point(then.x, after.y, after.s)
    final = motions.along(systems.like(after), side, direction.sides(program, at))
    settled = motions.good & same
    velocity = Velocity(
        dot=final.dot,
        at=at,
        earlier=motions.first,
        before=here,
        doubt=motions.point(motions.doubt),
        consistent=final.is_solved,
        settled=settled,
        weights=t,
        noise=v_step + v_rounded,
        least_sizes=final.least_sizes,
        sees=final.systems.factors.regular,
        source=final,
    )
    size = _largest(here.y / t) + _largest(here.s * t)
    going = np.flatnonzero(motions.good & (~same | (_largest(v_step) > LARGE * size)))
    if rounds == 1 or not len(going):
        return velocity
    sides = None if shift is None else shift[going]
    further = program.take(going), then.pick(going), direction.take(going), t[going]
    return velocity.put(going, _follow(*further, sides, rounds - 1))


def _settle(
    systems: Systems, pairs: Pairs, then: Point, t: np.ndarray, shift: np.ndarray | None,
    v_rounded: np.ndarray,
) -> tuple[Pairs, np.ndarray]:  # fmt: skip
    """The pairs after a Newton step to `then`, and where no active row changed, bool (batch,)."""
    structure = systems.program.structure
    unknown = np.abs(then.y / t - then.s * t) <= v_rounded
    unsure = structure.inequalities & unknown
    if unsure.any():  # weakly active rows stay where they are
        side = np.zeros_like(t) if shift is None else shift
        shift = np.where(unsure & (side == 0), np.where(systems.held, 1.0, -1.0), side)
    after = Pairs.of(structure, then, t, shift)
    flipped = np.isfinite(after.compliance) != systems.held
    flipped |= (after.compliance == 0) != (pairs.compliance == 0)
    return after, ~(flipped & ~unknown).any(axis=1)


def weakly_active(velocity: Velocity, structure: Structure) -> np.ndarray:
    """What moves each pair without a side to one: a few times its noise along the cone's inside,
    (batch, m), in weighted units; 0 for pairs whose side is known.

    A pair has none where its directions change with a shift of that size.
    """
    t, noise = velocity.weights, velocity.noise
    y, s = velocity.at.y / t, velocity.at.s * t
    size = np.maximum(_largest(y), _largest(s))[:, None]
    most = np.where(size > 0, MOST * size, np.inf)
    shift = np.minimum(NUDGE * np.maximum(noise, TINY), most)
    weak = np.where(structure.inequalities & (np.abs(y - s) <= shift), shift, 0.0)
    for cone, rows, (*pair, nudge) in _curved(structure, y, s, shift):
        inside = nudge.max(axis=-1, keepdims=True) * np.asarray(cone.interior)
        samples = np.arange(len(y))
        if cone.symmetric:  # no spectral value of the others is near to 0
            near = cone.reach(pair[0], pair[1], inside, inside * 0.0) <= FAR
            samples = np.flatnonzero(near.any(axis=1))
        if len(samples):
            part, up = [v[samples] for v in pair], inside[samples]
            active, free = (
                np.isfinite(cone.linearize(*moved).compliance)
                for moved in ((part[0] + up, part[1]), (part[0], part[1] + up))
            )
            apart = (active != free).any(axis=-1, keepdims=True)
            weak[samples, rows] = np.where(apart, up, 0.0).reshape(len(samples), -1)
    return weak


def breakpoints(velocity: Velocity, structure: Structure) -> np.ndarray:
    """How far the path is straight, for t > 0 and t < 0, (batch, 2).

    Where y - s of an inequality's row changes sign; a curved cone's pair may move by a small share
    of its own size. Rows that are weakly active, or whose speed is rounding, do not count.
    """
    t, doubt, noise = velocity.weights, velocity.doubt, velocity.noise
    y, s = velocity.at.y / t, velocity.at.s * t
    y_dot, s_dot = velocity.dot.y / t, velocity.dot.s * t
    v, v_dot = y - s, y_dot - s_dot
    unsure = MARGIN * (np.abs(doubt.y / t) + np.abs(doubt.s * t))
    known = structure.inequalities & (np.abs(v_dot) > unsure) & (np.abs(v) > 2 * NUDGE * noise)
    reach = np.where(known, -v / np.where(known, v_dot, 1.0), np.nan)
    out = np.stack([
        np.where(reach > 0, reach, np.inf).min(axis=1, initial=np.inf),
        np.where(reach < 0, -reach, np.inf).min(axis=1, initial=np.inf),
    ], axis=1)  # fmt: skip
    for cone, _, parts in _curved(structure, y, s, y_dot, s_dot):
        nearest = CURVED * cone.reach(*parts).min(axis=1, initial=np.inf)  # to both sides
        out = np.minimum(out, nearest[:, None])
    return out


def _largest(v: np.ndarray) -> np.ndarray:
    """The largest absolute value along the last axis, 0 where that is empty."""
    return np.asarray(np.abs(v).max(axis=-1, initial=0.0))


def _curved(
    structure: Structure, *arrays: np.ndarray
) -> Iterator[tuple[Cone, slice, list[np.ndarray]]]:
    """The blocks of curved cones, with their rows of arrays (batch, m) as (batch, cones, rows)."""
    for cone, first, count in structure.blocks:
        if not is_diagonal(cone):
            rows = slice(first, first + cone.rows * count)
            yield cone, rows, [v[:, rows].reshape(len(v), count, cone.rows) for v in arrays]
