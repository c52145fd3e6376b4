"""Moreau, whose compiled solvers are kept between calls."""

from cvxlpgd.solvers.moreau.solver import Moreau

__all__ = ["Moreau"]
