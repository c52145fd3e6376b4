"""DAQP, for strictly convex quadratic programs and for linear ones."""

from cvxlpgd.solvers.daqp.solver import DAQP

__all__ = ["DAQP"]
