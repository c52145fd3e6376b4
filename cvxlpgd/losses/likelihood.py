"""Implicit maximum likelihood: LPGD at costs with noise, averaged."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from cvxlpgd.derivatives import LPGD
from cvxlpgd.errors import InvalidOption
from cvxlpgd.losses.perturbed import Perturbed
from cvxlpgd.losses.protocol import ComputingLayer
from cvxlpgd.schedules import Adaptive
from cvxlpgd.values.noise import Noise, SumOfGamma


class ImplicitMLE(Perturbed):
    """I-MLE: the mean solution under noise, with a mean of differences for its gradient.

        x̄(c) = (1/N) Σ_i x*(c + sigma ξ_i)
        c_bar = (1/N) Σ_i [x*(c + tau g + sigma ξ_i) - x*(c + sigma ξ_i)] / tau

    for a loss of x̄ with cotangent g. That is LPGD(tau, side="lower") at each c + sigma ξ_i.

    Niepert, Minervini, Franceschi, "Implicit MLE: backpropagating through discrete exponential
    family distributions", NeurIPS 2021.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
    samples : int
        N. A gradient costs as many solves more; twice as many with side="average".
    sigma : float
        Size of the noise, > 0, in the costs' units.
    tau : as LPGD's
        How far costs are moved; their `lambda`.
    side : "lower", "upper" or "average"
    noise : Noise, optional
        By default sums of Gamma variables for decisions of five entries: `SumOfGamma(5)`.
    seed : int or numpy.random.Generator

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self,
        layer: ComputingLayer,
        samples: int = 10,
        sigma: float = 1.0,
        tau: Any = 10.0,
        side: Literal["average", "lower", "upper"] = "lower",
        *,
        noise: Noise | None = None,
        seed: int | np.random.Generator = 0,
    ) -> None:
        noise = SumOfGamma(5.0) if noise is None else noise
        derivative = LPGD(tau=tau, side=side)
        Perturbed.__init__(
            self, layer, samples, sigma, noise=noise, derivative=derivative, seed=seed
        )


class AdaptiveImplicitMLE(ImplicitMLE):
    """AI-MLE: I-MLE whose tau follows the sizes of costs and loss, and how often it informs.

        tau = kappa |c| / |g|,   from c - tau g to c + tau g

    sample by sample, |.| the largest entry. kappa begins at 1, grows by a thousandth after a
    backward pass in which fewer gradients than the schedule's target were not zero, and shrinks
    likewise after others.

    Minervini, Franceschi, Niepert, "Adaptive perturbation-based gradient estimation for discrete
    latent variable models", AAAI 2023, where kappa moves by steps towards one non-zero entry.

    Parameters
    ----------
    layer, samples, sigma, noise, seed : as those of `ImplicitMLE`
    schedule : Adaptive, optional
        Holds kappa, and counts noisy copies; by default `Adaptive(0.5, 1.0, factor=1.001)`, whose
        steps are as small as theirs. Backward passes update it.

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self,
        layer: ComputingLayer,
        samples: int = 10,
        sigma: float = 1.0,
        schedule: Adaptive | None = None,
        *,
        noise: Noise | None = None,
        seed: int | np.random.Generator = 0,
    ) -> None:
        if schedule is None:
            # with steps of 1.1, kappa falls within a hundred passes to where half of all gradients
            # are 0, which decides worse (validation data of paths, knapsacks and tours)
            schedule = Adaptive(target=0.5, start=1.0, factor=1.001)
        if not isinstance(schedule, Adaptive):
            raise InvalidOption(f"schedule must be Adaptive(...), not {schedule!r}")
        ImplicitMLE.__init__(
            self, layer, samples, sigma, schedule, "average", noise=noise, seed=seed
        )
        self.schedule = schedule
        self._watch = schedule.update
