"""The cones, one row each, in the order in which their rows stand in a program.

Canonicalization, the order of rows and the tests read it. Solvers and derivatives opt in: they name
the types that they take, and a program with any other is refused by that cone's name.
"""

from __future__ import annotations

from typing import NamedTuple

from cvxlpgd.cones.exp import Exp
from cvxlpgd.cones.nonneg import NonNeg
from cvxlpgd.cones.pow import Pow
from cvxlpgd.cones.protocol import Cone
from cvxlpgd.cones.psd import PSD
from cvxlpgd.cones.soc import SOC
from cvxlpgd.cones.zero import Zero
from cvxlpgd.errors import UnsuitableSolver


class Kind(NamedTuple):
    """A kind of cone."""

    cone: type
    constraint: str | None  # the class in `cvxpy.constraints`; None for programs written by hand
    examples: tuple[Cone, ...]  # what the tests try


KINDS = (
    Kind(Zero, "Zero", (Zero(2),)),
    Kind(NonNeg, "NonNeg", (NonNeg(3),)),
    Kind(SOC, "SOC", (SOC(1), SOC(2), SOC(4))),
    Kind(PSD, "PSD", (PSD(1), PSD(3))),
    Kind(Exp, "ExpCone", (Exp(),)),
    Kind(Pow, "PowCone3D", (Pow(0.3), Pow(0.9))),
)


def position(kind: type) -> int:
    """Where rows of this kind stand among the others.

    Raises
    ------
    UnsuitableSolver
        For a kind without a row here: nobody knows where its rows would go.
    """
    for number, row in enumerate(KINDS):
        if row.cone is kind:
            return number
    raise UnsuitableSolver(f"{kind.__name__} cones have no place in the order of rows")
