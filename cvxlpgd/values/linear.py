"""The objective at given points, as a function of a cost that is linear in them.

    f(v; c) = φ(v)'c + r(v)

is known for every cost once φ and r are, so that points are compared without solving.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem
from cvxlpgd.layer import Layer, real
from cvxlpgd.program import ConeProgram, Data
from cvxlpgd.program.restriction import Restriction
from cvxlpgd.values.targets import columns_of, fix_columns


@dataclass(frozen=True, eq=False)
class Terms:
    """φ (points, entries of the cost) and r (points,), of a minimization."""

    features: np.ndarray
    rest: np.ndarray

    def __len__(self) -> int:
        return len(self.rest)

    @cached_property
    def mean(self) -> tuple[np.ndarray, np.float64]:
        """Their means."""
        return self.features.mean(axis=0), self.rest.mean()

    @cached_property
    def second_moment(self) -> np.ndarray:
        """The mean of φφ', (entries, entries)."""
        return np.asarray(self.features.T @ self.features / len(self))

    def at(self, costs: np.ndarray) -> np.ndarray:
        """The objective of every point with every cost (batch, entries), (batch, points)."""
        return np.asarray(costs @ self.features.T + self.rest)

    def at_own(self, costs: np.ndarray) -> np.ndarray:
        """The objective of each point with its own cost, (points,)."""
        return np.asarray(np.sum(costs * self.features, axis=1) + self.rest)


@dataclass(frozen=True, eq=False)
class Points:
    """Values of the variables that a layer returns, as points of its programs.

    `x` (points, n) has 0 in the columns of other variables, `columns` are those of the returned.
    """

    x: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def require_linear_cost(layer: Layer, what: str) -> None:
    """Raise InvalidProblem, naming `what`, unless a layer has one parameter, and that enters the
    objective alone and linearly.
    """
    if len(layer.domains) != 1 or layer.canonical.parameters.fields(0) != "q":
        raise InvalidProblem(
            f"{what} is for a layer of one parameter, the cost, that enters the objective alone"
        )
    outputs = layer.canonical.variables.outputs
    if any(output.field != "x" or output.exponential for output in outputs):
        raise InvalidOption(
            f"{what} is for a layer that returns primal variables, of no geometric program"
        )


def require_objective(layer: Layer) -> None:
    """Raise InvalidProblem unless the objective is one of the returned variables alone."""
    if len(columns_of(layer).hidden):
        raise InvalidProblem(
            "the objective has terms of variables that the layer does not return, so that it is "
            "not known at a solution alone; return all variables of the objective, and write it "
            "without norms, absolute values and maxima"
        )


def as_rows(layer: Layer, values: Sequence[object], what: str) -> list[np.ndarray]:
    """Values of the returned variables, each (*axes, *shape) with the same axes, as (points, size).

    Raises
    ------
    InvalidInput
        For another number or shape of values.
    """
    if len(values) != len(layer.shapes):
        raise InvalidInput(f"received {len(values)} {what}s, expected {len(layer.shapes)}")
    rows, axes = [], None
    for i, (value, own, size) in enumerate(zip(values, layer.shapes, layer.sizes, strict=True)):
        array = real(value, f"{what} {i}").astype(float)
        split = array.ndim - len(own)
        if split < 0 or array.shape[split:] != own:
            raise InvalidInput(
                f"{what} {i} has shape {array.shape}, expected {own} after any batch axes"
            )
        if axes is not None and array.shape[:split] != axes:
            raise InvalidInput(f"{what}s have batch axes {axes} and {array.shape[:split]}")
        axes = array.shape[:split]
        rows.append(array.reshape(math.prod(axes), size))
    return rows


def as_points(layer: Layer, rows: Sequence[np.ndarray]) -> Points:
    """Points for values (points, size) of the returned variables.

    Raises
    ------
    InvalidInput
        For a value that a variable cannot have.
    InvalidProblem
        Where variables enter the objective that the layer does not return.
    """
    x, columns = fix_columns(layer, rows, np.zeros((len(rows[0]), layer.structure.n)))
    require_objective(layer)
    return Points(x, columns)


def linear_terms(layer: Layer, points: Points) -> Terms:
    """φ and r of these points."""
    program, offset = without_cost(layer)
    rest = program.objective(points.x) + offset
    return Terms(cost_cotangent(layer, points.x, np.ones(len(points))), rest)


def cost_cotangent(
    layer: Layer, q_bar: np.ndarray, offset_bar: np.ndarray | None = None
) -> np.ndarray:
    """The cost's cotangent (batch, entries) for that of q (batch, n), and of the constant term."""
    parameters = layer.canonical.parameters
    zero, entries = [np.zeros((1, entries_of_cost(layer)))], parameters.entries([True])
    bars = {name: np.zeros((len(q_bar), len(rows))) for name, rows in entries.items()}
    bars["q"] = q_bar[:, entries.q]
    (bar,) = parameters.cotangents(zero, Data(**bars), entries, [True], offset_bar=offset_bar)
    return np.asarray(bar)


def entries_of_cost(layer: Layer) -> int:
    """How many entries a cost has; those of its pattern alone where it has one."""
    return math.prod(layer.domains[0].kept)


def without_cost(layer: Layer) -> tuple[ConeProgram, np.ndarray]:
    """The program with a cost of 0, and its constant term."""
    data, offset = layer.canonical.parameters.data([np.zeros((1, entries_of_cost(layer)))])
    return ConeProgram(layer.structure, data), np.asarray(offset)


def violations(layer: Layer, points: Points) -> np.ndarray:
    """How far each point is from feasible, relative to 1 + |b|, (points,).

    Rows that variables enter which the layer does not return are left out.
    """
    restriction = Restriction.of(layer.structure, points.columns)
    _, violation = restriction.program(without_cost(layer)[0], points.x)
    return violation
