"""Layers with noise in their costs: their mean solution changes smoothly, by their draws alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.checks import check_flag, is_number, is_positive
from cvxlpgd.derivatives import Derivative, check_derivative
from cvxlpgd.errors import InvalidOption, InvalidProblem
from cvxlpgd.layer import Layer, Record
from cvxlpgd.losses.protocol import ComputingLayer
from cvxlpgd.losses.smoothed import Smoothed
from cvxlpgd.values.expected import expected, expected_difference
from cvxlpgd.values.noise import Noise, Normal, Settings


class Perturbed(Smoothed):
    """A layer whose costs get noise: the mean of its solutions, smooth in the costs.

        x̄(c) = (1/N) Σ_i x*(c + sigma ξ_i),    multiplicative: x*(c exp(sigma ξ_i - sigma²/2))

    A loss of x̄ with cotangent g has the gradient 1/(N sigma) Σ_i (g'x_i) ξ_i, which needs no
    derivative of the solutions and no further solve; its spread falls with 1/sqrt(N). A perturbed
    layer stands for the layer in `FenchelYoung`, whose gradient is then target - x̄.

    Berthet, Blondel, Teboul, Cuturi, Vert, Bach, "Learning with differentiable perturbed
    optimizers", NeurIPS 2020; multiplicative: Dalle, Baty, Bouvier, Parmentier, arXiv 2207.13513.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
    samples : int
        N, programs solved for each sample of the batch.
    sigma : float
        Size of the noise, > 0: in the costs' units if it is additive, a share of them if it is
        multiplicative. Larger ones reach more solutions, and blur more.
    multiplicative : bool
        Whether costs are multiplied, so that they keep their signs; costs of 0 are refused.
    antithetic : bool
        Whether draws are pairs ξ and -ξ; `samples` is even then, and noise symmetric.
    control_variate : bool
        Whether g'x_i is taken off the mean of the others' in the gradient, which changes its spread
        and not its mean.
    noise : Noise
        The law of ξ: standard `Normal()`, `Gumbel()`, or `SumOfGamma(size)` with a derivative.
    derivative : LPGD, Exact, Implicit or FiniteDifference, optional
        Instead of the draws: the mean of the gradients at c_i by this derivative.
    parameters : list of cp.Parameter, optional
        Those that get noise. By default those that enter the objective alone, and linearly.
    seed : int or numpy.random.Generator
        Of the draws, which are new in each call.

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
        *,
        multiplicative: bool = False,
        antithetic: bool = False,
        control_variate: bool = True,
        noise: Noise | None = None,
        derivative: Derivative | None = None,
        parameters: Sequence[cp.Parameter] | None = None,
        seed: int | np.random.Generator = 0,
    ) -> None:
        Smoothed.__init__(self, layer)
        noise = Normal() if noise is None else noise
        _check_samples(samples, sigma, antithetic, noise)
        for name, flag in (
            ("multiplicative", multiplicative),
            ("antithetic", antithetic),
            ("control_variate", control_variate),
        ):
            check_flag(name, flag)
        if derivative is not None:
            check_derivative("derivative", derivative)
        else:
            _check_score(noise)
        moved = _moved(layer._layer, parameters, multiplicative)
        self.derivative = derivative
        self.control_variate = control_variate and not antithetic and samples > 1
        self._settings = Settings(samples, sigma, moved, noise, multiplicative, antithetic)
        self._rng = np.random.default_rng(seed)
        self._watch: Callable[[Record], None] | None = None

    def __repr__(self) -> str:
        settings = self._settings
        return f"{type(self).__name__}(samples={settings.samples}, sigma={settings.sigma})"

    @property
    def _by(self) -> Derivative:
        return self._layer.derivative if self.derivative is None else self.derivative

    def _solutions(self, values: list[Any]) -> Any:
        return expected(
            self._layer, values, self._settings, self._rng, self.derivative,
            self.control_variate, self._watch,
        )  # fmt: skip

    def _differences(
        self, values: list[Any], targets: list[np.ndarray], margin: list[np.ndarray] | None
    ) -> Any:
        return expected_difference(self._layer, values, self._settings, self._rng, targets, margin)


def _check_samples(samples: Any, sigma: Any, antithetic: Any, noise: Any) -> None:
    if not (is_number(samples) and isinstance(samples, int | np.integer) and samples >= 1):
        raise InvalidOption(f"samples must be an integer >= 1, not {samples!r}")
    if not is_positive(sigma):
        raise InvalidOption(f"sigma must be a number > 0, not {sigma!r}")
    if not (callable(getattr(noise, "draw", None)) and hasattr(noise, "symmetric")):
        raise InvalidOption(f"noise must be Normal(), Gumbel() or SumOfGamma(size), not {noise!r}")
    if antithetic and samples % 2:
        raise InvalidOption(f"antithetic draws are pairs: samples must be even, not {samples}")
    if antithetic and not noise.symmetric:
        raise InvalidOption(f"antithetic draws need symmetric noise, and {noise!r} is not")


def _check_score(noise: Noise) -> None:
    try:
        noise.score(np.zeros(1))
    except NotImplementedError:
        raise InvalidOption(
            f"the density of {noise!r} is not known, so that draws give no gradient; name a "
            "derivative, such as derivative=LPGD(tau=10.0)"
        ) from None


def _moved(layer: Layer, parameters: Any, multiplicative: bool) -> tuple[int, ...]:
    """The places of the parameters that get noise.

    Raises
    ------
    InvalidOption
        For a parameter that is not the layer's, or that noise would take out of its domain.
    InvalidProblem
        Where none is given, and none enters the objective alone.
    """
    if parameters is None:
        fields = map(layer.canonical.parameters.fields, range(len(layer.domains)))
        places = tuple(k for k, name in enumerate(fields) if name == "q")
        if not places:
            raise InvalidProblem(
                "no parameter of this layer enters the objective alone and linearly, as a cost "
                "does; name those that shall get noise: parameters=[...]"
            )
    else:
        places = tuple(_place(layer.origin.parameters, parameter) for parameter in parameters)
    for k in places:
        domain = layer.domains[k]
        if domain.symmetric or domain.pattern is not None or domain.integral:
            raise InvalidOption(
                f"parameter {domain.name} is symmetric, sparse or integer, as noise is not"
            )
        if (domain.lower is not None or domain.upper is not None) and not multiplicative:
            raise InvalidOption(
                f"parameter {domain.name} has a sign or bounds, which additive noise may leave; "
                "multiplicative=True keeps signs"
            )
    return places


def _place(own: Sequence[cp.Parameter], parameter: Any) -> int:
    for k, each in enumerate(own):
        if each is parameter:
            return k
    raise InvalidOption(f"{parameter!r} is not among the layer's parameters")
