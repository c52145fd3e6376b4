"""The nouns: a batch of cone programs, their data, their points and solutions; their products."""

from cvxlpgd.program.data import Data, Point, norm, outer
from cvxlpgd.program.pattern import Array, Pattern, product, products, transposed_product
from cvxlpgd.program.programs import ConeProgram, Residuals
from cvxlpgd.program.solution import USABLE, Solution, Status
from cvxlpgd.program.structure import Structure

__all__ = [
    "USABLE", "Array", "ConeProgram", "Data", "Pattern", "Point", "Residuals", "Solution", "Status",
    "Structure", "norm", "outer", "product", "products", "transposed_product",
]  # fmt: skip
