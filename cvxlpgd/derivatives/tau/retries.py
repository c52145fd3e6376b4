"""Differences that are tried once more: at a smaller tau where programs failed, a larger for noise.

difference(samples, tau) -> (value, Info),   tau (samples,)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from cvxlpgd.derivatives.evidence import Limit
from cvxlpgd.derivatives.info import Info, put
from cvxlpgd.program import Data, Point
from cvxlpgd.program.motion import Motion

REPLACED = (
    "ok", "tau", "side", "unresolved", "inaccurate", "bend", "method", "regular", "kink",
)  # fmt: skip
REDUCED = 3  # how often tau may be divided by ten

Value = TypeVar("Value", Data, Point, Motion)
Difference = Callable[[np.ndarray, np.ndarray], tuple[Value, Info]]


def retry_smaller(
    difference: Difference[Value], tau: np.ndarray, times: int = REDUCED
) -> tuple[Value, Info]:
    """The difference at tau; where no perturbed program has a solution, at tau / 10, tau / 100, ...

    `times` is how often. What fails to the end keeps its first message.
    """
    value, info = difference(np.arange(len(tau)), np.array(tau))
    failed = np.flatnonzero(~info.ok)
    if not len(failed):
        return value, info
    messages = list(info.messages)
    for k in range(1, times + 1):
        if not len(failed):
            break
        smaller, its = difference(failed, tau[failed] / 10.0**k)
        value, info = place(value, info, failed, smaller, replace(its, retries=1 + its.retries))
        failed = failed[~its.ok]
    for i in failed:
        messages[i] += f", and so it is down to tau = {tau[i] / 10.0**times:.3g}" if times else ""
    return value, replace(info, messages=tuple(messages))


def retry_larger(
    difference: Difference[Value], tau: np.ndarray, times: int, settled: np.ndarray
) -> tuple[Value, Info]:
    """The difference of `retry_smaller`, where it is noise at 10 tau, 100 tau, ... (`times`).

    `settled` (samples,) says where nothing is to be looked for.
    """
    w_bar, info = retry_smaller(difference, tau)
    whole = info.tau == tau  # a larger one failed for the others
    samples = np.flatnonzero(info.unresolved & info.ok & whole & ~settled)
    for k in range(1, times + 1):
        if not len(samples):
            break
        larger, its = difference(samples, tau[samples] * 10.0**k)
        w_bar, info = place(w_bar, info, samples, larger, replace(its, retries=1 * its.ok))
        samples = samples[its.ok & its.unresolved]
    return w_bar, info


def or_nearby(
    limit: Limit, difference: Callable[[np.ndarray], tuple[Value, Info]]
) -> tuple[Value, Info]:
    """The limit; for samples that have none what the solutions do nearby, difference(samples)."""
    value, info = limit.value, limit.info(0.0)
    lost = np.flatnonzero(~limit.exists)
    if not len(lost):
        return value, info
    other, its = difference(lost)
    its = replace(its, regular=np.full(len(lost), False), kink=np.nan_to_num(its.bend))
    info = replace(info, settled=put(info.settled, lost, False))
    return place(value, info, lost, other, its)


def place(
    value: Value, info: Info, samples: np.ndarray, other: Value, its: Info
) -> tuple[Value, Info]:
    """The value and report with those of these samples in their places, where they succeeded.

    Elsewhere the value stays. Costs are added for all. `other` and `its` are (samples, ...).
    """
    where = samples[its.ok]
    spent = {k: getattr(info, k) for k in ("retries", "setups", "iterations")}
    costs = {k: put(v, samples, v[samples] + getattr(its, k)) for k, v in spent.items()}
    fields = {k: put(getattr(info, k), where, getattr(its, k)[its.ok]) for k in REPLACED}
    parts = {k: getattr(other, k)[its.ok] for k, _ in value.items()}
    return put(value, where, replace(value, **parts)), replace(info, **costs, **fields)
