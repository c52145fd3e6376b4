"""A layer's gradient as a function of tau, and the tau that the layer takes itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cvxlpgd.analysis.cotangents import loss_cotangents
from cvxlpgd.analysis.progress import progress_bar
from cvxlpgd.analysis.question import (
    Gradient,
    Question,
    compress,
    cosine,
    flatten,
    relative_error,
)
from cvxlpgd.analysis.tau_ranges import CLOSE, longest_run
from cvxlpgd.checks import is_positive
from cvxlpgd.derivatives import LPGD, Derivative, Exact
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning, InvalidOption
from cvxlpgd.layer import Layer, Record
from cvxlpgd.layer.description import number, span, spelling
from cvxlpgd.schedules import Relative

# of the tau that moves the data by their own size
FAR = 1e2  # to where a picture goes
NEAR = 1e-4  # from where, if the gradient is zero there
NEAREST, SEEN = 1e-7, 1e-5  # between which it begins elsewhere, just within the solver's noise
TINY = 1e-9  # where a difference is mostly the solver's noise
PER_DECADE = 4  # values of tau


@dataclass(frozen=True, eq=False)
class Profile:
    """Gradients of some parameters against tau.

    Parameters
    ----------
    names : list of str
        Of the gradient's entries.
    taus : array (k,)
    gradients : array (k, entries)
        NaN where perturbed programs have a solution at a smaller tau only.
    exact : array (entries,) or None
        The exact gradient, 0 up to rounding where `is_zero`; None where there is none to be had.
    is_zero : bool
    own : array (entries,)
        The gradient that the layer itself returns.
    own_tau : array
        Its tau in each sample; empty where it has none, or takes the limit.
    own_label : str
    seen : bool array (k,)
        Where the gradient is neither zero nor noise.
    floor : float
        The tau below which gradients are noise, 0 where that is not known.
    """

    names: list[str]
    taus: np.ndarray
    gradients: np.ndarray
    exact: np.ndarray | None
    is_zero: bool
    own: np.ndarray
    own_tau: np.ndarray
    own_label: str
    seen: np.ndarray
    floor: float

    @property
    def compass(self) -> tuple[str, np.ndarray]:
        """What cosines are taken with: the limit; where that is 0 what the layer itself returns, or
        else the first gradient that is not 0.
        """
        if self.exact is not None and not self.is_zero:
            return "the limit", self.exact
        if self.own.any():
            return "this layer's", self.own
        return "the first", self.gradients[np.argmax(self.seen)]

    def cosines(self) -> np.ndarray:
        """The cosine with that, (k,); NaN where the gradient is zero."""
        direction, shown = self.compass[1], self.seen | (not self.is_zero)
        pairs = zip(self.gradients, shown, strict=True)
        return np.array([cosine(v, direction) if yes else np.nan for v, yes in pairs])

    def edges(self) -> tuple[float, float]:
        """Where the gradient begins and ends to be exact, or where it begins not to be zero.

        The region between is empty where it is nowhere exact; NaN where nothing is known.
        """
        if self.is_zero:
            first = int(np.argmax(self.seen)) if self.seen.any() else len(self.taus)
            return self._edge(first), self._edge(first)
        if self.exact is None:
            return np.nan, np.nan
        close = [relative_error(gradient, self.exact) <= CLOSE for gradient in self.gradients]
        first, end = longest_run(close)
        return self._edge(first) or self.floor, self._edge(end)

    def _edge(self, k: int) -> float:
        """Between the k-th tau and the one before it."""
        if k == 0:
            return 0.0
        return float(np.sqrt(self.taus[k - 1] * self.taus[k])) if k < len(self.taus) else np.inf


def profiles(
    layer: Layer,
    values: Sequence[np.ndarray],
    cotangents: Sequence[Any] | None,
    loss: Callable[..., Any] | None,
    taus: Sequence[float] | None,
    tensors: bool,
) -> tuple[Record, list[Profile]]:
    """A call's record, and its gradient against tau: of parameters with an exact gradient, and of
    those without one.

    `tensors` says whether the loss is a function of torch tensors.

    Raises
    ------
    InvalidInput, InvalidOption, SolveFailed
    """
    for i, tau in enumerate([] if taus is None else taus):
        if not is_positive(tau):
            raise InvalidOption(f"taus[{i}] must be a number > 0, not {tau!r}")
    call = copy(layer).forward(values)  # the layer's own record stays that of its last call
    bars = loss_cotangents(layer, call, cotangents, loss, tensors)
    question, own = Question.of(call, values, bars, "draw"), layer.derivative
    mine = own if isinstance(own, LPGD) else LPGD()
    with warnings.catch_warnings(), progress_bar("plot_tau", None) as bar:
        warnings.simplefilter("ignore", CvxlpgdWarning)
        exact = _exact(question)
        zero = question.are_zero(exact, exact) if exact else np.full(len(values), _is_still(layer))
        middle = question.differentiate(LPGD(tau=Relative(1.0)))[1].tau
        floor = _floor(question, exact, zero, float(np.nanmedian(middle)))
        grid = _grid(floor, float(np.nanmedian(middle))) if taus is None else np.unique(taus)
        bar.total = len(grid)
        sweep: list[tuple[Gradient, Record]] = []
        for tau in grid:
            sweep.append(question.differentiate(replace(mine, tau=float(tau))))
            bar.update()
        each = [
            _profile(question, exact, floor, grid, sweep, chosen, is_zero)
            for chosen, is_zero in ((~zero, False), (zero, True)) if chosen.any()
        ]  # fmt: skip
    return call.record, each


def _is_still(layer: Layer) -> bool:
    """Whether solutions do not move, but jump: an integer program has no exact derivative."""
    return layer.structure.mixed_integer


def _exact(question: Question) -> Gradient | None:
    """The exact gradient, None where there is none to be had."""
    call, derivative = question.call, Exact()
    try:
        require_structure(derivative, call.program.structure, call.solver)
    except CvxlpgdError:
        return None
    return question.differentiate(derivative)[0]


def _floor(question: Question, exact: Gradient | None, zero: np.ndarray, middle: float) -> float:
    """The tau at which the solver's noise is a difference's error; 0 where that is not known."""
    if exact is None or zero.all():
        return 0.0
    tiny = question.differentiate(LPGD(tau=TINY * middle))[0]
    noise = relative_error(*(flatten(compress(v, ~zero)) for v in (tiny, exact)))
    return noise * TINY * middle / CLOSE


def _grid(floor: float, middle: float) -> np.ndarray:
    """Values of tau from the solver's noise, or where gradients are zero, to far away."""
    near = float(np.clip(floor / 10, NEAREST * middle, SEEN * middle)) if floor else NEAR * middle
    count = int(PER_DECADE * np.log10(FAR * middle / near)) + 1
    return np.geomspace(near, FAR * middle, count)


