"""Messages about failed samples: which, why, and what to try."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from cvxlpgd import errors
from cvxlpgd.program import Solution, Status

_TRY = {
    Status.INFEASIBLE: "check that the parameter values leave a feasible point, and that the data "
    "are well scaled",
    Status.UNBOUNDED: "bound the variables, or check the sign of the objective",
    Status.FAILED: "try another solver (solver=), a looser eps, more time where there is a "
    "time_limit, or better scaled data",
}
_AS_NAN = ' A failed sample is NaN and its gradients are 0 (on_failure="nan").'
LOOSE = 1e-3  # a larger residual is a failure to most users: no looser eps is offered
_LISTED = 8  # reasons in one message, and runs of neighbouring samples for each of them
_INSIDE = str(Path(__file__).parent.parent)


@dataclass
class Once:
    """Whether the layer has warned already that gradients are zero; it warns once."""

    degenerate: bool = False


def raise_faults(faults: Sequence[str], shape: tuple[int, ...], policy: str = "raise") -> None:
    """Raise InvalidInput if a sample's values are outside their domains, or warn of them if the
    policy is "nan".

    `faults` says what is wrong with each sample of the batch flattened from `shape`; else "".
    """
    bad = [i for i, fault in enumerate(faults) if fault]
    if bad:
        described = _list(bad, [faults[i] for i in bad], shape)
        text = f"{_count(np.array(bad), shape)} cannot be solved: {described}"
        if policy == "raise":
            raise errors.InvalidInput(text)
        warn(f"{text}.{_AS_NAN}", errors.FailedSampleWarning)


def say_solutions(
    solution: Solution, faults: Sequence[str], shape: tuple[int, ...], policy: str
) -> None:
    """Raise SolveFailed for failed samples, or warn of them if the policy is "nan".

    Warn of inaccurate ones. `faults` are those of `raise_faults`.
    """
    if set(solution.status.tolist()) <= {Status.SOLVED}:
        return
    inaccurate = np.flatnonzero(solution.status == Status.INACCURATE)
    if len(inaccurate):
        warn(
            f"{_which(inaccurate, shape)} {_were(inaccurate)} solved short of the accuracy asked "
            f"for ({_shortfall(solution, inaccurate)})",
            errors.InaccurateSolutionWarning,
        )
    failed = [int(i) for i in np.flatnonzero(~solution.ok)]
    if not len(failed):
        return
    described = _list(failed, [faults[i] or _reason(solution, i) for i in failed], shape)
    statuses = tuple(str(solution.status[i]) for i in failed)
    tries = {_TRY[s] for i, s in zip(failed, solution.status[failed], strict=True) if not faults[i]}
    text = f"{_count(np.array(failed), shape)} failed: {described}."
    if tries:
        text += f" What to try: {'; '.join(sorted(tries))}."
    if policy == "nan":
        warn(text + _AS_NAN, errors.FailedSampleWarning)
    else:
        if solution.ok.any():
            text += ' With on_failure="nan" the other samples go on.'
        raise errors.SolveFailed(text, tuple(failed), statuses)


def _shortfall(solution: Solution, inaccurate: np.ndarray) -> str:
    """By how much solutions are inaccurate, and what to try."""
    residuals = solution.residuals
    if residuals is None:
        return "residual unknown; try another solver"
    if np.isnan(np.asarray(residuals.dual)[inaccurate]).all():  # integers
        gap = np.asarray(residuals.gap)[inaccurate]
        known = gap[np.isfinite(gap)]
        size = f"gap up to {known.max():.1e}" if len(known) else "gap unknown"
        return f"stopped before the optimum was proved, {size}; allow more time"
    worst = float(np.max(np.asarray(residuals.largest)[inaccurate]))
    tries = "allow more iterations, try another solver or scale the data"
    if worst < LOOSE:
        tries += ", or loosen eps"
    return f"relative KKT residual up to {worst:.1e}; {tries}"


def say_gradients(
    ok: np.ndarray, messages: Sequence[str], samples: np.ndarray, shape: tuple[int, ...],
    policy: str,
) -> None:  # fmt: skip
    """Raise SolveFailed for samples without a derivative, or warn of them if the policy is "nan".

    `ok` and `messages` are of the `samples`, positions in the batch flattened from `shape`.
    """
    bad = [int(i) for i in np.flatnonzero(~ok)]
    if not len(bad):
        return
    described = _list(samples[bad].tolist(), [messages[i] for i in bad], shape)
    text = f"no gradient for {_count(samples[bad], shape)}: {described}. What to try: "
    text += 'both sides (side="average"), rho > 0 where it is unbounded, or a much smaller tau.'
    if policy == "nan":
        text += ' Their gradients are 0 (on_failure="nan").'
        warn(text, errors.FailedSampleWarning)
    else:
        raise errors.SolveFailed(
            text, tuple(samples[bad].tolist()), tuple(messages[i] for i in bad)
        )


def say_inaccurate_gradients(samples: np.ndarray, shape: tuple[int, ...]) -> None:
    """Warn that linear systems or re-solves stayed short of their accuracy."""
    warn(
        f"the gradient of {_count(samples, shape)} rests on systems or programs that were not "
        "solved to their accuracy; the solution may be degenerate: allow the solver more "
        "iterations, try another one, or compare with another derivative",
        errors.InaccurateGradientWarning,
    )


def say_uncertain(samples: np.ndarray, error: np.ndarray, shape: tuple[int, ...]) -> None:
    """Warn of gradients that may be off by more than 1 %, or by an unknown share (NaN)."""
    known = error[np.isfinite(error)]
    by = f"by up to {known.max():.0%}" if len(known) == len(error) else "by an unknown share"
    warn(
        f"the gradient of {_count(samples, shape)} may be off {by} (info.gradient_error): the "
        "solution is known too little for its sensitivity. Remedy: better scaled data, or a solver "
        "with a tighter tolerance",
        errors.InaccurateGradientWarning,
    )


def say_irregular(samples: np.ndarray, kinks: np.ndarray, shape: tuple[int, ...]) -> None:
    """Warn of solutions that are not differentiable."""
    kinked = int((kinks > 0).sum())
    text = f"the solution of {_count(samples, shape)} is not differentiable there"
    if kinked:
        text += (
            f": {kinked} with a kink, where a constraint only just holds, and the gradient is the "
            f"mean of both sides', which differ by up to {kinks.max():.0%} of their sum"
        )
    if kinked < len(samples):
        text += (
            f": {len(samples) - kinked} whose gradient is not unique or does not exist, as at "
            "degenerate vertices or duplicate constraints, and the least one is returned"
        )
    text += ". info.regular says which; layer.weakly_active() names constraints."
    warn(text, errors.IrregularGradientWarning)


def say_degenerate(samples: np.ndarray, shape: tuple[int, ...], remedy: str) -> None:
    """Warn that gradients are zero, or nothing but the solver's noise."""
    warn(
        f"the gradient of {_count(samples, shape)} is zero, or below what the solver's accuracy "
        "resolves, although the cotangent is not: what the loss sees of the solution does not move "
        "with the parameters, as at a bound or at a vertex of a linear program. If 0 is not the "
        f"gradient that you need, try {remedy}. (Said once for each layer.)",
        errors.DegenerateGradientWarning,
    )


