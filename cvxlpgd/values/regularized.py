"""Solutions with |v|² added to a linear objective, by a solver of the objective without it.

    v(c) = argmin over the hull of the solutions of  p'v + (weight/2)|v|²
         = the point of the hull next to θ = -p/weight

for returned variables v with costs p = p(c). The hull may be that of integer points. Each round
solves once, for the cost p + weight v, and adds the solution to the points in use (Frank and
Wolfe); then v is the best point of their hull, v = Σ α_k v_k with

    minimize |Σ α_k (v_k - θ)|² + (Σ α_k - 1)²,  α >= 0,   scaled to Σ α_k = 1,

which is a nonnegative least squares problem: at the best scale, its value grows with the distance.

Where the hull has corners, v moves along the face of the hull that it is inside of, the points of
least cost p + weight v: ∂v/∂p = -Π/weight, with Π the orthogonal projection on the span of that
face. The points in use may be fewer than span it, two for a chord through v. So `_faces` looks
further, by costs moved a little each way in a direction that is not in the span yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from cvxlpgd.layer import Call, form_batch
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.values.linear import cost_cotangent
from cvxlpgd.values.prices import Prices

IN_USE = 1e-9  # shares that are smaller are rounding, and so are singular values, of the largest
NOISE = 1e-9  # of the largest entry: so exact are a solver's vertices
STEPS = (1e-4, 1e-6)  # of the costs' size, by which they are moved to see the whole of a face
SEEN = 1e-6  # of a face's extent: what is across what is known by less is rounding
UNEVEN, ZERO = 1e-5, 1e-12  # of the largest variable: one that is smaller is lost, or a zero
FLAT = 1e-3  # of the two terms' sizes: the least size of costs in which these cancel


@dataclass(frozen=True, eq=False)
class Regularized:
    """The solutions of a batch, all variables of a sample one after the other."""

    prices: Prices
    values: list[Any]  # of the cost, (*batch axes, *shape), as they were given
    batch: Batch
    weight: float
    tol: float
    costs: np.ndarray  # p (batch, total)
    solutions: np.ndarray  # v (batch, total), NaN where a solve failed
    points: tuple[np.ndarray, ...]  # those in use by each sample, (points, total)
    late: np.ndarray  # bool (batch,): whether it is short of tol

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape, and the variables' entries."""
        return (*self.batch.shape, self.solutions.shape[1])

    @property
    def value(self) -> np.ndarray:
        """The solutions, flat."""
        return self.solutions.reshape(-1)

    @property
    def uneven(self) -> np.ndarray:
        """Whether some variables' vertices are lost in the rounding of the largest's, (batch,)."""
        own = np.array([np.abs(points).max(axis=0) for points in self.points])
        own = own.reshape(self.solutions.shape)
        largest = own.max(axis=1, initial=0.0)[:, None]
        return np.any((own > ZERO * largest) & (own < UNEVEN * largest), axis=1)

    def vjp(self, bar: np.ndarray, needed: Sequence[bool]) -> list[Any]:
        """The cost's cotangent."""
        bar = bar.reshape(self.solutions.shape)
        asked = np.isfinite(self.solutions).all(axis=1) & bar.any(axis=1)
        p_bar = np.zeros_like(bar)
        for k, basis in self._faces(asked).items():
            p_bar[k] = -basis @ (basis.T @ bar[k]) / self.weight
        layer = self.prices.layer
        full = cost_cotangent(layer, self.prices.adjoint(p_bar))
        return [layer.compiled.gather(0, full, self.batch)]

    def _faces(self, asked: np.ndarray) -> dict[int, np.ndarray]:
        """Orthonormal bases (total, dimensions) of the faces that samples' solutions are inside of.

        A random direction across what is known sees the rest of a face. Where only one of both ways
        leads on, the solution is on the edge of that rest, and stays with what is known.
        """
        extents = [np.abs(points).max() for points in self.points]
        bases = {
            int(k): _span(self.points[k] - self.solutions[k], SEEN * extents[k])
            for k in np.flatnonzero(asked)
        }
        v, rng = np.where(asked[:, None], self.solutions, 0.0), np.random.default_rng(0)
        costs = np.where(asked[:, None], self.costs + self.weight * v, 0.0)
        terms = np.maximum(np.abs(self.costs), self.weight * np.abs(v)).max(axis=1)
        size = np.maximum(np.abs(costs).max(axis=1), FLAT * terms)
        size, open_ = np.where(size > 0, size, 1.0), dict.fromkeys(bases, 0)  # the step's place
        while open_:
            # the same for all samples, so that none depends on who else is in the batch
            direction, moves = rng.standard_normal((v.shape[1],)), np.zeros_like(v)
            for k, place in open_.items():
                moves[k] = STEPS[place] * size[k] * _without(direction, bases[k])
            ends = [self._vertices(self.weight * v + move) for move in (moves, -moves)]
            on_face = np.all([self._is_on_face(end) for end in ends], axis=0)
            for k in list(open_):
                steps = np.array([end[k] - v[k] for end in ends])
                new = np.array([_without(step, bases[k]) for step in steps])
                least = SEEN * (extents[k] + np.abs(steps).max())
                if not on_face[k] and open_[k] + 1 < len(STEPS):
                    open_[k] += 1
                elif on_face[k] and (np.abs(new).max(axis=1) > least).all():
                    bases[k] = np.concatenate([bases[k], _span(new, least)], axis=1)
                else:
                    del open_[k]
        return bases

    def _vertices(self, added: np.ndarray) -> np.ndarray:
        """Solutions for the costs and these."""
        layer = self.prices.layer
        return _outputs(layer.forward(self.values, along=self.prices.apart(-added)))

    def _is_on_face(self, vertices: np.ndarray) -> np.ndarray:
        """Whether vertices are as good as the solutions, up to tol or to what solvers leave."""
        gaps = _gap(self.costs, self.weight, self.solutions, vertices, self.tol)
        return np.minimum(*gaps) <= 1


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
    open_, late = good.copy(), good.copy()
    for _ in range(rounds):
        pull = np.where(good[:, None], -weight * v, 0.0)
        vertices = _outputs(layer.forward(values, along=prices.apart(pull)))
        of_tol, of_noise = _gap(costs, weight, v, vertices, tol)
        for k in np.flatnonzero(open_):
            if of_tol[k] <= 1:
                open_[k] = late[k] = False
                continue
            trial = np.concatenate([points[k], vertices[k : k + 1]])
            points[k], best = _nearest(trial, -costs[k] / weight)
            if np.abs(best - v[k]).max() <= NOISE * np.abs(trial).max():  # it was the best before
                open_[k], late[k] = False, of_noise[k] > 1
            v[k] = best
        if not open_.any():
            break
    own = deepcopy(list(values))  # the caller may write to theirs
    return Regularized(prices, own, batch, weight, tol, costs, v, tuple(points), late)


