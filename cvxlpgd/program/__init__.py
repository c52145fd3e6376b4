"""The nouns: a batch of cone programs, their data, their points; and their optimality system."""

from cvxlpgd.program.data import (
    ConeProgram,
    Data,
    Point,
    Residuals,
    Structure,
    norm,
    outer,
)

__all__ = ["ConeProgram", "Data", "Point", "Residuals", "Structure", "norm", "outer"]
