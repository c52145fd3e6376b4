"""Gurobi's environments, one for each thread, and models in them that say nothing.

An environment holds the license. Neither it nor its models may be used by two threads at once, so
each has a lock: models wander between threads with the set-ups that own them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cvxlpgd.errors import InvalidOption, SolverNotInstalled


@dataclass(frozen=True, eq=False)
class Home:
    """An environment of this process, and the lock to hold while it or its models are used."""

    env: Any
    pid: int = field(default_factory=os.getpid)
    lock: Any = field(default_factory=threading.RLock)

    @property
    def is_here(self) -> bool:
        """Whether it is of this process, and not of the one that forked it."""
        return self.pid == os.getpid()


_own = threading.local()


def home() -> Home:
    """This thread's environment, started when first needed.

    Raises
    ------
    SolverNotInstalled
        Where Gurobi has no valid license.
    """
    kept: Home | None = getattr(_own, "home", None)
    if kept is None or not kept.is_here:
        kept = _own.home = Home(_started())
    return kept


def _started() -> Any:
    import gurobipy

    try:
        env = gurobipy.Env(empty=True)
        env.setParam("OutputFlag", 0)  # before it starts, or it says whose license it is
        env.start()
    except gurobipy.GurobiError as error:
        raise SolverNotInstalled(
            f"GUROBI cannot start: {error}; it needs a license, "
            "https://www.gurobi.com/solutions/licensing, or choose another solver"
        ) from None
    return env


def new_model(own: Home, settings: Mapping[str, Any]) -> Any:
    """An empty model with these parameters; InvalidOption for a value that Gurobi refuses."""
    import gurobipy

    model = gurobipy.Model(env=own.env)
    # with output each parameter would be announced
    for name, value in sorted(settings.items(), key=lambda item: item[0] == "OutputFlag"):
        try:
            model.setParam(name, value)
        except (gurobipy.GurobiError, TypeError, ValueError) as error:
            raise InvalidOption(f"GUROBI: {name} cannot be {value!r}: {error}") from None
    return model


@lru_cache(maxsize=64)
def check_options(settings: tuple[tuple[str, Any], ...]) -> None:
    """A wrong value is an error of the call, not of a sample."""
    own = home()
    with own.lock:
        new_model(own, dict(settings) | {"OutputFlag": 0})
