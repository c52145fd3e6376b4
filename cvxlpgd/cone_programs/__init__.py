"""Cone programs from their own matrices, without CVXPY: what a `ConeLayer` is made of.

    minimize ½x'Px + q'x   subject to   Ax + s = b,  s in K

Each function takes what the solver or library that it is named for takes, in the same order and the
same conventions. The values of that call are those of inputs that a layer does not list.
"""

from cvxlpgd.cone_programs.clarabel import from_clarabel
from cvxlpgd.cone_programs.qp import from_qp
from cvxlpgd.cone_programs.scs import from_diffcp, from_scs
from cvxlpgd.cone_programs.structure import ConeStructure

__all__ = ["ConeStructure", "from_clarabel", "from_diffcp", "from_qp", "from_scs"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
