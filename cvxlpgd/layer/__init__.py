"""A compiled CVXPY problem with a solver and a derivative, free of any framework."""

from cvxlpgd.layer.layer import Layer

__all__ = ["Layer"]
