"""Solutions whose derivative in the costs is taken to be minus the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.layer import Call, Layer
from cvxlpgd.losses.protocol import ComputingLayer
from cvxlpgd.losses.smoothed import Smoothed
from cvxlpgd.values.differences import lagrangian_difference
from cvxlpgd.values.linear import cost_cotangent
from cvxlpgd.values.prices import Prices


class NegativeIdentity(Smoothed):
    """A layer whose gradient is that of x = -c: a decision shall cost more where it did harm.

        c_bar = -g    for a minimization of c'x, and a loss with cotangent g; g for a maximization

    It costs no solve, and knows nothing of the constraints. As LPGD it is the proximal term alone,
    with the feasible set relaxed to all of R^n.

    Sahoo, Paulus, Vlastelica, Musil, Kuleshov, Martius, "Backpropagation through combinatorial
    algorithms: identity with projection works", ICLR 2023.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the linear objective alone. It returns all
        variables of the objective.

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(self, layer: ComputingLayer) -> None:
        Smoothed.__init__(self, layer)
        self._prices = Prices.of(self._layer, "NegativeIdentity")

    def __repr__(self) -> str:
        return "NegativeIdentity()"

    def _solutions(self, values: list[Any]) -> _Solutions:
        return _Solutions(self._layer.forward(values), self._prices)

    def _differences(
        self, values: list[Any], targets: list[np.ndarray], margin: list[np.ndarray] | None
    ) -> Any:
        return lagrangian_difference(self._layer, values, targets, margin)


@dataclass(frozen=True, eq=False)
class _Solutions:
    """The solutions of a call, and p_bar = -v_bar for the prices of its variables."""

    call: Call
    prices: Prices

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.call.batch.shape, sum(self.layer.sizes))

    @property
    def layer(self) -> Layer:
        return self.prices.layer

    @property
    def value(self) -> np.ndarray:
        rows = [np.asarray(v) for v in self.call.outputs]
        return np.concatenate(rows, axis=1).reshape(-1)

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        rows = bar.reshape(self.call.batch.samples, -1)
        good = np.isfinite(self.value).reshape(rows.shape).all(axis=1)
        q_bar = self.prices.adjoint(np.where(good[:, None], -rows, 0.0))
        full = cost_cotangent(self.layer, q_bar)
        return [self.layer.compiled.gather(0, full, self.call.batch)]
