"""What a row of the zoo is, and how its parameters are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

MOST = 4  # samples of `Row.inputs`
Built = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]
Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Row:
    """A small problem.

    Parameters
    ----------
    name : str
    build : callable
        Makes the problem anew, its listed parameters and the variables to return.
    draws : tuple of callables
        (generator, batch) -> values (batch, *shape), one for each listed parameter.
    smooth : bool
        Whether the returned variables are differentiable at the drawn values: the solution is
        unique and strictly complementary.
    vertex : bool
        A linear program: the derivative with respect to its cost is 0.
    degenerate : bool
        Duals, or columns that canonicalization adds, are not unique.
    gp : bool
    frozen : bool
        Has parameters that are not listed: they keep the values that `build` gives them.
    backend : str or None
        The canonicalization backend to ask CVXPY for.
    symmetric_quadratic : bool
        The objective is quadratic in a symmetric variable: see `MISCOMPILED`.
    seed : int
        Of `inputs`.
    """

    name: str
    build: Callable[[], Built]
    draws: tuple[Draw, ...]
    smooth: bool = False
    vertex: bool = False
    degenerate: bool = False
    gp: bool = False
    frozen: bool = False
    backend: str | None = None
    symmetric_quadratic: bool = False
    seed: int = 0

    def values(self, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
        """A value (batch, *shape) for each listed parameter."""
        return [draw(rng, batch) for draw in self.draws]

    def inputs(self, batch: int = 2) -> list[np.ndarray]:
        """The first of the MOST samples at which the flags hold, the same at each call."""
        assert batch <= MOST
        drawn = self.values(np.random.default_rng(self.seed), MOST)
        return [value[:batch].copy() for value in drawn]


REGISTERED: list[Row] = []

# CVXPY before 1.9.3 compiles quadratic objectives of symmetric variables wrongly: no row is right
# there, and a layer raises at its first call.
MISCOMPILED = tuple(int(part) for part in cp.__version__.split(".")[:3]) < (1, 9, 3)
WHY = f"CVXPY {cp.__version__} compiles quadratic objectives of symmetric variables wrongly"
symmetric_quadratic = pytest.mark.skipif(MISCOMPILED, reason=WHY)


def row(
    *draws: Draw,
    smooth: bool = False,
    vertex: bool = False,
    degenerate: bool = False,
    gp: bool = False,
    frozen: bool = False,
    backend: str | None = None,
    symmetric_quadratic: bool = False,
    seed: int = 0,
) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Register a function that builds a problem as a row of its name."""

    def registered(build: Callable[[], Built]) -> Callable[[], Built]:
        flags = (smooth, vertex, degenerate, gp, frozen, backend, symmetric_quadratic, seed)
        REGISTERED.append(Row(build.__name__, build, draws, *flags))
        return build

    return registered


def assign(parameter: cp.Parameter, value: np.ndarray) -> None:
    """Set a parameter of a row for CVXPY; one with a callback through the parameter behind it."""
    target = getattr(parameter, "behind", parameter)
    if target.sparse_idx is not None:
        entries = value[target.sparse_idx]
        target.value_sparse = sp.coo_array((entries, target.sparse_idx), shape=target.shape)
    else:
        target.value = sp.diags_array(np.diag(value)) if target.attributes["diag"] else value


def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Draw:
    """Normal entries."""
    return lambda rng, batch: shift + scale * rng.normal(size=(batch, *shape))


def uniform(*shape: int, low: float = 0.5, high: float = 1.5) -> Draw:
    """Uniform entries, positive unless said otherwise."""
    return lambda rng, batch: rng.uniform(low, high, size=(batch, *shape))


def definite(order: int, sign: float = 1.0, least: float = 0.5) -> Draw:
    """Symmetric matrices with eigenvalues from `least` on, times `sign`."""

    def draw(rng: np.random.Generator, batch: int) -> np.ndarray:
        root = rng.normal(size=(batch, order, order))
        square = root @ np.swapaxes(root, 1, 2) / order + least * np.eye(order)
        return sign * (square + np.swapaxes(square, 1, 2)) / 2

    return draw


def symmetric(order: int) -> Draw:
    """Symmetric matrices of any signs."""

    def draw(rng: np.random.Generator, batch: int) -> np.ndarray:
        matrix = rng.normal(size=(batch, order, order))
        return (matrix + np.swapaxes(matrix, 1, 2)) / 2

    return draw


def masked(draw: Draw, mask: np.ndarray) -> Draw:
    """Another draw with zeros outside the mask."""
    return lambda rng, batch: draw(rng, batch) * mask
