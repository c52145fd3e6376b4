"""A layer as a function of JAX arrays, with the rules of its derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.jax._host import Host, Linear, Solve


def solve(host: Host, values: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """The variables for values of one batch rank, each (*batch shape, *shape)."""
    rule = jax.custom_jvp(lambda *values: _solve_and_keep(host, values))
    rule.defjvp(lambda values, dots: _linearize(host, rule, values, dots), symbolic_zeros=True)
    outputs: tuple[jax.Array, ...] = rule(*values)
    return outputs[:-1]  # the last one has the points


def _solve_and_keep(host: Host, values: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """The variables, and the bits of the points."""
    dtype = jnp.result_type(*values) if values else jnp.result_type(float)
    callback = Solve(host, dtype)
    if not any(isinstance(v, jax.core.Tracer) for v in values):
        return tuple(jnp.asarray(v) for v in callback(*values))  # errors are our own here
    ranks = [len(domain.shape) for domain in host.layer.domains]
    pairs = zip(values, ranks, strict=True)
    batch = np.broadcast_shapes(*(v.shape[: v.ndim - rank] for v, rank in pairs))
    outputs = [jax.ShapeDtypeStruct(batch + shape, dtype) for shape in host.layer.shapes]
    bits = jax.ShapeDtypeStruct((*batch, 2 * host.width), jnp.uint32)
    return jax.pure_callback(callback, (*outputs, bits), *values, vmap_method="expand_dims")


def _linearize(host: Host, rule: Any, values: Sequence[Any], dots: Sequence[Any]) -> Any:
    """The variables and the points, and their tangents for the values' tangents.

    The map from tangents to tangents is the solution v of a linear system, whose transpose JAX is
    told as well: v = (dots, 0) + (0, push(dots)), or transposed (0, bars) + (pull(bars), 0).
    """
    *outputs, bits = rule(*values)
    moving = tuple(not isinstance(dot, SymbolicZero) for dot in dots)
    host.layer.require_gradients(moving)
    values = _differentiate_once(*values)

    def times(transposed: bool) -> Any:
        callback = Linear(host, moving, transposed)
        return lambda _, v: jax.pure_callback(
            callback, jax.ShapeDtypeStruct(v.shape, v.dtype), *values, bits, v,
            vmap_method="expand_dims",
        )  # fmt: skip

    size = sum(out.size for out in outputs)
    first = [jnp.ravel(dot) for dot, m in zip(dots, moving, strict=True) if m]
    vector = jnp.concatenate([*first, jnp.zeros(size, outputs[0].dtype)])
    vector = jax.lax.custom_linear_solve(lambda v: v, vector, times(False), times(True))
    tangents, start = [], vector.size - size
    for out in outputs:
        tangents.append(vector[start : start + out.size].reshape(out.shape))
        start += out.size
    return (*outputs, bits), (*tangents, np.zeros(bits.shape, jax.dtypes.float0))


@jax.custom_jvp
def _differentiate_once(*values: jax.Array) -> tuple[jax.Array, ...]:
    """The values, to take a derivative at."""
    return values


@_differentiate_once.defjvp
def _refuse(values: Any, dots: Any) -> Any:
    raise CvxlpgdError(
        "a layer cannot be differentiated twice: its derivatives re-solve programs, which JAX does "
        "not see; take the inner derivative at jax.lax.stop_gradient of the layer's values"
    )
