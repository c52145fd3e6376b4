"""Parameters with noise: a call's values several times over, each moved by a draw of its own.

The copies of a parameter's value w are, for i = 1 to `samples`,

    additive         w_i = w + sigma ξ_i
    multiplicative   w_i = w exp(sigma ξ_i - sigma²/2),    of mean w for standard normal ξ
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.layer import Layer, failure, form_batch
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.layer.packed import Packed


class Noise(Protocol):
    """A law that noise is drawn from, each entry by itself."""

    @property
    def symmetric(self) -> bool:
        """Whether -ξ has the law of ξ."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws."""

    def score(self, draws: np.ndarray) -> np.ndarray:
        """-d log density / dξ; NotImplementedError where the density is not known."""


@dataclass(frozen=True)
class Normal:
    """Standard normal noise; its score is ξ."""

    symmetric = True

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws."""
        return rng.standard_normal(shape)

    def score(self, draws: np.ndarray) -> np.ndarray:
        """Ξ itself."""
        return draws


@dataclass(frozen=True)
class Gumbel:
    """Standard Gumbel noise, of density exp(-ξ - exp(-ξ)); its score is 1 - exp(-ξ)."""

    symmetric = False

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws."""
        return rng.gumbel(size=shape)

    def score(self, draws: np.ndarray) -> np.ndarray:
        """1 - exp(-ξ)."""
        return 1 - np.exp(-draws)


@dataclass(frozen=True)
class SumOfGamma:
    """Sums of Gamma variables, of which `size` add up to about a Gumbel variable.

        ξ = (Σ_{i=1..terms} (size/i) Gamma(1/size) - log terms) / size

    It is the noise of decisions that choose `size` of many items (Niepert, Minervini, Franceschi,
    NeurIPS 2021, section 3.2). Its density is not known in closed form.

    Parameters
    ----------
    size : float
        How many entries a decision has that are not zero, > 0.
    terms : int
        Of the sum, >= 1.

    Raises
    ------
    InvalidOption
    """

    size: float
    terms: int = 10

    symmetric = False

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int | float) and 0 < self.size < math.inf):
            raise InvalidOption(f"size must be a number > 0, not {self.size!r}")
        if not (isinstance(self.terms, int) and self.terms >= 1):
            raise InvalidOption(f"terms must be an integer >= 1, not {self.terms!r}")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws."""
        total = np.full(shape, -math.log(self.terms))
        for i in range(1, self.terms + 1):
            total += self.size / i * rng.standard_gamma(1 / self.size, shape)
        return total / self.size

    def score(self, draws: np.ndarray) -> np.ndarray:
        """None is known."""
        raise NotImplementedError


@dataclass(frozen=True)
class Settings:
    """How values are moved.

    `moved` are the parameters that are; `antithetic` draws are pairs ξ, -ξ.
    """

    samples: int
    sigma: float
    moved: tuple[int, ...]
    noise: Noise
    multiplicative: bool
    antithetic: bool


@dataclass(frozen=True, eq=False)
class Noisy:
    """Values with the axis of samples first, and what moved them."""

    batch: Batch  # of the values as they were given
    values: list[Any]  # (samples, *batch shape, *shape) where moved, else as they were given
    given: dict[int, np.ndarray]  # w of each moved parameter, (*batch shape, *shape)
    draws: dict[int, np.ndarray]  # ξ, (samples, *batch shape, *shape)
    factors: dict[int, np.ndarray]  # d w_i / d w where it is multiplied, likewise

    def pull(self, k: int, bars: np.ndarray) -> np.ndarray:
        """Of a moved parameter, the cotangent of its value for those of its copies."""
        return self.gather(k, bars * self.factors.get(k, 1.0))

    def gather(self, k: int, each: np.ndarray) -> np.ndarray:
        """Its cotangent for parts of it, (samples, *batch shape, *shape)."""
        shape = self.batch.values[k].shape[1:]
        total = each.sum(axis=0).reshape(-1, *shape)
        return np.asarray(self.batch.gather(k, total, shape))


def moved(
    layer: Layer, values: Sequence[Any], settings: Settings, rng: np.random.Generator
) -> Noisy:
    """Values of a call with noise.

    Raises
    ------
    InvalidInput
        For a value outside its domain, unless on_failure="nan"; a sparse value of a moved
        parameter; a multiplied one that is 0 somewhere.
    """
    batch = form_batch(layer.domains, values)
    if layer.settings.on_failure == "raise":  # here, where samples are numbered, and not copies
        failure.raise_faults(layer.compiled.faults(batch), batch.shape)
    noisy = Noisy(batch, list(values), {}, {}, {})
    for k in settings.moved:
        domain, value = layer.domains[k], values[k]
        if isinstance(value, Packed):
            raise InvalidInput(f"parameter {domain.name} gets noise: its value must be dense")
        shape = (settings.samples, *batch.shape, *domain.shape)
        draws = _draws(settings, rng, shape)
        wide = np.broadcast_to(value, shape[1:])
        if settings.multiplicative:
            if not value.all():
                raise InvalidInput(
                    f"parameter {domain.name} has entries that are 0, which no factor moves; "
                    "additive noise moves them"
                )
            factor = np.exp(settings.sigma * draws - settings.sigma**2 / 2)
            noisy.factors[k] = factor
            noisy.values[k] = wide * factor
            wide = wide.copy()  # the gradient's too, whatever the caller writes to theirs
        else:
            noisy.values[k] = wide + settings.sigma * draws
        noisy.given[k], noisy.draws[k] = wide, draws
    return noisy


def _draws(settings: Settings, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Ξ (samples, ...)."""
    if not settings.antithetic:
        return settings.noise.draw(rng, shape)
    half = settings.noise.draw(rng, (shape[0] // 2, *shape[1:]))
    return np.concatenate([half, -half])
