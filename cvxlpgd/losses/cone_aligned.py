"""Costs shall point into the cone of costs under which the right decision is the best one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import nnls

from cvxlpgd.checks import is_number
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InaccurateSolutionWarning, InvalidOption, InvalidProblem
from cvxlpgd.layer import Layer, failure
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
from cvxlpgd.values.targets import columns_of

INWARD, LEAST_INWARD = 3e-4, 1e-12  # docs/experiments.md; below the second lies rounding
ZERO = 1e-6  # of a variable's own size: what a solver, or single precision, leaves in its place
NOISE = 1e-15  # of the largest variable: a right-hand side that was meant to be 0
IMPLIED = 1e-7  # of a unit normal: what is left of one that the equalities imply
NONE = 1e-14  # of a unit vector, likewise
ENTRIES = 4_000_000  # of normals and matrices that are in work at a time

# Newton's method: the most steps, how near it comes, how fast products fall, and its steps' share
# of the way to the boundary
STEPS, NEAR, FALL, SHORT = 100, 1e-9, 0.1, 0.995

NO_DIRECTION = "the cost is 0, which has no direction: begin with others"


class ConeAligned:
    """CaVE: the angle between a cost and those under which the right decision is optimal.

        loss = 1 - cos(u, t),    u = -q/|q|,    t = A'y,    A the unit normals of the tight rows
        y = argmin |u - A'y|^2/2 + inward mean_i(y_i^2/2 - log y_i),    the mean over inequalities

    In a linear program a decision is optimal for a cost q just if u is in the cone of the normals
    of the rows that are tight at it, up to 1e-5 of their terms: {A'y: y >= 0 for inequalities}. So
    no decision need be solved for. Bounds of boolean variables are rows, and rows written twice
    count twice. With inward=0, t is the point of the cone nearest to u: the loss is 0 where the
    decision is optimal, also where others are as good, and 1, with a gradient of 0, where u leads
    straight away from the cone. The larger `inward`, the deeper t lies in the cone, where no other
    decision is as good, and the nearer to the sum of all normals. The gradient is that with t held
    fixed, which for inward=0 is the whole derivative.

    Tang, Khalil, "CaVE: a cone-aligned approach for fast predict-then-optimize with binary linear
    programs", CPAIOR 2024.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the objective alone; with linear constraints and
        objective. It returns all of its variables.
    inward : float
        A weight: 0, or at least 1e-12.
    reduction : "mean", "sum" or "none"

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self, layer: ComputingLayer, inward: float = INWARD, reduction: Reduction = "mean"
    ) -> None:
        check(layer, reduction)
        check_computing(layer)
        if not (is_number(inward) and (inward == 0 or LEAST_INWARD <= inward < np.inf)):
            raise InvalidOption(f"inward must be 0, or a number from 1e-12 on, not {inward!r}")
        self.layer, self.inward, self.reduction = layer, inward, reduction
        inner = layer._layer
        Prices.of(inner, "ConeAligned")
        structure = inner.structure
        if len(columns_of(inner).all) < structure.n:
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
            q = np.broadcast_to(data.q, x.shape)
            directed = np.asarray(q.any(axis=1))
            faults = ["" if one else NO_DIRECTION for one in directed.tolist()]
            failure.raise_faults(faults, batch.shape, layer.settings.on_failure)
            value, u_bar = np.full(len(x), np.nan), np.zeros_like(x)
            good = directed & ~np.isnan(q).any(axis=1)
            value[good], u_bar[good] = _angles(-q[good], self._rows, x[good], self.inward)
            return Scores(layer, batch, value, cost_cotangent(layer, -u_bar))

        return self.layer._evaluate(make, [pred_cost])


