"""Motions of solutions, solved together: the Newton step, the path's own, a random one, rounding's.

P x_dot + A'y_dot = f,    A x_dot + s_dot = g,    (y_dot, s_dot) along the cones
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxlpgd.program import Point, product, products
from cvxlpgd.program.kkt import Motions, Systems
from cvxlpgd.program.matrices import conditions, rounding

MARGIN = 10.0  # times the rounding that random signs show


@dataclass(frozen=True, eq=False)
class PathMotions:
    """Motions of a batch's solutions, solved together.

    `columns` says where in the stack each is: the Newton "step"; "dot", along the direction; a
    "random" one, solved for its own right-hand side; and that by rounding, "rounded". They are
    solved in every batch: how many there are decides the last bits of each.
    """

    systems: Systems
    stack: Motions
    g: np.ndarray  # the rows' right-hand sides, (batch, columns, m)
    columns: dict[str, int]
    good: np.ndarray  # bool (batch,): where the step is not solved, "step" and "rounded" are 0

    @classmethod
    def of(cls, systems: Systems, z: Point, side: tuple[np.ndarray, np.ndarray]) -> PathMotions:
        """The motions from z, whose pairs are the systems', along (f, g) = `side`."""
        program = systems.program
        f, g = conditions(program, z)
        noise = [_random_signs(v, k) for k, v in enumerate(rounding(program, z))]
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

    def along(
        self,
        systems: Systems,
        side: tuple[np.ndarray, np.ndarray],
        new: tuple[np.ndarray, np.ndarray],
    ) -> PathMotions:
        """The motion along `new` instead of `side`, by systems nearby, and a random one of theirs.

        Where neither differs it is this one.
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
        return PathMotions(
            systems, stack, low, {name: k for k, name in enumerate(names)}, self.good
        )

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


def _random_signs(v: np.ndarray, seed: int) -> np.ndarray:
    """The array with random signs, the same in each sample."""
    return v * np.random.default_rng(seed).choice([-1.0, 1.0], v.shape[1])
