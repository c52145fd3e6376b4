"""Are the references right? Formulas beside CVXPY's own solutions and beside differences."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from campaigns.gradients.case import Case, drawn
from campaigns.gradients.reference import Arrays, Reference, reference, solved

POINT, GRADIENT = 1e-6, 1e-4  # differences of double precision; wrong is 1e-2
STEPS = 10.0 ** np.arange(-1, -7.1, -0.75)
TIGHT = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-13)
REFINED = {
    "iterative_refinement_reltol": 1e-15,
    "iterative_refinement_abstol": 1e-15,
    "iterative_refinement_max_iter": 50,
    "static_regularization_constant": 1e-12,
}
SOLVERS: list[tuple[str, dict[str, Any]]] = [
    ("CLARABEL", TIGHT | REFINED),
    ("CLARABEL", TIGHT | {"max_step_fraction": 0.9}),
    ("CLARABEL", {}),
    ("DAQP", {}),
    ("PIQP", dict.fromkeys(("eps_abs", "eps_rel"), 1e-12)),
    ("ECOS", dict.fromkeys(("abstol", "reltol", "feastol"), 1e-12)),
    ("SCS", {"eps": 1e-11, "max_iters": 100_000}),
]


@dataclass(frozen=True)
class Check:
    """A case's worst errors: of the point beside CVXPY's, of the gradient beside differences."""

    family: str
    seed: int
    draw: int
    point: float
    gradient: float

    @property
    def ok(self) -> bool:
        """Both below their tolerances."""
        return self.point <= POINT and self.gradient <= GRADIENT


def checked(name: str, seed: int, draw: int) -> Check:
    """The check of one case."""
    case = drawn(name, seed, draw)
    known = reference(case, np.random.default_rng([seed, draw]))
    gradient = max(beside_differences(case, known, i) for i in range(len(case.samples)))
    return Check(name, seed, draw, beside_cvxpy(case, known), gradient)


def beside_cvxpy(case: Case, known: Reference) -> float:
    """The formula's largest error beside CVXPY's own solution, relative, output by output.

    Solvers are asked one after the other until one confirms the formula; no solver is accurate on
    all scales.
    """
    return max(
        _confirmed(case, sample, outputs)
        for sample, outputs in zip(case.samples, known.outputs, strict=True)
    )


def _confirmed(case: Case, sample: Sequence[np.ndarray | float], outputs: Arrays) -> float:
    for parameter, value in zip(case.parameters, sample, strict=True):
        parameter.value = value
    least = float("inf")
    for solver, options in SOLVERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case.problem.solve(solver, gp=case.gp, **options)
        except cp.SolverError:
            continue
        if all(variable.value is not None for variable in case.outputs):
            least = min(least, _apart(case, outputs))
        if least <= POINT:
            break
    return least


def _apart(case: Case, outputs: Arrays) -> float:
    largest = max(float(np.max(np.abs(v), initial=0.0)) for v in outputs)
    return max(
        float(np.max(np.abs(variable.value - v)) / (np.max(np.abs(v)) or largest))
        for variable, v in zip(case.outputs, outputs, strict=True)
    )


def beside_differences(case: Case, known: Reference, i: int) -> float:
    """The largest error of a sample's gradient beside differences of its formula.

    Entry by entry (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h at many h: the least h that agrees with
    both of its neighbours to 1e-7, as long ones may span a kink; or else the h that agrees best.
    """
    worst = 0.0
    pairs = zip(known.cotangents[i], known.outputs[i], strict=True)
    noise = 1e-15 * sum(float(np.sum(np.abs(bar * v))) for bar, v in pairs)
    for k, value in enumerate(case.samples[i]):
        flat = np.asarray(value, dtype=float).ravel()
        if k in case.unjudged:
            continue
        for j in range(flat.size):
            unit = abs(flat[j]) or np.max(np.abs(flat)) or 1.0
            slopes = np.array([_slope(case, known, i, k, j, step * unit) for step in STEPS])
            gaps = np.abs(np.diff(slopes))
            gaps = np.fmax(np.maximum(gaps[1:], gaps[:-1]), noise / (STEPS[1:-1] * unit))
            gaps = np.where(np.isnan(gaps + slopes[1:-1]), np.inf, gaps) / known.sizes[i][k]
            agreed = np.flatnonzero(gaps < 1e-7)
            best = 1 + int(agreed[-1] if len(agreed) else np.argmin(gaps))
            error = abs(slopes[best] - known.gradients[i][k].ravel()[j])
            worst = max(worst, error / known.sizes[i][k] if np.isfinite(error) else np.inf)
    return worst


def _slope(case: Case, known: Reference, i: int, k: int, j: int, h: float) -> float:
    total = 0.0
    for places, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
        theta = [torch.tensor(v, dtype=torch.float64) for v in case.samples[i]]
        theta[k].view(-1)[j] += places * h
        try:
            outputs = solved(case, theta)
        except (RuntimeError, ValueError):
            return float("nan")
        pairs = zip(known.cotangents[i], outputs, known.outputs[i], strict=True)
        total += weight * sum(float(np.sum(bar * (v.numpy() - at))) for bar, v, at in pairs)
    return total / (12 * h)
