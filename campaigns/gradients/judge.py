"""One family's draw, one derivative, both modes: errors of every gradient, and what was said."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import cvxlpgd
from campaigns.gradients.case import Case, drawn
from campaigns.gradients.reference import Reference, reference
from cvxlpgd.errors import CvxlpgdWarning, DerivativeFailed, SolveFailed
from cvxlpgd.numpy import CvxpyLayer

WRONG = 1e-2
MODES = ("vjp", "jvp")


@dataclass
class Verdict:
    """What became of one sample in one mode.

    Attributes
    ----------
    error : float
        The worst over the judged parameters, relative to each one's largest entry; NaN if refused.
    component : float
        The worst relative error of single entries, of those within 1e-6 of the largest.
    forward : float
        The solution's own error, relative, output by output.
    bar : float
        The layer's own estimate of the gradient's error, NaN where there is none.
    warned : list of str
        Names of the warnings about gradients, and "inaccurate" for the sample's status.
    refused, crashed : str
        Why there is no gradient: on purpose, or not.
    """

    family: str
    draw: int
    sample: int
    derivative: str
    mode: str
    error: float = float("nan")
    component: float = float("nan")
    forward: float = float("nan")
    bar: float = float("nan")
    warned: list[str] = field(default_factory=list)
    refused: str = ""
    crashed: str = ""
    seconds: float = float("nan")

    @property
    def wrong(self) -> bool:
        """Off by more than a hundredth, or NaN."""
        return not (self.refused or self.crashed or self.error <= WRONG)

    @property
    def silent(self) -> bool:
        """Wrong, and nothing said so."""
        return self.wrong and not self.warned


def derivatives() -> dict[str, Any]:
    """Those that there are, by name."""
    made: dict[str, Any] = {"LPGD()": cvxlpgd.LPGD()}
    if hasattr(cvxlpgd, "Exact"):
        made["Exact()"] = cvxlpgd.Exact()
    return made | {"Implicit()": cvxlpgd.Implicit()}


def judged(name: str, seed: int, draw: int, chosen: dict[str, Any]) -> list[Verdict]:
    """All derivatives and modes on one draw."""
    case = drawn(name, seed, draw)
    known = reference(case, np.random.default_rng([seed, draw]))
    return [
        verdict
        for label, derivative in chosen.items()
        for mode in MODES
        for verdict in _tried(Verdict(name, draw, 0, label, mode), case, known, derivative, seed)
    ]


def _tried(
    blank: Verdict, case: Case, known: Reference, derivative: Any, seed: int
) -> list[Verdict]:
    """A fresh layer's verdicts, one for each sample."""
    count = len(case.samples)
    verdicts = [Verdict(blank.family, blank.draw, i, blank.derivative, blank.mode)
                for i in range(count)]  # fmt: skip
    mode: Callable[..., None] = _reverse if blank.mode == "vjp" else _forward
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            layer = CvxpyLayer(
                case.problem, list(case.parameters), list(case.outputs), gp=case.gp,
                derivative=derivative, on_failure="nan",
            )  # fmt: skip
            mode(layer, case, known, verdicts, np.random.default_rng([seed, blank.draw, 1]))
            _recorded(layer, verdicts)
        except (SolveFailed, DerivativeFailed) as error:
            for verdict in verdicts:
                verdict.refused = f"{type(error).__name__}: {error}"
        except Exception as error:
            for verdict in verdicts:
                verdict.crashed = f"{type(error).__name__}: {error}"
    names = {w.category.__name__ for w in caught if issubclass(w.category, CvxlpgdWarning)}
    for verdict in verdicts:
        verdict.warned += sorted(n for n in names if "Gradient" in n)
        verdict.seconds = (time.perf_counter() - start) / count
    return verdicts


def _recorded(layer: CvxpyLayer, verdicts: list[Verdict]) -> None:
    """What the layer's record says of each sample: status, failures, error bars."""
    info, count = layer.info, len(verdicts)
    bars = np.asarray(getattr(info, "gradient_error", np.full(count, np.nan)), dtype=float)
    bars = bars.reshape(count, -1).max(axis=1)
    for i, verdict in enumerate(verdicts):
        if not info.ok[i]:
            verdict.refused = f"forward: {info.status[i]}"
        elif not info.differentiated[i]:
            verdict.refused = "the derivative gave up"
        if info.status[i] != "solved":
            verdict.warned.append(str(info.status[i]))
        verdict.bar = float(bars[i])


def _stacked(rows: Sequence[Sequence[np.ndarray | float]]) -> list[np.ndarray]:
    """Each parameter's or output's values over the samples."""
    return [np.stack([np.asarray(v, float) for v in column]) for column in zip(*rows, strict=True)]


def _reverse(
    layer: CvxpyLayer, case: Case, known: Reference, verdicts: list[Verdict], _: Any
) -> None:
    outputs, pullback = layer.vjp(*_stacked(case.samples))
    gradients = pullback(*_stacked(known.cotangents))
    for i, verdict in enumerate(verdicts):
        verdict.forward = _point_error(outputs, known, i)
        pairs = [
            (gradients[k][i], known.gradients[i][k], known.sizes[i][k])
            for k in range(len(case.parameters))
            if k not in case.unjudged
        ]
        verdict.error = max(_largest(got - right) / size for got, right, size in pairs)
        verdict.component = max(_component(got, right) for got, right, _ in pairs)


def _forward(
    layer: CvxpyLayer,
    case: Case,
    known: Reference,
    verdicts: list[Verdict],
    rng: np.random.Generator,
) -> None:
    """<reference, direction> = <cotangent, tangent>, every parameter with the same weight."""
    directions = [
        [
            np.zeros(np.shape(g)) if k in case.unjudged else _like(rng, p, np.shape(g)) / size
            for k, (g, p, size) in enumerate(zip(slopes, case.parameters, sizes, strict=True))
        ]
        for slopes, sizes in zip(known.gradients, known.sizes, strict=True)
    ]
    values = _stacked(case.samples)
    outputs, tangents = layer.jvp(values, _stacked(directions))
    for i, verdict in enumerate(verdicts):
        verdict.forward = _point_error(outputs, known, i)
        right = [np.ravel(g * d) for g, d in zip(known.gradients[i], directions[i], strict=True)]
        got = [np.ravel(b * t[i]) for b, t in zip(known.cotangents[i], tangents, strict=True)]
        expected, reached = np.concatenate(right), np.concatenate(got)
        size = np.abs(expected).sum() + np.abs(reached).sum()
        verdict.error = float(abs(expected.sum() - reached.sum()) / size)


def _like(rng: np.random.Generator, parameter: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers; symmetric for a symmetric parameter."""
    v = rng.normal(size=shape)
    symmetric = parameter.attributes["symmetric"] or parameter.attributes["PSD"]
    return (v + v.T) / 2 if symmetric else v


def _point_error(outputs: tuple[np.ndarray, ...], known: Reference, i: int) -> float:
    largest = max(_largest(v) for v in known.outputs[i])
    return max(
        _largest(got[i] - right) / (_largest(right) or largest)
        for got, right in zip(outputs, known.outputs[i], strict=True)
    )


def _component(got: np.ndarray, right: np.ndarray) -> float:
    counted = np.abs(right) >= 1e-6 * _largest(right)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.abs(got - right) / np.abs(right)
    return float(np.max(np.where(counted & (right != 0), errors, 0.0), initial=0.0))


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0.0))
