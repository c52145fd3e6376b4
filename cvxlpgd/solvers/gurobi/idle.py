"""Gurobi's models that no call is using, kept for a structure."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.program.structure import latest_per_structure
from cvxlpgd.solvers.gurobi.setup import Setup
from cvxlpgd.solvers.translate.bounds import Bounds


class Key(NamedTuple):
    """What set-ups of a structure are for."""

    settings: tuple[tuple[str, Any], ...]
    bounds: Bounds
    chosen: bool
    P: np.ndarray
    A: np.ndarray


def _are_same(one: Key, other: Key) -> bool:
    return (
        one.settings == other.settings
        and one.bounds is other.bounds
        and one.chosen == other.chosen
        and np.array_equal(one.P, other.P)
        and np.array_equal(one.A, other.A)
    )


@latest_per_structure(_are_same)
def idle_setups(structure: Structure, key: Key) -> list[Setup]:
    """The set-ups of a structure's newest matrices that no call is using: models are made once.

    A solution may still have one of them, to solve from: the lock of its environment keeps threads
    apart, and nothing else needs to be, since a model remembers nothing.
    """
    return []
