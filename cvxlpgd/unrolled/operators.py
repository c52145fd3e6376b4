"""A forward operator F, given as a function of torch tensors: its values, J'u, and a step size.

    F: x (batch, n) -> (batch, m), each row of its own; J(x) is F's Jacobian at x

J is never made or written by hand: J'u is the exact vjp of F.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cvxlpgd.errors import InvalidInput

Tensor = torch.Tensor
Operator = Callable[[Tensor], Tensor]


def apply_operator(operator: Operator, x: Tensor, m: int | None) -> Tensor:
    """F(x), (batch, m); any m for None.

    Raises
    ------
    InvalidInput
        For anything else that the operator returns.
    """
    data = operator(x)
    if not isinstance(data, Tensor):
        raise InvalidInput(f"the operator must return a tensor, not {type(data).__name__}")
    if data.ndim != 2 or len(data) != len(x) or m not in (None, data.shape[1]):
        raise InvalidInput(
            f"the operator must map x {tuple(x.shape)} to data ({len(x)}, "
            f"{'m' if m is None else m}), batch first; it returned {tuple(data.shape)}"
        )
    return data


def data_gradient(operator: Operator, x: Tensor, y: Tensor, differentiable: bool) -> Tensor:
    """J(x)'(F(x) - y), (batch, n): the gradient of ½|F(x) - y|².

    It is a constant for autograd unless it is to be `differentiable`.
    """
    through = differentiable and torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        at, data = _evaluate(operator, x, y.shape[1], through)
        residual = data - _usable(y)
        return _pull_back(data, at, residual if through else residual.detach(), through)


def adjoint(operator: Operator, x: Tensor, h: Tensor, differentiable: bool) -> Tensor:
    """J(x)'h, (batch, n), differentiable in h; in x, too, if it is to be `differentiable`."""
    tracked = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        at, data = _evaluate(operator, x, h.shape[1], differentiable and tracked)
        return _pull_back(data, at, _usable(h), tracked)


def step_size(operator: Operator, x: Tensor) -> float:
    """1 / |J(x)|², the largest spectral norm over the batch: a step at which descent is stable.

    Gradient descent on ½|F(x) - y|² with a linear F converges for steps below twice that.

    Parameters
    ----------
    operator : x (batch, n) -> (batch, m)
    x : tensor (batch, n)
        Typical points, such as starts.

    Raises
    ------
    InvalidInput
        For an operator of other shapes, or one whose derivative is 0 or not finite at all of them.
    """
    jacobians = jacobian(operator, x)
    if not jacobians.isfinite().all():
        raise InvalidInput("the operator's derivative is not finite at these points")
    largest = float(torch.linalg.matrix_norm(jacobians, 2).max()) if len(x) else 0.0
    if largest == 0:
        raise InvalidInput("the operator's derivative is 0 at all of these points")
    return 1.0 / largest**2


def jacobian(operator: Operator, x: Tensor) -> Tensor:
    """J at each sample, (batch, m, n), by m vjps."""
    with torch.enable_grad():
        at, data = _evaluate(operator, x, None)
        rows = [torch.autograd.grad(d.sum(), at, retain_graph=True)[0] for d in data.T]
    return torch.stack(rows, dim=1)


def _evaluate(
    operator: Operator, x: Tensor, m: int | None, through: bool = False
) -> tuple[Tensor, Tensor]:
    """A point to differentiate F at, x itself if `through`; and F there."""
    at = x if through and x.requires_grad else _usable(x.detach()).requires_grad_()
    data = apply_operator(operator, at, m)
    if not data.requires_grad:
        raise InvalidInput(
            "the operator's output does not depend on x by operations that torch differentiates"
        )
    return at, data


def _usable(tensor: Tensor) -> Tensor:
    """The tensor, copied where it was made in inference mode, which autograd refuses."""
    return tensor.clone() if tensor.is_inference() else tensor


def _pull_back(data: Tensor, at: Tensor, cotangent: Tensor, create_graph: bool) -> Tensor:
    (pulled,) = torch.autograd.grad(data, at, cotangent, create_graph=create_graph)
    return pulled
