"""Motions of solutions, solved together: the Newton step, the path's own, and rounding's.

P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cvxlpgd.program import Point, products
from cvxlpgd.program.kkt import Motions, Start, Systems
from cvxlpgd.program.matrices import Stack, conditions, random_signs, rounding
from cvxlpgd.program.threads import one_thread_each

MARGIN = 10.0  # times the rounding that random signs show

Sides = tuple[np.ndarray, np.ndarray]


class Hidden(NamedTuple):
    """What is near to 0 beside a motion, and what its system does not see."""

    least: Point  # what is near to 0 beside the motion
    random: Point  # a random motion
    null: Point  # its part that the system does not see, 0 where that is regular


class Sizes(NamedTuple):
    """The largest entries of x and of y, or what none exceeds, (batch,) each."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class PathMotions:
    """Motions of a batch's solutions, solved together: the Newton step, that along the direction,
    that by rounding, and what rounding does to the one along the direction.

    They are solved in every batch: how many there are decides the last bits of each.
    """

    systems: Systems
    stack: Motions  # of all but the last
    x: Stack
    y: Stack  # in the rows' units, and s too
    s: Stack
    good: np.ndarray  # bool (batch,): where the step is not solved, it and rounding's are 0

    step, dot, rounded, doubt = range(4)  # where each is in a stack

    @classmethod
    def of(cls, systems: Systems, z: Point, side: Sides) -> PathMotions:
        """The motions from z, whose pairs are the systems', along (f, g) = `side`."""
        program = systems.program
        signs = random_signs(program.structure)
        (f, g), (f_noise, g_noise) = conditions(program, z), rounding(program, z)
        top = np.stack([-f, side[0], f_noise * signs.top], axis=1)
        low = np.stack([-g, side[1], g_noise * signs.low], axis=1)
        stack = systems.solve(top, systems.side(low), rough=1, proof=False)
        good = stack.is_solved(0, MARGIN * stack.size[:, 2])
        good &= np.isfinite(stack.x[:, 0]).all(axis=1)
        if not good.all():
            kept = good[:, None, None] | (np.arange(3) == cls.dot)[:, None]
            stack, low = stack._replace(both=np.where(kept, stack.both, 0.0)), low * kept
        last = stack.last[:, cls.dot : cls.dot + 1]
        both = np.concatenate([stack.both, last], axis=1)
        low = np.concatenate([low, 0.0 * low[:, :1]], axis=1)
        return cls(systems, stack, *_moves(systems, both, low), good)

    def along(self, systems: Systems, side: Sides, new: Sides) -> Along:
        """The motion along `new` instead of `side`, by systems nearby."""
        start, batch = self.stack.both[:, self.dot : self.dot + 1], len(self.good)
        same = self.systems.is_same(systems)
        if new is not side:
            same &= np.all([(a == b).all(axis=1) for a, b in zip(side, new, strict=True)], axis=0)
        if same.all():
            solved = self.stack.is_solved(self.dot)
            return Along(systems, start, self.stack.length[:, self.dot], self.first, solved)
        near = np.ones(batch, dtype=bool) if systems is self.systems else systems.is_near
        low, begin = new[1][:, None], Start(start, near, self.stack.quick[:, self.dot])
        stack = systems.solve(new[0][:, None], systems.side(low), start=begin, proof=False)
        # not once more because of the others
        both = np.where(same[:, None, None], start, stack.both)
        length = np.where(same, self.stack.length[:, self.dot], stack.length[:, 0])
        solved = np.where(same, self.stack.is_solved(self.dot), stack.is_solved(0))
        return Along(systems, both, length, _point(systems, *_moves(systems, both, low)), solved)

    @cached_property
    def first(self) -> Point:
        """That along the direction."""
        return self.point(self.dot)

    def point(self, k: int) -> Point:
        """One of them as (x, y, s)."""
        own = slice(k, k + 1)
        return _point(self.systems, self.x[:, own], self.y[:, own], self.s[:, own])


@dataclass(frozen=True, eq=False)
class Along:
    """A motion along a direction, and what its systems leave open, worked out when it is asked."""

    systems: Systems
    both: Stack  # (x, u), (batch, 1, n + m)
    length: np.ndarray  # its largest entry in the scaled systems, (batch,)
    dot: Point
    is_solved: np.ndarray  # bool (batch,)

    @property
    def least_sizes(self) -> Sizes:
        """What no entry of x and of y that is near to 0 beside it exceeds, (batch,) each."""
        systems, unit = self.systems, np.finfo(float).eps * self.length
        n, scale = systems.program.structure.n, systems.scale
        y = np.abs(systems.dual(scale[..., n:] * systems.held[:, None]))[:, 0]
        return Sizes(unit * scale[:, 0, :n].max(axis=1), unit * y.max(axis=1, initial=0.0))

    @cached_property
    def hidden(self) -> Hidden:
        """What is near to 0 beside it, and what the systems do not see.

        It is asked for after the path was followed: bits depend on BLAS' threads here too.
        """
        systems = self.systems
        with one_thread_each(), np.errstate(all="ignore"):
            x, y = systems.least_of(self.both)
            program = systems.program  # s_dot = g - A x_dot: as near to 0 as |A| |x|
            s = products(program.structure.A, np.abs(program.data.A), x)
            least = Point(x[:, 0], y[:, 0], s[:, 0])
            random, unseen = (
                _point(systems, *_moves(systems, both, np.zeros((1, 1, 1))))
                for both in (systems.random, systems.unseen)
            )
        return Hidden(least, random, unseen)


def _moves(systems: Systems, both: Stack, low: Stack) -> tuple[Stack, Stack, Stack]:
    """(x, y / t, t s) of stacks (x, u) of right-hand sides (f, g), g = `low`."""
    program, t = systems.program, systems.pairs.weights[:, None]
    x, u = both[..., : program.structure.n], both[..., program.structure.n :]
    s = low - products(program.structure.A, program.data.A, x)
    return x, systems.turned_back(u), s * t


def _point(systems: Systems, x: Stack, y: Stack, s: Stack) -> Point:
    """Stacks of one, of y / t and t s, as points (x, y, s)."""
    t = systems.pairs.weights
    return Point(x[:, 0], t * y[:, 0], s[:, 0] / t)
