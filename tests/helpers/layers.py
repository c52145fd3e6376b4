"""Torch layers of zoo rows, with their inputs and a loss."""

from __future__ import annotations

import numpy as np
import torch

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.solvers import SCS
from cvxlpgd.torch import CvxpyLayer
from tests import zoo
from tests.helpers.at import INTERIOR

FIRST_ORDER = SCS(eps=1e-11, max_iters=100_000)


def layer_of(name: str, **options) -> CvxpyLayer:
    """A new layer of a row."""
    row = zoo.row_named(name)
    problem, parameters, variables = row.build()
    options = {"gp": row.gp, "canon_backend": row.backend} | options
    return CvxpyLayer(problem, parameters, variables, **options)


def tight(name: str):
    """The solver that solves a row most accurately."""
    cones = zoo.canonical(zoo.row_named(name)).structure.cones
    return INTERIOR if all(isinstance(cone, Zero | NonNeg) for cone in cones) else FIRST_ORDER


def tensors(name: str, *axes: int, grad: bool = False) -> list[torch.Tensor]:
    """The row's values with these batch axes, at most 4 samples; doubles."""
    values = zoo.row_named(name).inputs(int(np.prod(axes)))
    return [torch.tensor(v.reshape((*axes, *v.shape[1:])), requires_grad=grad) for v in values]


def copies(values, grad: bool = True) -> list[torch.Tensor]:
    """New leaves of the same values."""
    return [v.detach().clone().requires_grad_(grad) for v in values]


def loss(outputs) -> torch.Tensor:
    """A sum over all entries of all outputs, so that samples do not mix."""
    return sum(torch.sin(output + 1.0 + k).sum() for k, output in enumerate(outputs))


def gradients(layer, values) -> list[torch.Tensor]:
    """Each value's gradient of the loss."""
    leaves = copies(values)
    loss(layer(*leaves)).backward()
    return [leaf.grad for leaf in leaves]


def same(left, right) -> bool:
    """Whether two lists of tensors are equal bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