def _gap(
    costs: np.ndarray, weight: float, v: np.ndarray, vertices: np.ndarray, tol: float
) -> tuple[np.ndarray, np.ndarray]:
    """By how much vertices are better than v, in units of tol, and of what solvers leave, (batch,).

    One that is worse, or as good, has 0 or less.
    """
    d = v - vertices
    fixed, moved = np.sum(costs * d, axis=1), weight * np.sum(v * d, axis=1)
    terms = np.sum(np.abs(costs) + weight * np.abs(v), axis=1)
    extent = np.maximum(np.abs(v), np.abs(vertices)).max(axis=1)
    gap, least = fixed + moved, np.finfo(float).tiny
    of_tol = gap / np.maximum(tol * (np.abs(fixed) + np.abs(moved)), least)
    return of_tol, gap / np.maximum(NOISE * terms * extent, least)


def _nearest(points: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points in use of the hull's point next to theta, and that point."""
    directions = points[1:] - points[0]
    # what is across the hull changes nothing but the rounding of distances
    basis = _span(directions, IN_USE * np.abs(directions).max(initial=0.0))
    along = basis @ (basis.T @ (theta - points[0]))
    away = points - points[0] - along
    rows = np.vstack([away.T / (np.abs(away).max() or 1.0), np.ones(len(points))])
    shares, _ = nnls(rows, np.append(np.zeros(len(theta)), 1.0))
    shares /= shares.sum()
    used = shares > IN_USE
    shares = shares[used] / shares[used].sum()
    return points[used], shares @ points[used]


def _span(rows: np.ndarray, least: float) -> np.ndarray:
    """An orthonormal basis of the span of these rows, as columns; sizes below `least` are none."""
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(basis[sizes > least].T)


def _without(vector: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What is across the span of an orthonormal basis."""
    return np.asarray(vector - basis @ (basis.T @ vector))


def _outputs(call: Call) -> np.ndarray:
    return np.concatenate([np.asarray(v) for v in call.outputs], axis=1)
