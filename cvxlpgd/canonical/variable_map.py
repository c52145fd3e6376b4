"""The linear map from points to the returned variables, by sparse matrices, and its adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace

from cvxlpgd.program import Array, Point
from cvxlpgd.program.linear import Linear


@dataclass(frozen=True, eq=False)
class Output:
    """One returned variable: value = M x, M y or M s, its exponential in a geometric program."""

    name: str
    shape: tuple[int, ...]
    field: str  # of the point, that it is read from: "x", "y" or "s"
    exponential: bool
    matrix: sp.csr_array  # M, (size, n or m), rows in row-major order of the variable

    @cached_property
    def linear(self) -> Linear:
        """The map x -> M x, or that of y or s."""
        return Linear(self.matrix)

    @cached_property
    def often(self) -> np.ndarray:
        """How often each column of the point is read, (n or m,)."""
        return np.asarray(self.matrix.sum(axis=0)).ravel()

    @cached_property
    def gain(self) -> float:
        """The largest sum of a row of |M|."""
        return float(np.asarray(abs(self.matrix).sum(axis=1)).max(initial=0.0))

    def value(self, z: Point) -> Array:
        """The variable, (batch, size)."""
        linear = self.linear(getattr(z, self.field))
        return array_namespace(linear).exp(linear) if self.exponential else linear

    def tangent(self, value: Array, z_dot: Point) -> Array:
        """The variable's tangent, (batch, size)."""
        linear = self.linear(getattr(z_dot, self.field))
        return value * linear if self.exponential else linear


@dataclass(frozen=True, eq=False)
class VariableMap:
    """Point -> the returned variables."""

    outputs: tuple[Output, ...]

    def values(self, z: Point) -> list[Array]:
        """Each variable, (batch, size)."""
        return [output.value(z) for output in self.outputs]

    def tangents(self, values: Sequence[Array], z_dot: Point) -> list[Array]:
        """Each variable's tangent."""
        return [o.tangent(v, z_dot) for o, v in zip(self.outputs, values, strict=True)]

    def magnitudes(self, values: Sequence[Array], z_dot: Point) -> list[Array]:
        """The sums of the absolute values of the tangents' terms."""
        sizes = []
        for output, value in zip(self.outputs, values, strict=True):
            size = output.linear.magnitudes(abs(getattr(z_dot, output.field)))
            sizes.append(abs(value) * size if output.exponential else size)
        return sizes

    def bounds(self, values: Sequence[np.ndarray], most: Point) -> list[np.ndarray]:
        """What no entry of a variable's tangent exceeds, (batch,), where no entry of x, y and s
        exceeds `most`, (batch, 1).
        """
        sizes = []
        for output, value in zip(self.outputs, values, strict=True):
            size = output.gain * getattr(most, output.field)[:, 0]
            sizes.append(size * abs(value).max(axis=1, initial=0.0) if output.exponential else size)
        return sizes

    def cotangent(self, values: Sequence[Array], bars: Sequence[Array], z: Point) -> Point:
        """The point's cotangent for the variables' cotangents (batch, size)."""
        bar: dict[str, Any] = {"x": z.x * 0.0, "y": z.y * 0.0, "s": z.s * 0.0}
        for output, value, value_bar in zip(self.outputs, values, bars, strict=True):
            linear_bar = value_bar * value if output.exponential else value_bar
            bar[output.field] = bar[output.field] + output.linear.adjoint(linear_bar)
        return Point(**bar)
