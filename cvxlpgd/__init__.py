"""Differentiable optimization layers on CVXPY, with any solver and LPGD gradients."""

from importlib.metadata import version

from cvxlpgd.analysis.compare import compare
from cvxlpgd.analysis.comparison import Comparison
from cvxlpgd.derivatives import LPGD, Exact, FiniteDifference, Implicit

__version__ = version("cvxlpgd")
__all__ = ["LPGD", "Comparison", "Exact", "FiniteDifference", "Implicit", "compare"]
