"""Contrastive losses: the right decision against a pool of others, without solving.

Mulamba, Mandi, Diligenti, Lombardi, Bucarey, Guns, "Contrastive losses and solution caching for
predict-and-optimize", IJCAI 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cvxlpgd.layer.inputs import Batch
from cvxlpgd.losses.pool_loss import PoolLoss
from cvxlpgd.losses.protocol import Pullback
from cvxlpgd.losses.scores import rows_of, targets_of
from cvxlpgd.values.linear import Terms, entries_of_cost, linear_terms
from cvxlpgd.values.targets import MANY


class _Contrastive(PoolLoss):
    """A loss of `(pred_cost, true_sol)`."""

    def __call__(self, pred_cost: Any, true_sol: Any) -> Any:
        """The loss.

        Parameters
        ----------
        pred_cost : array (*batch axes, *shape)
        true_sol : array (*batch axes, *shape), or list of one for each returned variable
            The right decisions. One that is not feasible is told by InfeasibleTargetWarning.

        Raises
        ------
        InvalidInput, SolveFailed
        """
        return self._call(pred_cost, true_sol)

    def vjp(self, pred_cost: Any, true_sol: Any) -> tuple[Any, Pullback]:
        """For NumPy layers: the loss, and the function from its cotangent to the prediction's."""
        return self._vjp(pred_cost, true_sol)

    def _label(self, label: Any, batch: Batch) -> Terms:
        """The targets' terms; those of a training are asked for in each epoch, and kept."""
        layer, rows = self.layer._layer, rows_of(self.layer._layer, label, batch)
        keys = [row.tobytes() for row in np.concatenate(rows, axis=1)]
        if not self._known.keys() >= set(keys):
            terms = linear_terms(layer, targets_of(layer, rows))
            if len(self._known) > MANY:
                self._known.clear()
            self._known |= zip(keys, zip(terms.features, terms.rest, strict=True), strict=True)
        known = [self._known[key] for key in keys]
        features = np.array([features for features, _ in known])
        return Terms(
            features.reshape(len(keys), entries_of_cost(layer)), np.array([r for _, r in known])
        )


class NoiseContrastive(_Contrastive):
    """Noise-contrastive estimation: how much worse the right decision is than the mean of a pool.

        loss = (1/K) Σ_k [f(x*; ĉ) - f(x_k; ĉ)],    gradient x* - mean of x_k for a cost ĉ'x

    It is linear in the cost, and unbounded below: stop early, or bound the costs.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the objective alone and linearly.
    pool : SolutionPool, or array of solutions (count, *shape) that one is made of
    solve_ratio : float
        In [0, 1]: the probability with which a call solves for its predictions, and adds these
        solutions to the pool.
    reduction : "mean", "sum" or "none"
        Over the batch.
    seed : int or numpy.random.Generator
        Of the choice whether to solve.

    Raises
    ------
    InvalidInput
        For a pool that is empty.
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def _loss(self, costs: np.ndarray, pool: Terms, label: Terms) -> tuple[np.ndarray, np.ndarray]:
        features, rest = pool.mean
        return label.at_own(costs) - costs @ features - rest, label.features - features


class ContrastiveMAP(_Contrastive):
    """The contrastive loss against the best decision of a pool alone.

        loss = f(x*; ĉ) - min_k f(x_k; ĉ),    gradient x* - x_k for a cost ĉ'x

    With a pool of all solutions it is the structured perceptron's.

    Parameters
    ----------
    layer, pool, solve_ratio, reduction, seed : as those of `NoiseContrastive`

    Raises
    ------
    InvalidInput, InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def _loss(self, costs: np.ndarray, pool: Terms, label: Terms) -> tuple[np.ndarray, np.ndarray]:
        scores = pool.at(costs)
        best = scores.argmin(axis=1)
        value = label.at_own(costs) - scores[np.arange(len(best)), best]
        return value, label.features - pool.features[best]
