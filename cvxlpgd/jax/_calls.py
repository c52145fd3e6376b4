"""A call of a layer: values as arrays of one batch rank, and the variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.jax._functions import solve
from cvxlpgd.jax._host import Host
from cvxlpgd.layer import Layer, form_batch, real

Arrays = tuple[jax.Array, ...]
Outputs = Arrays | Any  # a tuple to type checkers; of a single layer the one array itself
ACCEPTED = (jax.Array, np.ndarray, np.generic, bool, int, float, complex, list, tuple)


def call(
    host: Host, values: Sequence[Any], solver_args: Mapping[str, Any] | None, warm_start: Any
) -> Arrays:
    """The variables' values at the solution, each (*batch shape, *shape)."""
    if warm_start is not False:
        raise InvalidOption(
            "warm_start is not offered in JAX, which may run calls in any order, again, or not "
            "at all: what a call returns must follow from its values alone"
        )
    host.layer.chosen(solver_args)  # raises here what compiled code cannot
    own = replace(host, solver_args=solver_args) if solver_args else host
    return solve(own, _arrays(host.layer, values))


def _arrays(layer: Layer, values: Sequence[Any]) -> list[jax.Array]:
    """The values as floating arrays, all with as many batch axes.

    Raises
    ------
    InvalidInput
        For what is no array of real numbers, a wrong number of them or a wrong shape.
    """
    arrays = [_array(i, value) for i, value in enumerate(values)]
    batch = form_batch(layer.domains, [np.broadcast_to(0.0, v.shape) for v in arrays])
    floating = [v.dtype for v in arrays if jnp.issubdtype(v.dtype, jnp.floating)]
    dtype = jnp.result_type(*floating) if floating else jnp.result_type(float)
    return [
        (v if v.dtype in floating else v.astype(dtype)).reshape(
            (1,) * (len(batch.shape) - len(own)) + v.shape
        )
        for v, own in zip(arrays, batch.own, strict=True)
    ]


def _array(i: int, value: Any) -> jax.Array:
    """The i-th value as an array of real numbers."""
    if isinstance(value, np.ma.MaskedArray):
        value = real(value, f"value {i}")
    if not isinstance(value, ACCEPTED):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise InvalidInput(f"value {i} is a {kind}; pass an array of JAX or NumPy")
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"value {i} cannot be made into an array: {error}") from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
        raise InvalidInput(f"value {i} has dtype {array.dtype}; real numbers are needed")
    return array