def _profile(
    question: Question,
    exact: Gradient | None,
    floor: float,
    taus: np.ndarray,
    sweep: Sequence[tuple[Gradient, Record]],
    chosen: np.ndarray,
    is_zero: bool,
) -> Profile:
    """That of the chosen parameters, bool (parameters,)."""

    def part(gradient: Gradient) -> np.ndarray:
        return flatten(compress(gradient, chosen))

    derivative, domains = question.call.derivative, question.call.compiled.domains
    own, record = question.differentiate(derivative)
    finite = record.tau[np.isfinite(record.tau) & (record.tau > 0)]
    limit = "path" in "".join(record.method.ravel())
    if finite.size and exact is not None:  # the limit beside a finite tau, for other parameters
        limit &= not is_zero and relative_error(part(own), part(exact)) <= CLOSE
    own_tau = np.zeros(0) if limit else finite
    names = [
        _entry(domains[k].name, index) for k, gradient in enumerate(own) if chosen[k]
        for index in np.ndindex(gradient.shape)
    ]  # fmt: skip
    return Profile(
        names=names,
        taus=taus,
        gradients=np.array([
            part(v) * (1.0 if _is_of(tau, its) else np.nan)
            for tau, (v, its) in zip(taus, sweep, strict=True)
        ]),
        exact=None if exact is None else part(exact),
        is_zero=is_zero,
        own=part(own),
        own_tau=own_tau,
        own_label=_own_label(derivative, own_tau, limit),
        seen=np.array([question.are_seen(v, its)[chosen].any() for v, its in sweep]),
        floor=floor,
    )  # fmt: skip


def _is_of(tau: float, record: Record) -> bool:
    """Whether gradients are of this tau, and not of a smaller one at which programs have solutions,
    or of none.
    """
    solved = record.ok & record.differentiated
    return bool(solved.any()) and bool(np.nanmedian(record.tau[solved]) >= tau * (1 - CLOSE))


def _own_label(derivative: Derivative, taus: np.ndarray, limit: bool) -> str:
    if taus.size:
        return f"this layer:\ntau = {span(taus, number)}"
    return "this layer:\nthe limit tau -> 0" if limit else f"this layer:\n{spelling(derivative)}"


def _entry(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name
