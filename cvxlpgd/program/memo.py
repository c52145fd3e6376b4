"""What follows from a structure is worked out once for that object, and forgotten with it.

Pickled and copied structures start anew. Threads may work the same fact out at once; they differ in
nothing but the time that takes. A fact must not refer to its structure: that would never go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from cvxlpgd.program.structure import Structure

Fact = TypeVar("Fact")
Key = TypeVar("Key")


def per_structure(work_out: Callable[[Structure], Fact]) -> Callable[[Structure], Fact]:
    """Remember the fact of each structure."""
    facts: WeakKeyDictionary[Structure, Fact] = WeakKeyDictionary()

    @wraps(work_out)
    def recall(structure: Structure) -> Fact:
        fact = facts.get(structure)
        return facts.setdefault(structure, work_out(structure)) if fact is None else fact

    return recall


def latest_per_structure(
    same: Callable[[Any, Any], bool],
) -> Callable[[Callable[[Structure, Key], Fact]], Callable[[Structure, Key], Fact]]:
    """Remember the last fact of each structure, for as long as its key stays the `same`."""

    def decorate(work_out: Callable[[Structure, Key], Fact]) -> Callable[[Structure, Key], Fact]:
        latest: WeakKeyDictionary[Structure, tuple[Key, Fact]] = WeakKeyDictionary()

        @wraps(work_out)
        def recall(structure: Structure, key: Key) -> Fact:
            pair = latest.get(structure)
            if pair is None or not same(pair[0], key):
                pair = latest[structure] = key, work_out(structure, key)
            return pair[1]

        return recall

    return decorate
