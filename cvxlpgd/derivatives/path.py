"""The path of the perturbed solutions, linearized: where it goes, how far, how well that is known.

    z(t) = argmin_x max_y  L(x, y; w) + t (x_bar'x + y_bar'y)  ~  z* + t (x_dot, y_dot, s_dot)

    P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones

with f = -x_bar and g = -y_bar for a cotangent, and for the data's direction w_dot
f = -(P_dot x + q_dot + A_dot'y) and g = b_dot - A_dot x. Its gradient is the exact derivative
w_bar = d/dt ∇L(z* + t z_dot) = (½(x_dot x' + x x_dot'), x_dot, y_dot x' + y x_dot', -y_dot).

One more Newton step is taken first; w_bar's change by it, and by rounding, is the error bar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, Structure, norm, outer
from cvxlpgd.program.kkt import Motion, Pairs, Systems, conditions, is_diagonal, rounding, weights
from cvxlpgd.solvers._blas import one_thread_each
from cvxlpgd.sparse import picked, product, transposed_product

ENTRIES = 2_000_000  # of a system: one with more is not factored
ROUNDS = 4  # Newton steps at most, until the active rows settle
MARGIN = 10.0  # times the rounding that random signs show
NUDGE = 4.0  # times its noise is a weakly active row moved to either side
LARGE = 1e-6  # a Newton step of this share of y and s is not the last one
CANCELLED = 64.0  # times the unit of rounding of its terms
MOST = 1e-2  # of all pairs' size: none is moved further to give it a side
TINY = 1e-300
CURVED = 1e-3  # share of its own size that a curved boundary's pair may move

Direction = Callable[[ConeProgram, Point], tuple[np.ndarray, np.ndarray]]  # z -> (f, g)


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
    random, null : Point or None
        A random motion, and its part that the system does not see; None where it sees everything.
    consistent : bool array (batch,)
        Whether the system is solved.
    settled : bool array (batch,)
        Whether the Newton step solved its own system and changed no active row.
    noise : array (batch, m)
        Of y - s in weighted units: what is smaller is not known.
    pairs : Pairs
        Of `at`.
    """

    dot: Point
    at: Point
    earlier: Point
    before: Point
    doubt: Point
    least: Point
    random: Point | None
    null: Point | None
    consistent: np.ndarray
    settled: np.ndarray
    noise: np.ndarray
    pairs: Pairs


def is_followed(structure: Structure) -> bool:
    """Whether a structure's systems are small enough to be factored."""
    curved = sum(c.rows**2 * count for c, _, count in structure.blocks if not is_diagonal(c))
    size = structure.P.size + 2 * structure.A.size + curved
    return not structure.mixed_integer and size <= ENTRIES


def along_cotangent(z_bar: Point) -> Direction:
    """That of L + t (x_bar'x + y_bar'y)."""
    return lambda program, z: (-z_bar.x, -z_bar.y)


def along_data(w_dot: Data) -> Direction:
    """That of w + t w_dot, w_dot at the structure's varying entries."""

    def direction(program: ConeProgram, z: Point) -> tuple[np.ndarray, np.ndarray]:
        structure, full = program.structure, {}
        for name, entries in structure.varying._items():
            dot = getattr(w_dot, name)
            full[name] = np.zeros((len(dot), getattr(program.data, name).shape[1]))
            full[name][:, entries] = dot
        sides = _sides(structure, full, z)
        sizes = {name: np.abs(v) for name, v in full.items()}
        sizes["A"] = -sizes["A"]  # so that its product with |x| is added to |b|
        terms = _sides(structure, sizes, Point(np.abs(z.x), -np.abs(z.y), z.s))
        unit = CANCELLED * np.finfo(float).eps  # what is left of terms that cancel is nothing
        f, g = (
            np.where(np.abs(v) > unit * np.abs(size), v, 0.0)
            for v, size in zip(sides, terms, strict=True)
        )
        return f, g

    return direction


