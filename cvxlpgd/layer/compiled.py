"""A compiled problem: parameter values in, cone programs out, and the values' cotangents back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvxlpgd.canonical import Canonical
from cvxlpgd.layer.inputs import Batch, Domain
from cvxlpgd.program import Array, ConeProgram, Data
from cvxlpgd.program.pattern import namespace_of


@dataclass(frozen=True, eq=False)
class Compiled:
    """What all calls of a layer share."""

    canonical: Canonical
    domains: list[Domain]  # of the listed parameters

    def faults(self, batch: Batch) -> list[str]:
        """What is wrong with each sample's values; empty where nothing is."""
        faults = [""] * batch.samples
        for domain, value in zip(self.domains, batch.values, strict=True):
            for i, text in enumerate(domain.violations(value)):
                if text:
                    touched = range(batch.samples) if len(value) == 1 else [i]
                    for k in touched:
                        faults[k] = faults[k] or f"parameter {domain.name} {text}"
        return faults

    def flat(self, values: Sequence[Array]) -> list[Array]:
        """Arrays (samples or 1, *shape) as (samples or 1, size), symmetric where they must be."""
        pairs = zip(self.domains, values, strict=True)
        return [
            domain.symmetrize(value).reshape(len(value), domain.size) for domain, value in pairs
        ]

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
        """The cotangent of parameter k in its own shape, from those of all samples, flat."""
        domain = self.domains[k]
        shaped = domain.symmetrize(full.reshape(batch.samples, *domain.shape))
        return batch.gather(k, shaped, domain.shape)

    def gather_total(self, k: int, total: Array, batch: Batch) -> Array:
        """The cotangent of a parameter that all samples share in its own shape, from their sum."""
        domain = self.domains[k]
        return domain.symmetrize(total.reshape(domain.shape)).reshape(batch.own[k] + domain.shape)
