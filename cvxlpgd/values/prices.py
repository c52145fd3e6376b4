"""The cost of each entry of the variables that a layer returns: p of a linear objective p'v.

With v = Mx, where each column of x that M reads may be read several times, n_j of them,

    q'x = p'v   for   p = M (q / n),        and back   q_bar = M'p_bar / n
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.layer import Layer
from cvxlpgd.values.linear import require_linear_cost, require_objective


@dataclass(frozen=True, eq=False)
class Prices:
    """The map from q to p, and back."""

    layer: Layer
    often: np.ndarray  # n (columns of x,), 1 where a column is not read

    @classmethod
    def of(cls, layer: Layer, what: str) -> Prices:
        """Those of a layer with a linear objective of the variables that it returns.

        Raises
        ------
        InvalidOption, InvalidProblem
        """
        require_linear_cost(layer, what)
        often = np.sum([v.often for v in layer.canonical.variables.outputs], axis=0)
        require_objective(layer)
        if layer.structure.P.size:
            raise InvalidProblem(f"{what} is for a layer with a linear objective")
        return cls(layer, np.where(often > 0, often, 1.0))

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """P (batch, total) of q (batch, n)."""
        outputs = self.layer.canonical.variables.outputs
        return np.concatenate([output.linear(q / self.often) for output in outputs], axis=1)

    def adjoint(self, p_bar: np.ndarray) -> np.ndarray:
        """q_bar (batch, n) for p_bar (batch, total)."""
        parts = self.apart(p_bar)
        pairs = zip(self.layer.canonical.variables.outputs, parts, strict=True)
        return np.asarray(sum(output.linear.adjoint(part) for output, part in pairs)) / self.often

    def apart(self, rows: np.ndarray) -> list[np.ndarray]:
        """(batch, total) as one array for each variable."""
        return np.split(rows, np.cumsum(self.layer.sizes)[:-1], axis=1)
