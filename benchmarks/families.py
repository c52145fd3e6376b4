"""The problems that are measured: seeded random data of a size and a batch.

Sizes are the middle of a range: `scale` multiplies the number of variables. Parameters that are
batched have a leading axis of the batch's length, the others are shared by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

Built = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable], list[np.ndarray]]
Build = Callable[[np.random.Generator, int, float], Built]


@dataclass(frozen=True)
class Family:
    """One family.

    Parameters
    ----------
    name : str
    kind : str
        "smooth": exact gradients exist; "linear": they are 0; "integer".
    build : (generator, batch, scale) -> problem, parameters, variables, values
    batch : int
    compared : bool
        Whether it counts in the geometric means over what the peers can run.
    ours_only : bool
        Too large to wait for the peers.
    """

    name: str
    kind: str
    build: Build
    batch: int = 32
    compared: bool = True
    ours_only: bool = False

    def instance(self, batch: int | None = None, scale: float = 1.0, seed: int = 0) -> Instance:
        """Data of a size."""
        size = self.batch if batch is None else batch
        built = self.build(np.random.default_rng(seed), size, scale)
        shape = built[2][0].shape
        cotangent = np.random.default_rng(seed + 1).standard_normal((size, *shape))
        return Instance(self, *built, cotangent)


@dataclass(frozen=True)
class Instance:
    """A problem, its parameters' values, and the loss' cotangent of its first variable."""

    family: Family
    problem: cp.Problem
    parameters: list[cp.Parameter]
    variables: list[cp.Variable]
    values: list[np.ndarray]
    cotangent: np.ndarray


def _projection(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n, rows = max(2, int(64 * scale)), max(1, int(32 * scale))
    x, q, h = cp.Variable(n), cp.Parameter(n), cp.Parameter(rows)
    G = rng.standard_normal((rows, n))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) + q @ x), [G @ x <= h, cp.sum(x) == 1])
    return problem, [q, h], [x], [rng.standard_normal((batch, n)), rng.uniform(0.1, 1.1, rows)]


def _dense_qp(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n, rows = max(2, int(64 * scale)), max(1, int(32 * scale))
    x, S, q = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    G, h = cp.Parameter((rows, n)), cp.Parameter(rows)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(S @ x) + q @ x), [G @ x <= h])
    values = [
        np.eye(n) + rng.standard_normal((n, n)) / np.sqrt(n),
        rng.standard_normal((batch, n)),
        rng.standard_normal((rows, n)),
        rng.uniform(0.1, 1.1, rows),
    ]
    return problem, [S, q, G, h], [x], values


def _optnet(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n, rows = max(4, int(100 * scale)), max(2, int(50 * scale))
    x, q = cp.Variable(n), cp.Parameter(n)
    P = cp.Parameter((n, n), PSD=True)
    G, h = cp.Parameter((rows, n)), cp.Parameter(rows)
    A, b = cp.Parameter((rows, n)), cp.Parameter(rows)
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, P) + q @ x), [G @ x <= h, A @ x == b])
    root = rng.standard_normal((batch, n, n)) / np.sqrt(n)
    inside = rng.standard_normal((batch, n, 1))
    Gs, As = rng.standard_normal((2, batch, rows, n))
    values = [
        root @ root.swapaxes(1, 2) + 0.1 * np.eye(n),
        rng.standard_normal((batch, n)),
        Gs,
        (Gs @ inside)[:, :, 0] + rng.uniform(0.0, 1.0, (batch, rows)),
        As,
        (As @ inside)[:, :, 0],
    ]
    return problem, [P, q, G, h, A, b], [x], values


def _portfolio(rng: np.random.Generator, batch: int, scale: float) -> Built:
    return _portfolio_of(rng, batch, max(4, int(100 * scale)), max(2, int(10 * scale)))


def _portfolio_of(rng: np.random.Generator, batch: int, n: int, factors: int) -> Built:
    w, f, mu = cp.Variable(n), cp.Variable(factors), cp.Parameter(n)
    F, d = rng.standard_normal((n, factors)) / np.sqrt(factors), rng.uniform(0.1, 0.6, n)
    risk = cp.sum_squares(f) + cp.sum_squares(cp.multiply(np.sqrt(d), w))
    problem = cp.Problem(cp.Maximize(mu @ w - 0.5 * risk), [f == F.T @ w, cp.sum(w) == 1, w >= 0])
    return problem, [mu], [w], [rng.standard_normal((batch, n))]


def _sparse_lp(rng: np.random.Generator, batch: int, scale: float) -> Built:
    return _sparse_lp_of(rng, batch, max(4, int(400 * scale)), max(2, int(200 * scale)), 0.05)


def _sparse_lp_of(rng: np.random.Generator, batch: int, n: int, rows: int, density: float) -> Built:
    x, c = cp.Variable(n), cp.Parameter(n)
    A = sp.random(rows, n, density, random_state=rng, format="csr")
    A.data = rng.standard_normal(A.nnz)
    b = A @ np.full(n, 0.5) + rng.uniform(0.0, 0.5, rows)
    problem = cp.Problem(cp.Minimize(c @ x), [A @ x <= b, x >= 0, x <= 1])
    return problem, [c], [x], [rng.standard_normal((batch, n))]


def _assignment(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n = max(2, int(12 * np.sqrt(scale)))
    X, C = cp.Variable((n, n)), cp.Parameter((n, n))
    problem = cp.Problem(
        cp.Minimize(cp.sum(cp.multiply(C, X))),
        [cp.sum(X, axis=0) == 1, cp.sum(X, axis=1) == 1, X >= 0],
    )
    return problem, [C], [X], [rng.uniform(size=(batch, n, n))]


def _shortest_path(rng: np.random.Generator, batch: int, scale: float) -> Built:
    side = max(2, int(20 * np.sqrt(scale)))
    nodes = np.arange(side * side).reshape(side, side)
    tails = np.concatenate([nodes[:, :-1].ravel(), nodes[:-1].ravel()])
    heads = np.concatenate([nodes[:, 1:].ravel(), nodes[1:].ravel()])
    edges = np.arange(len(tails))
    flow = sp.csr_matrix(
        (np.repeat([1.0, -1.0], len(edges)), (np.append(tails, heads), np.tile(edges, 2)))
    )
    supply = np.zeros(side * side)
    supply[[0, -1]] = 1.0, -1.0
    x, c = cp.Variable(len(edges)), cp.Parameter(len(edges))
    problem = cp.Problem(cp.Minimize(c @ x), [flow @ x == supply, x >= 0, x <= 1])
    return problem, [c], [x], [rng.uniform(0.1, 1.1, (batch, len(edges)))]


def _soc(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n = max(2, int(50 * scale))
    x, c = cp.Variable(n), cp.Parameter(n)
    S = np.eye(n) + 0.5 * rng.standard_normal((n, n)) / np.sqrt(n)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.norm(S @ x) <= 1, x >= -1, cp.sum(x) <= 1])
    return problem, [c], [x], [rng.standard_normal((batch, n))]


def _entropy(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n, caps = max(2, int(50 * scale)), max(1, int(10 * scale))
    x, c = cp.Variable(n), cp.Parameter(n)
    G = rng.uniform(size=(caps, n))
    problem = cp.Problem(cp.Minimize(c @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1, G @ x <= 0.55])
    return problem, [c], [x], [rng.standard_normal((batch, n))]


def _sdp(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n = max(2, int(8 * np.sqrt(scale)))
    # CVXPY 1.9.0 compiles squares of symmetric variables wrongly: a square variable, made symmetric
    X, C = cp.Variable((n, n)), cp.Parameter((n, n), symmetric=True)
    problem = cp.Problem(
        cp.Minimize(cp.trace(C @ X) + 0.05 * cp.sum_squares(X)),
        [X == X.T, cp.trace(X) == 1, (X + X.T) / 2 >> 0],
    )
    V = rng.standard_normal((batch, n, n))
    return problem, [C], [X], [(V + V.swapaxes(1, 2)) / 2]


def _knapsack(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n = max(2, int(32 * scale))
    x, c = cp.Variable(n, boolean=True), cp.Parameter(n)
    A = rng.uniform(0.0, 1.0, (3, n))
    problem = cp.Problem(cp.Maximize(c @ x), [A @ x <= 0.3 * A.sum(axis=1)])
    return problem, [c], [x], [rng.uniform(0.1, 1.1, (batch, n))]


def _large_lp(rng: np.random.Generator, batch: int, scale: float) -> Built:
    n = max(4, int(10_000 * scale))
    return _sparse_lp_of(rng, batch, n, n // 2, 10.0 / n)


def _large_portfolio(rng: np.random.Generator, batch: int, scale: float) -> Built:
    return _portfolio_of(rng, batch, max(4, int(2000 * scale)), max(2, int(50 * scale)))


FAMILIES = {
    family.name: family
    for family in (
        Family("projection QP", "smooth", _projection),
        Family("dense QP", "smooth", _dense_qp),
        Family("portfolio", "smooth", _portfolio),
        Family("sparse LP", "linear", _sparse_lp),
        Family("assignment", "linear", _assignment),
        Family("SOC", "smooth", _soc),
        Family("entropy", "smooth", _entropy),
        Family("SDP", "smooth", _sdp, batch=16),
        Family("OptNet QP", "smooth", _optnet, batch=128, compared=False),
        Family("shortest path", "linear", _shortest_path, compared=False),
        Family("knapsack", "integer", _knapsack, compared=False),
        Family("large LP", "linear", _large_lp, batch=64, compared=False, ours_only=True),
        Family(
            "large portfolio", "smooth", _large_portfolio, batch=64, compared=False, ours_only=True
        ),
    )
}
