"""PyEPO's methods, in a process of their own, with versions and solvers of their own.

    python -m examples.shortest_path.peers METHOD SEED EPOCHS TRAIN TEST

prints a line of JSON for each epoch, after one that names the back end.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch

from examples.shortest_path import task

METHODS = {"pyepo_spo_plus", "pyepo_dbb", "pyepo_imle"}


def model() -> tuple[Any, str]:
    """PyEPO's model on the fastest back end that is installed, and its name."""
    grid = (task.SIDE, task.SIDE)
    try:
        from pyepo.model.ort import shortestPathModel

        return shortestPathModel(grid, solver="glop"), "OR-Tools GLOP"
    except ImportError:
        from pyepo.model.opt import optModel
        from scipy.optimize import linprog

        class WithSciPy(optModel):  # type: ignore[misc]
            """Shortest paths by SciPy's HiGHS, where no back end of PyEPO's own is installed."""

            def _getModel(self) -> tuple[None, range]:
                self.flow = task.flow()
                return None, range(len(task.arcs()))

            def setObj(self, c: Any) -> None:
                self.cost = np.asarray(c)

            def solve(self) -> tuple[np.ndarray, float]:
                A, b = self.flow
                found = linprog(self.cost, A_eq=A, b_eq=b, bounds=(0, 1))
                return found.x, found.fun

        return WithSciPy(), "SciPy"


def main(method: str, seed: int, epochs: int, train: int, test: int) -> None:
    """Train by one method and print what came out."""
    import pyepo.func

    optimizer, backend = model()
    print(json.dumps({"backend": backend}), flush=True)
    features, costs = task.data(seed, train, test)
    best = solved(optimizer, costs)
    values = (costs * best).sum(1, keepdim=True)

    def regret(network: torch.nn.Module) -> float:
        with torch.no_grad():
            predicted = network(features[train:])
        return task.normalized_regret(solved(optimizer, predicted), costs[train:], best[train:])

    tensors = [v[:train] for v in (features, costs, best, values)]
    if method == "pyepo_spo_plus":
        loss = pyepo.func.SPOPlus(optimizer, processes=1)
    elif method == "pyepo_dbb":
        decided = pyepo.func.blackboxOpt(optimizer, lambd=10, processes=1)
        loss = _regret_of(decided)
    else:
        decided = pyepo.func.implicitMLE(optimizer, n_samples=10, sigma=1.0, lambd=10, processes=1)
        loss = _regret_of(decided)
    for row in task.training(seed, epochs, tensors, loss, regret):
        print(json.dumps(row), flush=True)


def solved(optimizer: Any, costs: torch.Tensor) -> torch.Tensor:
    """The optimal paths for costs (batch, arcs)."""
    found = []
    for cost in costs.numpy():
        optimizer.setObj(cost)
        found.append(np.asarray(optimizer.solve()[0], dtype=np.float32))
    return torch.tensor(np.stack(found))


def _regret_of(decided: Any) -> Any:
    def loss(predicted: Any, costs: Any, best: Any, values: Any) -> Any:
        return ((costs * decided(predicted)).sum(1, keepdim=True) - values).mean()

    return loss


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))
