"""Property: gradients are the slopes of the solution, or the layer says that they are not."""

from __future__ import annotations

import warnings

import numpy as np

from cvxlpgd import LPGD
from cvxlpgd.derivatives.tau import settings, sizes
from cvxlpgd.errors import (
    CvxlpgdError,
    CvxlpgdWarning,
    DegenerateGradientWarning,
    IrregularGradientWarning,
)
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers import Clarabel

from .forward import Forward, heard

TIGHT = Clarabel(tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-11)
STEPS = (2e-4, 5e-5)  # relative to the parameters
SMOOTH = 5e-3  # slopes differ by less than this where the solution is smooth
NEAR = 2e-2
FLOOR = 3e-4  # of the loss's size: smaller slopes count as 0
TILT = 1e-4  # of the objective's size
KAPPAS = (1e-3, 1e-4, 1e-5)


def gradient(run: Forward) -> None:
    """Hold the gradient of a random linear loss against its slope along a random direction."""
    case, outcome = run.case, run.outcome
    if run.layer is None or not run.outputs or case.world.integer or not case.world.parameters:
        outcome.notes.append("gradient: nothing to do")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outputs, pullback = run.layer.vjp(*run.values)
            bars = cotangents(run, outputs)
            found = pullback(*bars)
        except CvxlpgdError as error:
            outcome.refusals.append(f"gradient: {type(error).__name__}")
            return
        except Exception as error:  # whatever escapes is a finding
            outcome.mismatches.append(f"gradient: untyped {type(error).__name__}: {error}")
            return
    zero = [w for w in caught if issubclass(w.category, DegenerateGradientWarning)]
    irregular = [w for w in caught if issubclass(w.category, IrregularGradientWarning)]
    heard(outcome, [w for w in caught if w not in zero + irregular], "gradient")
    if irregular:  # random problems have kinks and duals that are not unique
        outcome.notes.append("gradient: irregular, and says so")
        return
    if [g.shape for g in found] != [v.shape for v in run.values]:
        outcome.mismatches.append(f"gradient: shapes {[g.shape for g in found]}")
    elif run.outputs[0].size and not outcome.refusals:
        _judge(run, bars, found, bool(zero))


def cotangents(run: Forward, outputs) -> list[np.ndarray]:
    """Of the variables, each in units of its size; 0 for dual variables."""
    world = run.case.world
    n = len(world.variables)
    return [
        world.rng.normal(size=o.shape) / world.x_scale if k < n else np.zeros(o.shape)
        for k, o in enumerate(outputs)
    ]


def direction(run: Forward) -> list[np.ndarray]:
    """A random direction of all parameters, inside their domains."""
    dots = []
    for parameter, value in zip(run.case.world.parameters, run.values, strict=True):
        size = np.abs(value).max(initial=0.0) or run.case.world.scale
        dot = 0.3 * size * run.case.world.rng.normal(size=value.shape)
        dots.append(dot + np.swapaxes(dot, -1, -2) if parameter.attributes["PSD"] else dot)
    return dots


def _dot(left, right) -> float:
    return float(sum(np.sum(a * b) for a, b in zip(left, right, strict=True)))


