"""Any solver that CVXPY knows, through CVXPY's public interface."""

from cvxlpgd.solvers.cvxpy.solver import CVXPY

__all__ = ["CVXPY"]
