"""Sizes of perturbations that change while training: the caller's objects, for `LPGD(tau=...)`.

A layer reads them, once in each forward pass; only their own `step` and `update` change them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.checks import check_flag, is_number, is_positive
from cvxlpgd.errors import InvalidOption

__all__ = ["Adaptive", "Exponential", "Relative", "Schedule"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__


@dataclass(frozen=True)
class Relative:
    """A tau that follows the data, sample by sample: q and b move by `kappa` times their size.

        tau = kappa max(|q|, |Px*|, |A'y*|) / |x_bar|,  or  kappa |b| / |y_bar|, the smaller

    so a loss that is scaled, or a gradient that shrinks, changes nothing. "auto" has another rule.

    Parameters
    ----------
    kappa : float
        > 0. Small ones stay near the exact derivative; near 1 the loss weighs as much as the
        objective.

    Raises
    ------
    InvalidOption
    """

    kappa: float

    def __post_init__(self) -> None:
        _check("kappa", self.kappa)


class Schedule:
    """Tau as a function of the number of steps.

    Parameters
    ----------
    function : int -> tau
        Anything that `LPGD(tau=...)` takes: a number, an array, `Relative(...)`.
    """

    def __init__(self, function: Callable[[int], Any]) -> None:
        if not callable(function):
            raise InvalidOption(f"a schedule is a function of the step, not {function!r}")
        self._function, self._steps = function, 0

    def __call__(self) -> Any:
        """Tau at the present step."""
        return self._function(self._steps)

    def __repr__(self) -> str:
        return f"{type(self).__name__} at step {self._steps}"

    def step(self) -> None:
        """Go on to the next step."""
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; raises InvalidOption for the state of something else."""
        steps = _state(state, "steps")[0]
        if not (is_number(steps) and isinstance(steps, int) and steps >= 0):
            raise InvalidOption(f"steps must be a number of steps, not {steps!r}")
        self._steps = steps


@dataclass(frozen=True)
class Exponential:
    """tau(k) = max(start * factor^k, least), a function for `Schedule`.

    Parameters
    ----------
    start : float
        tau, or with `relative` its kappa, at step 0; > 0.
    factor : float
        Of each step; > 0, below 1 to look further first and closer later.
    least : float
        What it does not fall below.
    relative : bool
        Whether the numbers are `Relative`'s kappa.
    """

    start: float
    factor: float
    least: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        _check("start", self.start)
        _check("factor", self.factor)
        if not (is_number(self.least) and 0 <= self.least < np.inf):
            raise InvalidOption(f"least must be a number >= 0, not {self.least!r}")
        check_flag("relative", self.relative)

    def __call__(self, step: int) -> float | Relative:
        """Tau at this step."""
        tau = max(self.start * self.factor**step, self.least)
        return Relative(tau) if self.relative else tau


class Adaptive:
    """A relative tau that holds the share of samples with an informative gradient at a target.

        share  <- (1 - rate) share + rate (informative samples / differentiated samples)
        kappa  <- kappa * factor  where share < target,  kappa / factor  where it is above

    An informative gradient rises above the solver's noise. After the adaptive rule of Minervini,
    Franceschi, Niepert, "Adaptive perturbation-based gradient estimation for discrete latent
    variable models", AAAI 2023, which adapts a sum of non-zero entries.

    Parameters
    ----------
    target : float
        Share to be held, in (0, 1].
    start : float
        The first kappa, > 0; see `Relative`.
    factor : float
        Of each update, > 1.
    rate : float
        Weight of the newest batch in the share, in (0, 1].
    least, most : float
        Between which kappa stays.
    """

    def __init__(
        self,
        target: float = 0.9,
        start: float = 1e-2,
        factor: float = 1.1,
        rate: float = 0.1,
        least: float = 1e-6,
        most: float = 1e3,
    ) -> None:
        for name, value in (("target", target), ("rate", rate)):
            _check(name, value)
            if value > 1:
                raise InvalidOption(f"{name} must be in (0, 1], not {value!r}")
        for name, value in (("start", start), ("least", least), ("most", most)):
            _check(name, value)
        _check("factor", factor)
        if factor <= 1:
            raise InvalidOption(f"factor must be above 1, not {factor!r}")
        self.target, self.factor, self.rate = target, factor, rate
        self.least, self.most = least, most
        self._kappa, self._share = start, target

    def __call__(self) -> Relative:
        """The present tau."""
        return Relative(self._kappa)

    def __repr__(self) -> str:
        return f"Adaptive(kappa={self._kappa:.3g}, share={self._share:.3g}, target={self.target})"

    def update(self, info: Any) -> None:
        """Take in a layer's `info` after its backward pass; without one nothing changes."""
        if not all(isinstance(getattr(info, v, None), np.ndarray) for v in ("tau", "informative")):
            raise InvalidOption(f"update takes the info of a layer, not {info!r}")
        differentiated = np.isfinite(info.tau)
        if not differentiated.any():
            return
        share = float(np.mean(info.informative[differentiated]))
        self._share += self.rate * (share - self._share)
        if self._share != self.target:
            larger = self._share < self.target
            kappa = self._kappa * (self.factor if larger else 1 / self.factor)
            self._kappa = min(max(kappa, self.least), self.most)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"kappa": self._kappa, "share": self._share}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; raises InvalidOption for the state of something else."""
        kappa, share = _state(state, "kappa", "share")
        _check("kappa", kappa)
        if not (is_number(share) and 0 <= share <= 1):
            raise InvalidOption(f"share must be a number in [0, 1], not {share!r}")
        self._kappa, self._share = float(kappa), float(share)


def _check(name: str, value: Any) -> None:
    """Raise InvalidOption unless the value is a number > 0."""
    if not is_positive(value):
        raise InvalidOption(f"{name} must be a number > 0, not {value!r}")


def _state(state: Mapping[str, Any], *names: str) -> list[Any]:
    if not isinstance(state, Mapping) or set(state) != set(names):
        raise InvalidOption(f"a state has {' and '.join(names)}, not {state!r}")
    return [state[name] for name in names]
