"""The cones that rows of a program can lie in, one file each.

A cone is a frozen value with `rows` (how many rows it takes) and `project(v)`: the Euclidean
projection of arrays (..., rows). Everything else follows from it, as below.
"""

from __future__ import annotations

from typing import Any, Protocol

from array_api_compat import array_namespace

from cvxlpgd.cones.exp import Exp
from cvxlpgd.cones.nonneg import NonNeg
from cvxlpgd.cones.pow import Pow
from cvxlpgd.cones.psd import PSD
from cvxlpgd.cones.soc import SOC
from cvxlpgd.cones.zero import Zero

__all__ = ["PSD", "SOC", "Cone", "Exp", "NonNeg", "Pow", "Zero", "distance", "dual_distance"]


class Cone(Protocol):
    """What a cone declares and does."""

    @property
    def rows(self) -> int:
        """Rows of the program that it takes."""

    def project(self, v: Any) -> Any:
        """The nearest point of the cone, for arrays (..., rows)."""


def distance(cone: Cone, s: Any) -> Any:
    """Largest entry of |s - Π_K(s)|, arrays (..., rows) -> (...)."""
    xp = array_namespace(s)
    return xp.max(xp.abs(s - cone.project(s)), axis=-1)


def dual_distance(cone: Cone, y: Any) -> Any:
    """Largest entry of |y - Π_K*(y)| = |Π_K(-y)|, by Moreau: v = Π_K*(v) - Π_K(-v)."""
    xp = array_namespace(y)
    return xp.max(xp.abs(cone.project(-y)), axis=-1)
