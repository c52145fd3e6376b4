"""The methods of this package: problems in CVXPY, layers, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from cvxlpgd import LPGD, losses
from cvxlpgd.torch import CvxpyLayer
from examples.decisions import tasks
from examples.decisions.methods import INWARDS, KAPPAS, LAMBDA, PG_SIGMA, SIGMA, SOLVE_RATIO
from examples.decisions.training import Row, training
from examples.regret.__main__ import kappa_of_linear_programs
from examples.shortest_path import task as grid

SOLVERS: dict[str, dict[str, Any]] = {
    "same": {"solver": "GUROBI", "solver_args": {"Threads": 1}},  # one, as PyEPO's here
    "default": {},
}

Loss = Callable[..., torch.Tensor]  # (predicted costs, true costs, true decisions) -> mean loss


def problem(
    task: str, fixed: np.ndarray, quadratic: float = 0.0
) -> tuple[cp.Problem, cp.Parameter, cp.Variable]:
    """(problem, cost, decision) of a task, with quadratic/2 |x|² to be paid if it is not 0."""
    if task == "tsp":
        x, constraints = _tours()
    elif task == "shortest_path":
        A, b = grid.flow()
        x = cp.Variable(A.shape[1])
        constraints = [A @ x == b, x >= 0, x <= 1]
    elif task == "portfolio":
        x = cp.Variable(len(fixed))
        # x'Σx <= risk as |L'x| <= 1 with LL' = Σ/risk
        L = np.linalg.cholesky(fixed / (tasks.GAMMA * fixed.mean()))
        constraints = [cp.sum(x) == 1, x >= 0, x <= 1, cp.SOC(cp.Constant(1.0), L.T @ x)]
    else:
        x = cp.Variable(fixed.shape[1], boolean=True)
        constraints = [fixed @ x <= np.full(len(fixed), tasks.CAPACITY)]
    cost = cp.Parameter(x.size)
    sense = tasks.SENSE[task]
    objective = sense * (cost @ x) + (quadratic / 2 * cp.sum_squares(x) if quadratic else 0)
    goal = cp.Minimize(objective) if sense > 0 else cp.Maximize(-objective)
    return cp.Problem(goal, constraints), cost, x


def _tours() -> tuple[cp.Variable, list[cp.Constraint]]:
    """Gavish and Graves: z chooses directed edges, y is a flow of n - 1 units into node 0.

    Every node but 0 sends one unit more than it receives, over chosen edges alone; x are the
    undirected edges, x_ij = z_ij + z_ji.
    """
    n, edges = tasks.NODES, tasks.edges()
    directed = [*edges, *((j, i) for i, j in edges)]
    x = cp.Variable(len(edges))
    z, y = cp.Variable(len(directed), boolean=True), cp.Variable(len(directed), nonneg=True)
    start, end = np.zeros((2, n, len(directed)))
    for k, (i, j) in enumerate(directed):
        start[i, k] = end[j, k] = 1.0
    inner = np.flatnonzero(start[0] == 0)  # edges that do not begin at node 0; the others carry 0
    return x, [
        x == z[: len(edges)] + z[len(edges) :],
        start @ z == 1,
        end @ z == 1,
        start[1:] @ y - end[1:][:, inner] @ y[inner] == 1,
        y[inner] <= (n - 1) * z[inner],
    ]


@cache
def _solving(task: str, fixed: bytes, shape: tuple[int, ...]) -> CvxpyLayer:
    return CvxpyLayer(*_arguments(problem(task, np.frombuffer(fixed).reshape(shape))))


def _arguments(parts: tuple[cp.Problem, cp.Parameter, cp.Variable]) -> tuple[Any, ...]:
    whole, cost, x = parts
    return whole, [cost], [x]


def solved(task: str, fixed: np.ndarray, costs: torch.Tensor) -> torch.Tensor:
    """The optimal decisions, (samples, n), by which both packages are judged."""
    if task != "portfolio":
        return tasks.enumerated(task, fixed, costs)
    with torch.no_grad():
        (best,) = _solving(task, fixed.tobytes(), fixed.shape)(costs)
    return best


@dataclass(frozen=True)
class Setting:
    """What a loss is made of.

    `layer(quadratic=0.0, **options of the layer)` builds a layer; `pool` are the decisions of the
    training samples, each once.
    """

    data: tasks.Data
    layer: Callable[..., CvxpyLayer]
    pool: torch.Tensor
    samples: int
    seed: int

    def regret(self, decide: Callable[..., Any]) -> Loss:
        """The mean of c'x - c'x*, or of its opposite where c'x is maximized."""

        def loss(predicted: Any, costs: Any, best: Any) -> torch.Tensor:
            (x,) = decide(predicted)
            return self.data.sense * (costs * (x - best)).sum(1).mean()

        return loss

    def squared(self, decide: Callable[..., Any]) -> Loss:
        """The mean of |x - x*|²."""

        def loss(predicted: Any, costs: Any, best: Any) -> torch.Tensor:
            (x,) = decide(predicted)
            return (x - best).square().sum(1).mean()

        return loss

    def envelope(self) -> Loss:
        """The mean upper envelope of the true cost."""
        layer = self.layer(derivative=LPGD(tau=PG_SIGMA, side="upper"))

        def loss(predicted: Any, costs: Any, best: Any) -> torch.Tensor:
            return layer.envelope(predicted, cotangents=self.data.sense * costs).mean()

        return loss

    def pooled(self, kind: Callable[..., Any]) -> Any:
        """A loss over a pool of decisions."""
        return kind(self.layer(), self.pool, solve_ratio=SOLVE_RATIO, seed=self.seed)

    def noisy(self) -> dict[str, Any]:
        """The options of perturbed solutions."""
        return {"samples": self.samples, "sigma": SIGMA, "seed": self.seed}


