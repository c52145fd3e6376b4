"""Newton's steps of many samples side by side, each as many as it needs; see newton.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from cvxlpgd.cones.refining import nearest_pair
from cvxlpgd.program import ConeProgram, Point, Structure, norm
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.program.structure import per_structure
from cvxlpgd.solvers.refine import systems
from cvxlpgd.solvers.refine.conditions import Conditions
from cvxlpgd.solvers.refine.matrices import DenseFactors, DenseSteps
from cvxlpgd.solvers.refine.sparse import SparseFactors, SparseSteps

CLOSE = 2e-15  # the next step, relative to the point, that is not worth taking
NEAR = 1e-6  # the last step, from which the next one's size can be told
ROUNDING = 2e-15  # of the terms that add up to f and g: their sums get no smaller
CERTAIN = 1e-11  # of the terms, and no larger, where the steps say that there is no more to do
STEPS, FACTORIZATIONS = 20, 6  # at most, for one sample
CONTRACTING = 0.1  # factors serve as long as each step is this part of the last one
REGULAR = 1e-5  # e: a smaller one loses digits of the factors, a larger one slows the steps
SMALLER = 1e-2  # the next e, of this one, where steps this small are slow
NEAR_ENOUGH = 1e-3
FAR = 4e-3  # a step after which new factors save several, of this refinement and of the next

Factors = DenseFactors | SparseFactors
Steps = list[tuple[np.ndarray | slice, DenseSteps | SparseSteps]]


@dataclass(frozen=True)
class Samples:
    """Samples on their way: arrays (k, ...), x and y / t and t s in weighted units."""

    sample: np.ndarray  # which of the batch
    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    t: np.ndarray
    which: np.ndarray  # whose factors serve
    place: np.ndarray  # and where they are there
    contracting: np.ndarray  # whether they serve
    e: np.ndarray
    size: np.ndarray  # of the last step
    done: np.ndarray  # whether it says that there is no more to do
    ok: np.ndarray
    steps: np.ndarray
    tried: np.ndarray  # how many factors, but for those that only save steps

    @classmethod
    def of(
        cls,
        program: ConeProgram,
        start: Point,
        t: np.ndarray,
        which: np.ndarray,
        place: np.ndarray,
        fits: np.ndarray,
    ) -> Self:
        """Those that begin at points, with factors that serve where they fit."""
        batch = program.batch
        pair = nearest_pairs(program.structure, start.y / t, start.s * t)
        zero, no = np.zeros(batch, dtype=int), np.zeros(batch, dtype=bool)
        begin = np.full(batch, REGULAR), np.zeros(batch), no, no, zero, (~fits).astype(int)
        return cls(np.arange(batch), start.x, *pair, t, which, place, fits, *begin)

    def take(self, chosen: np.ndarray) -> Self:
        """Some of them, bool or int."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All of several, in the batch's order."""
        one = cls(*(np.concatenate([getattr(v, f.name) for v in parts]) for f in fields(cls)))
        return one.take(np.argsort(one.sample))

    @property
    def point(self) -> Point:
        """Their points."""
        return Point(self.x, self.y * self.t, self.s / self.t)


def take_steps(
    program: ConeProgram, begin: Samples, factors: list[Factors]
) -> tuple[Samples, np.ndarray]:
    """Where they arrive, and how many matrices each has factored; those are added to the list."""
    factored = np.zeros(program.batch, dtype=int)
    left, ended = begin, []
    conditions, steps = Conditions.of(program, begin.t), None
    going = np.isfinite(left.x).all(axis=1) & np.isfinite(left.y - left.s).all(axis=1)
    while True:
        if not going.all():
            ended.append(left.take(~going))
            left, conditions, steps = left.take(going), conditions.take(going), None
        if not len(left.x):
            return Samples.joined(ended), factored
        f, g, error = conditions.at(left.x, left.y, left.s)
        # small steps are not enough: they may be so in a direction that d or e holds back
        ok = error <= np.where(left.done, CERTAIN, ROUNDING)
        going = ~ok & (left.steps < STEPS) & (left.contracting | (left.tried <= FACTORIZATIONS))
        left = replace(left, ok=ok)
        if not going.all():
            ended.append(left.take(~going))
            left, conditions, steps = left.take(going), conditions.take(going), None
            f, g = f[going], g[going]
        if not len(left.x):
            return Samples.joined(ended), factored
        if not left.contracting.all():
            left, steps = _factor(conditions.program, left, factors, factored), None
        if steps is None:
            steps = _steps_of(left, factors)
        left = _step(program.structure, left, steps, f, g)
        going = np.isfinite(left.size)


