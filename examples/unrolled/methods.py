"""The methods that are compared, built for a problem: all begin as the same start and step.

    lpgd, lpgd_ma, lpgd_rma    learned proximal gradient descent: as it is, with a moving average,
                               with recurrent momentum; 20 iterations, convolutions 2-32-32-32-1
    lpd, lpd_ma, lpd_rma       learned primal-dual; 10 iterations, 6-32-32-32-5 and 7-32-32-5; a
                               problem may have other numbers of iterations
    lpgd_wide, lpd_wide        without momentum, as many parameters as the recurrent one
    prox                       proximal gradient descent with a prox declared in CVXPY; 8
                               iterations, each with a trained step and a trained weight; the
                               training sees that gradients depend on iterates, or steps grow
                               until the iteration is unstable

What momenta and networks see has the same scale for all: the gradient of root mean square 1 at the
starts, by the scheme's trained step, and never longer than that. In the primal-dual schemes, whose
dual variables start at 0, that step is 1/|J|, and for prox it is 1/|J|².
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cvxlpgd.unrolled import (
    MovingAverage,
    Prox,
    RecurrentMomentum,
    UnrolledGradient,
    UnrolledPrimalDual,
    convolutions,
    step_size,
)
from cvxlpgd.unrolled.operators import Operator, data_gradient
from examples.unrolled.samples import Samples

TRAINED = (
    "lpgd", "lpgd_ma", "lpgd_rma", "lpgd_wide", "lpd", "lpd_ma", "lpd_rma", "lpd_wide", "prox"
)  # fmt: skip
MOMENTA = {"ma": MovingAverage(), "rma": RecurrentMomentum(hidden=50)}
CHANNELS = 32
BOUND = 1.0  # without it trainings of steep problems are no longer finite after a few epochs
ITERATIONS = {"lpgd": 20, "lpd": 10}
PROX_ITERATIONS = 8


@dataclass(frozen=True)
class Problem:
    """What a scheme is built for.

    `step` is 1/|J|², J the operator's Jacobian at training samples, and `scale` 1/|g|, the root
    mean square of the gradient J'(F(x) - y) at their starts.
    `prox` makes the convex prox, if there is one; `network(channels...)` the primal networks, and
    `dual` the dual ones, convolutions by default; `iterations` are those of "lpgd" and "lpd".
    """

    operator: Operator
    n: int
    m: int
    step: float
    scale: float
    prox: Callable[[], Prox] | None
    network: Callable[..., nn.Module] = convolutions
    dual: Callable[..., nn.Module] = convolutions
    iterations: Mapping[str, int] = field(default_factory=lambda: ITERATIONS)

    @classmethod
    def of(
        cls, operator: Operator, samples: Samples, prox: Callable[[], Prox] | None, **others: Any
    ) -> Problem:
        """With the step and the scale of these training samples."""
        g = data_gradient(operator, samples.start, samples.data, False)
        step, scale = step_size(operator, samples.truth), 1 / float(g.square().mean().sqrt())
        n, m = samples.truth.shape[1], samples.data.shape[1]
        return cls(operator, n, m, step, scale, prox, **others)


def build(method: str, problem: Problem) -> nn.Module:
    """The untrained scheme; initial weights are drawn from torch's global generator."""
    scheme, _, variant = method.partition("_")
    if method == "prox":
        return UnrolledGradient(
            problem.operator, problem.n, problem.prox(), iterations=PROX_ITERATIONS,
            step=problem.step, shared=False, differentiate_operator=True,
        )  # fmt: skip
    if variant == "wide":
        return _with_channels(scheme, None, problem, wide(scheme, problem))
    return _with_channels(scheme, MOMENTA.get(variant), problem, CHANNELS)


def _with_channels(
    scheme: str, momentum: MovingAverage | RecurrentMomentum | None, problem: Problem, c: int
) -> nn.Module:
    F, n, m = problem.operator, problem.n, problem.m
    options: dict[str, Any] = {"iterations": problem.iterations[scheme], "bound": BOUND}
    if scheme == "lpgd":
        network = problem.network(2, c, c, c, 1)
        return UnrolledGradient(F, n, network, momentum, step=problem.scale, **options)
    network, dual = problem.network(6, c, c, c, 5), problem.dual(7, c, c, 5)
    step = problem.step**0.5
    return UnrolledPrimalDual(F, n, m, network, momentum, dual=dual, step=step, **options)


def wide(scheme: str, problem: Problem) -> int:
    """How many channels give as many parameters as recurrent momentum has, as nearly as can be."""
    with torch.random.fork_rng():
        target = count(build(f"{scheme}_rma", problem))
        c = CHANNELS
        while count(_with_channels(scheme, None, problem, c + 1)) <= target:
            c += 1
        sizes = {k: count(_with_channels(scheme, None, problem, k)) for k in (c, c + 1)}
    return min(sizes, key=lambda k: abs(sizes[k] - target))


def count(module: nn.Module) -> int:
    """Its trained parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
