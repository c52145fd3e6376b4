"""A call of a layer: values as arrays of one batch rank, and the variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.jax._functions import solve
from cvxlpgd.jax._host import Host
from cvxlpgd.layer import Layer, Record, batch_axes, real
from cvxlpgd.layer.arguments import advice, called, first_line

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
    _refuse_traced(solver_args)
    host.layer.chosen(solver_args)  # raises here what compiled code cannot
    own = replace(host, solver_args=solver_args) if solver_args else host
    return solve(own, _arrays(host.layer, values))


def newest_record(host: Host) -> Record:
    """The newest call, whichever thread ran it."""
    if isinstance(jnp.zeros(()), jax.core.Tracer):
        raise CvxlpgdError(
            "info is of calls that have run, and none runs while JAX traces (jit, scan, cond): "
            "read it after the compiled function has returned"
        )
    record = host.newest.record
    if record is None:
        raise CvxlpgdError("info is of a call, and no call of this layer has run yet")
    return record


def _arrays(layer: Layer, values: Sequence[Any]) -> list[jax.Array]:
    """The values as floating arrays, all with as many batch axes.

    Raises
    ------
    InvalidInput
        For what is no array of real numbers, a wrong number of them or a wrong shape.
    """
    names = [domain.name for domain in layer.domains]
    arrays = [_array(value, called(i, names)) for i, value in enumerate(values)]
    batch, own = batch_axes(layer.domains, [v.shape for v in arrays])
    floating = [v.dtype for v in arrays if jnp.issubdtype(v.dtype, jnp.floating)]
    dtype = jnp.result_type(*floating) if floating else jnp.result_type(float)
    return [
        (v if v.dtype in floating else v.astype(dtype)).reshape(
            (1,) * (len(batch) - len(axes)) + v.shape
        )
        for v, axes in zip(arrays, own, strict=True)
    ]


def _array(value: Any, what: str) -> jax.Array:
    """A value as an array of real numbers."""
    foreign = isinstance(value, np.ndarray) and value.dtype.kind in "OSUMm"
    if isinstance(value, np.ma.MaskedArray) or foreign:
        value = real(value, what)
    if not isinstance(value, ACCEPTED):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise InvalidInput(f"{what} is a {kind}; pass an array of JAX or NumPy{advice(value)}")
    try:
        array = jnp.asarray(value)
    except Exception as error:  # each library has its own for what is no array
        text = f"{what} cannot be made into an array: {first_line(error)}{advice(value)}"
        raise InvalidInput(text) from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
        raise InvalidInput(f"{what} has dtype {array.dtype}; real numbers are needed")
    return array


def _refuse_traced(solver_args: Mapping[str, Any] | None) -> None:
    """Raise InvalidOption for options that JAX traces."""
    for name, value in solver_args.items() if isinstance(solver_args, Mapping) else ():
        if isinstance(value, jax.core.Tracer):
            raise InvalidOption(
                f"solver_args must be known before a call is traced, and {name!r} is an argument "
                "of the compiled function: close over it, or make it static (static_argnames)"
            )
