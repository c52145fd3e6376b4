"""A cone program written as a CVXPY problem, and the dual values read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.cones.psd import triangle
from cvxlpgd.program import Structure
from cvxlpgd.program.rows import unknown_cone
from cvxlpgd.solvers.run.each import Sample

Reader = Callable[[], np.ndarray]


class SampleProblem:
    """One sample as a CVXPY problem, with q and b as parameters.

    Where `pinned`, it has an equality row in any case: 0'x = 0 if no other.
    """

    def __init__(self, structure: Structure, w: Sample, pinned: bool) -> None:
        n, m = structure.n, structure.m
        self.q, self.b = cp.Parameter(n), cp.Parameter(m)
        self.x = cp.Variable(
            n,
            boolean=(structure.boolean,) if len(structure.boolean) else False,
            integer=(structure.integer,) if len(structure.integer) else False,
        )
        objective = self.q @ self.x
        if w.P.count_nonzero():
            objective += cp.quad_form(self.x, w.P, assume_PSD=True) / 2
        constraints: list[Any] = []
        if pinned and not any(isinstance(cone, Zero) for cone in structure.cones):
            constraints.append(sp.csr_array((1, n)) @ self.x == 0)
        self.readers: list[Reader] = []
        rows_of_A = sp.csr_array(w.A)
        for cone, rows in structure.split():
            count = (rows.stop - rows.start) // cone.rows
            block, reader = _constraints(cone, count, rows_of_A[rows] @ self.x, self.b[rows])
            constraints += block
            self.readers.append(reader)
        self.cvxpy_problem = cp.Problem(cp.Minimize(objective), constraints)

    def y(self) -> np.ndarray:
        """The dual values, row by row."""
        return np.concatenate([np.zeros(0), *(reader() for reader in self.readers)])


def _constraints(cone: Cone, count: int, Ax: Any, b: Any) -> tuple[list[Any], Reader]:
    """The constraints b - Ax in a run of equal cones, and how to read their duals."""
    if isinstance(cone, Zero):
        zero = Ax == b
        return [zero], lambda: np.ravel(zero.dual_value)
    if isinstance(cone, NonNeg) or cone in (SOC(1), PSD(1)):
        nonneg = Ax <= b
        return [nonneg], lambda: np.ravel(nonneg.dual_value)
    s = cp.reshape(b - Ax, (cone.rows, count), order="F")  # one cone in each column
    if isinstance(cone, PSD):
        return _semidefinite(cone, count, s)
    if isinstance(cone, SOC):
        constraint = cp.SOC(s[0], s[1:])
    elif isinstance(cone, Exp):
        constraint = cp.ExpCone(s[0], s[1], s[2])
    elif isinstance(cone, Pow):
        constraint = cp.PowCone3D(s[0], s[1], s[2], np.full(count, cone.alpha))
    else:
        raise unknown_cone(cone, "CVXPY")
    parts = constraint.dual_variables
    return [constraint], lambda: np.vstack([v.value for v in parts]).ravel(order="F")


def _semidefinite(cone: PSD, count: int, s: Any) -> tuple[list[Any], Reader]:
    order = cone.order
    i, j = triangle(order)
    scale = np.where(i == j, 1.0, np.sqrt(0.5))
    entries = np.tile(np.arange(cone.rows), 2)
    places = np.concatenate([i + order * j, j + order * i])
    # both copies of an off-diagonal entry; a diagonal one is met twice and halved
    weights = np.tile(np.where(i == j, 0.5, scale), 2)
    unfold = sp.csr_array((weights, (places, entries)), shape=(order * order, cone.rows))
    blocks = [cp.reshape(unfold @ s[:, k], (order, order), order="F") >> 0 for k in range(count)]
    return blocks, lambda: np.concatenate([c.dual_value[i, j] / scale for c in blocks])
