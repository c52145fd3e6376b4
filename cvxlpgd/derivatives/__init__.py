"""The ways to differentiate a solution, one file each."""

from cvxlpgd.derivatives.exact import Exact
from cvxlpgd.derivatives.finite_difference import FiniteDifference
from cvxlpgd.derivatives.implicit import Implicit
from cvxlpgd.derivatives.info import Info
from cvxlpgd.derivatives.lpgd import LPGD
from cvxlpgd.derivatives.protocol import Derivative, check_derivative

__all__ = [
    "LPGD",
    "Derivative",
    "Exact",
    "FiniteDifference",
    "Implicit",
    "Info",
    "check_derivative",
]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
