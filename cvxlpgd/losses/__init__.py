"""Losses for predictions that a program decides by, and layers with noise in their costs.

They take layers of torch and of NumPy, and any solver.
"""

from cvxlpgd.losses.differences import FenchelYoung, SPOPlus, StructuredHinge, StructuredPerceptron

__all__ = ["FenchelYoung", "SPOPlus", "StructuredHinge", "StructuredPerceptron"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
