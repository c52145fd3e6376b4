"""The five tasks: data by PyEPO's generators, and what an exact decision is.

    shortest_path   min c'x, a path on a 5x5 grid, 40 arcs
    knapsack        max c'x, w'x <= 20, x in {0, 1}^32
    knapsack_2d     the same with two rows of weights
    tsp             min c'x, a tour through 10 nodes, 45 edges
    portfolio       max c'x, 1'x = 1, 0 <= x <= 1, x'Σx <= 2.25 mean(Σ), 50 assets

Costs are divided by the mean size of the training costs, so that the perturbations of methods and
their learning rates have one meaning for all tasks. Σ is divided by its own mean, which does not
change the feasible set, but brings it far above the tolerances of solvers.

This part loads neither CVXPY nor a solver: each side uses it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import torch

from examples.shortest_path import task as grid

FEATURES, BATCH = 5, 32
ITEMS, CAPACITY = 32, 20.0
NODES = 10
ASSETS, GAMMA = 50, 2.25  # risk: PyEPO's multiple of the mean covariance
TRAIN = 1000  # samples of training that every data set has; a run may take the first ones alone
SENSE = {"shortest_path": 1, "knapsack": -1, "knapsack_2d": -1, "tsp": 1, "portfolio": -1}
TASKS = tuple(SENSE)
INTEGER = ("knapsack", "knapsack_2d", "tsp")

# Portfolio noise scales the covariance as well, and at 0 there is none. The feasible set does not
# depend on the scale, so that a small one is "no noise" there; 1 is what PyEPO usually takes.
PORTFOLIO_NOISE = {0.0: 0.1, 0.5: 1.0}


@dataclass(frozen=True)
class Data:
    """What all methods get: first the training samples, then validation, then test.

    `fixed` has what the problem needs beside the costs: weights, or the covariance; `best` are the
    optimal decisions for the true costs, (samples, n) as `costs` are.
    """

    task: str
    features: torch.Tensor
    costs: torch.Tensor
    fixed: np.ndarray
    best: torch.Tensor

    @property
    def sense(self) -> int:
        """1 to minimize, -1 to maximize."""
        return SENSE[self.task]

    def regret(self, decisions: torch.Tensor, part: slice) -> float:
        """Σ |c'x - c'x*| / Σ |c'x*| of the samples of a part."""
        costs, best = self.costs[part].double(), self.best[part].double()
        values = (costs * best).sum(1)
        lost = (costs * decisions.double()).sum(1) - values
        return float(lost.abs().sum() / values.abs().sum())

    def save(self, file: Path) -> None:
        """Write it for another process."""
        arrays = {name: getattr(self, name).numpy() for name in ("features", "costs", "best")}
        np.savez(file, task=self.task, fixed=self.fixed, **arrays)

    @staticmethod
    def load(file: Path) -> Data:
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            tensors = (torch.tensor(arrays[name]) for name in ("features", "costs", "best"))
            features, costs, best = tensors
            return Data(str(arrays["task"]), features, costs, arrays["fixed"], best)


def generated(
    task: str, degree: int, noise: float, count: int, seed: int
) -> tuple[np.ndarray, ...]:
    """(features, costs, fixed) by PyEPO's generator, costs and covariance in their own units."""
    from pyepo.data import knapsack, portfolio, shortestpath, tsp

    usual = {"deg": degree, "noise_width": noise, "seed": seed}
    if task == "shortest_path":
        features, costs = shortestpath.genData(count, FEATURES, (grid.SIDE, grid.SIDE), **usual)
        return features, costs, np.zeros(0)
    if task == "tsp":
        features, costs = tsp.genData(count, FEATURES, NODES, **usual)
        return features, costs, np.zeros(0)
    if task == "portfolio":
        level = PORTFOLIO_NOISE[noise]
        covariance, features, costs = portfolio.genData(
            count, FEATURES, ASSETS, deg=degree, noise_level=level, seed=seed
        )
        return features, costs, covariance / covariance.mean()
    dim = 2 if task == "knapsack_2d" else 1
    weights, features, costs = knapsack.genData(count, FEATURES, ITEMS, dim=dim, **usual)
    return features, costs, weights


