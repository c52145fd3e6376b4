"""One loss at one point, and what a gradient of it is held against."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from cvxlpgd.derivatives import LPGD, Derivative, FiniteDifference, Implicit
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.errors import CvxlpgdWarning, InvalidInput
from cvxlpgd.layer import Call, Layer, Record, spread

DIRECTIONS = 32  # random directions along which finite differences are taken
TINY = 1e-6  # of the automatic tau, where a difference is mostly the solver's noise
STEPS = 4e-5, 1e-5  # of the judging differences, which must agree with each other
AGREE = 1e-4  # of the size of the terms that add up to a slope

Gradient = list[np.ndarray]


@dataclass(frozen=True)
class Score:
    """One derivative's gradient of one loss, judged.

    Attributes
    ----------
    derivative : str
    tau : float or None
        The perturbation; the median over the samples where it is automatic.
    automatic : bool
    side : str or None
    error_reference, cosine_reference : float
        |g - g_ref| / |g_ref| and the cosine of the angle between them, over all parameters.
    error_fd, cosine_fd : float
        The same against central differences, both projected on random directions along which two
        steps agree; NaN, no verdict, where they agree along none.
    seconds : float
        Wall time of the backward pass.
    size : float
        |g|; relative errors say nothing where the reference's is noise, as at a vertex.
    zeros : float
        Share of the gradient's entries that are exactly 0.
    failed : int
        Samples without a gradient, counted as 0.
    """

    derivative: str
    tau: float | None
    automatic: bool
    side: str | None
    error_reference: float
    cosine_reference: float
    error_fd: float
    cosine_fd: float
    seconds: float
    size: float
    zeros: float
    failed: int


class Judge:
    """One loss at one point, and what its gradient is held against."""

    def __init__(
        self, layer: Layer, call: Call, values: Sequence[np.ndarray], bars: Sequence[np.ndarray]
    ) -> None:
        self.layer, self.call, self.bars = layer, call, list(bars)
        rng = np.random.default_rng(1)
        scales = [np.abs(v).max(initial=0.0) or 1.0 for v in values]
        count = min(DIRECTIONS, max(1, sum(v.size for v in values)))
        self.directions = [
            [scale * rng.normal(size=v.shape) for scale, v in zip(scales, values, strict=True)]
            for _ in range(count)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CvxlpgdWarning)
            slopes = [self._slope(direction) for direction in self.directions]
        agreed = np.array([np.isfinite(slope) for slope in slopes])
        self.directions = [d for d, yes in zip(self.directions, agreed, strict=True) if yes]
        self.slopes = np.array(slopes)[agreed]

    def differentiate(self, derivative: Derivative) -> tuple[Gradient, Record]:
        """The parameters' gradients, and what became of them."""
        record = self.call.record.without_backward()
        call = replace(self.call.with_derivative(derivative), record=record)
        gradients = call.vjp(self.bars, [True] * len(self.layer.domains))
        return [g for g in gradients if g is not None], record

    def row(self, derivative: Derivative, expected: Gradient) -> Score:
        """Time it and judge it."""
        require_structure(derivative, self.call.program.structure, self.call.solver)
        tau, side = derivative.perturbation or (None, None)
        tried = []
        for _ in range(3):
            begin = perf_counter()
            gradient, record = self.differentiate(derivative)
            tried.append(perf_counter() - begin)
            if sum(tried) > 1.0:
                break
        flat, wanted = _flat(gradient), _flat(expected)
        along = np.array([_dot(gradient, direction) for direction in self.directions])
        taus = record.tau[np.isfinite(record.tau)]
        return Score(
            derivative=title_of(derivative),
            tau=float(np.median(taus)) if taus.size else None,
            automatic=isinstance(tau, str),
            side=side,
            error_reference=_error(flat, wanted),
            cosine_reference=_cosine(flat, wanted),
            error_fd=_error(along, self.slopes),
            cosine_fd=_cosine(along, self.slopes),
            seconds=median(tried),
            size=float(np.linalg.norm(flat)),
            zeros=float(np.mean(flat == 0)) if flat.size else 0.0,
            failed=int(np.sum(~(record.ok & record.differentiated))),
        )

    def noise(self, tau: float, expected: Gradient) -> float:
        """The relative error times tau at a tau so small that noise is all there is."""
        gradient = _flat(self.differentiate(LPGD(tau=TINY * tau))[0])
        return _error(gradient, _flat(expected)) * TINY * tau

    def _slope(self, direction: Gradient) -> float:
        """The loss' slope along a direction, where two steps agree on it; else NaN."""
        one, other = (self._difference(direction, step) for step in STEPS)
        agree = abs(one[0] - other[0]) <= AGREE * max(one[1], other[1])
        return other[0] if agree else float("nan")

    def _difference(self, direction: Gradient, step: float) -> tuple[float, float]:
        """The slope by one step, and the size of the terms that add up to it."""
        dots = self.call.with_derivative(FiniteDifference(step)).jvp(direction)
        ok = np.flatnonzero(self.call.record.solution.ok)
        terms = [b[ok] * d[ok] for b, d in zip(self.bars, dots, strict=True)]
        return float(sum(np.sum(t) for t in terms)), float(sum(np.sum(np.abs(t)) for t in terms))


