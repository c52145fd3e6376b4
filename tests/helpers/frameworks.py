"""The frameworks that have an adapter, one row each, for tests/test_frameworks.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import cvxlpgd.jax
import cvxlpgd.numpy
import cvxlpgd.torch


@dataclass(frozen=True)
class Framework:
    """An adapter, and how its arrays and its tape are used.

    Parameters
    ----------
    name : str
    layer : type
        Its CvxpyLayer.
    array : np.ndarray -> array of the framework
    numpy : array of the framework -> np.ndarray
    pull_back : (layer, values, cotangents) -> (outputs, gradients)
        In arrays of the framework.
    dtypes : tuple of NumPy's names
        Those that go in and come out again; empty where arrays have none.
    empty : bool
        Whether arrays without entries have a shape.
    """

    name: str
    layer: Callable[..., Any]
    array: Callable[[np.ndarray], Any]
    numpy: Callable[[Any], np.ndarray]
    pull_back: Callable[[Any, Sequence[Any], Sequence[Any]], tuple[Sequence[Any], Sequence[Any]]]
    dtypes: tuple[str, ...] = ("float32", "float64")
    empty: bool = True

    def __str__(self) -> str:
        return self.name


def pull_back_numpy(layer, values, cotangents):
    outputs, pullback = layer.vjp(*values)
    return outputs, pullback(*cotangents)


def pull_back_torch(layer, values, cotangents):
    leaves = [value.clone().requires_grad_() for value in values]
    outputs = layer(*leaves)
    return outputs, torch.autograd.grad(outputs, leaves, list(cotangents))


@contextmanager
def jax_with(x64: bool):
    """JAX with or without 64 bits."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", x64)
    yield
    jax.config.update("jax_enable_x64", before)


def pull_back_jax(layer, values, cotangents):
    outputs, pullback = jax.vjp(layer, *values)
    return outputs, pullback(tuple(cotangents))


FRAMEWORKS = (
    Framework("numpy", cvxlpgd.numpy.CvxpyLayer, np.array, np.asarray, pull_back_numpy),
    Framework(
        "torch",
        cvxlpgd.torch.CvxpyLayer,
        torch.tensor,
        lambda tensor: tensor.detach().numpy(),
        pull_back_torch,
    ),
    Framework("jax", cvxlpgd.jax.CvxpyLayer, jnp.asarray, np.asarray, pull_back_jax),
)
