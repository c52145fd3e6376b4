"""Layers for torch: modules with backward, forward mode and vmap."""

from cvxlpgd.torch.cone_layer import ConeLayer
from cvxlpgd.torch.layer import CvxpyLayer

__all__ = ["ConeLayer", "CvxpyLayer"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
