"""The solvers, one file each. Importing them loads none of them."""

from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.cvxpy import CVXPY
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.scs import SCS

__all__ = ["CVXPY", "ECOS", "SCS", "Clarabel"]
