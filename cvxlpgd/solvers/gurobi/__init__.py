"""Gurobi, for linear, quadratic and integer programs, and second-order cones."""

from cvxlpgd.solvers.gurobi.solver import Gurobi

__all__ = ["Gurobi"]
