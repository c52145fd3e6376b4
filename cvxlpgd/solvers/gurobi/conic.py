"""A model's second-order cones: their variables, equations and quadratic constraints."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program import Structure
from cvxlpgd.solvers.gurobi.cones import Form, Pins, cones_of, form_of, multipliers, pinned
from cvxlpgd.solvers.translate.bounds import Bounds

Square = tuple[
    Any, np.ndarray | None, Any, float
]  # (Q, l, variables, right) of v'Qv + l'v <= right


class Conic:
    """The cones of one pair of matrices in a model; remembers its newest b's constraints.

    With pin=False no column is put at its bound: where a cost would have it elsewhere.
    """

    def __init__(
        self, structure: Structure, bounds: Bounds, A: np.ndarray, pin: bool = True
    ) -> None:
        matrix, cones = structure.A.matrix(A), cones_of(structure)
        self.pins = pinned(structure, bounds, matrix) if pin else Pins.none()
        self.first = cones[0].start  # row: the linear ones come before
        self.moved = sp.csr_matrix(matrix[self.first :, self.pins.columns])
        left = np.ones(structure.n)
        left[self.pins.columns] = 0.0
        rest = sp.csr_matrix(matrix @ sp.diags_array(left))
        rest.eliminate_zeros()
        self.forms = [form_of(rows, sp.csr_matrix(rest[rows])) for rows in cones]
        self.places = list(pairwise(np.cumsum([0, *(form.own for form in self.forms)]).tolist()))
        self.disks_only = all(form.square is not None for form in self.forms)
        self.constraints: list[Any] = []
        self.squares: list[Square | None] = []

    def put_in(self, model: Any, x: Any) -> None:
        """The variables and the equations; x are the model's first variables."""
        self.model, self.x, own = model, x, self.places[-1][1]
        lower = np.full(own, -np.inf)
        for form, (begin, _) in zip(self.forms, self.places, strict=True):
            if form.own and form.kind != "disk":
                lower[begin] = 0.0
        self.v = model.addMVar(own, lb=lower)
        blocks = sp.vstack([form.matrix for form in self.forms]).tocsr()
        both = sp.hstack([blocks, sp.identity(own)]).tocsr()
        self.equations = model.addMConstr(both, _joined(x, self.v), "=", np.zeros(own))

    def set_b(self, b: np.ndarray) -> str:
        """Put b (m,) into the model; what makes the cones empty, nothing if they are not."""
        self.b = b[self.first :] - self.moved @ self.pins.values(b)
        parts = [self._of(form) for form in self.forms]
        squares = [self._square(*each) for each in zip(self.forms, self.places, parts, strict=True)]
        right = [form.mix @ part for form, part in zip(self.forms, parts, strict=True)]
        if self.places[-1][1]:
            self.equations.setAttr("RHS", np.concatenate(right))
        if not self._only_right(squares):
            self.model.remove([c for c in self.constraints if c is not None])
            self.constraints = [None if square is None else self._add(square) for square in squares]
        self.squares = squares
        for form, part, square in zip(self.forms, parts, squares, strict=True):
            constant = form.square is not None and square is None
            if form.kind == "disk" and (
                part[0] < 0 or (constant and part[0] < np.linalg.norm(part[1:]))
            ):
                return f"the second-order cone of row {form.rows.start} is empty"
            if form.kind == "rotated" and part[0] + part[1] < 0:
                return f"the second-order cone of row {form.rows.start} is empty"
        return ""

    def duals(self, x: np.ndarray) -> np.ndarray:
        """The y of the cones' rows at the model's solution."""
        of_rows = -self.equations.getAttr("Pi") if self.places[-1][1] else np.zeros(0)
        y = []
        for form, (begin, end), constraint in zip(
            self.forms, self.places, self.constraints, strict=True
        ):
            of_square = 0.0 if constraint is None else -float(constraint.getAttr("QCPi"))
            y.append(multipliers(form, x, self._of(form), of_rows[begin:end], of_square))
        return np.concatenate(y)

    def _of(self, form: Form) -> np.ndarray:
        """The cone's b, less what pinned columns take of it."""
        return self.b[form.rows.start - self.first : form.rows.stop - self.first]

    def _square(self, form: Form, place: tuple[int, int], b: np.ndarray) -> Square | None:
        """The quadratic constraint of a cone, None where it needs none."""
        if form.kind == "disk":
            radius, offset = b[0], float(np.linalg.norm(b[1:]))
            if form.square is None:
                v = self.v[place[0] : place[1]]
                return sp.identity(form.own, format="csc"), None, v, radius * radius
            chosen = np.flatnonzero(np.diff(form.square.indptr))
            if not len(chosen):
                return None
            linear = (-2.0 * (form.A[1:].T @ b[1:]))[chosen]
            right = (radius - offset) * (
                radius + offset
            )  # rounds less than a difference of squares
            Q = form.square[chosen][:, chosen]
            return Q, linear if linear.any() else None, self.x[chosen], right
        if form.own == 1:
            return None
        v, signs, linear = self.v[place[0] : place[1]], np.ones(form.own), np.zeros(form.own)
        signs[0] = 0.0 if form.kind == "rotated" else -1.0
        if form.kind == "rotated":
            linear[0] = -(b[0] + b[1])
        return sp.diags_array(signs, format="csc"), linear if linear.any() else None, v, 0.0

    def _only_right(self, squares: list[Square | None]) -> bool:
        """Whether the model's constraints have these squares but for the right-hand sides: set."""
        if len(self.squares) != len(squares):
            return False
        linear = (list(map(_linear, each)) for each in (self.squares, squares))
        if not all(np.array_equal(old, new) for old, new in zip(*linear, strict=True)):
            return False
        for constraint, square in zip(self.constraints, squares, strict=True):
            if square is not None:
                constraint.setAttr("QCRHS", square[3])
        return True

    def _add(self, square: Square) -> Any:
        Q, linear, v, right = square
        return self.model.addMQConstr(
            Q, linear, "<", right, v, v, v if linear is not None else None
        )


def _linear(square: Square | None) -> np.ndarray:
    return np.zeros(0) if square is None or square[1] is None else square[1]


def _joined(x: Any, v: Any) -> Any:
    import gurobipy

    return gurobipy.MVar.fromlist(x.tolist() + v.tolist())
