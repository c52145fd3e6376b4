"""PyEPO's problems, of its own generators: in CVXPY, and as models that know every vertex."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import Any

import cvxpy as cp
import numpy as np
import pyepo
from pyepo import EPO
from pyepo.model.opt import optModel
from scipy.optimize import minimize

GRID = (3, 3)
# in PyEPO's order: of each row of the grid, those along it, then those to the next one
ARCS = [arc for row in (0, 3, 6) for arc in (
    [(row, row + 1), (row + 1, row + 2)] + [(v, v + 3) for v in range(row, row + 3) if row < 6]
)]  # fmt: skip
NODES, ASSETS, ITEMS = 5, 4, 6
EDGES = list(combinations(range(NODES), 2))


class Enumerated(optModel):
    """The best of a list of points."""

    def __init__(self, points: np.ndarray, sense: Any = EPO.MINIMIZE) -> None:
        self.points, self.modelSense = np.asarray(points, dtype=float), sense
        super().__init__()

    def _getModel(self) -> tuple[None, range]:
        return None, range(self.points.shape[1])

    def setObj(self, c: Any) -> None:
        self.cost = np.asarray(c, dtype=float)

    def solve(self) -> tuple[np.ndarray, float]:
        values = self.points @ self.cost
        best = values.argmin() if self.modelSense == EPO.MINIMIZE else values.argmax()
        return self.points[best], float(values[best])


class Portfolio(optModel):
    """The most return within a budget and a risk, by SciPy's SLSQP."""

    modelSense = EPO.MAXIMIZE  # noqa: N815

    def __init__(self, covariance: np.ndarray, risk: float) -> None:
        self.covariance, self.risk = covariance, risk
        super().__init__()

    def _getModel(self) -> tuple[None, range]:
        return None, range(len(self.covariance))

    def setObj(self, c: Any) -> None:
        self.cost = np.asarray(c, dtype=float)

    def solve(self) -> tuple[np.ndarray, float]:
        n, size = len(self.cost), abs(self.cost).max()
        best = minimize(
            lambda x: -self.cost @ x / size, np.full(n, 1 / n), method="SLSQP", tol=1e-14,
            jac=lambda x: -self.cost / size, bounds=[(0, 1)] * n,
            constraints=[
                {"type": "eq", "fun": lambda x: x.sum() - 1},
                {"type": "ineq", "fun": lambda x: 1 - x @ self.covariance @ x / self.risk},
            ],
        )  # fmt: skip
        return best.x, float(self.cost @ best.x)


@dataclass(frozen=True)
class Case:
    """A problem for a layer, PyEPO's model of it, and data."""

    name: str
    lists: tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]
    theirs: Callable[[], optModel]
    backend: str  # the name of pyepo.model's function that makes it
    arguments: dict[str, Any]
    features: np.ndarray
    costs: np.ndarray
    close: float = 1e-6  # solutions of both agree so well


def shortest_path() -> Case:
    features, costs = pyepo.data.shortestpath.genData(10, 4, GRID, deg=3, seed=3)
    costs = costs * (1 + 0.1 * np.random.default_rng(0).random(costs.shape))  # equal paths tie
    costs = costs.astype(np.float32)
    x, c = cp.Variable(len(ARCS)), cp.Parameter(len(ARCS))
    incidence = np.array([[(j == v) - (i == v) for i, j in ARCS] for v in range(9)], dtype=float)
    flow = np.zeros(9)
    flow[0], flow[8] = -1, 1
    problem = cp.Problem(cp.Minimize(c @ x), [incidence @ x == flow, x >= 0, x <= 1])
    paths = [[0.0] * len(ARCS) for _ in range(6)]
    for path, moves in zip(paths, sorted(set(permutations((1, 1, 3, 3)))), strict=True):
        place = 0
        for step in moves:
            path[ARCS.index((place, place + step))] = 1.0
            place += step
    return Case("shortest path", (problem, [c], [x]), lambda: Enumerated(np.array(paths)),
                "shortestPathModel", {"grid": GRID}, features, costs)  # fmt: skip


def knapsack(dim: int) -> Case:
    weights, features, costs = pyepo.data.knapsack.genData(10, 4, ITEMS, dim=dim, deg=2, seed=2)
    costs = costs + 0.1 * np.random.default_rng(0).random(costs.shape)  # whole numbers tie
    costs = costs.astype(np.float32)
    capacity = np.full(dim, 14.0)
    x, c = cp.Variable(ITEMS, boolean=True), cp.Parameter(ITEMS)
    problem = cp.Problem(cp.Maximize(c @ x), [weights @ x <= capacity])
    points = np.array(list(product((0, 1), repeat=ITEMS)))
    points = points[(points @ weights.T <= capacity).all(axis=1)]
    return Case(f"knapsack {dim}", (problem, [c], [x]), lambda: Enumerated(points, EPO.MAXIMIZE),
                "knapsackModel", {"weights": weights, "capacity": capacity},
                features, costs)  # fmt: skip


def tour() -> Case:
    """By Gavish and Graves: a flow brings each town one unit, over the arcs that are used."""
    features, costs = pyepo.data.tsp.genData(8, 4, NODES, deg=2, seed=1)
    arcs = [*EDGES, *((j, i) for i, j in EDGES)]
    used, flow = cp.Variable(len(arcs), boolean=True), cp.Variable(len(arcs), nonneg=True)
    edge, c = cp.Variable(len(EDGES)), cp.Parameter(len(EDGES))
    leaves = np.array([[float(i == v) for i, _ in arcs] for v in range(NODES)])
    enters = np.array([[float(j == v) for _, j in arcs] for v in range(NODES)])
    count = len(EDGES)
    constraints = [
        leaves @ used == 1, enters @ used == 1, edge == used[:count] + used[count:],
        (enters - leaves)[1:] @ flow == 1, flow <= (NODES - 1) * used,
    ]  # fmt: skip
    problem = cp.Problem(cp.Minimize(c @ edge), constraints)
    tours = []
    for middle in permutations(range(1, NODES)):
        steps = zip((0, *middle), (*middle, 0), strict=True)
        passed = {tuple(sorted(step)) for step in steps}
        tours.append([float(each in passed) for each in EDGES])
    return Case("tsp", (problem, [c], [edge]), lambda: Enumerated(np.array(tours)), "tspModel",
                {"num_nodes": NODES, "formulation": "GG"}, features, costs)  # fmt: skip


def portfolio() -> Case:
    covariance, features, costs = pyepo.data.portfolio.genData(8, 4, ASSETS, deg=1, seed=1)
    risk = 2.25 * covariance.mean()
    x, c = cp.Variable(ASSETS, nonneg=True), cp.Parameter(ASSETS)
    constraints = [cp.sum(x) == 1, cp.quad_form(x, covariance / risk) <= 1]
    problem = cp.Problem(cp.Maximize(c @ x), constraints)
    return Case("portfolio", (problem, [c], [x]), lambda: Portfolio(covariance, risk),
                "portfolioModel", {"num_assets": ASSETS, "covariance": covariance},
                features, costs, 1e-4)  # fmt: skip


CASES = [shortest_path(), knapsack(1), knapsack(2), tour(), portfolio()]
