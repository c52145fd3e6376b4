"""A scheme iterated to its fixed point, and differentiated there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InaccurateGradientWarning, InaccurateSolutionWarning, InvalidOption
from cvxlpgd.unrolled.gradient import UnrolledGradient
from cvxlpgd.unrolled.inputs import check_count, check_data, initial

Tensor = torch.Tensor


class Equilibrium(nn.Module):
    """The fixed point of a scheme's iteration f, by as many iterations as it takes.

        x* = f(x*, y; weights)
        backward:  u = x_bar + (df/dx)'u,  weights_bar = (df/dweights)'u

    by the implicit function theorem: both equations are iterated, the second with vjps alone, and
    the memory needed is that of one iteration. It converges where f is a contraction, as proximal
    gradient descent on strongly convex problems is for steps that are small enough.

    Bai, Kolter, Koltun, "Deep equilibrium models", NeurIPS 2019; Gilton, Ongie, Willett, "Deep
    equilibrium architectures for inverse problems in imaging", 2021.

    Parameters
    ----------
    scheme : UnrolledGradient
        Shared, without momentum, and with `differentiate_operator=True`; how many iterations it
        would unroll has no part in it.
    tol : float
        Iterations end where each sample's change is this small, relative to its size.
    max_iterations : int
        At most so many, forward and backward. Samples that need more are used as they are, with
        an InaccurateSolutionWarning or an InaccurateGradientWarning.

    Raises
    ------
    InvalidOption
    """

    __module__ = "cvxlpgd.unrolled"

    def __init__(
        self, scheme: UnrolledGradient, tol: float = 1e-6, max_iterations: int = 1000
    ) -> None:
        super().__init__()
        if not isinstance(scheme, UnrolledGradient) or not scheme.is_stationary:
            raise InvalidOption(
                "an equilibrium needs an UnrolledGradient with momentum=None, shared=True and "
                "differentiate_operator=True"
            )
        if not is_positive(tol):
            raise InvalidOption(f"tol must be a number > 0, not {tol!r}")
        self.scheme, self.tol = scheme, tol
        self.max_iterations = check_count("max_iterations", max_iterations)

    def forward(
        self, y: Tensor, start: Tensor | None = None, *, weights: Sequence[Any] = ()
    ) -> Tensor:
        """The fixed points (batch, n); the arguments are the scheme's.

        Raises
        ------
        InvalidInput, SolveFailed
        """
        check_data(y)
        memory = None

        def iterate(x: Tensor) -> Tensor:
            nonlocal memory
            x, _, memory = self.scheme.iterate(x, y, memory=memory, weights=weights)
            return x

        with torch.no_grad():
            fixed, late = self._iterated(iterate, initial(start, y, self.scheme.n))
        if late:
            warnings.warn(self._message("no fixed point", late), InaccurateSolutionWarning, 2)
        output = iterate(fixed)  # depends on the weights
        if output.requires_grad:
            at = fixed.detach().requires_grad_()
            around = iterate(at)  # depends on x

            def solve(bar: Tensor) -> Tensor:
                def pulled(u: Tensor) -> Tensor:
                    return bar + torch.autograd.grad(around, at, u, retain_graph=True)[0]

                u, late = self._iterated(pulled, bar)
                if late:
                    text = self._message("a gradient without its fixed point", late)
                    warnings.warn(text, InaccurateGradientWarning, 2)
                return u

            output.register_hook(solve)
        return output

    def _iterated(
        self, function: Callable[[Tensor], Tensor], x: Tensor
    ) -> tuple[Tensor, list[int]]:
        """Where it ends, and the samples that have not converged there."""
        for _ in range(self.max_iterations):
            before, x = x, function(x)
            moving = ~((x - before).norm(dim=1) <= self.tol * x.norm(dim=1))
            if not moving.any():
                return x, []
        return x, moving.nonzero().flatten().tolist()

    def _message(self, what: str, samples: list[int]) -> str:
        return (
            f"samples {samples} have {what} after {self.max_iterations} iterations: try a smaller "
            "step, a larger tol or more iterations"
        )
