"""The cones that rows of a program can lie in, one file each, and their registry."""

from cvxlpgd.cones.distances import distance, dual_distance, is_weakly_active
from cvxlpgd.cones.exp import Exp
from cvxlpgd.cones.linearization import Linearization, by_projection, reach_by_size
from cvxlpgd.cones.nonneg import NonNeg
from cvxlpgd.cones.pow import Pow
from cvxlpgd.cones.protocol import Cone
from cvxlpgd.cones.psd import PSD
from cvxlpgd.cones.soc import SOC
from cvxlpgd.cones.zero import Zero

__all__ = [
    "PSD", "SOC", "Cone", "Exp", "Linearization", "NonNeg", "Pow", "Zero", "by_projection",
    "distance", "dual_distance", "is_weakly_active", "reach_by_size",
]  # fmt: skip
