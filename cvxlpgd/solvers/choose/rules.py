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

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.program.elimination import Elimination
from cvxlpgd.program.factors.separable import Separation

SMALL = 120  # variables up to which a dense active-set method is ahead, or even, on sparse programs
DENSE, DENSE_SHARE = 1000, 0.1  # up to these, where at least this share of the entries is stored
# Columns from which Newton's method on the dual is ahead of active sets.
# Portfolios, CPU ms of a forward by it and by DAQP: 25 assets 7.9, 2.3; 60: 12.9, 11.0; 75: 13.8,
# 16.8; 100: 18, 36; 2000, batch of 64: 230, 5600 (PIQP)
SEPARABLE = 80
LINEAR, LINEAR_DENSE, LINEAR_SHARE = 40, 150, 0.2  # the same of linear programs


@dataclass(frozen=True)
class Rule:
    """For programs of one kind, the solvers in order."""

    kind: str  # which programs, in words
    holds: Callable[[Structure], bool]
    solvers: tuple[str, ...]
    why: str  # this order, to a user
    measured: str  # what that rests on
    # Whether solutions are refined: all but DAQP's, which are exact. An interior point is off by
    # its barrier, 1e-7 in x and 1e-3 in a gradient where a row is nearly active.
    refined: bool = False
    warm: tuple[str, ...] = ()  # where calls start from earlier solutions; empty for the same order


def _active_set(structure: Structure) -> bool:
    """Whether a dense active-set method can serve, and is measured to be ahead.

    It wants a strictly convex program once the columns are eliminated that equations define: P must
    reach as many columns as are left, a lower bound of what is singular.
    """
    if len(np.unique(structure.P.cols)) < len(Elimination.of(structure).kept):
        return False
    variables, n, m = int((structure.user > 0).sum()), structure.n, structure.m
    share = (structure.P.size + structure.A.size) / max(1, n * (n + m))
    return variables <= SMALL or (variables <= DENSE and share >= DENSE_SHARE)


def _linear_active_set(structure: Structure) -> bool:
    """Whether a dense active-set method that begins at nothing is measured to be ahead."""
    dense = structure.A.size >= LINEAR_SHARE * structure.n * structure.m
    return not structure.P.size and structure.n <= (LINEAR_DENSE if dense else LINEAR)


RULES = (
    Rule(
        "mixed-integer",
        lambda structure: structure.mixed_integer,
        ("HIGHS", "SCIP"),
        "these take integers, and HIGHS comes with CVXPY",
        "HIGHS comes with CVXPY",
    ),
    Rule(
        f"linear, at most {LINEAR} variables, or dense with at most {LINEAR_DENSE}",
        lambda structure: structure.polyhedral and _linear_active_set(structure),
        ("DAQP", "HIGHS", "CLARABEL", "SCS", "ECOS"),
        "DAQP, an active-set method with dense matrices, is fastest on programs this small",
        "shortest path, 5 x 5: forward DAQP 2.9 ms, HIGHS 4.4, backward 5.3 and 4.4; dense, 60 "
        "rows, n = 100: 15 + 32, 53 + 32; assignment, 10 x 10: 11 + 21, 4.7 + 5.6; warm, dense, 80 "
        "rows, n = 100: forward DAQP 363 ms, HIGHS 16",
        warm=("HIGHS", "DAQP", "CLARABEL", "SCS", "ECOS"),
    ),
    Rule(
        "linear",
        lambda structure: structure.polyhedral and not structure.P.size,
        ("HIGHS", "CLARABEL", "SCS", "ECOS"),
        "HIGHS, a simplex method with sparse matrices, is several times faster than the others",
        "sparse LP, n = 400: HIGHS 108 ms, CLARABEL 1680; shortest path, 20 x 20: 67 and 380",
    ),
    Rule(
        f"quadratic, small, or dense with at most {DENSE} variables",
        lambda structure: structure.polyhedral and _active_set(structure),
        ("DAQP", "PIQP", "CLARABEL", "SCS", "ECOS"),
        "DAQP, an active-set method, is exact and several times faster than the others",
        "projection QP, n = 64: DAQP 5 ms, PIQP 23, CLARABEL 64; n = 512: DAQP 200, PIQP 12000; "
        "dense QP, n = 200, batch of 16: 38, 3300, 2080; portfolio, n = 100: 23, 32, 52",
        refined=True,
    ),
    Rule(
        "quadratic, sparse",
        lambda structure: structure.polyhedral,
        ("PIQP", "CLARABEL", "SCS", "ECOS"),
        "PIQP, an interior-point method with sparse matrices, is fastest",
        "portfolio, n = 300: PIQP 120 ms, CLARABEL 264, DAQP 364; n = 1000, batch of 8: 232, 518, "
        "2720",
        refined=True,
    ),
    Rule(
        "with other cones",
        lambda structure: True,
        ("SCS", "CLARABEL", "ECOS"),
        "SCS is fastest, and the most reproducible, which gradients need",
        "SOC, n = 50: SCS 60 ms, MOREAU 86, CLARABEL 300; entropy, n = 50: 95, 100, 104, of which "
        "only SCS is reproducible to 1e-8 on all of the tests' programs; SDP, 8 x 8: 15, 16, 19; "
        "refined, 0.6, 0.7 and 1.3 times the bare loop of SCS (python -m benchmarks)",
        refined=True,
    ),
)


def is_dual_ahead(structure: Structure) -> bool:
    """Whether `DualNewton` is measured to be ahead of any of a rule's solvers."""
    separation = Separation.of(structure)
    return separation.holds and len(separation.e.kept) >= SEPARABLE


def rule_for(structure: Structure) -> Rule:
    """The first rule that holds."""
    return next(rule for rule in RULES if rule.holds(structure))