def _step(
    structure: Structure, left: Samples, steps: Steps, f: np.ndarray, g: np.ndarray
) -> Samples:
    """One step of each, and what it says of the next ones."""
    if len(steps) == 1:
        dx, dy, ds = steps[0][1](f, g)
    else:
        dx, dy, ds = (np.empty_like(v) for v in (f, g, g))
        for mine, step in steps:
            dx[mine], dy[mine], ds[mine] = step(f[mine], g[mine])
    x = left.x + dx
    y, s = nearest_pairs(structure, left.y + dy, left.s + ds)
    size = np.maximum(norm(dx) / norm(x), norm(dy - ds) / norm(y - s))
    shrunk = np.minimum(size / left.size, 1.0)
    slow = (shrunk > CONTRACTING) & (left.size > 0)
    far = (size > FAR) & systems.is_quick(structure)
    return replace(
        left, x=x, y=y, s=s, size=size, steps=left.steps + 1, contracting=~slow & ~far,
        tried=left.tried + slow,
        done=(size <= NEAR) & (size * shrunk <= CLOSE),
        e=np.where(slow & (size < NEAR_ENOUGH), SMALLER * left.e, left.e),
    )  # fmt: skip


def _factor(
    program: ConeProgram, left: Samples, factors: list[Factors], factored: np.ndarray
) -> Samples:
    """Those left, with new factors for those whose own do not serve."""
    stale = np.flatnonzero(~left.contracting)
    first, place = distinct(program, (left.x, left.y, left.s, left.t), stale)
    z = Point(left.x[first], left.y[first], left.s[first])
    factors.append(factors_of(program.take(first), z, left.t[first], left.e[first]))
    factored[left.sample[first]] += 1
    which, places = left.which.copy(), left.place.copy()
    which[stale], places[stale] = len(factors) - 1, place
    return replace(left, which=which, place=places)


def factors_of(program: ConeProgram, z: Point, t: np.ndarray, e: np.ndarray) -> Factors:
    """The factors at complementary z (k, ...) in weighted units, for t (k, m) and e (k,)."""
    kind = DenseFactors if program.structure.n <= systems.DENSE else SparseFactors
    return kind.of(program, z, t, e)


def _steps_of(left: Samples, factors: list[Factors]) -> Steps:
    """Whose steps which factors make."""
    if (left.which == left.which[0]).all():
        return [(slice(None), factors[left.which[0]].steps(left.place))]
    parts = [(k, np.flatnonzero(left.which == k)) for k in np.unique(left.which)]
    return [(mine, factors[k].steps(left.place[mine])) for k, mine in parts]


def nearest_pairs(
    structure: Structure, y: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The complementary pairs nearest to pairs in weighted units."""
    v = y - s
    y_new = np.maximum(v, _floor(structure))
    s_new = y_new - v
    for cone, rows, y_own, s_own in structure.split(y, s):
        if not is_diagonal(cone):
            pair = nearest_pair(cone, y_own, s_own)
            y_new[:, rows], s_new[:, rows] = (v.reshape(len(y), -1) for v in pair)
    return y_new, s_new


@per_structure
def _floor(structure: Structure) -> np.ndarray:
    """What y is at least, of the rows alone."""
    return np.where(structure.inequalities, 0.0, -np.inf)


def distinct(
    program: ConeProgram, arrays: Iterable[np.ndarray], samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The samples unlike all before them, and for each sample which of those it is like."""
    arrays = [*arrays, *(v for v in (program.data.P, program.data.A) if len(v) > 1)]
    first: dict[tuple[bytes, ...], int] = {}
    like = [first.setdefault(tuple(v[i].tobytes() for v in arrays), len(first)) for i in samples]
    return samples[np.unique(like, return_index=True)[1]], np.array(like)