def warn(text: str, category: type[Warning]) -> None:
    """Warn at the caller's line: the first frame outside of this package, torch and JAX."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def _is_inside(filename: str) -> bool:
    modules = [sys.modules.get(name) for name in ("torch", "jax")]
    within = [_INSIDE, *(str(Path(str(m.__file__)).parent) for m in modules if m is not None)]
    compiled = filename.startswith("<eval_with_key>") or "torchinductor_" in filename
    return compiled or any(filename.startswith(folder + os.sep) for folder in within)


def _reason(solution: Solution, i: int) -> str:
    status, message = str(solution.status[i]), solution.messages[i]
    return status if message.lower() in ("", status) else f"{status} ({message})"


def _list(samples: Sequence[int], texts: Sequence[str], shape: tuple[int, ...]) -> str:
    """The texts, each once with its samples, as in "samples 0-5, 9: infeasible"."""
    if not shape:
        return texts[0]
    by_text: dict[str, list[int]] = {}
    for sample, text in zip(samples, texts, strict=True):
        by_text.setdefault(text, []).append(sample)
    parts = [
        f"sample{'s' if len(members) > 1 else ''} {_numbers(members, shape)}: {text}"
        for text, members in list(by_text.items())[:_LISTED]
    ]
    left = sum(len(members) for members in list(by_text.values())[_LISTED:])
    return "; ".join([*parts, f"and {left} more for other reasons"] if left else parts)


def _numbers(samples: Sequence[int], shape: tuple[int, ...]) -> str:
    """The samples' numbers, neighbours together, as in "0-5, 9"."""
    cuts = [k for k in range(1, len(samples)) if samples[k] != samples[k - 1] + 1]
    runs = [samples[i:j] for i, j in pairwise([0, *cuts, len(samples)])]
    left = sum(len(run) for run in runs[_LISTED:])
    more = f" and {left} more" if left else ""
    return ", ".join(_run(run, shape) for run in runs[:_LISTED]) + more


def _run(samples: Sequence[int], shape: tuple[int, ...]) -> str:
    """The first and the last of neighbours, as in "0-5"; with several batch axes their indices."""
    ends = dict.fromkeys((samples[0], samples[-1]))
    if len(shape) == 1:
        return "-".join(map(str, ends))
    return " to ".join(str(tuple(int(k) for k in np.unravel_index(i, shape))) for i in ends)


def _count(samples: np.ndarray, shape: tuple[int, ...]) -> str:
    """How many, as in "3 of 8 samples"."""
    return f"{len(samples)} of {int(np.prod(shape))} samples" if shape else "the sample"


def _were(samples: np.ndarray) -> str:
    return "was" if len(samples) == 1 else "were"


def _which(samples: np.ndarray, shape: tuple[int, ...]) -> str:
    """How many and which, as in "3 of 8 samples (0, 2-3)"; the numbers only where some are left."""
    part = len(samples) < np.prod(shape)
    return _count(samples, shape) + (f" ({_numbers(samples.tolist(), shape)})" if part else "")
