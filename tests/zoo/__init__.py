"""The zoo: small problems that every solver, derivative and adapter is tested on."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

from cvxlpgd.canonical import Canonical, canonicalize, substitute
from cvxlpgd.canonical.entries import pattern_of
from cvxlpgd.program import ConeProgram
from tests.zoo import attributes as zoo_attributes
from tests.zoo import conic as zoo_conic
from tests.zoo import linear as zoo_linear
from tests.zoo.row import MISCOMPILED, REGISTERED, WHY, Row, assign

__all__ = [
    "LEFT_OUT", "ROWS", "SMOOTH", "Row", "assign", "canonical", "flattened", "program", "row_named",
    "solved_by_cvxpy",
]  # fmt: skip

_MODULES = (zoo_linear, zoo_conic, zoo_attributes)  # importing them registers their rows
LEFT_OUT = tuple(row for row in REGISTERED if MISCOMPILED and row.symmetric_quadratic)
ROWS = tuple(row for row in REGISTERED if row not in LEFT_OUT)
SMOOTH = tuple(row for row in ROWS if row.smooth)


def row_named(name: str) -> Row:
    """The row of this name; skips the test where this version of CVXPY compiles it wrongly."""
    if any(row.name == name for row in LEFT_OUT):
        pytest.skip(f"{name}: {WHY}")
    return next(row for row in ROWS if row.name == name)


@cache
def canonical(row: Row) -> Canonical:
    """The row, canonicalized once."""
    problem, parameters, variables = row.build()
    ours = substitute(problem, parameters)
    return canonicalize(ours, parameters, variables, row.gp, row.backend)


def flattened(row: Row, values: list[np.ndarray]) -> list[np.ndarray]:
    """(batch, *shape) -> (batch, entries), row by row, without those outside of a pattern."""
    rows = [value.reshape(len(value), -1) for value in values]
    patterns = [pattern_of(parameter) for parameter in row.build()[1]]
    pairs = zip(rows, patterns, strict=True)
    return [v if pattern is None else v[:, pattern] for v, pattern in pairs]


def program(row: Row, values: list[np.ndarray]) -> ConeProgram:
    """The programs at these parameter values (batch, *shape)."""
    data, _ = canonical(row).parameters.data(flattened(row, values))
    return ConeProgram(canonical(row).structure, data)


def solved_by_cvxpy(
    row: Row, values: list[np.ndarray], solver: str, **options: Any
) -> tuple[float, list[np.ndarray]]:
    """CVXPY's own objective and variables at one sample's values (*shape)."""
    problem, parameters, variables = row.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CVXPY's advice on sparse variables and many axes
        for parameter, value in zip(parameters, values, strict=True):
            assign(parameter, value)
        objective = problem.solve(solver=solver, gp=row.gp, **options)
        return objective, [np.asarray(_value(variable)) for variable in variables]


def _value(variable: Any) -> Any:
    """The value as a full array, of the variable's shape."""
    value = variable.value
    value = value.toarray() if hasattr(value, "toarray") else value
    return np.reshape(value, variable.shape)
