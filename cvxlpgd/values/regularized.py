"""Solutions with |v|² added to a linear objective, by a solver of the objective without it.

    v(c) = argmin over the hull of the solutions of  p'v + (weight/2)|v|²
         = the point of the hull next to θ = -p/weight

for returned variables v with costs p = p(c). The hull may be that of integer points. Each round
solves once, for the cost p + weight v, and adds the solution to the points in use (Frank and
Wolfe); then v is the best point of their hull, v = Σ α_k v_k with

    minimize |Σ α_k (v_k - θ)|² + (Σ α_k - 1)²,  α >= 0,   scaled to Σ α_k = 1,

which is a nonnegative least squares problem: at the best scale, its value grows with the distance.
Where α > 0 stays as it is, v moves along the face of its points: ∂v/∂p = -Π/weight, with Π the
orthogonal projection on the span of their differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from cvxlpgd.layer import Call, form_batch
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.values.linear import cost_cotangent
from cvxlpgd.values.prices import Prices

IN_USE = 1e-9  # shares that are smaller are rounding
NOISE = 1e-9  # of the largest entry: vertices that differ by less are one


@dataclass(frozen=True, eq=False)
class Regularized:
    """The solutions of a batch, all variables of a sample one after the other."""

    prices: Prices
    batch: Batch
    weight: float
    costs: np.ndarray  # p (batch, total)
    solutions: np.ndarray  # v (batch, total), NaN where a solve failed
    points: tuple[np.ndarray, ...]  # those in use by each sample, (points, total)
    late: np.ndarray  # bool (batch,): whether it took more rounds than allowed

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape, and the variables' entries."""
        return (*self.batch.shape, self.solutions.shape[1])

    @property
    def value(self) -> np.ndarray:
        """The solutions, flat."""
        return self.solutions.reshape(-1)

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        """The cost's cotangent."""
        bar = bar.reshape(self.solutions.shape)
        p_bar = np.zeros_like(bar)
        for k, points in enumerate(self.points):
            if np.isfinite(self.solutions[k]).all() and len(points) > 1:
                directions = (points[1:] - points[0]).T
                basis, sizes, _ = np.linalg.svd(directions, full_matrices=False)
                basis = basis[:, sizes > IN_USE * sizes[0]]
                p_bar[k] = -basis @ (basis.T @ bar[k]) / self.weight
        layer = self.prices.layer
        full = cost_cotangent(layer, self.prices.adjoint(p_bar))
        return [layer.compiled.gather(0, full, self.batch)]


def regularized(
    prices: Prices, values: Sequence[Any], weight: float, rounds: int, tol: float
) -> Regularized:
    """The regularized solutions for costs.

    Parameters
    ----------
    rounds : int
        At most so many.
    tol : float
        Of the gap (p + weight v)'d to the newest vertex, d = v - vertex, relative to
        |p'd| + weight |v'd|: a constant, or a cost that all decisions bear, does not count.

    Raises
    ------
    InvalidInput, SolveFailed
    """
    layer = prices.layer
    batch = form_batch(layer.domains, values)
    call = layer.forward(values)
    costs, v = prices(call.handed.into_batch(call.program.data.q, np.nan)), _outputs(call)
    good = np.isfinite(v).all(axis=1)
    points = [v[k : k + 1] for k in range(len(v))]
    for _ in range(rounds):
        pull = np.where(good[:, None], -weight * v, 0.0)
        vertices = _outputs(layer.forward(values, along=prices.apart(pull)))
        d = v - vertices
        fixed, moved = np.sum(costs * d, axis=1), weight * np.sum(v * d, axis=1)
        late = fixed + moved > tol * (np.abs(fixed) + np.abs(moved))
        for k in np.flatnonzero(late):
            if _is_among(vertices[k], points[k]):  # v is the best of a hull that has this vertex
                late[k] = False
                continue
            trial = np.concatenate([points[k], vertices[k : k + 1]])
            points[k], v[k] = _nearest(trial, -costs[k] / weight)
        if not late.any():
            break
    return Regularized(prices, batch, weight, costs, v, tuple(points), late)


def _is_among(vertex: np.ndarray, points: np.ndarray) -> bool:
    """Whether it is one of these points, but for a solver's noise."""
    off = np.abs(points - vertex).max(axis=1)
    return bool((off <= NOISE * np.abs(points).max()).any())


def _nearest(points: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points in use of the hull's point next to theta, and that point."""
    directions = points[1:] - points[0]
    # what is across the hull changes nothing but the rounding of distances
    along = np.linalg.lstsq(directions.T, theta - points[0])[0] @ directions
    away = points - points[0] - along
    rows = np.vstack([away.T / (np.abs(away).max() or 1.0), np.ones(len(points))])
    shares, _ = nnls(rows, np.append(np.zeros(len(theta)), 1.0))
    shares /= shares.sum()
    used = shares > IN_USE
    shares = shares[used] / shares[used].sum()
    return points[used], shares @ points[used]


def _outputs(call: Call) -> np.ndarray:
    return np.concatenate([np.asarray(v) for v in call.outputs], axis=1)
