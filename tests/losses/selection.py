"""Two of six: a problem whose solutions can be listed."""

import cvxpy as cp
import numpy as np
import torch

import cvxlpgd.numpy
import cvxlpgd.torch

N = 6
SUBSETS = np.array([[(k >> i) & 1 for i in range(N)] for k in range(2**N)], dtype=float)
SUBSETS = SUBSETS[SUBSETS.sum(axis=1) == 2]  # the vertices of the feasible set


def selection(quadratic=0.0, sense=cp.Minimize, integer=False):
    """Two of six; with a quadratic term the projection on their hull."""
    x, c = cp.Variable(N, boolean=integer), cp.Parameter(N)
    sign = 1 if sense is cp.Minimize else -1
    cost = c @ x + (sign * quadratic / 2 * cp.sum_squares(x) if quadratic else 0)
    return cp.Problem(sense(cost), [cp.sum(x) == 2, x >= 0, x <= 1]), [c], [x]


def layers(*made, **options):
    """The layers of torch and of NumPy."""
    return cvxlpgd.torch.CvxpyLayer(*made, **options), cvxlpgd.numpy.CvxpyLayer(*made, **options)


def by_both(make, made, *values):
    """(value, gradient in the first value) of a loss by torch, checked to be NumPy's too.

    `make` makes a loss of a layer.
    """
    in_torch, in_numpy = layers(*made)
    tensors = [torch.tensor(v) for v in values]
    tensors[0].requires_grad_()
    value = make(in_torch)(*tensors)
    value.sum().backward()
    other, pullback = make(in_numpy).vjp(*values)
    (gradient,) = pullback(np.ones(np.shape(other)))
    assert np.allclose(make(in_numpy)(*values), value.detach(), atol=1e-9)
    assert np.allclose(other, value.detach(), atol=1e-9)
    assert np.allclose(gradient, tensors[0].grad, atol=1e-9)
    return value.detach().numpy(), tensors[0].grad.numpy()
