"""All families, entered by importing their files."""

from campaigns.gradients import (
    families_cones,
    families_control,
    families_exponential,
    families_linear,
    families_power,
    families_quadratic,
    families_semidefinite,
    families_smooth,
    families_sparse,
)
from campaigns.gradients.case import FAMILIES, KINKS

FILES = (
    families_linear,
    families_quadratic,
    families_sparse,
    families_control,
    families_cones,
    families_semidefinite,
    families_exponential,
    families_smooth,
    families_power,
)

__all__ = ["FAMILIES", "FILES", "KINKS"]
