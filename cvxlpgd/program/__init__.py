"""The nouns: a batch of cone programs, their data, their points; and their optimality system."""

from cvxlpgd.program.data import Data, Point, norm, outer
from cvxlpgd.program.programs import ConeProgram, Residuals
from cvxlpgd.program.structure import Structure

__all__ = ["ConeProgram", "Data", "Point", "Residuals", "Structure", "norm", "outer"]
