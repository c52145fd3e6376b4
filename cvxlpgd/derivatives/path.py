"""The path of the perturbed solutions, linearized: where it goes, how far, how well that is known.

    z(t) = argmin_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y)  ~  z* + t (x_dot, y_dot, s_dot)

    P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones

with f = -x_bar and g = -y_bar for a cotangent, and for the data's direction w_dot
f = -(P_dot x + q_dot + A_dot'y) and g = b_dot - A_dot x. Its gradient is the exact derivative
w_bar = d/dt ∇L(z* + t z_dot) = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot).

One more Newton step is taken first; w_bar's change by it, and by rounding, is the error bar.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, Structure, norm, outer
from cvxlpgd.program.kkt import Motions, Systems, conditions, rounding
from cvxlpgd.program.pairs import Pairs, is_diagonal, weights
from cvxlpgd.program.pattern import picked, product, products, transposed_product
from cvxlpgd.program.threads import one_thread_each

ENTRIES = 2_000_000  # of a system: one with more is not factored
ROUNDS = 4  # Newton steps at most, until the active rows settle
MARGIN = 10.0  # times the rounding that random signs show
NUDGE = 4.0  # times its noise is a weakly active row moved to either side
LARGE = 1e-6  # a Newton step of this share of y and s is not the last one
CANCELLED = 64.0  # times the unit of rounding of its terms
MOST = 1e-2  # of all pairs' size: none is moved further to give it a side
TINY = 1e-300
FAR = 10.0  # times a shift: a spectral value that is larger does not change sign by it
CURVED = 1e-3  # share of its own size that a curved boundary's pair may move


class Direction(Protocol):
    """A direction of each sample's program, that of a cotangent or of the data."""

    def sides(self, program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        """(f, g), (batch, n) and (batch, m)."""

    def take(self, index: np.ndarray) -> Direction:
        """Those of some samples."""


@dataclass(frozen=True, eq=False)
class AlongCotangent:
    """That of L + t (x_bar'x + y_bar'y)."""

    z_bar: Point

    def sides(self, program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        """(-x_bar, -y_bar), wherever z is."""
        return -self.z_bar.x, -self.z_bar.y

    def take(self, index: np.ndarray) -> AlongCotangent:
        """Those of some samples."""
        return AlongCotangent(self.z_bar.pick(index))


@dataclass(frozen=True, eq=False)
class AlongData:
    """That of w + t w_dot, w_dot at the structure's varying entries."""

    w_dot: Data

    def sides(self, program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        """(-(P_dot x + q_dot + A_dot'y), b_dot - A_dot x), 0 where that is rounding."""
        structure, full = program.structure, {}
        for name, entries in structure.varying.items():
            dot = getattr(self.w_dot, name)
            full[name] = np.zeros((len(dot), getattr(program.data, name).shape[1]))
            full[name][:, entries] = dot
        f, g = _sides(structure, full, z)
        sizes = {name: np.abs(v) for name, v in full.items()}
        sizes["A"] = -sizes["A"]  # so that its product with |x| is added to |b|
        terms = _sides(structure, sizes, Point(np.abs(z.x), -np.abs(z.y), z.s))
        return _uncancelled(f, terms[0]), _uncancelled(g, terms[1])

    def take(self, index: np.ndarray) -> AlongData:
        """Those of some samples."""
        return AlongData(self.w_dot.take(index))


def _sides(
    structure: Structure, w_dot: dict[str, np.ndarray], z: Point
) -> tuple[np.ndarray, np.ndarray]:
    """(-(P_dot x + q_dot + A_dot'y), b_dot - A_dot x)."""
    f = w_dot["q"] + product(structure.P, w_dot["P"], z.x)
    f = f + transposed_product(structure.A, w_dot["A"], z.y)
    return -f, w_dot["b"] - product(structure.A, w_dot["A"], z.x)


def _uncancelled(v: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Sums, 0 where they are rounding of their terms."""
    return np.where(np.abs(v) > CANCELLED * np.finfo(float).eps * np.abs(terms), v, 0.0)


@dataclass(frozen=True, eq=False)
class Velocity:
    """How the solutions of a batch move, per sample.

    Parameters
    ----------
    dot : Point
        (x_dot, y_dot, s_dot).
    at : Point
        The solutions, one Newton step better.
    earlier, before : Point
        `dot` and `at` as they were before that step.
    doubt, least : Point
        What rounding of the system's terms does to `dot`; and what is near to 0 beside `dot`.
    random, null : Point
        A random motion, and its part that the system does not see, 0 where it sees everything.
    consistent : bool array (batch,)
        Whether the system is solved.
    settled : bool array (batch,)
        Whether the Newton step solved its own system and changed no active row.
    weights, noise : arrays (batch, m)
        The rows' units, and the noise of y - s in them: what is smaller is not known.
    """

    dot: Point
    at: Point
    earlier: Point
    before: Point
    doubt: Point
    least: Point
    random: Point
    null: Point
    consistent: np.ndarray
    settled: np.ndarray
    weights: np.ndarray
    noise: np.ndarray

    def take(self, index: np.ndarray) -> Velocity:
        """Those of some samples, in order."""
        if len(index) == len(self.settled):
            return self

        def own(v: Any) -> Any:
            return v.pick(index) if isinstance(v, Point) else v[index]

        return replace(self, **{name: own(v) for name, v in vars(self).items()})


def is_followed(structure: Structure) -> bool:
    """Whether a structure's systems are small enough to be factored."""
    curved = sum(c.rows**2 * count for c, _, count in structure.blocks if not is_diagonal(c))
    size = structure.P.size + 2 * structure.A.size + curved
    return not structure.mixed_integer and size <= ENTRIES


def follow(
    program: ConeProgram, z: Point, direction: Direction, shift: np.ndarray | None = None
) -> Velocity:
    """The velocity of the path that leaves z in a direction.

    Parameters
    ----------
    shift : array (batch, m), optional
        Which side weakly active rows are on, see `Pairs.of`.
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
    motions = _Motions.of(systems, here, side)
    step, rounded = motions.point("step"), motions.point("rounded")
    then = here + step
    v_step = np.abs(step.y / t) + np.abs(step.s * t)
    v_rounded = MARGIN * (np.abs(rounded.y / t) + np.abs(rounded.s * t))
    settled = np.zeros_like(t) if shift is None else shift
    unsure = structure.inequalities & (np.abs(then.y / t - then.s * t) <= v_rounded)
    kept = np.where(unsure & (settled == 0), np.where(systems.held, 1.0, -1.0), settled)
    after = Pairs.of(structure, then, t, kept)  # weakly active rows stay where they are
    at = Point(then.x, after.y, after.s)
    flipped = np.isfinite(after.compliance) != systems.held
    flipped |= (after.compliance == 0) != (pairs.compliance == 0)
    flipped &= np.abs(after.y / t - after.s * t) > v_rounded
    same = ~flipped.any(axis=1)
    final = motions.moved(systems.like(after), side, direction.sides(program, at))
    dot = final.point("dot")
    velocity = Velocity(
        dot=dot,
        at=at,
        earlier=dot if final is motions else motions.point("dot"),
        before=here,
        doubt=motions.doubt,
        least=final.least,
        random=final.random,
        null=final.null,
        consistent=final.stack.is_solved(final.columns["dot"]),
        settled=motions.good & same,
        weights=t,
        noise=v_step + v_rounded,
    )
    size = norm(here.y / t) + norm(here.s * t)
    going = np.flatnonzero(motions.good & (~same | (norm(v_step) > LARGE * size)))
    if rounds == 1 or not len(going):
        return velocity
    sides = None if shift is None else shift[going]
    further = program.take(going), then.pick(going), direction.take(going), t[going]
    return _placed(velocity, going, _follow(*further, sides, rounds - 1))


@dataclass(frozen=True, eq=False)
class _Motions:
    """Motions of a batch's solutions, solved together.

    Parameters
    ----------
    systems : Systems
    stack : Motions
    g : array (batch, columns, m)
        The rows' right-hand sides.
    columns : dict of int
        Where in the stack each is: the Newton "step"; "dot", along the direction; a "random" one,
        solved for its own right-hand side; and that by rounding, "rounded". They are solved in
        every batch: how many there are decides the last bits of each.
    good : bool array (batch,)
        Where the step's system is solved: elsewhere "step" and "rounded" are 0.
    """

    systems: Systems
    stack: Motions
    g: np.ndarray
    columns: dict[str, int]
    good: np.ndarray

    @classmethod
    def of(cls, systems: Systems, z: Point, side: tuple[np.ndarray, np.ndarray]) -> _Motions:
        """Those from z, whose pairs are the systems', along (f, g) = `side`."""
        program = systems.program
        f, g = conditions(program, z)
        noise = [_signed(v, k) for k, v in enumerate(rounding(program, z))]
        names = ["step", "dot", "random", "rounded"]
        top, low = (
            np.stack([-own, side[k], own * 0.0, noise[k]], axis=1) for k, own in enumerate((f, g))
        )
        rows = systems.side(low)
        top[:, 2:3], rows[:, 2:3] = systems.product(*systems.random())
        stack = systems.solve(top, rows, rough=1)
        good = stack.is_solved(0, MARGIN * stack.size[:, -1]) & np.isfinite(stack.x[:, 0]).all(1)
        if not good.all():
            for v in (stack.x, stack.u, low):
                v[:, [0, -1]] = np.where(good[:, None, None], v[:, [0, -1]], 0.0)
        return cls(systems, stack, low, {name: k for k, name in enumerate(names)}, good)

    def moved(
        self,
        systems: Systems,
        side: tuple[np.ndarray, np.ndarray],
        new: tuple[np.ndarray, np.ndarray],
    ) -> _Motions:
        """The motion along `new`, in place of `side`, by systems nearby: this where both are these.

        With a random one of theirs.
        """
        same = self.systems.is_same(systems)
        for one, other in zip(side, new, strict=True):
            same &= (one == other).all(axis=1)
        if same.all():
            return self
        near = np.ones_like(self.good) if systems is self.systems else systems.is_near
        names = ["dot", "random"]
        top, low = (np.stack([v, v * 0.0], axis=1) for v in new)
        rows = systems.side(low)
        top[:, 1:], rows[:, 1:] = systems.product(*systems.random())
        first = self.columns["dot"]
        start = Motions(*(v[:, first : first + len(names)] for v in self.stack))
        stack = systems.solve(top, rows, start=(start, near))
        for mine, theirs in zip(stack, start, strict=True):  # not once more because of the others
            mine[same] = theirs[same]
        return _Motions(systems, stack, low, {name: k for k, name in enumerate(names)}, self.good)

    @cached_property
    def _duals(self) -> np.ndarray:
        return self.systems.dual(self.stack.u)

    @cached_property
    def _slacks(self) -> np.ndarray:
        program = self.systems.program
        return self.g - products(program.structure.A, program.data.A, self.stack.x)

    def point(self, name: str) -> Point:
        """One of them as (x, y, s)."""
        k = self.columns[name]
        return Point(self.stack.x[:, k], self._duals[:, k], self._slacks[:, k])

    @property
    def doubt(self) -> Point:
        """What rounding does to the motion along the direction: its last correction."""
        k = slice(self.columns["dot"], self.columns["dot"] + 1)
        return self._homogeneous(self.stack.last_x[:, k], self.stack.last_u[:, k])

    @property
    def least(self) -> Point:
        """What is near to 0 beside the motion along the direction; no slack."""
        k = slice(self.columns["dot"], self.columns["dot"] + 1)
        x, y = self.systems.least(self.stack.x[:, k], self.stack.u[:, k])
        return Point(x[:, 0], y[:, 0], y[:, 0] * 0.0)

    @property
    def random(self) -> Point:
        """The random motion."""
        return self._homogeneous(*self.systems.random())

    @property
    def null(self) -> Point:
        """The random motion's part that the systems do not see, 0 where they are regular."""
        k = slice(self.columns["random"], self.columns["random"] + 1)
        x, u = self.systems.random()
        unseen = ~self.systems.factors.regular[:, None, None]
        rest_x = np.where(unseen, x - self.stack.x[:, k], 0.0)
        return self._homogeneous(rest_x, np.where(unseen, u - self.stack.u[:, k], 0.0))

    def _homogeneous(self, x: np.ndarray, u: np.ndarray) -> Point:
        """(x, y, -Ax) of stacks of one."""
        A, w = self.systems.program.structure.A, self.systems.program.data
        return Point(x[:, 0], self.systems.dual(u)[:, 0], -product(A, w.A, x[:, 0]))


def _signed(v: np.ndarray, seed: int) -> np.ndarray:
    """With random signs, the same in each sample."""
    return v * np.random.default_rng(seed).choice([-1.0, 1.0], v.shape[1])


def _placed(whole: Velocity, index: np.ndarray, part: Velocity) -> Velocity:
    """A batch's velocity with those of some samples in their places."""

    def put(one: Any, other: Any) -> Any:
        if isinstance(one, np.ndarray):
            out = one.copy()
            out[index] = other
            return out
        pairs = zip(one.items(), other.items(), strict=True)
        return Point(*(put(v, w) for (_, v), (_, w) in pairs))

    names = Velocity.__dataclass_fields__
    return Velocity(**{name: put(getattr(whole, name), getattr(part, name)) for name in names})


def pulled(velocity: Point, at: Point, structure: Structure, entries: Data) -> Data:
    """w_bar of a velocity at a point, at these entries of the data, each (batch, entries)."""
    P, A = structure.P, structure.A
    across = outer(velocity.x, at.x, P, entries.P) + outer(at.x, velocity.x, P, entries.P)
    return Data(
        P=across / 2,
        q=picked(velocity.x, entries.q),
        A=outer(velocity.y, at.x, A, entries.A) + outer(at.y, velocity.x, A, entries.A),
        b=-picked(velocity.y, entries.b),
    )


def weakly_active(velocity: Velocity, structure: Structure) -> np.ndarray:
    """What moves each pair without a side to one: a few times its noise along the cone's inside,
    (batch, m), in weighted units; 0 for pairs whose side is known.

    A pair has none where its directions change with a shift of that size.
    """
    t, noise = velocity.weights, velocity.noise
    y, s = velocity.at.y / t, velocity.at.s * t
    size = np.maximum(norm(y), norm(s))[:, None]
    most = np.where(size > 0, MOST * size, np.inf)
    shift = np.minimum(NUDGE * np.maximum(noise, TINY), most)
    weak = np.where(structure.inequalities & (np.abs(y - s) <= shift), shift, 0.0)
    if structure.polyhedral:
        return weak
    for cone, first, count in structure.blocks:
        if is_diagonal(cone):
            continue
        rows = slice(first, first + cone.rows * count)
        shape = (len(y), count, cone.rows)
        pair, own = [v[:, rows].reshape(shape) for v in (y, s)], shift[:, rows].reshape(shape)
        inside = own.max(axis=-1, keepdims=True) * np.asarray(cone.interior)
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
    if structure.polyhedral:
        return out
    for cone, first, count in structure.blocks:
        if is_diagonal(cone):
            continue
        rows = slice(first, first + cone.rows * count)
        shape = (len(y), count, cone.rows)
        parts = [v[:, rows].reshape(shape) for v in (y, s, y_dot, s_dot)]
        nearest = CURVED * cone.reach(*parts).min(axis=1, initial=np.inf)  # to both sides
        out = np.minimum(out, nearest[:, None])
    return out
