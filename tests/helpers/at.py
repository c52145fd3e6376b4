"""A row of the zoo at its tightly computed solution, ready to be differentiated."""

from __future__ import annotations

import numpy as np

from cvxlpgd import LPGD
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.layer import Call, Layer, compile_layer
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers import SCS, Clarabel
from tests.zoo.row import Row

# A row counts as solved at this relative KKT residual, by the first of the solvers that gets there.
SOLVED = 1e-9
INTERIOR = Clarabel(tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-11)
FIRST_ORDER = SCS(eps=1e-11, scale=0.1, max_iters=300_000)
LOOSER = SCS(eps=1e-10, scale=0.1, max_iters=300_000)


class At:
    """A layer of a row, one call of it, and random cotangents and tangents."""

    def __init__(self, row: Row, batch: int = 2, solver=None) -> None:
        self.row, self.values = row, row.inputs(batch)
        self.layer, self.call = self._solved(solver)
        rng = np.random.default_rng(1)
        self.bars = [rng.normal(size=value.shape) for value in self.call.outputs]
        self.dots = self.tangent(rng)

    def tangent(self, rng) -> list[np.ndarray]:
        """A random direction of the parameters, each in its own scale."""
        return [rng.normal(size=v.shape) * np.abs(v).max() for v in self.values]

    def vjp(self, derivative) -> list[np.ndarray]:
        """The parameters' gradients for `bars`."""
        return self._call(derivative).vjp(self.bars, [True] * len(self.values))

    def jvp(self, derivative, dots=None) -> list[np.ndarray]:
        """The variables' tangents for `dots`."""
        return self._call(derivative).jvp(self.dots if dots is None else dots)

    def slope(self, derivative, dots) -> float:
        """The loss' slope along a tangent of the parameters, in forward mode."""
        return dot(self.bars, self.jvp(derivative, dots))

    def step(self, size: float) -> np.ndarray:
        """tau for a perturbation of this relative size."""
        self.vjp(LPGD(tau=Relative(1e-3)))
        return self.call.record.tau * (size / 1e-3)

    def _call(self, derivative) -> Call:
        return self.call.with_derivative(derivative)

    def _solved(self, solver) -> tuple[Layer, Call]:
        worst = []
        for candidate in self._candidates() if solver is None else [solver]:
            layer = compile_layer(
                *self.row.build(),
                solver=candidate,
                gp=self.row.gp,
                canon_backend=self.row.backend,
            )
            call = layer.forward(self.values)
            worst.append(call.solution.residuals.largest.max())
            if worst[-1] <= SOLVED:
                return layer, call
        raise AssertionError(f"{self.row.name} is solved to {worst} only")

    def _candidates(self) -> list:
        from tests import zoo

        cones = zoo.canonical(self.row).structure.cones
        flat = all(isinstance(cone, Zero | NonNeg) for cone in cones)
        return [INTERIOR, FIRST_ORDER] if flat else [FIRST_ORDER, LOOSER, INTERIOR]


def dot(left, right) -> float:
    """<left, right> over lists of arrays."""
    return float(sum(np.sum(a * b) for a, b in zip(left, right, strict=True)))


def relative(found, expected) -> float:
    """|found - expected| / |expected| over lists of arrays."""
    found, expected = (np.concatenate([np.ravel(v) for v in g]) for g in (found, expected))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
