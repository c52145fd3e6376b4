"""Ranking losses: predicted costs shall order a pool of decisions as the true ones do.

Mandi, Bucarey, Tchomba, Guns, "Decision-focused learning: through the lens of learning to rank",
ICML 2022. With s_k = f(x_k; ĉ) and t_k = f(x_k; c) for the pool's decisions x_k:
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from cvxlpgd.checks import is_number, is_positive
from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.layer import form_batch, spread
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.losses.pool import SolutionPool
from cvxlpgd.losses.pool_loss import PoolLoss
from cvxlpgd.losses.protocol import ComputingLayer, Pullback, Reduction
from cvxlpgd.values.linear import Terms


class _Ranking(PoolLoss):
    """A loss of `(pred_cost, true_cost)`."""

    def __call__(self, pred_cost: Any, true_cost: Any) -> Any:
        """The loss.

        Parameters
        ----------
        pred_cost, true_cost : arrays (*batch axes, *shape)

        Raises
        ------
        InvalidInput, SolveFailed
        """
        return self._call(pred_cost, true_cost)

    def vjp(self, pred_cost: Any, true_cost: Any) -> tuple[Any, Pullback]:
        """For NumPy layers: the loss, and the function from its cotangent to the prediction's."""
        return self._vjp(pred_cost, true_cost)

    def _label(self, label: Any, batch: Batch) -> np.ndarray:
        layer = self.layer._layer
        (true_cost,) = label
        wide = spread(true_cost, batch.shape + layer.domains[0].shape, "true_cost").astype(float)
        if not np.isfinite(wide).all():
            raise InvalidInput("true_cost has NaN or infinite entries")
        (flat,) = layer.compiled.flat(form_batch(layer.domains, [wide]).values)
        return np.broadcast_to(flat, (batch.samples, flat.shape[1]))


class PointwiseRanking(_Ranking):
    """The mean squared error of the objective over a pool.

        loss = (1/K) Σ_k (s_k - t_k)²  =  (ĉ - c)' M (ĉ - c),   M the mean of x_k x_k'

    Parameters
    ----------
    layer, pool, solve_ratio, reduction, seed : as those of `NoiseContrastive`

    Raises
    ------
    InvalidInput, InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def _loss(
        self, costs: np.ndarray, pool: Terms, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        off = costs - label
        pulled = off @ pool.second_moment
        return (off * pulled).sum(axis=1), 2 * pulled


class PairwiseRanking(_Ranking):
    """By how much other decisions of a pool are preferred to the best one.

        loss = 1/(K-1) Σ_k max(0, margin + s_b - s_k),   k != b = argmin t

    Parameters
    ----------
    layer, pool, solve_ratio, reduction, seed : as those of `NoiseContrastive`
    margin : float
        By how much the best decision shall be better, >= 0, in the objective's units.

    Raises
    ------
    InvalidInput, InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self,
        layer: ComputingLayer,
        pool: SolutionPool | Any,
        solve_ratio: float = 1.0,
        reduction: Reduction = "mean",
        seed: int | np.random.Generator = 0,
        *,
        margin: float = 0.0,
    ) -> None:
        PoolLoss.__init__(self, layer, pool, solve_ratio, reduction, seed)
        if not (is_number(margin) and 0 <= margin < np.inf):
            raise InvalidOption(f"margin must be a number >= 0, not {margin!r}")
        self.margin = margin

    def _loss(
        self, costs: np.ndarray, pool: Terms, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        rows, best = np.arange(len(costs)), pool.at(label).argmin(axis=1)
        scores = pool.at(costs)
        wrong = self.margin + scores[rows, best][:, None] - scores
        wrong[rows, best] = 0.0
        pairs, active = max(len(pool) - 1, 1), (wrong > 0).astype(float)
        gradient = active.sum(axis=1)[:, None] * pool.features[best] - active @ pool.features
        return np.maximum(wrong, 0.0).sum(axis=1) / pairs, gradient / pairs


class ListwiseRanking(_Ranking):
    """The cross-entropy of two laws over a pool, by predicted costs and by true ones.

        loss = -Σ_k p_k log q_k,    p = softmax(-t / temperature),  q = softmax(-s / temperature)

    Parameters
    ----------
    layer, pool, solve_ratio, reduction, seed : as those of `NoiseContrastive`
    temperature : float
        > 0, in the objective's units: differences between decisions that are much smaller count
        for nothing, and of much larger ones only the best decision is seen.

    Raises
    ------
    InvalidInput, InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self,
        layer: ComputingLayer,
        pool: SolutionPool | Any,
        solve_ratio: float = 1.0,
        reduction: Reduction = "mean",
        seed: int | np.random.Generator = 0,
        *,
        temperature: float = 1.0,
    ) -> None:
        PoolLoss.__init__(self, layer, pool, solve_ratio, reduction, seed)
        if not is_positive(temperature):
            raise InvalidOption(f"temperature must be a number > 0, not {temperature!r}")
        self.temperature = temperature

    def _loss(
        self, costs: np.ndarray, pool: Terms, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        scores, wanted = -pool.at(costs) / self.temperature, -pool.at(label) / self.temperature
        p, log_q = softmax(wanted, axis=1), log_softmax(scores, axis=1)
        return -(p * log_q).sum(axis=1), (p - np.exp(log_q)) @ pool.features / self.temperature
