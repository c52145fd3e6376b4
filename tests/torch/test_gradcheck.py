"""Gradcheck of torch, backward and forward mode, on the smooth rows of the zoo."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from cvxlpgd import LPGD
from cvxlpgd.solvers import SCS
from tests import zoo
from tests.helpers.layers import layer_of, tensors, tight

pytestmark = [
    # torch's own, when it first looks for decompositions
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    # a random direction may be one in which the solution does not move
    pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning"),
]


@pytest.mark.parametrize("row", zoo.SMOOTH, ids=lambda row: row.name)
def test_gradcheck_along_random_directions(row):
    # in logarithms SCS stalls short of 1e-11, so that the step is wider than its noise there
    solver, step = (SCS(eps=1e-10), 1e-4) if row.gp else (tight(row.name), 1e-6)
    layer = layer_of(row.name, solver=solver, derivative=LPGD(tau=1e-4))
    torch.manual_seed(0)
    values = tensors(row.name, grad=True)
    assert gradcheck(layer, values, eps=step, fast_mode=True, check_forward_ad=True, atol=1e-4)


@pytest.mark.parametrize("row", zoo.SMOOTH, ids=lambda row: row.name)
def test_the_default_derivative_passes_and_its_jacobians_agree(row):
    solver, step = (None, 1e-4) if row.gp else (None, 1e-6)
    layer = layer_of(row.name, solver=solver)
    torch.manual_seed(0)
    values = tensors(row.name, grad=True)
    if not row.vertex:  # a linear program's cost has a gradient that is not the derivative
        assert gradcheck(layer, values, eps=step, fast_mode=True, check_forward_ad=True, atol=1e-4)
        backward, forward = (
            transform(lambda *v: layer(*v), argnums=tuple(range(len(values))))(*values)
            for transform in (torch.func.jacrev, torch.func.jacfwd)
        )
        for ours, theirs in zip(backward, forward, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                size = float(one.detach().abs().max())
                assert torch.allclose(one, other, atol=1e-6 * size + 1e-12)
