"""Layers for torch: modules with backward, forward mode and vmap."""

from cvxlpgd.torch.layer import CvxpyLayer

__all__ = ["CvxpyLayer"]
