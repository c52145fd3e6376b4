"""The parts a random problem is made of: variables around a known point, data, batches, scales."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from .choices import Choices, maybe, pick

Draw = Callable[[tuple[int, ...]], np.ndarray]
BATCHES = [(), (2,), (1,), (3,), (2, 2), (2, 1)]
SHAPES = [(), (3,), (1,), (2,), (5,), (2, 2), (3, 2), (1, 3), (1, 1), (3, 3)]


def assign(leaf: cp.Variable | cp.Parameter, value: np.ndarray) -> None:
    """Set a leaf's value from a full array."""
    if leaf.sparse_idx is not None:
        leaf.value_sparse = sp.coo_array((value[leaf.sparse_idx], leaf.sparse_idx), leaf.shape)
    else:
        leaf.value = sp.diags_array(np.diag(value)) if leaf.attributes["diag"] else value


def definite(rng: np.random.Generator, axes: tuple[int, ...], order: int) -> np.ndarray:
    """Symmetric matrices with eigenvalues from 0.3 on."""
    root = rng.normal(size=(*axes, order, order)) / np.sqrt(order)
    return root @ np.swapaxes(root, -1, -2) + 0.3 * np.eye(order)


@dataclass
class World:
    """What has been made so far.

    Parameters
    ----------
    choices : Choices
    rng : Generator
        Of numbers; decisions come from `choices`.
    x_scale, a_scale, f_scale : float
        Sizes of the variables, of what multiplies them, and of the objective.
    batch : tuple of int
    integer : bool
        Whether it is to be a mixed-integer linear program.
    """

    choices: Choices
    rng: np.random.Generator
    x_scale: float
    a_scale: float
    f_scale: float
    batch: tuple[int, ...]
    integer: bool
    parameters: list[cp.Parameter] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    variables: list[cp.Variable] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    freedom: dict[int, float] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    @classmethod
    def new(cls, choices: Choices, unit: bool) -> World:
        """An empty one; with `unit` all scales are 1, whatever is decided."""
        integer = maybe(choices, 5)
        exponents = [0, 0, 0]
        kind = 0 if integer else pick(choices, ["unit", "one", "unit", "moderate", "wild"])
        if kind == "one":
            exponents[choices.below(3)] = pick(choices, [1, -1, 2, -2])
        if kind == "moderate":
            exponents = [pick(choices, [0, 1, -1, 2, -2]) for _ in range(3)]
        if kind == "wild":
            exponents[choices.below(3)] = pick(choices, [3, -3, 4, -4, 5, -5, 6, -6])
        scales = [1.0 if unit else 10.0**k for k in exponents]
        rng = np.random.default_rng(choices.below(2**16))
        return cls(choices, rng, *scales, pick(choices, BATCHES), integer)

    @property
    def scale(self) -> float:
        """Size of what affine expressions of the variables come to."""
        return self.x_scale * self.a_scale

    @property
    def moderate(self) -> bool:
        """Whether all data are between 1e-2 and 1e2."""
        scales = (self.x_scale, self.a_scale, self.f_scale)
        return all(0.99e-2 < s < 1.01e2 for s in scales)

    @property
    def count(self) -> int:
        """Samples."""
        return int(np.prod(self.batch))

    def add(self, variable: cp.Variable, point: np.ndarray) -> None:
        self.variables.append(variable)
        self.points.append(point)

    def point(self, variable: cp.Variable) -> np.ndarray:
        """The known point of a variable."""
        return next(p for x, p in zip(self.variables, self.points, strict=True) if x is variable)

    def normal(self, scale: float = 1.0) -> Draw:
        return lambda shape: scale * self.rng.normal(size=shape)

    def uniform(self, low: float, high: float) -> Draw:
        return lambda shape: self.rng.uniform(low, high, size=shape)

    def parameter(
        self, shape: tuple[int, ...], draw: Draw, batched: bool = False, **attributes: Any
    ) -> cp.Parameter:
        """A new listed parameter; with `batched` it has all batch axes."""
        own = self.batch
        if not batched and self.batch:
            own = pick(self.choices, [self.batch, (), self.batch[1:]])
            if len(self.batch) == 2 and own == self.batch and maybe(self.choices, 30):
                own = (self.batch[0], 1)
        parameter = cp.Parameter(shape, name=f"p{len(self.parameters)}", **attributes)
        self.parameters.append(parameter)
        self.values.append(np.asarray(draw(own + shape)))
        return parameter

    def data(
        self, shape: tuple[int, ...], draw: Draw, percent: int = 60, **attributes: Any
    ) -> cp.Expression:
        """A parameter or a constant."""
        if maybe(self.choices, percent):
            return self.parameter(shape, draw, **attributes)
        return cp.Constant(draw(shape))

    def closed(self) -> None:
        """Nothing more is made: the batch is what the parameters' axes come to."""
        pairs = zip(self.parameters, self.values, strict=True)
        self.batch = np.broadcast_shapes(*(v.shape[: v.ndim - p.ndim] for p, v in pairs))

    def at(self, i: int) -> None:
        """Set all values to those of the i-th sample, and the variables to the known point."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            full = np.broadcast_to(value, self.batch + parameter.shape)
            assign(parameter, full.reshape(self.count, *parameter.shape)[i])
        for variable, point in zip(self.variables, self.points, strict=True):
            assign(variable, point)

    def forgotten(self) -> None:
        """Leave the variables without values: CVXPY fails to compile some atoms of them."""
        for variable in self.variables:
            variable.save_value(None)

    def evaluated(self, expression: cp.Expression) -> np.ndarray:
        """The expression at the known point, (samples, *shape)."""
        found = []
        for i in range(self.count):
            self.at(i)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of reading sparse values
                value = expression.value
            dense = value.toarray() if sp.issparse(value) else value
            found.append(np.array(dense, dtype=float).reshape(expression.shape))
        return np.stack(found)

    def level(self, expression: cp.Expression, margin: float, exact: bool = False) -> cp.Expression:
        """The expression's value at the known point plus a margin, as data.

        A constant is beyond the values of all samples; with `exact` it is equal to them, or a
        parameter where they differ.
        """
        found = self.evaluated(expression)
        differ = exact and self.count > 1 and bool(expression.parameters())
        if differ or maybe(self.choices, 50):
            values = (found + margin).reshape(self.batch + expression.shape)
            return self.parameter(expression.shape, lambda _: values, batched=True)
        extreme = found.max(axis=0) if margin >= 0 else found.min(axis=0)
        return cp.Constant(extreme + margin)
