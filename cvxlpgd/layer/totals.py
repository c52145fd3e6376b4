"""Gradients of parameters that all samples share: one product instead of every sample's own.

A parameter that reaches entries of P or A alone, each of its entries one entry, has the gradient
Σ_i pull-back of the i-th sample's motion. What a sample's own gradient would tell, whether it is
zero and how far it may be off beside its size, follows from its motion and a part of its entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.canonical.parameter_map import ParameterMap, Single
from cvxlpgd.derivatives import Info
from cvxlpgd.layer.accuracy import Gradients, is_known, share
from cvxlpgd.program import Array, Data, norm
from cvxlpgd.program.motion import Motion
from cvxlpgd.program.structure import Structure
from cvxlpgd.solvers.run.arrays import array_in, array_like

PROBED = 1024  # entries of a parameter whose largest stands for the largest of all


class Total(NamedTuple):
    """A gradient summed over the batch (size,), and which samples' own are not 0, bool (batch,)."""

    value: Array
    present: np.ndarray


def differentiate(
    parameters: ParameterMap,
    structure: Structure,
    motion: Motion,
    flat: Sequence[Array],
    shared: Sequence[int],
    info: Info,
) -> tuple[dict[int, Total], np.ndarray] | None:
    """The shared parameters' gradients, and how far each sample's may be off, (batch,), NaN where
    there is no evidence; None where a sample's own gradient must be looked at.

    `flat` are all parameters' values (batch or 1, size).
    """
    mirror = structure.P.mirror
    singles = {k: single for k in shared if (single := parameters.single(k, mirror)) is not None}
    if not singles:
        return None
    batch, needed = len(motion.x), [k in singles for k in range(len(flat))]
    entries = parameters.entries(needed)
    sizes = {k: _largest(motion, structure, single) for k, single in singles.items()}
    error, evidence = np.full(batch, np.nan), info.evidence
    if evidence is not None:
        if not evidence.is_complete.all():
            return None
        total, floor = evidence.bounds()
        rounding = _rounding(motion)
        floor = replace(floor, P=floor.P + rounding.P, A=floor.A + rounding.A)
        mapping = Gradients(parameters, flat, entries, needed, batch)
        bounds = mapping.bounds(total), mapping.bounds(floor)
        error = np.zeros(batch)
        for k, size in sizes.items():
            off, least = (of[k] for of in bounds)
            if not (is_known(size, off, least) | ~info.settled).all():
                return None
            error = np.maximum(error, share(off, size) * (size > 0))
        error = np.where(info.settled, error, np.nan)
    w_bar = motion.total(structure, entries)
    one = [values[:1] for values in flat]
    sums: list[Any] = parameters.cotangents(one, w_bar, entries, needed)
    return {k: Total(sums[k][0], sizes[k] > 0) for k in singles}, error


def _largest(motion: Motion, structure: Structure, single: Single) -> np.ndarray:
    """A lower bound of the largest entry of each sample's gradient, (batch,); 0 where that is 0."""
    size = _size(motion, structure, single.sample(PROBED))
    nothing = np.flatnonzero(size == 0)
    if len(nothing):
        size[nothing] = _size(motion.take(nothing), structure, single)
    return size


def _size(motion: Motion, structure: Structure, single: Single) -> np.ndarray:
    none = np.zeros(0, dtype=int)
    entries = replace(Data(none, none, none, none), **{single.name: single.entries})
    values = getattr(motion.pull_back(structure, entries), single.name)
    return array_in(norm(values * array_like(single.factors, values)), "numpy")


def _rounding(motion: Motion) -> Data:
    """What rounding does to the entries of P and A at most, (batch, 1)."""
    x_dot, y_dot, x, y = (norm(v)[:, None] for _, v in motion.items())
    x_dot, y_dot = np.finfo(float).eps * x_dot, np.finfo(float).eps * y_dot
    return Data(P=x_dot * x, q=x_dot, A=y_dot * x + y * x_dot, b=y_dot)
