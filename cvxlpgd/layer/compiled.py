"""A compiled problem: parameter values in, cone programs out, and the values' cotangents back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.canonical import Canonical
from cvxlpgd.layer.inputs import Batch, Domain
from cvxlpgd.layer.packed import Packed, pack, unpack
from cvxlpgd.layer.sparse import unpack_sparse
from cvxlpgd.program import Array, ConeProgram, Data
from cvxlpgd.program.pattern import namespace_of

LARGE = 1_000_000  # entries of a matrix, from which a dense one is more than 8 MB


@dataclass(frozen=True, eq=False)
class Compiled:
    """What all calls of a layer share."""

    canonical: Canonical
    domains: list[Domain]  # of the listed parameters

    def faults(self, batch: Batch) -> list[str]:
        """What is wrong with each sample's values; empty where nothing is."""
        faults = [""] * batch.samples
        for domain, value, stray in zip(self.domains, batch.values, batch.stray, strict=True):
            for i, text in enumerate(domain.violations(value, stray)):
                if text:
                    touched = range(batch.samples) if len(value) == 1 else [i]
                    for k in touched:
                        faults[k] = faults[k] or f"parameter {domain.name} {text}"
        return faults

    def flat(self, values: Sequence[Array]) -> list[Array]:
        """Arrays (samples or 1, *kept) as (samples or 1, entries), symmetric where they must be."""
        pairs = zip(self.domains, values, strict=True)
        return [
            domain.symmetrize(value).reshape(len(value), math.prod(domain.kept))
            for domain, value in pairs
        ]

    def spread(self, k: int, value: Array | Packed, batch: Batch) -> Array:
        """A value of parameter k, or its tangent, as what is kept of it, (samples or 1, *kept)."""
        domain = self.domains[k]
        return batch.spread(k, pack(domain.pattern, value, len(domain.shape))[0], domain.kept)

    def whole(self, k: int, value: Array) -> Any:
        """A value of parameter k, of what is kept of it: sparse where a dense one takes memory."""
        domain = self.domains[k]
        if domain.pattern is not None and domain.size > LARGE:
            return unpack_sparse(domain, value, sp.csr_array)
        return unpack(domain.pattern, value, domain.shape)

    def program(self, flat: list[Array], count: int) -> tuple[ConeProgram, Array]:
        """The cone programs of flat values, and the constant terms of their objectives."""
        data, offset = self.canonical.parameters.data(flat)
        if len(data.q) != count:  # the batch's length, if nowhere else
            q = namespace_of(data.q).broadcast_to(data.q, (count, data.q.shape[1]))
            data = Data(data.P, q, data.A, data.b)
        return ConeProgram(self.canonical.structure, data), offset

    def objective(self, value: np.ndarray) -> np.ndarray:
        """The user's objective for that of the cone program, its constant term included."""
        signed = self.canonical.sign * value
        return np.exp(signed) if self.canonical.exponential else signed

    def gather(self, k: int, full: Array, batch: Batch) -> Array:
        """The cotangent of parameter k as its value was given, from those of all samples, flat."""
        domain = self.domains[k]
        shaped = domain.symmetrize(full.reshape(batch.samples, *domain.kept))
        return self._as_given(k, batch.gather(k, shaped, domain.kept), batch)

    def gather_total(self, k: int, total: Array, batch: Batch) -> Array:
        """The cotangent of a parameter that all samples share as its value was given, from their
        sum.
        """
        domain = self.domains[k]
        shaped = domain.symmetrize(total.reshape(domain.kept))
        return self._as_given(k, shaped.reshape(batch.own[k] + domain.kept), batch)

    def _as_given(self, k: int, bar: Array, batch: Batch) -> Array:
        domain = self.domains[k]
        return bar if batch.packed[k] else unpack(domain.pattern, bar, domain.shape)
