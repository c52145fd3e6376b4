"""How far a derivative's values may be off: error bars, zeros, kinks, and what is not unique.

Bounds of whole fields settle most samples; only the others' errors are mapped entry by entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from cvxlpgd.canonical.parameter_map import ParameterMap
from cvxlpgd.canonical.variable_map import VariableMap
from cvxlpgd.derivatives import Info
from cvxlpgd.layer.selection import pick
from cvxlpgd.program import Data, Point, norm

SEEN = 1e-6  # of a random motion: a value that moves by no more than that is unique
NEAR_ZERO = 100.0  # times the unit of rounding of its terms: a value that is smaller is 0
BELOW = 4.0  # times its rounding: what is smaller is 0
EXACT = 1e-9  # a relative error whose bound is smaller is not looked at closer
UNIT = np.finfo(float).eps

Values = list[Any]  # arrays (samples, size), or None


class Mapping(Protocol):
    """What is returned, made of a derivative's fields: linear, sample by sample."""

    def values(self, fields: Any, samples: np.ndarray, magnitudes: bool = False) -> Values:
        """The values of some samples' fields, or the sums of their terms' absolute values."""

    def bounds(self, most: Any) -> Values:
        """What no entry exceeds, (batch,), where no entry of a field exceeds `most` (batch, 1)."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Parameters' cotangents, of the data's."""

    parameters: ParameterMap
    flat: Sequence[np.ndarray]
    entries: Data
    needed: Sequence[bool]
    batch: int

    def values(self, fields: Data, samples: np.ndarray, magnitudes: bool = False) -> Values:
        """The values of some samples' fields."""
        flat = [pick(v, samples, self.batch) for v in self.flat]
        return self.parameters.cotangents(flat, fields, self.entries, self.needed, magnitudes)

    def bounds(self, most: Data) -> Values:
        """What no entry exceeds."""
        return self.parameters.bounds(self.flat, most, self.entries, self.needed)


@dataclass(frozen=True, eq=False)
class Tangents:
    """Variables' tangents, of the point's."""

    variables: VariableMap
    outputs: Sequence[np.ndarray]

    def values(self, fields: Point, samples: np.ndarray, magnitudes: bool = False) -> Values:
        """The values of some samples' fields."""
        tangents = self.variables.magnitudes if magnitudes else self.variables.tangents
        return tangents([v[samples] for v in self.outputs], fields)

    def bounds(self, most: Point) -> Values:
        """What no entry exceeds."""
        return self.variables.bounds(self.outputs, most)


def assess(
    values: Values, fields: Any, info: Info, mapping: Mapping
) -> tuple[Values, Info, np.ndarray]:
    """Values without those that are nothing but rounding, the report, and the values' errors.

    The report has kinks and what is not unique; relative errors (batch,) are NaN where they are not
    known.

    Parameters
    ----------
    values : arrays (batch, size), or None
        What `mapping` makes of `fields`.
    fields : Data or Point
        The derivative.
    info : Info
        Its report; its evidence is of these very fields where it is settled.
    mapping : Mapping
    """
    evidence = info.evidence
    if evidence is None:
        return values, info, np.full(len(info.ok), np.nan)
    clear, error = _assess_fields(values, fields, evidence, mapping)
    unclear = np.flatnonzero(~clear & info.settled)  # elsewhere it may be another value's evidence
    if len(unclear):
        values, error[unclear] = _assess_entries(values, fields, evidence, mapping, unclear)
    kink = _kinks(evidence, mapping)
    irregular = (kink > 0) | ~_are_unique(evidence, mapping)
    regular = np.where(irregular, False, info.regular)
    info = replace(info, kink=np.maximum(info.kink, kink), regular=regular)
    return values, info, np.where(info.settled, error, np.nan)


def assess_fields(values: Values, fields: Any, info: Info, mapping: Mapping) -> np.ndarray | None:
    """The values' errors (batch,), NaN where they are not known; None where a sample's values must
    be looked at entry by entry.
    """
    if info.evidence is None:
        return np.full(len(info.ok), np.nan)
    clear, error = _assess_fields(values, fields, info.evidence, mapping)
    return np.where(info.settled, error, np.nan) if (clear | ~info.settled).all() else None