def _by_decision(loss: Callable[..., Any]) -> Loss:
    return lambda predicted, costs, best: loss(predicted, best)


def _by_cost(loss: Callable[..., Any]) -> Loss:
    return lambda predicted, costs, best: loss(predicted, costs)


LOSSES: dict[str, Callable[[Setting], Loss]] = {
    "two_stage": lambda s: lambda predicted, costs, best: (predicted - costs).square().mean(),
    "spo_plus": lambda s: losses.SPOPlus(s.layer()),
    "fenchel_young": lambda s: _by_decision(losses.FenchelYoung(s.layer(quadratic=1.0))),
    "frank_wolfe": lambda s: s.squared(losses.Regularized(s.layer())),
    "perturbed_fy": lambda s: _by_decision(
        losses.FenchelYoung(losses.Perturbed(s.layer(), **s.noisy()))
    ),
    "perturbed": lambda s: s.squared(losses.Perturbed(s.layer(), **s.noisy())),
    "imle": lambda s: s.regret(losses.ImplicitMLE(s.layer(), tau=LAMBDA, **s.noisy())),
    "aimle": lambda s: s.regret(
        # PyEPO begins with costs moved by their own size, too
        losses.AdaptiveImplicitMLE(s.layer(), **s.noisy())
    ),
    "dbb": lambda s: s.regret(s.layer(derivative=LPGD(tau=LAMBDA, side="lower"))),
    "nid": lambda s: s.regret(losses.NegativeIdentity(s.layer())),
    "lpgd": lambda s: s.regret(s.layer()),
    "lpgd_squared": lambda s: s.squared(s.layer()),
    "envelope": lambda s: s.envelope(),
    "nce": lambda s: _by_decision(s.pooled(losses.NoiseContrastive)),
    "map": lambda s: _by_decision(s.pooled(losses.ContrastiveMAP)),
    "listwise": lambda s: _by_cost(s.pooled(losses.ListwiseRanking)),
    "pairwise": lambda s: _by_cost(s.pooled(losses.PairwiseRanking)),
    "pointwise": lambda s: _by_cost(s.pooled(losses.PointwiseRanking)),
    "cave": lambda s: _by_decision(losses.ConeAligned(s.layer())),
    **{name: lambda s: s.regret(s.layer()) for name in KAPPAS},
    **{
        name: lambda s, inward=inward: _by_decision(losses.ConeAligned(s.layer(), inward))
        for name, inward in INWARDS.items()
    },
}


def rows(job: Row, data: tasks.Data) -> Iterator[Row]:
    """Train by one method.

    Parameters
    ----------
    job : {"method", "solver": "same" or "default", "train", "seed", "rate", "steps", "every",
        "samples"}

    Yields
    ------
    {"backend"} once, then the rows of `training`
    """
    train, built = job["train"], []

    def layer(quadratic: float = 0.0, **options: Any) -> CvxpyLayer:
        parts = _arguments(problem(data.task, data.fixed, quadratic))
        made = CvxpyLayer(*parts, **SOLVERS[job["solver"]], **options)
        with torch.no_grad():
            made(data.costs[:2])  # the first call chooses and prepares the solver
        built.append(made)
        return made

    tensors = [data.features[:train], data.costs[:train], data.best[:train]]
    pool = torch.unique(data.best[:train], dim=0)
    setting = Setting(data, layer, pool, job["samples"], job["seed"])
    loss = LOSSES[job["method"]](setting)
    yield {"backend": built[0].info.solver if built else "none"}
    with _context(job["method"]):
        yield from training(job["seed"], job["rate"], job["steps"], job["every"], tensors, loss)


def _context(method: str) -> AbstractContextManager[None]:
    return kappa_of_linear_programs(KAPPAS[method]) if method in KAPPAS else nullcontext()
