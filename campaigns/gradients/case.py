"""What a family makes of random numbers: a problem, its data, and its solution as a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cvxpy as cp
import numpy as np
import torch

Map = Callable[..., "torch.Tensor | Sequence[torch.Tensor]"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Case:
    """A parametrized problem, a batch of values, and the solution as a function of a sample.

    Attributes
    ----------
    problem, parameters, outputs
        As for a layer; outputs are variables and dual variables.
    samples : list of lists of arrays
        For each sample a value for each parameter.
    solution : function of one tensor for each parameter
        The outputs of one sample, one tensor for each; torch differentiates it.
    loss : function of the outputs' tensors, optional
        Its gradient at the solution is the cotangent; random cotangents without it.
    unjudged : positions of parameters
        Those whose gradient is not the exact one by design: costs of linear programs.
    gp : bool
        Whether the problem is a geometric program.
    """

    problem: cp.Problem
    parameters: Sequence[cp.Parameter]
    outputs: Sequence[cp.Variable]
    samples: Sequence[Sequence[np.ndarray | float]]
    solution: Map
    loss: Callable[..., torch.Tensor] | None = None
    unjudged: tuple[int, ...] = ()
    gp: bool = False


FAMILIES: dict[str, Callable[[np.random.Generator], Case]] = {}
KINKS: set[str] = set()


def family(make: Callable[[np.random.Generator], Case]) -> Callable[[np.random.Generator], Case]:
    """Enter a family under its function's name."""
    FAMILIES[make.__name__] = make
    return make


def kink(make: Callable[[np.random.Generator], Case]) -> Callable[[np.random.Generator], Case]:
    """Enter a family that stands at a kink: its reference is the mean of both pieces."""
    KINKS.add(make.__name__)
    return family(make)


def drawn(name: str, seed: int, draw: int) -> Case:
    """The case of a family, a seed and a number; adding families changes no other's."""
    return FAMILIES[name](np.random.default_rng([seed, draw, *name.encode()]))


def log_uniform(
    rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...] | None = None
) -> np.ndarray:
    """10**low to 10**high, uniform in the exponent."""
    return np.asarray(10.0 ** rng.uniform(low, high, size))


def until(draw: Callable[[], Value], good: Callable[[Any], bool]) -> Value:
    """The first draw that is good: away from kinks, say."""
    for _ in range(10_000):
        if good(value := draw()):
            return value
    raise RuntimeError("10000 draws and none of them good")


def matrix(rng: np.random.Generator, rows: int, columns: int, condition: float = 20) -> np.ndarray:
    """Normal entries, with a condition number below a bound."""
    return until(
        lambda: rng.normal(size=(rows, columns)), lambda A: bool(np.linalg.cond(A) < condition)
    )


def definite(rng: np.random.Generator, n: int) -> np.ndarray:
    """A symmetric matrix with eigenvalues of 0.3 to 3 along random axes."""
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    S = (Q * rng.uniform(0.3, 3, n)) @ Q.T
    return (S + S.T) / 2