def _sides(
    structure: Structure, w_dot: dict[str, np.ndarray], z: Point
) -> tuple[np.ndarray, np.ndarray]:
    """(-(P_dot x + q_dot + A_dot'y), b_dot - A_dot x)."""
    f = w_dot["q"] + product(structure.P, w_dot["P"], z.x)
    f = f + transposed_product(structure.A, w_dot["A"], z.y)
    return -f, w_dot["b"] - product(structure.A, w_dot["A"], z.x)


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
        return _follow(program, z, direction, shift)


def _follow(
    program: ConeProgram, z: Point, direction: Direction, shift: np.ndarray | None
) -> Velocity:
    structure = program.structure
    site = _Site.of(program, z, shift)
    pairs = site.pairs or Pairs.of(structure, site.at, site.weights, shift)
    at = Point(site.at.x, pairs.y, pairs.s)
    then, now = site.systems, site.systems.like(pairs)
    side, earlier_side = direction(program, at), direction(program, site.before)
    (motion,) = now.solve([side])
    same = then is now and _are_same(side, earlier_side)
    (earlier,) = [motion] if same else then.solve([earlier_side])
    random, null = (None, None) if now.factors.regular.all() else now.probe()

    def point(of: Motion, g: np.ndarray | None = None) -> Point:
        moved = product(structure.A, program.data.A, of.x)
        return Point(of.x, of.y, -moved if g is None else g - moved)

    return Velocity(
        dot=point(motion, side[1]),
        at=at,
        earlier=point(earlier, earlier_side[1]),
        before=site.before,
        doubt=point(now.doubt(motion, *side)),
        least=point(now.least(motion)),
        random=random and point(random),
        null=null and point(null),
        consistent=motion.is_solved(),
        settled=site.settled,
        noise=site.noise,
        pairs=pairs,
    )


def _are_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@dataclass(frozen=True, eq=False)
class _Site:
    """Where a batch's paths begin.

    Parameters
    ----------
    at, before : Point
        After the last Newton step, and before it.
    pairs : Pairs or None
        At the first, None where they are not at hand.
    systems : Systems
        At the second.
    """

    weights: np.ndarray
    at: Point
    before: Point
    pairs: Pairs | None
    systems: Systems
    settled: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, program: ConeProgram, z: Point, shift: np.ndarray | None) -> _Site:
        """Newton's method from z until the active rows settle, each sample by itself."""
        structure, t = program.structure, weights(program, z)
        batch, m = z.y.shape
        at, before, base = (Point(*(v.copy() for _, v in z._items())) for _ in range(3))
        settled, noise = np.zeros(batch, dtype=bool), np.zeros((batch, m))
        left = np.arange(batch)
        rounds = 0
        while True:
            rounds += 1
            piece, sides = program.take(left), None if shift is None else shift[left]
            start = at.pick(left)
            pairs = Pairs.of(structure, start, t[left], sides)
            here = Point(at.x[left], pairs.y, pairs.s)
            systems = Systems(piece, pairs)
            step, rounded, good = _newton(systems, here)
            after = Pairs.of(structure, here + step, t[left], sides)
            v_step = np.abs(step.y / t[left]) + np.abs(step.s * t[left])
            v_rounded = np.abs(rounded.y / t[left]) + np.abs(rounded.s * t[left])
            noise[left] = v_step + MARGIN * v_rounded
            for point, of in ((at, here + step), (before, here), (base, start)):
                point.x[left], point.y[left], point.s[left] = of.x, of.y, of.s
            size = norm(here.y / t[left]) + norm(here.s * t[left])
            flipped = np.isfinite(after.compliance) != np.isfinite(pairs.compliance)
            flipped |= (after.compliance == 0) != (pairs.compliance == 0)
            v = np.abs(after.y / t[left] - after.s * t[left])
            same = ~(flipped & (v > MARGIN * v_rounded)).any(axis=1)  # others are weakly active
            settled[left] = good & same
            going = good & (~same | (norm(v_step) > LARGE * size))
            if rounds == ROUNDS or not going.any():
                break
            left = left[going]
        if rounds > 1:  # systems of all samples, each at the point of its last step
            systems = Systems(program, Pairs.of(structure, base, t, shift))
        return cls(t, at, before, after if rounds == 1 else None, systems, settled, noise)


