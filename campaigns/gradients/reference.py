"""A case's outputs, cotangents and gradients from its formula, by torch's differentiation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from campaigns.gradients.case import Case

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Reference:
    """For each sample: the outputs, the cotangents, the gradients and their sizes.

    `sizes` are what errors are relative to: the largest entry of a parameter's own gradient. Where
    the gradient is zero (an inactive bound), it is the gradient that would move the loss as much
    as the most important parameter does, for the same relative change.
    """

    outputs: list[Arrays]
    cotangents: list[Arrays]
    gradients: list[Arrays]
    sizes: list[list[float]]


def reference(case: Case, rng: np.random.Generator) -> Reference:
    """The reference of all samples; random cotangents get a random common scale."""
    made = Reference([], [], [], [])
    scale = 10.0 ** rng.uniform(-3, 3)
    for sample in case.samples:
        theta = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in sample]
        outputs = solved(case, theta)
        points = [v.detach() for v in outputs]
        bars = _cotangents(case, points, rng, scale)
        pairs = zip(bars, outputs, strict=True)
        loss = torch.stack([(bar * v).sum() for bar, v in pairs]).sum()
        slopes = torch.autograd.grad(loss, theta, allow_unused=True)
        gradients = [
            (torch.zeros_like(t) if g is None else g).numpy()
            for g, t in zip(slopes, theta, strict=True)
        ]
        made.outputs.append([v.numpy() for v in points])
        made.cotangents.append([bar.numpy() for bar in bars])
        made.gradients.append(gradients)
        made.sizes.append(_sizes(gradients, sample, case.unjudged))
    return made


def solved(case: Case, theta: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The formula's outputs as a list."""
    outputs = case.solution(*theta)
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def _cotangents(
    case: Case, points: list[torch.Tensor], rng: np.random.Generator, scale: float
) -> list[torch.Tensor]:
    """The loss's gradient, or normal numbers over each output's own size."""
    if case.loss is not None:
        leaves = [v.clone().requires_grad_() for v in points]
        return list(torch.autograd.grad(case.loss(*leaves), leaves))
    return [
        torch.tensor(scale * rng.normal(size=tuple(v.shape)) / (_largest(v.numpy()) or 1.0))
        for v in points
    ]


def _sizes(
    gradients: Arrays, sample: Sequence[np.ndarray | float], unjudged: tuple[int, ...]
) -> list[float]:
    units = [_largest(v) or 1.0 for v in sample]
    weights = [_largest(g) * u for g, u in zip(gradients, units, strict=True)]
    heaviest = max(w for i, w in enumerate(weights) if i not in unjudged)
    if heaviest == 0:
        raise RuntimeError("the outputs depend on no parameter")
    return [
        _largest(g) if weight > 1e-12 * heaviest else heaviest / unit
        for g, weight, unit in zip(gradients, weights, units, strict=True)
    ]


def _largest(values: np.ndarray | float) -> float:
    return float(np.max(np.abs(values), initial=0.0))
