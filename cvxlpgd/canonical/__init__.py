"""CVXPY problem -> structure and affine maps. The only folder that knows CVXPY's insides.

CVXPY's own reductions do the work; a target of ours at the end of the chain takes the parametrized
cone program as it is. The sign of A is flipped in `_program.py` and nowhere else: CVXPY writes
Ax + b in K.
"""

from cvxlpgd.canonical._discipline import check_dpp
from cvxlpgd.canonical._problem import check_lists, substitute
from cvxlpgd.canonical._program import Canonical, canonicalize

__all__ = ["Canonical", "canonicalize", "check_dpp", "check_lists", "substitute"]
