"""What is said of perturbed programs: which failed, and which no size of tau mends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from array_api_compat import to_device

from cvxlpgd.cones import Zero
from cvxlpgd.derivatives.protocol import Info
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.program.pattern import Array
from cvxlpgd.program.solution import Solution, Status


def report(again: Solution, ends: Sequence[float], tau: np.ndarray) -> tuple[np.ndarray, Info]:
    """What became of re-solves at t = end tau, one batch for each end after the other.

    Which have a point, bool (ends, batch), and what to say of samples where not all have one.
    """
    info = Info.good(len(tau), tau)
    if again.setups is not None:
        info.setups[:] = again.setups.reshape(len(ends), -1).sum(axis=0)
    info.iterations[:] = again.iterations.reshape(len(ends), -1).sum(axis=0)
    messages = list(info.messages)
    said = np.array(again.messages, dtype=object).reshape(len(ends), -1)
    usable = again.ok.reshape(said.shape)
    info.ok[:] = usable.all(axis=0)
    for k, (end, status) in enumerate(zip(ends, again.status.reshape(said.shape), strict=True)):
        info.inaccurate[:] |= status == Status.INACCURATE
        words = said[k]
        for i in np.flatnonzero(~usable[k]):
            side = "lower" if end > 0 else "upper"
            messages[i] = f"the program perturbed to the {side} side, tau = {tau[i]:.3g}, "
            messages[i] += f"is {status[i]}" + (
                f" ({words[i]})" if words[i] and status[i] in tuple(Status) else ""
            )
    return usable, replace(info, messages=tuple(messages))


def with_redundant_rows(info: Info, program: ConeProgram, z_bar: Point) -> Info:
    """Names the failure that no tau mends: b - t y_bar outside the equality rows' range."""
    equalities = [
        np.arange(first, first + cone.rows * count)
        for cone, first, count in program.structure.blocks
        if isinstance(cone, Zero)
    ]
    if info.ok.all() or not equalities:
        return info
    rows, messages = np.concatenate(equalities), list(info.messages)
    for i in np.flatnonzero(~info.ok):
        values = _host(program.data.A)[i if len(program.data.A) > 1 else 0]
        A = program.structure.A.matrix(values).toarray()[rows]
        wanted = _host(z_bar.y)[i, rows]
        rest = wanted - A @ np.linalg.lstsq(A, wanted, rcond=None)[0]
        if np.abs(rest).max(initial=0.0) > 1e-9 * np.abs(wanted).max(initial=0.0):
            messages[i] += (
                " for every tau: equality rows are redundant, and the cotangent of their dual "
                "variables is outside of their range; leave redundant equalities out"
            )
    return replace(info, messages=tuple(messages))


def _host(values: Array) -> np.ndarray:
    return np.asarray(to_device(values, "cpu"))
