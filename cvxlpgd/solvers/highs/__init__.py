"""HiGHS, for linear, quadratic and integer programs."""

from cvxlpgd.solvers.highs.solver import HiGHS

__all__ = ["HiGHS"]
