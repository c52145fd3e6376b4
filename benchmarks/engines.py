"""The layers that are measured: ours, and the peers that are installed.

An engine turns an instance into a step: one forward and one backward pass, from parameter tensors
to parameter gradients, float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.families import Instance
from cvxlpgd import LPGD
from cvxlpgd.derivatives.perturbation import without_slack
from cvxlpgd.derivatives.tau.sizes import cotangent_step
from cvxlpgd.schedules import Relative
from cvxlpgd.torch import CvxpyLayer

RELATIVE_TAU = 1e-3


class Unsupported(Exception):
    """An engine that cannot run a family, and why."""


@dataclass(frozen=True)
class Run:
    """One step: seconds, the first variable, the parameters' gradients."""

    forward: float
    backward: float
    solution: np.ndarray
    gradients: list[np.ndarray]


Step = Callable[[], Run]


@dataclass(frozen=True)
class Engine:
    """A layer by name.

    Parameters
    ----------
    name : str
    requires : tuple of str
        Modules.
    made : Instance -> layer
    ours : bool
    only : tuple of str
        The families that it is measured on; all if empty.
    """

    name: str
    requires: tuple[str, ...]
    made: Callable[[Instance], Callable[..., Any]]
    ours: bool = False
    only: tuple[str, ...] = ()

    def missing(self) -> str:
        """Which modules are not installed; empty where all are."""
        return ", ".join(module for module in self.requires if find_spec(module) is None)

    def step(self, instance: Instance) -> Step:
        """One forward and backward pass of the instance's batch.

        Raises
        ------
        Unsupported
            For a family that it does not take.
        """
        if self.missing():
            raise Unsupported(f"not installed: {self.missing()}")
        layer = self.made(instance)
        return lambda: timed(layer, instance)


def timed(layer: Callable[..., Any], instance: Instance) -> Run:
    """Run a layer, forward and backward."""
    tensors = [torch.tensor(v, requires_grad=True) for v in instance.values]
    cotangent = torch.tensor(instance.cotangent)
    begin = perf_counter()
    solution = layer(*tensors)[0]
    middle = perf_counter()
    solution = solution.reshape(cotangent.shape)
    start = perf_counter()
    solution.backward(cotangent)
    end = perf_counter()
    gradients = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]
    return Run(middle - begin, end - start, solution.detach().numpy(), gradients)


def relative_tau(instance: Instance) -> np.ndarray:
    """One tau for each sample: q moves by a thousandth of max(|q|, |Px*|, |A'y*|)."""
    layer = CvxpyLayer(instance.problem, instance.parameters, instance.variables)._layer
    call = layer.forward(instance.values)
    batch = len(instance.cotangent)
    bar = instance.cotangent.reshape(batch, -1)
    variables = layer._compiled.canonical.variables
    z_bar = variables.cotangent(call.outputs, [bar], call.solution.point)
    folded = without_slack(call.program, z_bar)
    return cotangent_step(Relative(RELATIVE_TAU), call.program, call.solution.point, folded, 0.0)


def _fixed(instance: Instance) -> Callable[..., Any]:
    large = instance.family.ours_only  # there numbers would take another forward pass
    tau = Relative(RELATIVE_TAU) if large else relative_tau(instance)
    derivative = LPGD(tau=tau, side="average")
    return CvxpyLayer(
        instance.problem, instance.parameters, instance.variables, derivative=derivative
    )


def _automatic(instance: Instance) -> Callable[..., Any]:
    return CvxpyLayer(instance.problem, instance.parameters, instance.variables)


def _cvxpylayers(**options: Any) -> Callable[[Instance], Callable[..., Any]]:
    def made(instance: Instance) -> Callable[..., Any]:
        from cvxpylayers.torch import CvxpyLayer as Theirs

        if instance.family.kind == "integer":
            raise Unsupported("it takes no integers")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                layer: Callable[..., Any] = Theirs(
                    instance.problem,
                    parameters=instance.parameters,
                    variables=instance.variables,
                    **options,
                )
        except Exception as error:
            raise Unsupported(f"{type(error).__name__}: {error}") from None
        return layer

    return made


def _qpth(instance: Instance) -> Callable[..., Any]:
    from qpth.qp import QPFunction

    def layer(P: Any, q: Any, G: Any, h: Any, A: Any, b: Any) -> tuple[Any]:
        return (QPFunction(verbose=-1)(P, q, G, h, A, b),)

    return layer


def _qplayer(instance: Instance) -> Callable[..., Any]:
    from proxsuite.torch.qplayer import QPFunction

    def layer(P: Any, q: Any, G: Any, h: Any, A: Any, b: Any) -> tuple[Any]:
        lower = torch.full_like(h, -1e20)
        return (QPFunction(omp_parallel=True)(P, q, A, b, G, lower, h)[0],)

    return layer


LPGD_OF_DIFFCP = {
    "solve_method": "Clarabel",
    "mode": "lpgd",
    "derivative_kwargs": {"tau": RELATIVE_TAU, "rho": 0.0},
}
OURS, AUTOMATIC = "cvxlpgd", "cvxlpgd LPGD()"
ENGINES = {
    engine.name: engine
    for engine in (
        Engine(OURS, (), _fixed, ours=True),
        Engine(AUTOMATIC, (), _automatic, ours=True),
        Engine("cvxpylayers", ("cvxpylayers", "diffcp"), _cvxpylayers()),
        Engine("cvxpylayers + Moreau", ("cvxpylayers", "moreau"), _cvxpylayers(solver="MOREAU")),
        Engine("diffcp lpgd", ("cvxpylayers", "diffcp"), _cvxpylayers(solver_args=LPGD_OF_DIFFCP)),
        Engine("qpth", ("qpth",), _qpth, only=("OptNet QP",)),
        Engine("QPLayer", ("proxsuite",), _qplayer, only=("OptNet QP",)),
    )
}
