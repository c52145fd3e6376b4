"""A program as HiGHS takes it, one pair of matrices and the limits of its variables; and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvxlpgd.program import ConeProgram, Point, Structure
from cvxlpgd.solvers.run.each import Answer, of_sample, stack
from cvxlpgd.solvers.translate.bounds import Bounds


def highs_model(structure: Structure, bounds: Bounds, P: np.ndarray, A: np.ndarray) -> Any:
    """A HiGHS model of one pair of matrices, values (entries,); its vectors are to be changed."""
    import highspy

    model = highspy.HighsModel()
    lp, matrix = model.lp_, bounds.pattern.matrix(A[bounds.entries])
    lp.num_col_, lp.num_row_ = structure.n, len(bounds.rows)
    lp.col_cost_ = np.zeros(structure.n)
    lp.col_lower_, lp.col_upper_ = np.zeros(structure.n), np.zeros(structure.n)
    lp.row_lower_ = lp.row_upper_ = np.zeros(len(bounds.rows))
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
    lp.a_matrix_.value_ = matrix.data
    if structure.mixed_integer:
        kinds = [highspy.HighsVarType.kContinuous] * structure.n
        for j in (*structure.integer, *structure.boolean):
            kinds[j] = highspy.HighsVarType.kInteger
        lp.integrality_ = kinds
    if structure.P.size:
        lower = np.flatnonzero(structure.P.rows >= structure.P.cols)
        counts = np.bincount(structure.P.cols[lower], minlength=structure.n)
        hessian = model.hessian_
        hessian.dim_ = structure.n
        hessian.format_ = highspy.HessianFormat.kTriangular
        hessian.start_ = np.concatenate([[0], np.cumsum(counts)])
        hessian.index_, hessian.value_ = structure.P.rows[lower], P[lower]
    return model


class Form:
    """A batch's vectors, as they are, and points of HiGHS' answers (x, duals of rows, columns)."""

    def __init__(self, program: ConeProgram, bounds: Bounds) -> None:
        self.q, self.b, self.bounds = program.data.q, program.data.b, bounds

    def vectors(self, i: int, setup: Any) -> tuple[np.ndarray, ...]:
        """(q, b) of the i-th sample."""
        return of_sample(self.q, i), of_sample(self.b, i)

    def point(self, answers: Sequence[Answer]) -> Point:
        """The points (batch, ...), without slack; an integer program's duals are 0."""
        bounds, sizes = self.bounds, (self.bounds.n, len(self.bounds.rows), self.bounds.n)
        vectors = zip(*((answer.x, answer.y, answer.s) for answer in answers), strict=True)
        x, rows, columns = (stack(v, size) for v, size in zip(vectors, sizes, strict=True))
        if all(answer.y is None for answer in answers):
            rows[:], columns[:] = 0.0, 0.0
        y = bounds.duals(-rows, np.maximum(columns, 0.0), np.maximum(-columns, 0.0))
        return Point(x, y, np.zeros_like(y))


def limits(
    structure: Structure, bounds: Bounds, b: np.ndarray, slack: float
) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) of the variables (n,) at b (m,); those of boolean ones are 0 and 1.

    Bounds of integers are whole: HiGHS' presolve loses optimal points to fractional ones. By
    `slack` a bound may miss the next whole number.
    """
    (lower, upper), boolean = bounds.limits(b), structure.boolean
    integer = np.concatenate([structure.integer, boolean])
    lower[integer] = np.ceil(lower[integer] - slack)
    upper[integer] = np.floor(upper[integer] + slack)
    lower[boolean] = np.maximum(lower[boolean], 0.0)
    upper[boolean] = np.minimum(upper[boolean], 1.0)
    return lower, upper