def _newton(systems: Systems, z: Point) -> tuple[Point, Point, np.ndarray]:
    """A Newton step, a motion by rounding, and where the step's system is solved.

    Neither moves a sample whose step is not.
    """
    program = systems.program
    A, w = program.structure.A, program.data
    f, g = conditions(program, z)
    f_eps, g_eps = rounding(program, z)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], f.shape[1] + g.shape[1])
    f_eps, g_eps = f_eps * signs[: f.shape[1]], g_eps * signs[f.shape[1] :]
    (step,) = systems.solve([(-f, -g)])
    rounded = systems.rough(f_eps, g_eps)
    good = step.is_solved(floor=MARGIN * rounded.size) & np.isfinite(step.x).all(axis=1)

    def moved(of: Motion, g: np.ndarray) -> Point:
        point = Point(of.x, of.y, g - product(A, w.A, of.x))
        return Point(*(np.where(good[:, None], v, 0.0) for _, v in point._items()))

    return moved(step, -g), moved(rounded, g_eps), good


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
    t, noise = velocity.pairs.weights, velocity.noise
    y, s, weak = velocity.at.y / t, velocity.at.s * t, np.zeros_like(noise)
    size = np.maximum(norm(y), norm(s))[:, None, None]
    most = np.where(size > 0, MOST * size, np.inf)
    for cone, first, count in structure.blocks:
        if cone.interior is None:
            continue
        rows = slice(first, first + cone.rows * count)
        shape = (len(y), count, cone.rows)
        pair, own = [v[:, rows].reshape(shape) for v in (y, s)], noise[:, rows].reshape(shape)
        single = is_diagonal(cone)
        if not single:
            own = own.max(axis=-1, keepdims=True)
        own = np.minimum(NUDGE * np.maximum(own, TINY), most)
        shift = np.broadcast_to(own * np.asarray(cone.interior), shape)
        active, free = (
            np.isfinite(cone.linearize(pair[0] + up, pair[1] + down).compliance)
            for up, down in ((shift, 0.0), (0.0, shift))
        )
        apart = active != free if single else (active != free).any(axis=-1, keepdims=True)
        weak[:, rows] = np.where(apart, shift, 0.0).reshape(len(y), -1)
    return weak


def breakpoints(velocity: Velocity, structure: Structure) -> np.ndarray:
    """How far the path is straight, for t > 0 and t < 0, (batch, 2).

    Where y - s of an inequality's row changes sign; a curved cone's pair may move by a small share
    of its own size. Rows that are weakly active, or whose speed is rounding, do not count.
    """
    t, doubt, noise = velocity.pairs.weights, velocity.doubt, velocity.noise
    y, s = velocity.at.y / t, velocity.at.s * t
    y_dot, s_dot = velocity.dot.y / t, velocity.dot.s * t
    unsure = MARGIN * (np.abs(doubt.y / t) + np.abs(doubt.s * t))
    still = np.abs(y_dot - s_dot) <= unsure
    out = np.full((len(y), 2), np.inf)
    for cone, first, count in structure.blocks:
        rows = slice(first, first + cone.rows * count)
        shape = (len(y), count, cone.rows)
        parts = [v[:, rows].reshape(shape) for v in (y, s, y_dot, s_dot)]
        single = is_diagonal(cone)
        for k, sign in enumerate((1.0, -1.0)):
            reach = cone.reach(*parts[:2], *(sign * v for v in parts[2:]))
            if single:
                known = ~still[:, rows] & (np.abs(y - s)[:, rows] > 2 * NUDGE * noise[:, rows])
                reach = np.where(known, reach.reshape(len(y), -1), np.inf)
            else:
                reach = CURVED * reach
            out[:, k] = np.minimum(out[:, k], reach.min(axis=1, initial=np.inf))
    return out
