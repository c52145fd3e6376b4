"""The derivatives, a row each: the tests of what every derivative does read them."""

from __future__ import annotations

from dataclasses import dataclass

from cvxlpgd.derivatives.exact import Exact
from cvxlpgd.derivatives.finite_difference import FiniteDifference
from cvxlpgd.derivatives.implicit import Implicit
from cvxlpgd.derivatives.lpgd import LPGD
from cvxlpgd.derivatives.protocol import Derivative
from cvxlpgd.schedules import Relative


@dataclass(frozen=True)
class DerivativeRow:
    """One derivative, by values with the settings that it is tested with.

    Parameters
    ----------
    examples : tuple of Derivative
        Of one class.
    error : float or None
        The largest relative error of their gradients where solutions are smooth; None for a
        surrogate, which is no derivative of the solution.
    any_scale : bool
        Whether the first example is right to rounding, whatever the scales of the data.
    """

    examples: tuple[Derivative, ...]
    error: float | None
    any_scale: bool = False

    @property
    def kind(self) -> type:
        """The class."""
        return type(self.examples[0])


ROWS = (
    DerivativeRow(
        (LPGD(), LPGD(tau=Relative(1e-4)), LPGD(tau="informative")), error=1e-4, any_scale=True
    ),
    DerivativeRow((Exact(),), error=1e-6, any_scale=True),
    DerivativeRow((Implicit("dense"), Implicit("lsqr")), error=1e-4),
    DerivativeRow((FiniteDifference(),), error=1e-5),
)
