"""The back ends that are installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

LIBRARIES = {"gurobi": "gurobipy", "ortools": "ortools", "pyomo": "pyomo"}
BACKENDS = pytest.mark.parametrize("backend", LIBRARIES)


def require(backend: str) -> None:
    """Skip a test, by name, where the library is not installed."""
    if find_spec(LIBRARIES[backend]) is None:
        pytest.skip(f"{LIBRARIES[backend]} is not installed")