def data(
    task: str,
    degree: int,
    noise: float,
    seed: int,
    validation: int,
    test: int,
    solve: Callable[[str, np.ndarray, torch.Tensor], torch.Tensor],
) -> Data:
    """A data set of TRAIN + validation + test samples.

    Parameters
    ----------
    solve : (task, fixed, costs) -> the optimal decisions
    """
    count = TRAIN + validation + test
    features, costs, fixed = generated(task, degree, noise, count, seed)
    scaled = costs / np.abs(costs[:TRAIN]).mean(dtype=np.float64)
    tensors = (torch.tensor(v, dtype=torch.float32) for v in (features, scaled))
    inputs, outputs = tensors
    return Data(task, inputs, outputs, fixed, solve(task, fixed, outputs))


def enumerated(task: str, fixed: np.ndarray, costs: torch.Tensor) -> torch.Tensor:
    """The optimal decisions for costs (samples, n), out of all that there are; no portfolios."""
    corners = torch.from_numpy(vertices(task, fixed.tobytes(), fixed.shape))
    rows = max(1, 10_000_000 // len(corners))  # at a time: 40 MB
    best = [(SENSE[task] * part @ corners.T).argmin(1) for part in costs.split(rows)]
    return corners[torch.cat(best)] if best else costs * 0


@cache
def vertices(task: str, fixed: bytes = b"", shape: tuple[int, ...] = (0,)) -> np.ndarray:
    """All feasible decisions of a combinatorial task, (count, n) zeros and ones."""
    if task == "shortest_path":
        return _paths()
    if task == "tsp":
        return _tours()
    return _packings(np.frombuffer(fixed).reshape(shape))


def _paths() -> np.ndarray:
    """A path for each choice of the steps that go down."""
    arcs = {arc: k for k, arc in enumerate(grid.arcs())}
    steps, found = grid.SIDE - 1, []
    for down in combinations(range(2 * steps), steps):
        x, node = np.zeros(len(arcs), dtype=np.float32), 0
        for step in range(2 * steps):
            after = node + (grid.SIDE if step in down else 1)
            x[arcs[node, after]], node = 1.0, after
        found.append(x)
    return np.stack(found)


def edges() -> list[tuple[int, int]]:
    """The edges i < j of the tours, in PyEPO's order."""
    return list(combinations(range(NODES), 2))


def _tours() -> np.ndarray:
    """Every tour once: from node 0, in the direction in which the second is below the last."""
    inner = np.array([p for p in permutations(range(1, NODES)) if p[0] < p[-1]])
    stops = np.pad(inner, ((0, 0), (1, 1)))
    number = np.zeros((NODES, NODES), dtype=int)
    for k, (i, j) in enumerate(edges()):
        number[i, j] = number[j, i] = k
    x = np.zeros((len(stops), len(edges())), dtype=np.float32)
    for i in range(NODES):
        x[np.arange(len(stops)), number[stops[:, i], stops[:, i + 1]]] = 1.0
    return x


def _packings(weights: np.ndarray) -> np.ndarray:
    """Every set of items within the capacities; rounding as solvers tolerate it."""
    found: list[tuple[int, ...]] = [()]
    level = [((), np.zeros(len(weights)))]
    while level:
        level = [
            ((*items, j), load + weights[:, j])
            for items, load in level
            for j in range(items[-1] + 1 if items else 0, weights.shape[1])
            if (load + weights[:, j] <= CAPACITY + 1e-9).all()
        ]
        found += [items for items, _ in level]
    x = np.zeros((len(found), weights.shape[1]), dtype=np.float32)
    for row, items in enumerate(found):
        x[row, list(items)] = 1.0
    return x
