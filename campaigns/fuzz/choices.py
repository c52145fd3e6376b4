"""Where random decisions come from: a seed, or hypothesis, which can shrink them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

T = TypeVar("T")


class Choices(Protocol):
    """A stream of decisions; 0 is always the simplest one."""

    def below(self, count: int) -> int:
        """One of 0, ..., count - 1."""


class Seeded:
    """Decisions from seeds."""

    def __init__(self, *seeds: int) -> None:
        self._rng = np.random.default_rng(seeds)

    def below(self, count: int) -> int:
        return int(self._rng.integers(count))


class Drawn:
    """Decisions drawn by hypothesis."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def below(self, count: int) -> int:
        return self._draw(st.integers(0, count - 1))


class Recorded:
    """Decisions of another stream, written down."""

    def __init__(self, choices: Choices) -> None:
        self._choices, self.made = choices, list[int]()

    def below(self, count: int) -> int:
        self.made.append(self._choices.below(count))
        return self.made[-1]


class Replayed:
    """Decisions written down before."""

    def __init__(self, made: Sequence[int]) -> None:
        self._made = iter(made)

    def below(self, count: int) -> int:
        return next(self._made)


def pick(choices: Choices, options: Sequence[T]) -> T:
    """One of the options; the first is the simplest."""
    return options[choices.below(len(options))]


def maybe(choices: Choices, percent: int) -> bool:
    """True in so many percent of cases."""
    return choices.below(100) >= 100 - percent
