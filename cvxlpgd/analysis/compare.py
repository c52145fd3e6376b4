"""Derivatives side by side on one problem: errors, cosines, times, zeros."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.analysis.comparison import Comparison
from cvxlpgd.analysis.cotangents import loss_cotangents
from cvxlpgd.analysis.facts import Facts
from cvxlpgd.analysis.judge import Judge
from cvxlpgd.analysis.progress import progress_bar
from cvxlpgd.analysis.question import ROUNDING, Question
from cvxlpgd.analysis.words import listed
from cvxlpgd.checks import is_number, is_positive
from cvxlpgd.derivatives import LPGD, Derivative, Exact, FiniteDifference, Implicit
from cvxlpgd.derivatives.protocol import check_derivative, require_structure
from cvxlpgd.derivatives.tau.sizes import SMOOTH
from cvxlpgd.errors import (
    CvxlpgdError,
    CvxlpgdWarning,
    FailedSampleWarning,
    InvalidInput,
    InvalidOption,
)
from cvxlpgd.layer import Call, Layer, compile_layer, real
from cvxlpgd.layer.description import kind_of, spelling
from cvxlpgd.program import Status
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.protocol import Solver

SIDES = ("lower", "upper", "average")
REFERENCE = Implicit()
SHOWN = 6  # numbers or samples that a message repeats
DECADES = 10.0 ** np.arange(-3, 4)  # of the automatic tau, for the default comparison


def compare(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    values: Sequence[Any],
    derivatives: Sequence[Derivative] | None = None,
    reference: Derivative = REFERENCE,
    cotangents: Sequence[Any] | None = None,
    loss: Callable[..., Any] | None = None,
    *,
    solver: str | Solver | None = None,
    taus: Sequence[float] | None = None,
    gp: bool = False,
    progress: bool | None = None,
) -> Comparison:
    """Compare derivatives of one loss of a problem's solution.

    Parameters
    ----------
    problem, parameters, variables, solver, gp
        As for a layer.
    values : list of arrays (*batch axes, *parameter shape)
    derivatives : list, optional
        By default the reference, Exact(), LPGD() and LPGD at each tau for all three sides.
    reference : Derivative
        Where it does not apply FiniteDifference() takes its place.
    cotangents : list of arrays of the outputs' shapes, optional
        The loss' derivative; standard normal from a fixed seed if neither this nor `loss` is given.
    loss : callable, optional
        loss(*variables) -> a number, of torch tensors where torch is installed, else of arrays.
    taus : list of float, optional
        By default seven decades around the automatic one.
    progress : bool, optional
        Show a progress bar; by default where the work takes more than two seconds, in a terminal.

    Returns
    -------
    Comparison
        `print` shows its verdict and its table; `rows`, `plot` and `to_dict` have the numbers.

    Raises
    ------
    CvxlpgdError
        As a layer would.
    """
    _check(derivatives, reference, cotangents, loss, taus)
    layer = compile_layer(problem, parameters, variables, solver=solver, gp=gp, on_failure="nan")
    arrays = _arrays(values, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailedSampleWarning)  # says what a layer would do
        call = layer.forward(arrays)
    lost = _lost(call)
    if not call.record.ok.any():
        reasons = listed(list(dict.fromkeys(lost.values())))
        raise InvalidInput(f"no sample has a solution, so there is nothing to compare: {reasons}")
    if lost:
        each = [f"{sample}: {reason}" for sample, reason in lost.items()]
        which = "; ".join(each[:SHOWN] + ["..."] * (len(each) > SHOWN))
        text = f"{len(lost)} of {call.record.ok.size} samples failed: {which}. They are left out."
        warnings.warn(text, FailedSampleWarning, stacklevel=2)
    bars = loss_cotangents(layer, call, cotangents, loss)
    question = Question.of(call, arrays, bars, "compare")
    chosen, substitute = _reference(call, reference)
    exact = Exact() if _applies(call, Exact()) else None
    with warnings.catch_warnings(), progress_bar("compare", progress) as bar:
        warnings.simplefilter("ignore", CvxlpgdWarning)
        judge = Judge(question, chosen, exact, bar.update)
        derived = (LPGD(tau=Relative(SMOOTH)), LPGD())
        smooth, own = (question.differentiate(d)[1].tau for d in derived)
        automatic = np.where(own > 0, own, smooth)  # 0 is the limit
        if derivatives is None:
            own_rows = [chosen, *([] if exact in (None, chosen) else [exact]), LPGD()]
            derivatives = [*own_rows, *_grid(taus, automatic)]
        bar.total = bar.n + len(derivatives)
        rows = []
        for derivative in derivatives:
            rows.append(judge.row(derivative))
            bar.update()
        noise = judge.noise(float(np.nanmedian(automatic)))
    facts = _facts(layer, call, judge, lost, substitute)
    size = sum(domain.size for domain in layer.domains)
    return Comparison(
        tuple(rows), spelling(chosen), noise, call.record.solved_by, call.batch.samples, size, facts
    )


def _arrays(values: Any, layer: Layer) -> list[np.ndarray]:
    """The values as arrays, one for each parameter."""
    if not isinstance(values, list | tuple):
        raise InvalidInput(f"values must be a list, one for each parameter, not {values!r}")
    count, shapes = len(values), [domain.shape for domain in layer.domains]
    if count != len(shapes):
        text = f"received {count} values, expected {len(shapes)}, an array for each parameter"
        if shapes == [(count,)] and count <= SHOWN and all(map(is_number, values)):
            text += f"; wrap them in a list: [{[float(v) for v in values]}]"
        raise InvalidInput(text)
    return [real(v, f"value {i}").astype(float) for i, v in enumerate(values)]


def _facts(
    layer: Layer, call: Call, judge: Judge, lost: Mapping[str, str], substitute: str
) -> Facts:
    """What the verdict is told beside the rows."""
    record, names = judge.record, np.array([domain.name for domain in layer.domains])
    irregular = np.array([known is False for known in record.regular.ravel()], dtype=bool)
    kinks, exact = record.kink.ravel() > 0, judge.question.shares(judge.exact)
    return Facts(
        problem=kind_of(layer.structure),
        parameters=tuple(names.tolist()),
        zero=tuple(names[judge.zero].tolist()),
        exactly=bool((exact[judge.zero] <= ROUNDING).all()),
        failed=tuple(f"{sample}: {reason}" for sample, reason in lost.items()),
        inaccurate=int((record.status == str(Status.INACCURATE)).sum()),
        kinks=int(kinks.sum()),
        irregular=int((irregular & ~kinks).sum()),
        directions=len(judge.directions),
        still=not judge.slopes.any(),
        substitute=substitute,
        is_difference=judge.is_difference,
    )


def _lost(call: Call) -> dict[str, str]:
    """The samples that have no solution, such as "sample 1", and why."""
    status, lost = call.record.status, {}
    messages = np.reshape(np.array(call.full.messages, dtype=object), status.shape)
    for place in map(tuple, np.argwhere(~call.record.ok)):
        message = (messages[place] or "failed") if status[place] == str(Status.FAILED) else ""
        lost[f"sample {', '.join(map(str, place))}"] = message or str(status[place])
    return lost


def _check(derivatives: Any, reference: Any, cotangents: Any, loss: Any, taus: Any) -> None:
    """Raise InvalidOption or InvalidInput for arguments that are not what they must be."""
    check_derivative("reference", reference)
    for name, given in (("derivatives", derivatives), ("taus", taus)):
        if given is not None and not isinstance(given, list | tuple | np.ndarray):
            raise InvalidOption(f"{name} must be a list, not {given!r}")
    for i, derivative in enumerate([] if derivatives is None else derivatives):
        check_derivative(f"derivatives[{i}]", derivative)
    for i, tau in enumerate([] if taus is None else taus):
        if not is_positive(tau):
            raise InvalidOption(f"taus[{i}] must be a number > 0, not {tau!r}")
    if cotangents is not None and not isinstance(cotangents, list | tuple):
        raise InvalidInput(f"cotangents must be a list, one for each variable, not {cotangents!r}")
    if loss is not None and not callable(loss):
        raise InvalidInput(f"loss must be a function of the variables, not {loss!r}")


def _grid(taus: Sequence[float] | None, automatic: np.ndarray) -> list[LPGD]:
    if taus is None:
        middle = 10.0 ** np.rint(np.log10(np.nanmedian(automatic)))
        taus = [float(f"{tau:.0e}") for tau in middle * DECADES]
    return [LPGD(tau=tau, side=side) for side in SIDES for tau in taus]  # type: ignore[arg-type]


def _applies(call: Call, derivative: Derivative) -> bool:
    return not _refusal(call, derivative)


def _refusal(call: Call, derivative: Derivative) -> str:
    """Why the derivative does not apply; empty where it does."""
    try:
        require_structure(derivative, call.program.structure, call.solver)
    except CvxlpgdError as error:
        return str(error)
    return ""


def _reference(call: Call, wanted: Derivative) -> tuple[Derivative, str]:
    """The reference, and why it is another one."""
    refusal = _refusal(call, wanted)
    reason = refusal.removesuffix("; use LPGD()").removesuffix(", or use LPGD()")
    return (FiniteDifference(), reason) if refusal else (wanted, "")
