"""A sample's factors between two refinements, and how another process makes the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, Structure
from cvxlpgd.solvers.refine.steps import Factors, factors_of
from cvxlpgd.solvers.run.each import of_sample
from cvxlpgd.solvers.run.stock import fingerprint
from cvxlpgd.solvers.run.tokens import structure_of, token_of


class SampleFactors(NamedTuple):
    """A sample's factors: one of several. A pickled one is a `Recipe`."""

    factors: Factors
    place: int

    @property
    def numbers(self) -> int:
        """How many they hold."""
        return self.factors.numbers(self.place)

    def fits(self, program: ConeProgram, i: int) -> bool:
        """Whether it is of the i-th program's very matrices."""
        mine, w = self.factors.program.data, program.data
        return self.factors.program.structure is program.structure and all(
            one is other or np.array_equal(of_sample(one, self.place), of_sample(other, i))
            for one, other in ((mine.P, w.P), (mine.A, w.A))
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """What they were made of, the matrices by their fingerprint."""
        own, i = self.factors, self.place
        program, z = own.program, own.z
        vectors = of_sample(program.data.q, i), z.x[i], z.y[i], z.s[i], own.weights[i]
        matrices = _fingerprint(program.data, i)
        return _recipe, (token_of(program.structure), *vectors, float(own.e[i]), matrices)


class Recipe(NamedTuple):
    """A sample's factors of another process, by what they were made of."""

    structure: Structure | None  # None: of a process that does not know it
    q: np.ndarray
    z: Point  # vectors, in weighted units; `weights` too
    weights: np.ndarray
    e: float
    matrices: bytes

    def fits(self, program: ConeProgram, i: int) -> bool:
        """Whether it is of the i-th program's very matrices."""
        return self.structure is program.structure and self.matrices == _fingerprint(
            program.data, i
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """As it came."""
        token = token_of(self.structure) if self.structure else ""
        vectors = (v for _, v in self.z.items())
        return _recipe, (token, self.q, *vectors, self.weights, self.e, self.matrices)


def _recipe(
    token: str, q: np.ndarray, x: np.ndarray, y: np.ndarray, s: np.ndarray, weights: np.ndarray,
    e: float, matrices: bytes,
) -> Recipe:  # fmt: skip
    return Recipe(structure_of(token), q, Point(x, y, s), weights, e, matrices)


def restore(
    program: ConeProgram, earlier: np.ndarray, fitting: np.ndarray
) -> Iterator[tuple[int, SampleFactors]]:
    """The factors of the samples whose earlier ones, object array (batch,), are `fitting`, ints.

    Recipes are made into factors, all at once; samples that share one share its factors.
    """
    recipes = {id(earlier[i]): i for i in fitting if isinstance(earlier[i], Recipe)}
    places = {one: k for k, one in enumerate(recipes)}
    new = _make(program, earlier, np.array(list(recipes.values()))) if recipes else None
    for i in fitting.tolist():
        place = places.get(id(earlier[i]))
        yield i, earlier[i] if new is None or place is None else SampleFactors(new, place)


def _make(program: ConeProgram, earlier: np.ndarray, samples: np.ndarray) -> Factors:
    """The factors of these samples' recipes, for their own q as when they were first made."""
    recipes: list[Recipe] = earlier[samples].tolist()
    own = program.take(samples)
    own = replace(own, data=replace(own.data, q=np.array([recipe.q for recipe in recipes])))
    x, y, s = (np.array([getattr(recipe.z, k) for recipe in recipes]) for k in "xys")
    weights = np.array([recipe.weights for recipe in recipes])
    return factors_of(own, Point(x, y, s), weights, np.array([recipe.e for recipe in recipes]))


_fingerprints: WeakKeyDictionary[Data, dict[int, bytes]] = WeakKeyDictionary()


def _fingerprint(data: Data, i: int) -> bytes:
    """That of a sample's matrices, worked out once for all that share them."""
    known = _fingerprints.setdefault(data, {})
    i = i if len(data.P) > 1 or len(data.A) > 1 else 0
    if i not in known:
        known[i] = fingerprint(of_sample(data.P, i), of_sample(data.A, i))
    return known[i]
