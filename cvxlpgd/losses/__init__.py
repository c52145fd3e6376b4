"""Losses for predictions that a program decides by, and layers with noise in their costs.

They take layers of torch and of NumPy, and any solver.
"""

from cvxlpgd.losses.cone_aligned import ConeAligned
from cvxlpgd.losses.contrastive import ContrastiveMAP, NoiseContrastive
from cvxlpgd.losses.differences import FenchelYoung, SPOPlus, StructuredHinge, StructuredPerceptron
from cvxlpgd.losses.identity import NegativeIdentity
from cvxlpgd.losses.likelihood import AdaptiveImplicitMLE, ImplicitMLE
from cvxlpgd.losses.perturbed import Perturbed
from cvxlpgd.losses.pool import SolutionPool
from cvxlpgd.losses.ranking import ListwiseRanking, PairwiseRanking, PointwiseRanking
from cvxlpgd.losses.regularized import Regularized
from cvxlpgd.values.noise import Gumbel, Noise, Normal, SumOfGamma

__all__ = [
    "AdaptiveImplicitMLE",
    "ConeAligned",
    "ContrastiveMAP",
    "FenchelYoung",
    "Gumbel",
    "ImplicitMLE",
    "ListwiseRanking",
    "NegativeIdentity",
    "Noise",
    "NoiseContrastive",
    "Normal",
    "PairwiseRanking",
    "Perturbed",
    "PointwiseRanking",
    "Regularized",
    "SPOPlus",
    "SolutionPool",
    "StructuredHinge",
    "StructuredPerceptron",
    "SumOfGamma",
]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