def _are_unique(evidence: Any, mapping: Mapping) -> np.ndarray:
    """Where the values do not move with motions that their systems do not see, bool (batch,)."""
    unique = np.ones(len(evidence.exists), dtype=bool)
    ambiguous = np.flatnonzero(~evidence.is_complete)
    if len(ambiguous):
        hidden, random = evidence.unseen(ambiguous)
        motions = mapping.values(hidden, ambiguous), mapping.values(random, ambiguous, True)
        for moved, usual in zip(*motions, strict=True):  # entry by entry: each has its own unit
            if moved is not None:
                unique[ambiguous] &= (np.abs(moved) <= SEEN * usual).all(axis=1)
    return unique


def _kinks(evidence: Any, mapping: Mapping) -> np.ndarray:
    """How far the two pieces are apart whose mean a value is, next to their size, (batch,)."""
    every = np.arange(len(evidence.exists))
    kink = np.zeros(len(every))
    if evidence.split is not None:
        half, size = evidence.split
        pairs = zip(mapping.values(half, every), mapping.values(size, every, True), strict=True)
        for apart, whole in pairs:
            if apart is not None:
                part = share(norm(apart), norm(whole))
                kink = np.maximum(kink, np.where(part > SEEN, part, 0.0))
    return kink


def _assess_fields(
    values: Values, fields: Any, evidence: Any, mapping: Mapping
) -> tuple[np.ndarray, np.ndarray]:
    """Where all values are far from rounding and known well, bool (batch,), and their error."""
    total, floor = evidence.bounds()
    floor = type(fields)(
        **{k: getattr(floor, k) + UNIT * norm(v)[:, None] for k, v in fields.items()}
    )
    clear, error = np.ones(len(evidence.exists), dtype=bool), np.zeros(len(evidence.exists))
    triples = zip(values, mapping.bounds(total), mapping.bounds(floor), strict=True)
    for value, off, rounding in triples:
        if value is not None and off is not None:
            size = norm(value)
            clear &= is_known(size, off, rounding)
            error = np.maximum(error, share(off, size) * (size > 0))
    return clear, error


def _assess_entries(
    values: Values, fields: Any, evidence: Any, mapping: Mapping, samples: np.ndarray
) -> tuple[Values, np.ndarray]:
    """The values with those of some samples assessed entry by entry, and these samples' errors.

    A value is 0 where each entry is below the rounding of the terms that add up to it; or where it
    is below the rounding that its system shows, and each entry near to 0 beside what it is solved
    with. An entry's unit is its own: no other entry's size makes it small.
    """
    *changes, terms, least = evidence.changes(samples)
    own = type(fields)(**{
        k: UNIT * (np.abs(v[samples]) + getattr(terms, k)) for k, v in fields.items()
    })  # fmt: skip
    parts = [mapping.values(change, samples) for change in changes]
    limits = [mapping.values(v, samples, True) for v in (own, least)]
    error, kept = np.zeros(len(samples)), []
    for value, limit, near, moved, rounded in zip(values, *limits, *parts, strict=True):
        if value is None or limit is None:
            kept.append(value)
            continue
        entries, rounding = np.abs(value[samples]), norm(rounded)
        size = norm(entries)
        zero = (entries <= NEAR_ZERO * limit).all(axis=1)
        zero |= (size <= BELOW * rounding) & (entries <= NEAR_ZERO * near).all(axis=1)
        value = value.copy()
        value[samples[zero]] = 0.0
        kept.append(value)
        off = norm(moved) + rounding + norm(limit)
        error = np.maximum(error, np.where(zero, 0.0, share(off, size)))
    return kept, error


def is_known(size: np.ndarray, off: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Where values of this size, that may be off by so much, need no closer look, bool (batch,)."""
    return ((size > NEAR_ZERO * rounding) & (off <= EXACT * size)) | (size == 0)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part / whole, the part itself where the whole is 0."""
    return part / np.where(whole > 0, whole, 1.0)
