"""Layers for torch: modules with backward, forward mode and vmap."""

from cvxlpgd.torch.layer import CvxpyLayer

__all__ = ["CvxpyLayer"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
