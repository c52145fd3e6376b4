"""A small nonlinear operator, and schemes of every kind on it."""

from __future__ import annotations

import cvxpy as cp
import torch

from cvxlpgd.unrolled import (
    MovingAverage,
    Prox,
    RecurrentMomentum,
    UnrolledGradient,
    UnrolledPrimalDual,
)

N, M = 9, 6
_generator = torch.Generator().manual_seed(0)
MATRIX = torch.randn(M, N, generator=_generator, dtype=torch.float64) / 3

MOMENTA = {
    "none": None,
    "average": MovingAverage(),
    "recurrent": RecurrentMomentum(5, 2, learned_start=True),
}
KINDS = ("gradient", "primal_dual", "prox")


def operator(x):
    """F(x) = z + 0.1 z², z = Ax, of either precision."""
    z = x @ MATRIX.to(x).T
    return z + 0.1 * z**2


def data(batch=4, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, M, generator=generator, dtype=torch.float64).to(dtype)


def variation(**options):
    """The prox of a trained weight times total variation, which starts at 0.1."""
    x, weight = cp.Variable(N), cp.Parameter(nonneg=True, name="weight")
    return Prox(weight * cp.tv(x), x, {weight: 0.1}, **options)


def scheme(kind, momentum=None, seed=2, **options):
    """A scheme whose parameters are all moved a little, so that no gradient is 0."""
    torch.manual_seed(seed)
    step = {"step": 0.5, "momentum": momentum}
    if kind == "gradient":
        made = UnrolledGradient(operator, N, **{"iterations": 4, **step, **options})
    elif kind == "primal_dual":
        made = UnrolledPrimalDual(operator, N, M, **{"iterations": 3, **step, **options})
    else:
        made = UnrolledGradient(operator, N, variation(), **{"iterations": 3, **step, **options})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made.double()
