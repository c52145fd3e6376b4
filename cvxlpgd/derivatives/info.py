"""What a derivative reports of each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


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
    def good(cls, batch: int, tau: float | np.ndarray = np.nan) -> Info:
        """Nothing to report."""
        return cls(
            ok=np.ones(batch, dtype=bool),
            messages=("",) * batch,
            tau=np.broadcast_to(np.asarray(tau, dtype=float), (batch,)).copy(),
            retries=np.zeros(batch, dtype=int),
            side=np.full(batch, "", dtype="<U7"),
            unresolved=np.zeros(batch, dtype=bool),
            inaccurate=np.zeros(batch, dtype=bool),
            setups=np.zeros(batch),
            iterations=np.zeros(batch),
            bend=np.zeros(batch),
            method=np.full(batch, "differences", dtype="<U20"),
            regular=np.full(batch, None),
            kink=np.zeros(batch),
            breakpoints=np.full((batch, 2), np.nan),
            evidence=None,
            settled=np.ones(batch, dtype=bool),
        )

    @classmethod
    def merged(cls, parts: Sequence[Info]) -> Info:
        """The report of several groups of parameters: what went wrong in any, tau where one has it.

        The evidence is left out.
        """
        if len(parts) == 1:
            return parts[0]
        tau = parts[0].tau
        for part in parts[1:]:
            tau = np.fmax(tau, part.tau)
        first, rest = parts[0], parts[1:]
        out = cls.good(len(first.ok), tau)
        texts = zip(*(part.messages for part in parts), strict=True)
        for part in parts:
            out.ok[:] &= part.ok
            out.inaccurate[:] |= part.inaccurate
            out.settled[:] &= part.settled
            out.retries[:] += part.retries
            out.setups[:] += part.setups
            out.iterations[:] += part.iterations
            out.bend[:] = np.fmax(out.bend, part.bend)
            out.kink[:] = np.fmax(out.kink, part.kink)
            out.breakpoints[:] = np.fmin(out.breakpoints, part.breakpoints)
            out.side[:] = np.where(out.side == "", part.side, out.side)
        out.unresolved[:] = np.all([part.unresolved for part in parts], axis=0)
        out.method[:], out.regular[:] = first.method, first.regular
        for part in rest:
            out.method[part.method != out.method] = "path and differences"
            worse = [known is False or now is None for known, now in
                     zip(part.regular, out.regular, strict=True)]  # fmt: skip
            out.regular[worse] = part.regular[worse]
        return replace(out, messages=tuple(next(filter(None, t), "") for t in texts))
