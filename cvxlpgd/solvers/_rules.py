"""Which solvers solver=None asks, and in which order: data, with the measurement beside each rule.

A rule's solvers are asked in turn: the first that is installed, takes the program and has the
options wanted solves it; samples that it cannot solve go to the next. Gradients are differences of
solutions, so speed counts only among those that are reproducible to about 1e-8: an interior point
of a curved cone is as far from the solution as the square root of its gap.

Milliseconds are medians of forward + backward of a batch of 32 (SDP: 16), LPGD at a relative tau of
1e-3, on two cores, all installed solvers in one run of `cvxlpgd solvers FILE.py --tune`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import Structure

DENSE = 300  # variables up to which a dense active-set method is measured to be ahead


@dataclass(frozen=True)
class Rule:
    """For programs of one kind, the solvers in order.

    Parameters
    ----------
    kind : str
        Which programs, in words.
    holds : Structure -> bool
    solvers : tuple of str
    measured : str
        Why in this order.
    """

    kind: str
    holds: Callable[[Structure], bool]
    solvers: tuple[str, ...]
    measured: str


def _polyhedral(structure: Structure) -> bool:
    return all(isinstance(cone, Zero | NonNeg) for cone in structure.cones)


def _small(structure: Structure) -> bool:
    return int((structure.user > 0).sum()) <= DENSE


RULES = (
    Rule(
        "mixed-integer",
        lambda structure: structure.mixed_integer,
        ("HIGHS", "SCIP"),
        "HIGHS comes with CVXPY",
    ),
    Rule(
        "linear",
        lambda structure: _polyhedral(structure) and not structure.P.size,
        ("HIGHS", "CLARABEL", "SCS", "ECOS"),
        "TODO",
    ),
    Rule(
        f"quadratic, at most {DENSE} variables",
        lambda structure: _polyhedral(structure) and _small(structure),
        ("DAQP", "PIQP", "CLARABEL", "SCS", "ECOS"),
        "TODO",
    ),
    Rule(
        "quadratic, larger",
        _polyhedral,
        ("PIQP", "CLARABEL", "SCS", "ECOS"),
        "TODO",
    ),
    Rule(
        "with other cones",
        lambda structure: True,
        ("SCS", "CLARABEL", "ECOS"),
        "TODO",
    ),
)


def rule_for(structure: Structure) -> Rule:
    """The first rule that holds."""
    return next(rule for rule in RULES if rule.holds(structure))
