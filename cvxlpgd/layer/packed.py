"""Values of parameters with a pattern, kept as their entries within it.

    dense value (*batch axes, *shape)  --pack-->  entries (*batch axes, entries of the pattern)
                                      <--unpack--

A sparse value is packed from what it stores, so that no array of the parameter's full shape is
made; its gradient comes back packed, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cvxlpgd.program import Array, norm
from cvxlpgd.program.pattern import namespace_of, pick_columns
from cvxlpgd.solvers.run.arrays import array_in


@dataclass(frozen=True, eq=False)
class Packed:
    """A value of a parameter with a pattern."""

    entries: Array  # (*batch axes, entries of the pattern)
    stray: np.ndarray  # (*batch axes): the largest entry outside of the pattern, 0 without one
    own: tuple[int, ...]  # the parameter's shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The full shape."""
        return tuple(self.entries.shape[:-1]) + self.own


class Places(NamedTuple):
    """Where the stored entries of a sparse value go."""

    axes: tuple[int, ...]  # the value's batch axes
    inside: np.ndarray  # bool: which entries are within the pattern
    target: np.ndarray  # int: of these, the places in all samples' entries, one after the other
    sample: np.ndarray  # int: of the others, the sample


def locate(
    pattern: np.ndarray, own: tuple[int, ...], flat: np.ndarray, shape: tuple[int, ...]
) -> Places:
    """Where the entries at the places `flat`, row by row, of a value of this shape go.

    `pattern` and `own` are the parameter's pattern and shape, the last axes of `shape`.
    """
    count = len(pattern)
    sample, place = divmod(flat, math.prod(own))
    inside = np.isin(place, pattern)
    target = sample[inside] * count + np.searchsorted(pattern, place[inside])
    return Places(shape[: len(shape) - len(own)], inside, target, sample[~inside])


def largest_stray(places: Places, outside: np.ndarray) -> np.ndarray:
    """Each sample's largest entry outside of the pattern, (*batch axes), of all of them."""
    stray = np.zeros(math.prod(places.axes))
    np.maximum.at(stray, places.sample, np.where(np.isnan(outside), np.inf, np.abs(outside)))
    return stray.reshape(places.axes)


def packed_in(value: Array | Packed, kind: str) -> Array | Packed:
    """The value in "numpy" or "torch" arrays."""
    if isinstance(value, Packed):
        return replace(value, entries=array_in(value.entries, kind))
    return array_in(value, kind)


def pack(
    pattern: np.ndarray | None, value: Array | Packed, rank: int
) -> tuple[Array, np.ndarray | None]:
    """What is kept of a value of a parameter of this rank, and its largest entries outside of the
    pattern (*batch axes), None without a pattern.
    """
    if isinstance(value, Packed):
        return value.entries, value.stray
    if pattern is None:
        return value, None
    xp, axes = namespace_of(value), value.shape[: value.ndim - rank]
    flat = value.reshape(math.prod(axes), math.prod(value.shape[len(axes) :]))
    entries, stray = pick_columns(flat, pattern), np.zeros(axes)
    if xp.count_nonzero(entries) < xp.count_nonzero(flat):
        outside = xp.abs(flat)
        outside[:, pattern] = 0.0
        stray = array_in(norm(outside), "numpy").reshape(axes)
    return entries.reshape(*axes, len(pattern)), stray


def unpack(pattern: np.ndarray | None, entries: Array, shape: tuple[int, ...]) -> Array:
    """The values (*batch axes, *shape) of what is kept of them, 0 outside of the pattern."""
    if pattern is None:
        return entries
    axes, xp = tuple(entries.shape[:-1]), namespace_of(entries)
    flat = xp.zeros((*axes, math.prod(shape)), dtype=entries.dtype, device=entries.device)
    flat[..., pattern] = entries
    return flat.reshape(axes + shape)
