"""A layer on the host: the functions of NumPy arrays that JAX calls by `pure_callback`.

    solve    values -> variables, point
    push     values, point, tangents of the values -> tangents of the variables
    pull     values, point, cotangents of the variables -> cotangents of the values

JAX calls them as often as it likes, in any order, on threads of its own. So the point (x, y, s),
the solution that push and pull are the derivatives at, is data that JAX itself carries from one
call to the next. Nothing is solved twice, and nothing is kept that nobody could say when to drop.

A point travels as the bits of its doubles: without x64 JAX has no doubles, and the difference of
two rounded solutions is noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.layer import Call, Layer, Record
from cvxlpgd.program import Point


@dataclass
class Newest:
    """The record of the newest call; one assignment, so that no thread reads half of it."""

    record: Record | None = None


@dataclass(frozen=True, eq=False)
class Host:
    """A layer, with the options of a call."""

    layer: Layer
    solver_args: Mapping[str, Any] | None
    newest: Newest = field(repr=False)

    @property
    def info(self) -> Record:
        """The newest call, whichever thread ran it, sample by sample."""
        record = self.newest.record
        if record is None:
            raise CvxlpgdError("info is of a call, and no call of this layer has run yet")
        return record

    @property
    def width(self) -> int:
        """The entries of a point."""
        return self.layer.structure.n + 2 * self.layer.structure.m

    def solve(self, values: Sequence[np.ndarray]) -> Call:
        """Solve for these values."""
        call = self.layer.forward(values, self.solver_args)
        self.newest.record = call.record
        return call

    def at(self, values: Sequence[np.ndarray], z: np.ndarray) -> Call:
        """The call that led to the points z, (batch, width); it reports to the newest call's record
        where that is the record of these points.
        """
        n, m = self.layer.structure.n, self.layer.structure.m
        call = self.layer.at(values, Point(*np.split(z, [n, n + m], axis=1)), self.solver_args)
        record = self.newest.record
        if record is None or record.shape != call.batch.shape:
            return call
        own = np.array_equal(record.solution.point.x, z[:, :n], equal_nan=True)
        return replace(call, record=record) if own else call


# Callbacks compare by value: JAX compiles each one that differs, and keeps it.


@dataclass(frozen=True)
class Solve:
    """values -> the variables (*batch shape, *shape), of a dtype, and the bits of the points."""

    host: Host
    dtype: Any

    def __call__(self, *values: Any) -> tuple[np.ndarray, ...]:
        call = self.host.solve([np.asarray(v, dtype=np.float64) for v in values])
        batch, z = call.batch.shape, call.full.point
        bits = np.concatenate([z.x, z.y, z.s], axis=1).view(np.uint32)
        pairs = zip(call.outputs, self.host.layer.shapes, strict=True)
        outputs = [v.reshape(batch + shape).astype(self.dtype) for v, shape in pairs]
        return *outputs, bits.reshape(*batch, bits.shape[1])


@dataclass(frozen=True)
class Linear:
    """values, bits of the points, vector -> vector, with a derivative's product added to a part.

    A vector has two parts, both flattened: tangents or cotangents of the values that are `moving`,
    and those of the variables. Push adds to the second part, pull, its transpose, to the first.

    Under vmap all arrays have more axes in front, of length 1 where they are not mapped. Moving
    values are spread over these axes, so that each place there has a cotangent of its own, as JAX
    wants it; batch axes of the call itself are summed over, as broadcasting is everywhere.
    """

    host: Host
    moving: tuple[bool, ...]
    transposed: bool

    def __call__(self, *arrays: Any) -> np.ndarray:
        *values, bits, vector = (np.asarray(v) for v in arrays)
        mapped = vector.ndim - 1
        axes = np.broadcast_shapes(*(v.shape[:mapped] for v in (*values, bits, vector)))

        def spread(v: np.ndarray) -> np.ndarray:
            return np.broadcast_to(v, axes + v.shape[mapped:])

        each, sizes = list(zip(values, self.moving, strict=True)), self.host.layer.sizes
        values = [np.asarray(spread(v) if moves else v, dtype=np.float64) for v, moves in each]
        z = spread(np.ascontiguousarray(bits).view(np.float64))
        call = self.host.at(values, z.reshape(-1, self.host.width))
        count = math.prod(z.shape[mapped:-1])  # samples of the call itself
        entries = [math.prod(v.shape[mapped:]) if moves else 0 for v, moves in each]
        entries += [count * size for size in sizes]
        both = np.array(spread(vector), dtype=np.float64)
        parts = np.split(both, np.cumsum(entries)[:-1], axis=-1)  # views, which are added to
        first, second = parts[: len(values)], parts[len(values) :]
        if self.transposed:
            bars = [bar.reshape(-1, size) for bar, size in zip(second, sizes, strict=True)]
            for part, gradient in zip(first, call.vjp(bars, self.moving), strict=True):
                part += 0.0 if gradient is None else gradient.reshape(part.shape)
        else:
            triples = zip(first, values, self.moving, strict=True)
            dots = [dot.reshape(v.shape) if m else np.zeros(v.shape) for dot, v, m in triples]
            for part, tangent in zip(second, call.jvp(dots), strict=True):
                part += tangent.reshape(part.shape)
        return both.astype(vector.dtype)
