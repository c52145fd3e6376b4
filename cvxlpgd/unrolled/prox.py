"""The proximal operator of a CVXPY expression, as a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import nn

from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem
from cvxlpgd.program import Solution
from cvxlpgd.torch import CvxpyLayer
from cvxlpgd.unrolled.closed import L1, Box, Simplex, beside

Tensor = torch.Tensor


class Prox(nn.Module):
    """The proximal operator of a convex CVXPY expression g, with learned or given weights.

        prox(v, step, *weights) = argmin_x  step g(x; weights) + ½|x - v|²

    It is solved, and differentiated in v, step and weights, as the DPP problem

        minimize  g(x; weights) + (r/2)|x|² - w'x,     r = 1/step,  w = v/step

    A parameter that CVXPY knows to be positive (`pos` or `nonneg`) is the exponential of what is
    trained, so that it stays so. In a scheme each iteration's solve may begin at the solution of
    the previous one.

    Parameters
    ----------
    expression : cp.Expression or float
        g, a convex scalar; 0 for the constraints alone. It may have variables besides x, which
        it is minimized over.
    variable : cp.Variable
        x, of any shape.
    parameters : list of cp.Parameter, or dict from them to starts
        In a list they are weights of the call, each with the batch's axes or none. In a dict each
        is trained from its start, a number or an array; those with None are of the call.
    constraints : list of cp.Constraint
        x lies within these.
    warm_start : bool
        Whether a scheme starts each solve from the one before. Solvers that gain from it are few.
    options : what CvxpyLayer takes
        solver, derivative, solver_args, on_failure, ...

    Raises
    ------
    InvalidProblem
        For an expression that is not convex, not DPP or not a scalar.
    InvalidOption, SolverNotInstalled, UnsuitableSolver
    """

    box, l1, simplex = Box, L1, Simplex  # closed forms, called alike

    __module__ = "cvxlpgd.unrolled"

    def __init__(
        self,
        expression: cp.Expression | float,
        variable: cp.Variable,
        parameters: Sequence[cp.Parameter] | Mapping[cp.Parameter, Any] = (),
        *,
        constraints: Sequence[cp.Constraint] = (),
        warm_start: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        g = _convex(expression, variable)
        starts = parameters if isinstance(parameters, Mapping) else dict.fromkeys(parameters)
        r, w = cp.Parameter(nonneg=True, name="1/step"), cp.Parameter(variable.shape, name="v/step")
        distance = r * cp.sum_squares(variable) / 2 - cp.sum(cp.multiply(w, variable))
        problem = cp.Problem(cp.Minimize(g + distance), list(constraints))
        self.layer = CvxpyLayer(problem, [r, w, *starts], [variable], **options)
        self.shape = torch.Size(variable.shape)
        self.warm_start = warm_start
        self.signs = [_sign(parameter) for parameter in starts]
        self.trained = nn.ParameterList()
        self.is_trained = [start is not None for start in starts.values()]
        for parameter, start in starts.items():
            if start is not None:
                self.trained.append(nn.Parameter(_trained(parameter, start)))

    def forward(self, v: Tensor, step: Any = 1.0, *weights: Any) -> Tensor:
        """The minimizers, of the shape of v.

        Parameters
        ----------
        v : tensor (*batch axes, *shape of the variable)
        step : float or tensor
            > 0; one for all or, (*batch axes), one for each sample.
        weights : tensors (*batch axes, *shape of the parameter)
            Those parameters that are not trained.

        Raises
        ------
        InvalidInput, SolveFailed
        """
        return self.from_solution(None, v, step, *weights)[0]

    def from_solution(
        self, start: Solution | None, v: Tensor, step: Any, *weights: Any
    ) -> tuple[Tensor, Solution | None]:
        """The same, begun at an earlier solution; and this one, if solves are to start warm."""
        step = torch.as_tensor(step, dtype=v.dtype, device=v.device)
        if not bool((step > 0).all()):
            raise InvalidInput("step must be > 0, for every sample")
        inverse = 1 / step
        values = self._values(weights)
        warm = False if start is None else start  # never True: that is this thread's last call
        outputs = self.layer(inverse, beside(inverse, v) * v, *values, warm_start=warm)
        return outputs[0], self.layer.info.solution if self.warm_start else None

    @property
    def weights(self) -> list[Tensor]:
        """The trained weights, as the expression has them."""
        signs = [s for s, own in zip(self.signs, self.is_trained, strict=True) if own]
        pairs = zip(self.trained, signs, strict=True)
        return [sign * raw.exp() if sign else raw for raw, sign in pairs]

    def _values(self, weights: Sequence[Any]) -> list[Any]:
        """All weights, in the order of the parameters."""
        if len(weights) != self.is_trained.count(False):
            raise InvalidInput(
                f"received {len(weights)} weights, expected {self.is_trained.count(False)}: those "
                "that are not trained"
            )
        own, given = iter(self.weights), iter(weights)
        return [next(own if trained else given) for trained in self.is_trained]


def _convex(expression: Any, variable: Any) -> cp.Expression:
    """The expression, if it has a proximal operator."""
    if not isinstance(variable, cp.Variable):
        raise InvalidProblem(f"variable must be a cp.Variable, not {variable!r}")
    try:
        g = cp.Constant(expression) if np.isscalar(expression) else expression
        scalar = isinstance(g, cp.Expression) and g.is_scalar()
    except (TypeError, ValueError):
        scalar = False
    if not scalar:
        raise InvalidProblem(f"expression must be a scalar CVXPY expression, not {expression!r}")
    if not g.is_convex():
        raise InvalidProblem(f"{g} is not convex by CVXPY's rules: it has no proximal operator")
    return g


def _sign(parameter: cp.Parameter) -> int:
    """1 or -1 for a parameter of that sign, 0 for one of any."""
    return int(parameter.is_nonneg()) - int(parameter.is_nonpos())


def _trained(parameter: cp.Parameter, start: Any) -> Tensor:
    """What is trained, when the parameter starts there."""
    has = {name for name, value in parameter.attributes.items() if value}
    if has - {"nonneg", "pos", "nonpos", "neg"}:
        raise InvalidOption(
            f"a parameter that is {', '.join(sorted(has))} is not trained here; make it of weights "
            "of your own and give it at the call"
        )
    value = np.broadcast_to(np.asarray(start, dtype=float), parameter.shape)
    sign = _sign(parameter)
    if not np.isfinite(value).all() or (sign and not (sign * value > 0).all()):
        wanted = {1: "positive", -1: "negative", 0: "finite"}[sign]
        raise InvalidOption(f"{parameter.name()} must start {wanted}, not at {start!r}")
    raw = np.log(sign * value) if sign else value
    return torch.tensor(raw, dtype=torch.get_default_dtype())
