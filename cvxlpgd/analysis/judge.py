"""What gradients are held against: a reference, and central differences along random directions."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np

from cvxlpgd.analysis.question import (
    ROUNDING,
    Gradient,
    Question,
    compress,
    cosine,
    flatten,
    relative_error,
)
from cvxlpgd.analysis.score import Score
from cvxlpgd.derivatives import LPGD, Derivative, FiniteDifference, Implicit
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.layer.description import spelling

DIRECTIONS = 32  # random directions along which finite differences are taken
TINY = 1e-6  # of the automatic tau, where a difference is mostly the solver's noise
STEPS = 4e-5, 1e-5  # of the judging differences, which must agree with each other
AGREE = 1e-4  # of the size of the terms that add up to a slope
STILL = 1e-6  # of the loss' own terms: a slope of smaller ones is 0, whatever they add up to


class Judge:
    """What the gradients of one loss are held against.

    Parameters
    ----------
    question : Question
    reference : Derivative
    exact : Derivative or None
        The exact derivative; None where it does not apply.
    step : callable
        Called after each part of the work.

    Attributes
    ----------
    expected : list of arrays
        The reference's gradient.
    exact : list of arrays
        The exact derivative's, where it applies, else the reference's.
    zero : bool array (parameters,)
        Which parameters' gradient is 0 by the reference.
    record : Record
        Of the exact derivative, where it applies, else of the reference.
    is_difference : bool
        Whether the reference is LPGD with a finite tau, and so no exact derivative.
    directions, slopes : list, array (directions,)
        Along which two steps of central differences agree, and the loss' slopes by them.
    """

    def __init__(
        self,
        question: Question,
        reference: Derivative,
        exact: Derivative | None,
        step: Callable[[], object],
    ) -> None:
        self.question = question
        self.expected, self.record = question.differentiate(reference)
        self.is_difference = bool((self.record.tau > 0).any())
        self.exact = self.expected
        step()
        if exact is not None:
            self.exact, self.record = question.differentiate(exact)
        solves = exact is not None and not self.is_difference
        self.zero = question.are_zero(self.expected, self.exact if solves else None)
        step()
        rng = np.random.default_rng(1)
        count = min(DIRECTIONS, max(1, sum(v.size for v in question.values)))
        self.directions, slopes, terms = [], [], []
        scale = question.bound if self.zero.all() else question.terms
        for _ in range(count):
            direction = question.random_direction(rng)
            (one, size), (other, other_size) = (self._difference(direction, h) for h in STEPS)
            largest = max(size, other_size)
            still = largest <= STILL * scale  # nothing but rounding agrees with nothing
            if still or abs(one - other) <= AGREE * largest:
                self.directions.append(direction)
                slopes.append(0.0 if still else other)
                terms.append(largest)
            step()
        # slopes that two steps would agree on even if they were 0
        are_zero = np.abs(slopes) <= AGREE * np.array(terms)
        self.slopes = np.array(slopes) * (not are_zero.all())

    def row(self, derivative: Derivative) -> Score:
        """Time it and judge it."""
        call = self.question.call
        require_structure(derivative, call.program.structure, call.solver)
        tau, side = derivative.perturbation or (None, None)
        times = []
        for _ in range(3):
            begin = perf_counter()
            gradient, record = self.question.differentiate(derivative)
            times.append(perf_counter() - begin)
            if sum(times) > 1.0:
                break
        taus = record.tau[np.isfinite(record.tau)]
        moving, expected = self.moving(gradient), flatten(self.moving(self.expected))
        # with no parameter that moves the loss there is nothing to be relative to
        along = np.array([_dot(moving, self.moving(d)) for d in self.directions if moving])
        slopes = self.slopes[: len(along)]
        seen = self.question.are_seen(gradient, record)
        beyond = self.zero & seen
        return Score(
            derivative=title_of(derivative),
            tau=float(np.median(taus)) if taus.size else None,
            automatic=isinstance(tau, str),
            side=side,
            error_reference=relative_error(flatten(moving), expected),
            cosine_reference=cosine(flatten(moving), expected),
            error_fd=relative_error(along, slopes),
            cosine_fd=cosine(along, slopes),
            seconds=median(times),
            size=float(np.linalg.norm(flatten(gradient))),
            zeros=_share_of_zeros(gradient, self.zero & ~seen),
            failed=int(np.sum(~(record.ok & record.differentiated))),
            title=spelling(derivative),
            method=_most_frequent(record.method),
            size_beyond=float(np.linalg.norm(flatten(compress(gradient, beyond)))),
        )

    def moving(self, gradient: Gradient) -> Gradient:
        """The part of the parameters whose gradient is not 0 by the reference."""
        return compress(gradient, ~self.zero)

    def noise(self, tau: float) -> float:
        """The relative error times tau at a tau so small that noise is all there is."""
        gradient = self.question.differentiate(LPGD(tau=TINY * tau))[0]
        pair = flatten(self.moving(gradient)), flatten(self.moving(self.exact))
        return relative_error(*pair) * TINY * tau

    def _difference(self, direction: Gradient, step: float) -> tuple[float, float]:
        """The slope by one step, and the size of the terms that add up to it."""
        call = self.question.call
        dots = call.with_derivative(FiniteDifference(step)).jvp(direction)
        ok = np.flatnonzero(call.record.bare.ok)
        terms = [b[ok] * d[ok] for b, d in zip(self.question.bars, dots, strict=True)]
        return float(sum(np.sum(t) for t in terms)), float(sum(np.sum(np.abs(t)) for t in terms))


def title_of(derivative: Derivative) -> str:
    """The kind of a derivative, such as Implicit(lsqr)."""
    mode = derivative.mode if isinstance(derivative, Implicit) else ""
    return f"{type(derivative).__name__}({mode})"


def _dot(gradient: Gradient, direction: Gradient) -> float:
    return float(sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True)))


def _share_of_zeros(gradient: Gradient, whole: np.ndarray) -> float:
    """Of the entries, those that are 0 up to rounding; all of the parameters in `whole`."""
    largest = [np.abs(g).max(initial=0.0) for g in gradient]
    parts = zip(gradient, largest, whole, strict=True)
    zeros = [(np.abs(g) <= ROUNDING * most) | is_zero for g, most, is_zero in parts]
    return float(np.mean(np.concatenate([z.ravel() for z in zeros])))


def _most_frequent(words: np.ndarray) -> str:
    kinds, numbers = np.unique(words[words != ""], return_counts=True)
    return str(kinds[numbers.argmax()]) if len(kinds) else ""
