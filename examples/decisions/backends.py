"""PyEPO's models of the tasks: on Gurobi, its own first choice, on OR-Tools, or on SciPy."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from examples.decisions import tasks
from examples.shortest_path import task as grid


def absent(task: str, solver: str, method: str) -> str:
    """Why PyEPO cannot run this here, empty if it can."""
    if find_spec("pyepo") is None:
        return "pyepo is not installed"
    if find_spec("gurobipy") is None:
        if solver == "same":
            return "gurobipy is not installed"
        if method == "cave":
            return "PyEPO's CaVE needs gurobipy"
        if task == "portfolio":
            return "PyEPO has portfolios on Gurobi alone"
    if method == "cave" and find_spec("clarabel") is None:
        return "PyEPO's CaVE needs clarabel"
    return ""


def model(task: str, fixed: np.ndarray, solver: str) -> tuple[Any, str]:
    """(PyEPO's model, the solver's name); for "same" Gurobi, for "default" what is installed."""
    if solver == "same" or find_spec("gurobipy") is not None:
        return _gurobi(task, fixed), "GUROBI"
    if find_spec("ortools") is not None and task != "tsp":
        return _ortools(task, fixed)
    return scipy_model(task, fixed), "SciPy's HiGHS"


def _gurobi(task: str, fixed: np.ndarray) -> Any:
    from pyepo.model import grb

    if task == "shortest_path":
        made = grb.shortestPathModel((grid.SIDE, grid.SIDE))
    elif task == "tsp":
        made = grb.tspGGModel(tasks.NODES)
    elif task == "portfolio":
        made = grb.portfolioModel(tasks.ASSETS, fixed, gamma=tasks.GAMMA)
    else:
        made = grb.knapsackModel(fixed, np.full(len(fixed), tasks.CAPACITY))
    made._model.Params.Threads = 1  # as all that is timed here
    return made


def _ortools(task: str, fixed: np.ndarray) -> tuple[Any, str]:
    from pyepo.model import ort

    if task == "shortest_path":
        side = (grid.SIDE, grid.SIDE)
        return ort.shortestPathModel(side, solver="glop"), "OR-Tools GLOP"
    return ort.knapsackModel(fixed, np.full(len(fixed), tasks.CAPACITY)), "OR-Tools SCIP"


def scipy_model(task: str, fixed: np.ndarray) -> Any:
    """A model of our own, where no back end of PyEPO's is installed; not of portfolios."""
    from pyepo import EPO
    from pyepo.model.opt import optModel
    from scipy.optimize import Bounds, LinearConstraint, milp

    rows, columns, integrality = _program(task, fixed)
    sense = tasks.SENSE[task]

    class WithSciPy(optModel):  # type: ignore[misc]
        """min c'z over rows, of which the first or summed columns are the decision."""

        modelSense = EPO.MINIMIZE if sense > 0 else EPO.MAXIMIZE  # noqa: N815  PyEPO's name

        def _getModel(self) -> tuple[None, range]:
            return None, range(len(columns))

        def setObj(self, c: Any) -> None:
            self.cost = np.asarray(c)

        def solve(self) -> tuple[np.ndarray, float]:
            within = [LinearConstraint(*row) for row in rows]
            upper = np.where(integrality < 0, np.inf, 1.0)
            best = milp(
                sense * self.cost @ columns, integrality=integrality.clip(0),
                bounds=Bounds(0, upper), constraints=within,
            )  # fmt: skip
            if best.x is None:
                raise RuntimeError(f"SciPy's HiGHS: {best.message}")
            x = columns @ best.x
            return x, float(self.cost @ x)

    return WithSciPy()


def _program(task: str, fixed: np.ndarray) -> tuple[list[tuple[Any, ...]], np.ndarray, np.ndarray]:
    """(rows (A, lower, upper), columns with x = columns @ z, integrality of z, -1 if unbounded)."""
    if task == "shortest_path":
        A, b = grid.flow()
        return [(A, b, b)], np.eye(A.shape[1]), np.zeros(A.shape[1])
    if task != "tsp":
        n = fixed.shape[1]
        return [(fixed, -np.inf, tasks.CAPACITY)], np.eye(n), np.ones(n)
    # Gavish and Graves: chosen directed edges, and a flow over them into node 0
    n, edges = tasks.NODES, tasks.edges()
    directed = [*edges, *((j, i) for i, j in edges)]
    count = len(directed)
    start, end = np.zeros((2, n, count))
    for k, (i, j) in enumerate(directed):
        start[i, k] = end[j, k] = 1.0
    none, inner = np.zeros((n, count)), start[0] == 0
    flow = np.hstack([none, start - end * inner])[1:]
    carried = np.hstack([(1 - n) * np.eye(count), np.eye(count)])[inner]
    columns = np.hstack([np.eye(len(edges)), np.eye(len(edges)), np.zeros((len(edges), count))])
    rows = [
        (np.hstack([start, none]), 1, 1),
        (np.hstack([end, none]), 1, 1),
        (flow, 1, 1),
        (carried, -np.inf, 0),
    ]
    return rows, columns, np.repeat([1, -1], count)
