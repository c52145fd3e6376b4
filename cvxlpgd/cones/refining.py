"""What Newton's method asks of a cone: the pair nearest to one that has moved, and its stiffness.

Any cone's follow from its projection and its linearization; some know a shorter way.
"""

from __future__ import annotations

import numpy as np

from cvxlpgd.cones.exp import Exp
from cvxlpgd.cones.protocol import Cone
from cvxlpgd.cones.soc import SOC


def nearest_pair(cone: Cone, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Π_K*(v) and Π_K(-v), whose difference is v = y - s: arrays (..., rows).

    An exponential cone's is read from coordinates that are complementary by themselves.
    """
    if isinstance(cone, Exp):
        return cone.pair(y, s)
    v = y - s
    kept = cone.project(-v)
    return v + kept, kept


def stiffness(cone: Cone, y: np.ndarray, s: np.ndarray, e: np.ndarray) -> np.ndarray:
    """M = B'(C + e)⁻¹B at pairs (..., rows), for e (...): y_dot = -M s_dot, nearly."""
    if isinstance(cone, SOC):
        return cone.stiffness(y, s, e)
    _, _, B, compliance = cone.linearize(y, s)
    scaled = B / (compliance + e[..., None])[..., :, None]
    return np.asarray(B.swapaxes(-1, -2) @ scaled)
