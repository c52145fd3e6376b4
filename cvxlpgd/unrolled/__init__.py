"""Unrolled schemes for nonlinear inverse problems, with a proximal step declared in CVXPY."""

from cvxlpgd.unrolled.equilibrium import Equilibrium
from cvxlpgd.unrolled.gradient import UnrolledGradient
from cvxlpgd.unrolled.momentum import MovingAverage, RecurrentMomentum
from cvxlpgd.unrolled.networks import convolutions
from cvxlpgd.unrolled.operators import step_size
from cvxlpgd.unrolled.primal_dual import UnrolledPrimalDual
from cvxlpgd.unrolled.prox import Prox

__all__ = [
    "Equilibrium",
    "MovingAverage",
    "Prox",
    "RecurrentMomentum",
    "UnrolledGradient",
    "UnrolledPrimalDual",
    "convolutions",
    "step_size",
]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
