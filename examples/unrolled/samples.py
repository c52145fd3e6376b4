"""What schemes are trained on, chosen by and tested on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Signals (count, n), their data (count, m), and what the schemes start from (count, n)."""

    truth: Tensor
    data: Tensor
    start: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Samples:
        return Samples(self.truth[rows], self.data[rows], self.start[rows])


@dataclass(frozen=True)
class Sets:
    """Disjoint samples."""

    train: Samples
    validation: Samples
    test: Samples
