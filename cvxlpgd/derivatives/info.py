"""What a derivative reports of each sample, and batches with some samples replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device

from cvxlpgd.program import Array


@dataclass(frozen=True, eq=False)
class Info:
    """What became of each sample's derivative.

    Parameters
    ----------
    ok : bool array (batch,)
        Where it is False the derivative has no value.
    messages : tuple of str (batch,)
        Why not, or what the caller should know.
    tau : array (batch,)
        The perturbation used, NaN for a method without one.
    retries : int array (batch,)
        How often it was tried anew: enlarged, reduced, or on one side only.
    side : str array (batch,)
        The side of the difference, "average", "lower" or "upper"; empty for a method without one.
    unresolved : bool array (batch,)
        Where the value is no more than the solver's noise, or the derivative does not exist.
    best : bool array (batch,)
        Where the solution is the best one for the loss, so that 0 is the gradient.
    inaccurate : bool array (batch,)
        Where a solve stayed short of its accuracy, though the value is returned.
    setups, iterations : arrays (batch,)
        Of all re-solves: how often matrices were set up, and the solver's iterations.
    bend : array (batch,)
        How much the solution's path bends between both ends of an average, from 0, a straight
        line, to 1; 0 for a method without two ends.
    method : str array (batch,)
        How the value came about: "path", "differences", "path and differences", or
        "embedding" (diffcp's).
    regular : object array (batch,)
        Whether the solution is differentiable as far as the value is concerned; None where unknown.
    kink : array (batch,)
        |one piece - the other| / (|one| + |other|) of a value that is the mean of two pieces.
    breakpoints : array (batch, 2)
        How far the path is straight for t > 0 and t < 0; NaN where unknown.
    evidence : Limit or None
        What is known of the value's error and of whether it is unique.
    settled : bool array (batch,)
        Where it is False the evidence does not bound the error.
    """

    ok: np.ndarray
    messages: tuple[str, ...]
    tau: np.ndarray
    retries: np.ndarray
    side: np.ndarray
    unresolved: np.ndarray
    best: np.ndarray
    inaccurate: np.ndarray
    setups: np.ndarray
    iterations: np.ndarray
    bend: np.ndarray
    method: np.ndarray
    regular: np.ndarray
    kink: np.ndarray
    breakpoints: np.ndarray
    evidence: Any
    settled: np.ndarray

    @classmethod
    def good(cls, batch: int, **known: Any) -> Info:
        """Nothing to report but the fields that are `known`, each (batch,) or of all samples."""
        fields = _nothing(batch)
        for name, value in known.items():
            usual = fields[name]
            if isinstance(usual, np.ndarray) and np.shape(value) != usual.shape:
                value = np.full_like(usual, value)
            elif isinstance(usual, np.ndarray):
                value = np.asarray(value, dtype=usual.dtype)
            fields[name] = value
        return cls(**fields)

    @classmethod
    def merge(cls, parts: Sequence[Info]) -> Info:
        """The report of several groups of parameters: what went wrong in any, tau where one has it.

        The evidence is left out.
        """
        if len(parts) == 1:
            return parts[0]
        every = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
        side, method, regular = (every[name][0] for name in ("side", "method", "regular"))
        for part in parts[1:]:
            side = np.where(side == "", part.side, side)
            method = np.where(part.method != method, "path and differences", method)
            worse = [known is False or now is None for known, now in
                     zip(part.regular, regular, strict=True)]  # fmt: skip
            regular = np.where(worse, part.regular, regular)
        sums = {name: np.add.reduce(every[name]) for name in ("retries", "setups", "iterations")}
        largest = {name: np.fmax.reduce(every[name], initial=0.0) for name in ("bend", "kink")}
        in_all = {name: np.all(every[name], axis=0) for name in ("ok", "unresolved", "settled")}
        return cls(
            messages=tuple(next(filter(None, t), "") for t in zip(*every["messages"], strict=True)),
            tau=np.fmax.reduce(every["tau"]), side=side, method=method, regular=regular,
            inaccurate=np.any(every["inaccurate"], axis=0), best=np.any(every["best"], axis=0),
            breakpoints=np.fmin.reduce(every["breakpoints"]), evidence=None,
            **sums, **largest, **in_all,
        )  # fmt: skip


def _nothing(batch: int) -> dict[str, Any]:
    """The fields of an Info that says nothing, arrays that nobody may write to."""
    fields: dict[str, Any] = {
        "ok": np.ones(batch, dtype=bool), "messages": ("",) * batch,
        "tau": np.full(batch, np.nan), "retries": np.zeros(batch, dtype=int),
        "side": np.full(batch, "", dtype="<U7"), "unresolved": np.zeros(batch, dtype=bool),
        "best": np.zeros(batch, dtype=bool), "inaccurate": np.zeros(batch, dtype=bool),
        "setups": np.zeros(batch),
        "iterations": np.zeros(batch), "bend": np.zeros(batch),
        "method": np.full(batch, "differences", dtype="<U20"), "regular": np.full(batch, None),
        "kink": np.zeros(batch), "breakpoints": np.full((batch, 2), np.nan),
        "evidence": None, "settled": np.ones(batch, dtype=bool),
    }  # fmt: skip
    return fields


def put(whole: Any, samples: np.ndarray, part: Any) -> Any:
    """The whole with `part` at these samples: an array (batch, ...), or a dataclass of arrays."""
    if is_dataclass(whole):
        fields = {k: put(v, samples, getattr(part, k)) for k, v in vars(whole).items()}
        return replace(whole, **fields)  # type: ignore[type-var]
    out = array_namespace(whole).asarray(whole, copy=True)
    out[samples] = part
    return out


def host(values: Array) -> np.ndarray:
    """The values as a NumPy array."""
    return np.asarray(to_device(values, "cpu"))
