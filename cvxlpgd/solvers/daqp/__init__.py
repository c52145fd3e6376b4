"""DAQP, for quadratic and for linear programs."""

from cvxlpgd.solvers.daqp.solver import DAQP

__all__ = ["DAQP"]