def _judge(run: Forward, bars: list[np.ndarray], found, warned: bool) -> None:
    """Compare; with `warned`, the layer has said that a gradient is 0 or noise."""
    outcome, case = run.outcome, run.case
    dots = direction(run)
    judge = CvxpyLayer(case.problem, case.world.parameters, case.world.variables, TIGHT)
    bars = bars[: len(case.world.variables)]
    retried = bool(run.layer.info.retries.any())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CvxlpgdWarning)
            judge(*run.values)
            off = np.abs(judge.info.objective - run.layer.info.objective).max()
            slopes = _slopes(judge, run.values, dots, bars)
    except (CvxlpgdError, CvxlpgdWarning):
        outcome.notes.append("gradient: no slope")
        return
    size = case.world.f_scale + np.abs(run.layer.info.objective).max()
    if off > 1e-4 * size:  # at such data the judge's own tolerances are none
        outcome.notes.append("gradient: no slope")
        return
    terms = zip(bars, run.variables, strict=True)
    size = FLOOR * (1.0 + sum(float(np.abs(b * o).sum()) for b, o in terms))
    if np.ptp(slopes) > SMOOTH * abs(slopes[-1]) + 0.1 * size:
        outcome.notes.append("gradient: not smooth")
        return
    if settings.is_linear(
        run.layer._layer.structure
    ):  # its costs' gradients are surrogates by design
        outcome.notes.append("gradient: of a linear program")
        return
    mine = _dot(found, dots)
    if abs(mine - slopes[-1]) <= NEAR * abs(slopes[-1]) + size:
        outcome.notes.append("gradient: 0, and says so" if warned else "gradient: equal")
        return
    if not run.case.strict and not _unique(run, judge, bars):
        outcome.notes.append("gradient: solution not unique")
        return
    if warned:
        outcome.refusals.append("gradient: DegenerateGradientWarning")
        return
    if retried and _enlarged(run, bars):
        outcome.notes.append("gradient: of a larger tau")
        return
    text = f"gradient: {mine:.6g}, slope {slopes[-1]:.6g}"
    nearer = _nearer(run, dots, bars)
    same = abs(nearer[0] - mine) <= NEAR * abs(mine) + size
    if same and any(abs(v - slopes[-1]) <= NEAR * abs(slopes[-1]) + size for v in nearer[1:]):
        # the same to a solver that is accurate: no noise, but a change of active set within tau
        outcome.notes.append("gradient: kink within tau")
        return
    outcome.mismatches.append(f"{text}, tight {nearer}")


def _enlarged(run: Forward, bars: list[np.ndarray]) -> bool:
    """Whether a tau is larger than the automatic one begins; a retry may have made it smaller."""
    world = run.case.world
    first = CvxpyLayer(
        run.case.problem,
        world.parameters,
        world.variables,
        derivative=LPGD(tau=Relative(sizes.SMOOTH)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            first.vjp(*run.values)[1](*bars)
        except CvxlpgdError:
            return True
    return bool((run.layer.info.tau > 5 * first.info.tau).any())


def _unique(run: Forward, judge: CvxpyLayer, bars: list[np.ndarray]) -> bool:
    """Whether the solution stays where it is when the objective is tilted a little.

    A regular solution moves by about the tilt; from one of many it goes to another one.
    """
    count = run.layer.info.status.size
    size = max(run.case.world.f_scale, float(np.abs(run.layer.info.objective).max()))
    flat = [TILT * size * b.reshape(count, -1) for b in bars]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ends = [
                judge._layer.forward(run.values, along=[t * b for b in flat]).outputs
                for t in (1.0, -1.0)
            ]
        except CvxlpgdError:
            return False
    far = 1e-3 * run.case.world.x_scale
    return all(np.abs(a - b).max(initial=0.0) <= far for a, b in zip(*ends, strict=True))


def _slopes(layer: CvxpyLayer, values, dots, bars) -> list[float]:
    """The loss's differences: ahead and behind with the smaller step, central with both."""

    def at(t: float) -> float:
        return _dot(bars, layer(*(v + t * d for v, d in zip(values, dots, strict=True))))

    far, near = STEPS
    here, ahead, behind = at(0.0), at(near), at(-near)
    return [
        (ahead - here) / near,
        (here - behind) / near,
        (at(far) - at(-far)) / (2 * far),
        (ahead - behind) / (2 * near),
    ]


def _nearer(run: Forward, dots, bars) -> list[float]:
    """The slope by LPGD from the accurate solver: at the automatic tau, and at smaller ones."""
    found = []
    world = run.case.world
    for size in ("auto", *(Relative(k) for k in KAPPAS)):
        layer = CvxpyLayer(
            run.case.problem, world.parameters, world.variables, TIGHT, derivative=LPGD(tau=size)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _, pullback = layer.vjp(*run.values)
                found.append(_dot(pullback(*bars), dots))
            except CvxlpgdError:
                found.append(np.nan)
    return found
