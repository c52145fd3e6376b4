"""How right an answer is: beside every time stands an error.

Solutions are compared with a tight solution, gradients with central differences of tight solutions
along random directions (smooth families), or with the same difference of linear programs computed
by HiGHS called through SciPy (linear families, where exact gradients are 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import linprog

from benchmarks.engines import Run, relative_tau
from benchmarks.families import Instance
from cvxlpgd.solvers import SCS
from cvxlpgd.torch import CvxpyLayer

DIRECTIONS = 3
STEP = 1e-5  # of central differences, relative to a parameter's largest entry
WRONG_SOLUTION, WRONG_GRADIENT = 1e-2, 1e-1  # from these on an answer is called wrong


@dataclass(frozen=True)
class Reference:
    """What the answers of one instance are compared with.

    Parameters
    ----------
    solution : array
    directions : list of lists of arrays
        Of all parameters, DIRECTIONS times.
    slopes : array
        The loss' derivatives along them; empty for integer families.
    gradient : array or None
        The difference of a linear program's solutions, by its cost.
    """

    solution: np.ndarray
    directions: list[list[np.ndarray]]
    slopes: np.ndarray
    gradient: np.ndarray | None

    def solution_error(self, run: Run) -> float:
        """Largest |x - x*|, relative to 1 + the largest |x*|."""
        size = 1.0 + float(np.abs(self.solution).max())
        return float(np.abs(run.solution - self.solution).max()) / size

    def gradient_error(self, run: Run) -> float:
        """Relative; NaN where there is nothing to compare with."""
        if self.gradient is not None:
            size = float(np.linalg.norm(self.gradient))
            return float(np.linalg.norm(run.gradients[0] - self.gradient)) / (size or 1.0)
        if not len(self.slopes):
            return float("nan")
        slopes = np.array(
            [
                sum(float((g * d).sum()) for g, d in zip(run.gradients, direction, strict=True))
                for direction in self.directions
            ]
        )
        return float(np.linalg.norm(slopes - self.slopes) / np.linalg.norm(self.slopes))


def reference(instance: Instance) -> Reference:
    """Solve an instance tightly, and differentiate it by differences."""
    layer = _tight(instance)
    solution = _solved(layer, instance.values).reshape(instance.cotangent.shape)
    if instance.family.kind == "linear":
        return Reference(solution, [], np.zeros(0), _by_linprog(instance, layer))
    if instance.family.kind == "integer":
        return Reference(solution, [], np.zeros(0), None)
    rng, directions, slopes = np.random.default_rng(2), [], []
    for _ in range(DIRECTIONS):
        direction = [_direction(instance, k, rng) for k in range(len(instance.values))]
        losses = []
        for sign in (STEP, -STEP):
            moved = [v + sign * d for v, d in zip(instance.values, direction, strict=True)]
            outputs = _solved(layer, moved).reshape(instance.cotangent.shape)
            losses.append(float((outputs * instance.cotangent).sum()))
        directions.append(direction)
        slopes.append((losses[0] - losses[1]) / (2 * STEP))
    return Reference(solution, directions, np.array(slopes), None)


def _direction(instance: Instance, k: int, rng: np.random.Generator) -> np.ndarray:
    """A random direction of one parameter, symmetric where that is, as large as its entries."""
    value = instance.values[k]
    direction = rng.standard_normal(value.shape) * np.abs(value).max()
    if instance.parameters[k].is_symmetric() and value.shape[-1:] == value.shape[-2:-1]:
        direction = (direction + direction.swapaxes(-1, -2)) / 2
    return direction


def _tight(instance: Instance) -> CvxpyLayer:
    """Exact solvers are tight by default; SCS is asked for 1e-12."""
    layer = CvxpyLayer(instance.problem, instance.parameters, instance.variables)
    if "SCS" in repr(layer):
        tight = SCS(eps=1e-12, max_iters=100_000)
        layer = CvxpyLayer(instance.problem, instance.parameters, instance.variables, tight)
    return layer


def _solved(layer: CvxpyLayer, values: list[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        solution = layer(*map(torch.tensor, values))[0].numpy()
    return np.asarray(solution)


def _by_linprog(instance: Instance, layer: CvxpyLayer) -> np.ndarray:
    """(x(c + tau g) - x(c - tau g)) / 2 tau for each sample, by scipy.optimize.linprog."""
    program = layer._layer.forward(instance.values).program
    A = program.structure.A.matrix(program.data.A[0])
    zeros = sum(c.rows for c in program.structure.cones if type(c).__name__ == "Zero")
    b, rows = program.data.b[0], sp.csr_matrix(A)
    constraints = {
        "A_eq": rows[:zeros] if zeros else None,
        "b_eq": b[:zeros] if zeros else None,
        "A_ub": rows[zeros:],
        "b_ub": b[zeros:],
        "bounds": (None, None),
        "method": "highs-ds",
    }
    tau, batch = relative_tau(instance), len(instance.cotangent)
    outputs = layer._layer._compiled.canonical.variables.outputs[0].matrix
    gradients = []
    for i in range(batch):
        q, bar = program.data.q[i], outputs.T @ instance.cotangent[i].ravel()
        ends = [linprog(q + sign * tau[i] * bar, **constraints).x for sign in (1.0, -1.0)]
        gradients.append(outputs @ (ends[0] - ends[1]) / (2 * tau[i]))
    return np.reshape(gradients, instance.values[0].shape)
