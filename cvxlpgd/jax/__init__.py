"""Layers for JAX: functions under jit, vmap, grad and the other transformations."""

from cvxlpgd.jax.cone_layer import ConeLayer
from cvxlpgd.jax.layer import CvxpyLayer

__all__ = ["ConeLayer", "CvxpyLayer"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