def loss_cotangents(
    layer: Layer, call: Call, given: Sequence[Any] | None, loss: Callable[..., Any] | None
) -> list[np.ndarray]:
    """The loss' derivative for each output, (batch, size)."""
    if given is not None and loss is not None:
        raise InvalidInput("give cotangents or a loss, not both")
    outputs = [
        value.reshape(call.batch.shape + shape)
        for value, shape in zip(call.outputs, layer.shapes, strict=True)
    ]
    if loss is not None:
        bars = _torch_gradient(loss, outputs) if find_spec("torch") else _slopes(loss, outputs)
    elif given is not None:
        if len(given) != len(outputs):
            raise InvalidInput(f"received {len(given)} cotangents, expected {len(outputs)}")
        pairs = enumerate(zip(given, outputs, strict=True))
        bars = [spread(bar, o.shape, f"cotangent {i}").astype(float) for i, (bar, o) in pairs]
        for i, bar in enumerate(bars):
            if not np.isfinite(bar).all():
                raise InvalidInput(f"cotangent {i} has NaN or infinite entries")
    else:
        rng = np.random.default_rng(0)
        bars = [rng.normal(size=output.shape) for output in outputs]
    return [bar.reshape(v.shape) for bar, v in zip(bars, call.outputs, strict=True)]


def _torch_gradient(loss: Callable[..., Any], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    import torch

    tensors = [torch.tensor(output, requires_grad=True) for output in outputs]
    value = loss(*tensors)
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        raise InvalidInput("loss must return a torch tensor that is computed from the variables")
    gradients = torch.autograd.grad(value.sum(), tensors, allow_unused=True)
    return [np.zeros(o.shape) if g is None else g.numpy()
            for o, g in zip(outputs, gradients, strict=True)]  # fmt: skip


def _slopes(loss: Callable[..., Any], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Central differences of the loss, entry by entry, where torch is not installed."""
    slopes = []
    for k, output in enumerate(outputs):
        slope = np.zeros(output.size)
        for i in range(output.size):
            ends = []
            for h in (1e-6, -1e-6):
                moved = [o.copy() for o in outputs]
                moved[k].reshape(-1)[i] += h
                ends.append(float(np.sum(loss(*moved))))
            slope[i] = (ends[0] - ends[1]) / 2e-6
        slopes.append(slope)
    return slopes


def title_of(derivative: Derivative) -> str:
    """The derivative as a row's title, such as Implicit(lsqr)."""
    mode = derivative.mode if isinstance(derivative, Implicit) else ""
    return f"{type(derivative).__name__}({mode})"


def _flat(gradient: Gradient) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(g.ravel() for g in gradient)])


def _dot(gradient: Gradient, direction: Gradient) -> float:
    return float(sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True)))


def _error(gradient: np.ndarray, wanted: np.ndarray) -> float:
    size = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(gradient - wanted)) / size if size else float("nan")


def _cosine(gradient: np.ndarray, wanted: np.ndarray) -> float:
    size = float(np.linalg.norm(gradient) * np.linalg.norm(wanted))
    return float(gradient @ wanted) / size if size else float("nan")
