"""What a solver's model is asked for; one file for each library that PyEPO builds models with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cvxlpgd.pyepo.program import Objective, Rows


class Backend(Protocol):
    """A solver's model, read."""

    def rows(self) -> Rows:
        """Its columns and rows.

        Raises
        ------
        InvalidProblem
            For constraints of other kinds, or ones that are not in the model.
        """

    def objective(self) -> Objective:
        """Its objective as it is now."""

    def remember(self) -> Callable[[], None]:
        """The function that sets the objective back to what it is now."""
