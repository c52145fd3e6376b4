"""The families of the soak: one for each solver, and the ways to call a layer that keep things."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from cvxlpgd import Implicit
from cvxlpgd.solvers import CVXPY, DAQP, ECOS, OSQP, PIQP, SCS, Clarabel, HiGHS
from cvxlpgd.torch import CvxpyLayer

Step = Callable[[np.random.Generator], None]
BATCH, N = 4, 5


def _linear() -> tuple[cp.Problem, cp.Parameter, cp.Variable]:
    """A cost on the simplex, with bounds: vertices."""
    c, x = cp.Parameter(N), cp.Variable(N)
    return cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0, x <= 0.4]), c, x


def _quadratic() -> tuple[cp.Problem, cp.Parameter, cp.Variable]:
    """A projection on the simplex."""
    c, x = cp.Parameter(N), cp.Variable(N)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == 1, x >= 0]), c, x


def _cone() -> tuple[cp.Problem, cp.Parameter, cp.Variable]:
    """A cost and an entropy in a ball: second-order and exponential cones."""
    c, x = cp.Parameter(N), cp.Variable(N)
    cost = c @ x - cp.sum(cp.entr(x + 2))
    return cp.Problem(cp.Minimize(cost), [cp.norm(x) <= 1]), c, x


def _called(made: Callable[[], Any], **options: Any) -> Callable[[], Step]:
    """Steps of one layer; options of its constructor."""

    def family() -> Step:
        problem, c, x = made()
        layer = CvxpyLayer(problem, [c], [x], **options)
        return lambda rng: _step(layer, rng)

    return family


def _step(layer: CvxpyLayer, rng: np.random.Generator, **options: Any) -> None:
    value = torch.tensor(rng.normal(size=(BATCH, N)), requires_grad=True)
    (found,) = layer(value, **options)
    found.backward(torch.tensor(rng.normal(size=(BATCH, N))))


def _warm() -> Step:
    """Each call starts from the one before it."""
    problem, c, x = _quadratic()
    layer = CvxpyLayer(problem, [c], [x], solver=SCS())
    return lambda rng: _step(layer, rng, warm_start=True)


def _failing() -> Step:
    """A quarter of the samples is infeasible."""
    low, x = cp.Parameter(N), cp.Variable(N)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [x >= low, x <= 0.67])
    layer = CvxpyLayer(problem, [low], [x], on_failure="nan")
    return lambda rng: _step(layer, rng)


def _constructed() -> Step:
    """A new problem and a new layer in each step."""

    def step(rng: np.random.Generator) -> None:
        problem, c, x = _quadratic()
        _step(CvxpyLayer(problem, [c], [x]), rng)

    return step


def _executed() -> Step:
    """The caller's threads solve pieces of the batch."""
    problem, c, x = _quadratic()
    layer = CvxpyLayer(problem, [c], [x], executor=ThreadPoolExecutor(2))
    return lambda rng: _step(layer, rng)


def _shapes() -> Step:
    """Batches of all sizes, each of which may start from its own last one."""
    problem, c, x = _quadratic()
    layer = CvxpyLayer(problem, [c], [x], solver=SCS())

    def step(rng: np.random.Generator) -> None:
        value = torch.tensor(rng.normal(size=(int(rng.integers(1, 200)), N)), requires_grad=True)
        (found,) = layer(value, warm_start=True)
        found.sum().backward()

    return step


def _losses() -> Step:
    """An envelope of a loss that is written where it is used."""
    problem, c, x = _quadratic()
    layer = CvxpyLayer(problem, [c], [x])

    def step(rng: np.random.Generator) -> None:
        value = torch.tensor(rng.normal(size=N), requires_grad=True)
        loss = cp.sum_squares(x - rng.normal(size=N))
        layer.envelope(value, loss=loss, tau=0.1, side="lower").backward()

    return step


FAMILIES: dict[str, Callable[[], Step]] = {
    "LP by HiGHS": _called(_linear, solver=HiGHS()),
    "QP by DAQP": _called(_quadratic, solver=DAQP()),
    "QP by PIQP": _called(_quadratic, solver=PIQP()),
    "QP by OSQP": _called(_quadratic, solver=OSQP()),
    "cones, refined": _called(_cone),
    "cones by SCS": _called(_cone, solver=SCS()),
    "cones by Clarabel": _called(_cone, solver=Clarabel()),
    "cones by ECOS": _called(_cone, solver=ECOS()),
    "LP by a name of CVXPY's": _called(_linear, solver=CVXPY("SCIPY")),
    "exact derivative by diffcp": _called(_quadratic, derivative=Implicit()),
    "chosen solvers": _called(_linear),
    "warm starts": _warm,
    "failing samples": _failing,
    "executor": _executed,
    "new layers": _constructed,
    "batch shapes": _shapes,
    "inline losses": _losses,
}