class _Rows:
    """The rows of a structure, bounds of boolean columns among them: Gx <= h, and equalities.

    The columns of `free` (n, r) are orthonormal and orthogonal to the equalities' normals;
    `normals` (inequalities, r) are the inequalities' unit normals in these coordinates.
    """

    def __init__(self, G: np.ndarray, h: np.ndarray, equal: np.ndarray) -> None:
        # a variable's own size by the constraints: its least distance, alone, from 0 to a row that
        # 0 is not on; infinite without one
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where((G != 0) & (h != 0)[:, None], np.abs(h)[:, None] / np.abs(G), np.inf)
        self.own = reach.min(axis=0, initial=np.inf)
        sizes = np.linalg.norm(G, axis=1)
        G, h, equal, sizes = (v[sizes > 0] for v in (G, h, equal, sizes))
        unit = G / sizes[:, None]
        self.free = null_space(unit[equal]) if equal.any() else np.eye(G.shape[1])
        self.G, self.h, normals = G[~equal], h[~equal], unit[~equal] @ self.free
        implied = np.linalg.norm(normals, axis=1) <= IMPLIED
        self.normals = np.where(implied[:, None], 0.0, normals)

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
        h = np.concatenate([data.b[0], np.ones(len(unit)), np.zeros(len(unit))])
        return cls(G, h, np.append(equal, np.zeros(2 * len(unit), dtype=bool)))

    def tight(self, x: np.ndarray) -> np.ndarray:
        """Which inequalities are tight at each of x (batch, n): (batch, inequalities)."""
        slack, size = self.h - _each(self.G, x), np.abs(self.G)
        # zeros are judged by their variable's own size, but not by that of a bound far away
        largest = np.abs(x).max(axis=1, initial=0.0, keepdims=True)
        noise = self.own <= NOISE * largest
        far = np.maximum(largest, self.own.min(initial=np.inf))
        own = np.where(noise, largest, np.minimum(self.own, far))
        own = np.where(np.isfinite(own), own, largest)
        terms = np.abs(self.h) + _each(size, np.abs(x))
        return slack <= TOLERATED * terms + ZERO * _each(size, own)

    def points(self, u: np.ndarray, x: np.ndarray, inward: float) -> np.ndarray:
        """The points t of the cones at x for unit vectors u, both (batch, n)."""
        v, tight = _each(self.free.T, u), self.tight(x)
        across = u - _each(self.free, v)  # the equalities' part of u is in the cone
        inside, counts = np.zeros_like(v), tight.sum(axis=1)
        for k in np.unique(counts[counts > 0]):  # samples that go together
            (alike,) = np.nonzero(counts == k)
            each = k * v.shape[1] + min(k, v.shape[1]) ** 2
            for part in np.array_split(alike, 1 + len(alike) * each // ENTRIES):
                A = self.normals[np.nonzero(tight[part])[1]].reshape(len(part), k, -1)
                y = _deep(A, v[part], inward) if inward else _nearest(A, v[part])
                inside[part] = _each(A.transpose(0, 2, 1), y)
        return across + _each(self.free, inside)


def _angles(
    u: np.ndarray, rows: _Rows, x: np.ndarray, inward: float
) -> tuple[np.ndarray, np.ndarray]:
    """1 - cos(u, t) and its gradient in u, (batch,) and (batch, n)."""
    scale = np.abs(u).max(axis=1, keepdims=True)  # no square of u overflows, nor is it lost
    u = u / scale
    size = np.linalg.norm(u, axis=1, keepdims=True)
    u = u / size
    t = rows.points(u, x, inward)
    length = np.linalg.norm(t, axis=1, keepdims=True)
    none = length <= NONE  # no cost but 0 is in the cone, or u leads straight away from it
    t = np.where(none, 0.0, t / np.where(none, 1.0, length))
    cos = np.minimum(np.sum(u * t, axis=1, keepdims=True), 1.0)
    return 1 - cos[:, 0], (cos * u - t) / size / scale


def _nearest(A: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Where |v - A'y|^2 is least over y >= 0, for each of A (batch, k, r) and v (batch, r)."""
    y = np.array([nnls(a.T, point)[0] for a, point in zip(A, v, strict=True)])
    # SciPy's active sets end early at some degenerate vertices
    slope = _each(A, _each(A.transpose(0, 2, 1), y) - v)
    wrong = np.maximum(-slope, np.abs(y * slope)) > NEAR * np.maximum(1.0, y)
    (late,) = np.nonzero(wrong.any(axis=1))
    if len(late):
        y[late] = _deep(A[late], v[late], LEAST_INWARD)
    return y


def _deep(A: np.ndarray, v: np.ndarray, inward: float) -> np.ndarray:
    """Where |v - A'y|^2/2 + inward mean_i(y_i^2/2 - log y_i) is least, for each of A and v.

    With w = inward/k and z = w/y:  (AA' + w) y - z = Av.  Newton's steps in y and z aim at
    y_i z_i = mu, which falls to w.
    """
    batch, k, r = A.shape
    w, T, target = inward / k, A.transpose(0, 2, 1), _each(A, v)
    AT = A @ T if k <= r else None
    y, z = np.ones((batch, k)), np.ones((batch, k))
    for _ in range(STEPS):
        rest = target - _each(A, _each(T, y)) - w * y + z
        products = y * z
        near = np.abs(rest).max(axis=1) < NEAR * max(1.0, w)
        near &= np.abs(products - w).max(axis=1) < NEAR * w
        if near.all():
            return y
        mu = np.maximum(w, FALL * products.mean(axis=1))[:, None]
        D, g = w + z / y, rest + mu / y - z  # (D + AA') dy = g
        if AT is not None:
            M = AT.copy()
            M[:, np.arange(k), np.arange(k)] += D
            dy = np.linalg.solve(M, g[..., None])[..., 0]
        else:  # by the Woodbury identity
            M = np.eye(r) + (T / D[:, None]) @ A
            dy = (g - _each(A, np.linalg.solve(M, T @ (g / D)[..., None])[..., 0])) / D
        dz = mu / y - z - z / y * dy
        least = np.minimum((dy / y).min(axis=1), (dz / z).min(axis=1))
        step = np.minimum(1.0, -SHORT / np.minimum(least, -NEAR))
        step = np.where(near, 0.0, step)[:, None]  # what is near stays, whatever the others need
        y, z = y + step * dy, z + step * dz
    failure.warn(
        f"the point in the cone of {int((~near).sum())} targets is inaccurate after {STEPS} steps; "
        "take a larger inward, or 0",
        InaccurateSolutionWarning,
    )
    return y


def _each(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The matrix by each of vectors (batch, n): bits that do not depend on the other vectors."""
    return (matrix @ vectors[..., None])[..., 0]
