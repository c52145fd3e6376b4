"""Layers for NumPy arrays."""

from cvxlpgd.numpy.cone_layer import ConeLayer
from cvxlpgd.numpy.layer import CvxpyLayer

__all__ = ["ConeLayer", "CvxpyLayer"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
