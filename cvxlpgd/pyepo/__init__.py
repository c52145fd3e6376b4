"""PyEPO's models from layers, and CVXPY problems from PyEPO's models."""

from cvxlpgd.pyepo.layer_model import LayerModel
from cvxlpgd.pyepo.problem import problem_of

__all__ = ["LayerModel", "problem_of"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
