"""What a comparison knows of its problem and its solutions, beside the rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a verdict needs to know beside the rows.

    Attributes
    ----------
    problem : str
        The kind of program, such as "linear program".
    parameters, zero : tuple of str
        All parameters, and those whose gradient is 0 by the reference.
    exactly : bool
        Whether the exact gradient of these is 0, too.
    failed : tuple of str
        The samples without a solution, as "sample 1: infeasible".
    inaccurate, kinks, irregular : int
        Samples whose solution is inaccurate; has a kink; has no unique derivative.
    directions : int
        Along which central differences have a verdict.
    still : bool
        Whether the loss does not change along any of these.
    substitute : str
        Why another reference was taken than the one that was asked for; else empty.
    is_difference : bool
        Whether the reference is LPGD with a finite tau, and so no exact derivative.
    """

    problem: str
    parameters: tuple[str, ...]
    zero: tuple[str, ...]
    exactly: bool
    failed: tuple[str, ...]
    inaccurate: int
    kinks: int
    irregular: int
    directions: int
    still: bool
    substitute: str
    is_difference: bool

    @property
    def all_zero(self) -> bool:
        """Whether no parameter has a gradient by the reference."""
        return len(self.zero) == len(self.parameters)

    @property
    def jumps(self) -> bool:
        """Whether solutions stay at a vertex, or at integers, until they jump to another."""
        return self.problem == "linear program" or self.problem.startswith("mixed-integer")
