"""The model: a linear program whose constraints are learned.

    x(givens) = argmin  -givens'x + (rho/2) |x|²   subject to   A x = A sigmoid(z0),  0 <= x <= 1

with rho = 0, unless it is to be smooth. sigmoid(z0) is always feasible: no A is without a solution.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import torch

from cvxlpgd.torch import CvxpyLayer

# As many as there are independent rules: the width of A less the dimension of the flat in which
# all grids lie, or all the cells that one digit takes.
ROWS = {(4, False): 40, (9, False): 249, (4, True): 8, (9, True): 21}


class Rules(torch.nn.Module):
    """A, from U(0, 1), and z0, from which each digit has the same share of each cell.

    Parameters
    ----------
    alike : bool
        Whether all digits obey the same rows: A has a column for each cell instead of each cell
        and digit, holds for every digit's cells, and each cell has one digit. Which cells a row
        joins stays to be learned. Its b can only be A 1/size, so that z0 is not learned.
    """

    def __init__(
        self, size: int, alike: bool, rows: int | None, derivative: Any, rho: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.copies = (size**2, size) if alike else (size**3, 1)
        rows = ROWS[size, alike] if rows is None else rows
        self.A = torch.nn.Parameter(torch.rand(rows, self.width, dtype=torch.float64))
        z0 = torch.full((self.width,), -np.log(size - 1), dtype=torch.float64)
        self.z0 = torch.nn.Parameter(z0, requires_grad=not alike)
        x = cp.Variable((self.width, self.copies))
        A, b = cp.Parameter(self.A.shape), cp.Parameter((rows, 1))
        cost = cp.Parameter(x.shape)
        constraints = [A @ x == b @ np.ones((1, self.copies)), x >= 0, x <= 1]
        if alike:
            constraints.append(cp.sum(x, axis=1) == 1)
        objective = cp.sum(cp.multiply(cost, x))
        if rho:
            objective += rho / 2 * cp.sum_squares(x)
        problem = cp.Problem(cp.Minimize(objective), constraints)
        self.layer = CvxpyLayer(problem, [A, b, cost], [x], derivative=derivative)

    def forward(self, givens: torch.Tensor) -> torch.Tensor:
        """The solutions of one-hot puzzles, both (boards, size³)."""
        b = self.A @ torch.sigmoid(self.z0)
        cost = -givens.reshape(-1, self.width, self.copies)
        (x,) = self.layer(self.A, b[:, None], cost)
        return x.reshape(givens.shape)
