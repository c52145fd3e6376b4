"""Costs shall point into the cone of costs under which the right decision is the best one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import nnls

from cvxlpgd.checks import is_number
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem
from cvxlpgd.layer import Layer
from cvxlpgd.losses.protocol import (
    ComputingLayer,
    Pullback,
    Reduction,
    check,
    check_computing,
    reduce,
    reduced,
    value_of,
    with_pullback,
)
from cvxlpgd.losses.scores import Scores, costs_of, rows_of, targets_of
from cvxlpgd.program.restriction import TOLERATED
from cvxlpgd.values.linear import cost_cotangent, without_cost
from cvxlpgd.values.prices import Prices

ROUNDING = 1e-9  # of a variable's own size: a solver's zero


class ConeAligned:
    """CaVE: the angle between a cost and those under which the right decision is optimal.

        loss = 1 - cos(-q, t),    t the point next to -q of the cone of the tight rows' normals

    A decision x is optimal for a linear cost q just if -q is in that cone, {A'y: y >= 0 where a
    row is tight at x}; bounds of boolean variables are rows. So a decision need not be solved for,
    and the loss is 0 where it is optimal in the linear relaxation. A share `inward` of the mean
    normal moves t into the cone's inside, where the decision is safely the best. The gradient is
    that with t held fixed, which for inward=0 is the whole derivative.

    Tang, Khalil, "CaVE: a cone-aligned approach for fast predict-then-optimize with binary linear
    programs", CPAIOR 2024.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the objective alone; with linear constraints and
        objective. It returns all of its variables.
    inward : float
        In [0, 1].
    reduction : "mean", "sum" or "none"

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self, layer: ComputingLayer, inward: float = 0.2, reduction: Reduction = "mean"
    ) -> None:
        check(layer, reduction)
        check_computing(layer)
        if not (is_number(inward) and 0 <= inward <= 1):
            raise InvalidOption(f"inward must be a number in [0, 1], not {inward!r}")
        self.layer, self.inward, self.reduction = layer, inward, reduction
        inner = layer._layer
        Prices.of(inner, "ConeAligned")
        structure = inner.structure
        if not np.sum([v.often for v in inner.canonical.variables.outputs], axis=0).all():
            raise InvalidProblem(
                "ConeAligned needs all variables of the constraints: return them, and write the "
                "constraints without norms, absolute values and maxima"
            )
        if any(not isinstance(cone, Zero | NonNeg) for cone in structure.cones):
            raise InvalidProblem("ConeAligned is for linear constraints")
        self._rows = _Rows.of(inner)

    def __repr__(self) -> str:
        return f"ConeAligned(inward={self.inward})"

    def __call__(self, pred_cost: Any, true_sol: Any) -> Any:
        """The loss.

        Parameters
        ----------
        pred_cost : array (*batch axes, *shape)
            Not 0, which has no direction.
        true_sol : array (*batch axes, *shape), or list of one for each returned variable
            The right decisions. One that is not feasible is told by InfeasibleTargetWarning.

        Raises
        ------
        InvalidInput
        """
        return reduce(value_of(self._evaluate(pred_cost, true_sol)), self.reduction)

    def vjp(self, pred_cost: Any, true_sol: Any) -> tuple[Any, Pullback]:
        """For NumPy layers: the loss, and the function from its cotangent to the prediction's."""
        return reduced(*with_pullback(self._evaluate(pred_cost, true_sol)), self.reduction)

    def _evaluate(self, pred_cost: Any, true_sol: Any) -> Any:
        arrays = self.layer._constants(true_sol, "targets")
        layer = self.layer._layer

        def make(values: list[Any]) -> Scores:
            batch, costs = costs_of(layer, values)
            x = targets_of(layer, rows_of(layer, arrays, batch)).x
            data, _ = layer.canonical.parameters.data([costs])
            value, u_bar = np.zeros(len(x)), np.zeros_like(x)
            for k, (q, point) in enumerate(zip(np.broadcast_to(data.q, x.shape), x, strict=True)):
                if np.isnan(q).any():
                    value[k] = np.nan
                    continue
                if not q.any():
                    raise InvalidInput(
                        f"the cost of sample {k} is 0, which has no direction: begin with others"
                    )
                value[k], u_bar[k] = _angle(-q, self._rows.tight(point), self.inward)
            return Scores(layer, batch, value, cost_cotangent(layer, -u_bar))

        return self.layer._evaluate(make, [pred_cost])


class _Rows:
    """Normals of all constraints of a structure, bounds of boolean columns among them.

    Gx <= h, with equality where `equal`.
    """

    def __init__(self, G: np.ndarray, h: np.ndarray, equal: np.ndarray) -> None:
        self.G, self.h, self.equal = G, h, equal
        # a variable's own size by the constraints: its least distance from 0 to a row that is not
        # at 0, alone; infinite where all rows are there
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where((G != 0) & (h != 0)[:, None], np.abs(h)[:, None] / np.abs(G), np.inf)
        self.own = reach.min(axis=0, initial=np.inf)

    @classmethod
    def of(cls, layer: Layer) -> _Rows:
        """Those of a layer whose constraints have no parameters."""
        structure = layer.structure
        data = without_cost(layer)[0].data
        A = np.zeros((structure.m, structure.n))
        A[structure.A.rows, structure.A.cols] = data.A[0]
        equal = np.zeros(structure.m, dtype=bool)
        for cone, first, count in structure.blocks:
            equal[first : first + count * cone.rows] = isinstance(cone, Zero)
        unit = np.eye(structure.n)[structure.boolean]
        G = np.concatenate([A, unit, -unit])
        ones, none = np.ones(len(unit)), np.zeros(len(unit))
        h = np.concatenate([data.b[0], ones, none])
        return cls(G, h, np.concatenate([equal, none > 0, none > 0]))

    def tight(self, x: np.ndarray) -> np.ndarray:
        """The unit normals of the rows that are tight at x, those of equalities both ways."""
        sizes = np.linalg.norm(self.G, axis=1)
        slack = self.h - self.G @ x
        largest = np.abs(x).max(initial=0.0)
        own = np.where(np.isfinite(self.own), self.own, largest)
        # a row's own terms, and what solvers leave in place of zeros
        reach = TOLERATED * (np.abs(self.h) + np.abs(self.G) @ np.abs(x))
        reach += ROUNDING * (np.abs(self.G) @ own)
        tight = (sizes > 0) & (self.equal | (slack <= reach))
        unit = self.G[tight] / sizes[tight, None]
        return np.concatenate([unit, -unit[self.equal[tight]]])


def _angle(u: np.ndarray, normals: np.ndarray, inward: float) -> tuple[float, np.ndarray]:
    """1 - cos(u, t) and its gradient in u, t the direction in the cone that u shall have."""
    scale = np.abs(u).max()  # no square of u overflows, nor is it lost
    u = u / scale
    shares, _ = nnls(normals.T, u) if len(normals) else (np.zeros(0), 0.0)
    nearest, mean = shares @ normals, normals.sum(axis=0)
    t = (1 - inward) * _unit(nearest) + inward * _unit(mean)
    if not t.any():  # no cost but 0 is in the cone, or u is opposite to it
        return 1.0, np.zeros_like(u)
    size, t = np.linalg.norm(u), _unit(t)
    cos = float(u @ t / size)
    return 1 - cos, (cos * u / size - t) / size / scale


def _unit(vector: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(vector)
    return vector / size if size > 0 else vector
