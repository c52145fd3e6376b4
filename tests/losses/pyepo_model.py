"""PyEPO's model of shortest paths on a grid, solved by SciPy."""

import numpy as np
import pyepo.model.opt
from scipy.optimize import linprog

from tests.helpers.programs import grid


class Grid(pyepo.model.opt.optModel):
    """From the first to the last node of a grid with so many nodes on a side."""

    def __init__(self, side=4):
        self.flow = grid(side)
        super().__init__()

    def _getModel(self):
        return None, range(self.flow[0].shape[1])

    def setObj(self, c):
        self.cost = np.asarray(c)

    def solve(self):
        A, b = self.flow
        result = linprog(self.cost, A_eq=A, b_eq=b, bounds=(0, 1))
        return result.x, result.fun
