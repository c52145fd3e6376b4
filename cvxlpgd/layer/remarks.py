"""What is said of a call's derivatives: in its record, and as warnings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxlpgd.derivatives import Info
from cvxlpgd.layer import failure
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.selection import Selection

UNSURE = 0.01  # a gradient that may be off by more than this is warned of


@dataclass(frozen=True, eq=False)
class Remarks:
    """Where a call's remarks go, and how they are worded.

    `active` is the selection of the batch that a report, or an array (active,), is of.
    """

    record: Record
    once: failure.Once
    policy: str  # "raise" or "nan": what becomes of samples without a derivative
    remedy: str  # of the derivative, where gradients are zero

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the batch, by which warnings number its samples."""
        return self.record.shape

    def note(self, info: Info, active: Selection, **more: np.ndarray) -> None:
        """Add a derivative to the record, and say what went wrong with it; `more` are fields of the
        report.
        """
        places = active.places
        self.record.reports.update(lambda report: report.after(places, info, **more))
        if not info.ok.all():
            failure.say_gradients(info.ok, info.messages, places, self.shape, self.policy)
        if info.inaccurate.any():
            failure.say_inaccurate_gradients(places[info.inaccurate], self.shape)

    def say_zeros(self, zero: np.ndarray, active: Selection) -> None:
        """Warn, once, of gradients that are zero or noise though their cotangents are not zero."""
        if zero.any() and not self.once.degenerate:
            self.once.degenerate = True
            failure.say_degenerate(active.places[zero], self.shape, self.remedy)

    def say_accuracy(self, info: Info, errors: np.ndarray, active: Selection) -> None:
        """Warn where the solution is not differentiable, and of values that may be off by more than
        1 %, or by nobody knows how much.
        """
        places = active.places
        irregular = np.array([known is False for known in info.regular], dtype=bool) & info.ok
        if irregular.any():
            failure.say_irregular(places[irregular], info.kink[irregular], self.shape)
        unknown = np.isnan(errors) & ~info.settled & ~irregular
        unsure = np.flatnonzero(((errors > UNSURE) & ~irregular) | (unknown & info.ok))
        if len(unsure):
            failure.say_uncertain(places[unsure], errors[unsure], self.shape)
