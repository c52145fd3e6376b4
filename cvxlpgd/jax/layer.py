"""Layers for JAX: functions under jit, vmap, grad and the other transformations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np

from cvxlpgd.analysis.degeneracy import WeaklyActive, weakly_active
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.jax._functions import solve
from cvxlpgd.jax._host import Host, Newest
from cvxlpgd.layer import (
    DEFAULT,
    Layer,
    Record,
    Settings,
    check_single,
    compile_layer,
    form_batch,
    real,
    summarize,
    summary_html,
)
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes

Arrays = tuple[jax.Array, ...]
ACCEPTED = (jax.Array, np.ndarray, np.generic, bool, int, float, complex, list, tuple)

Outputs = Arrays | Any  # a tuple to type checkers; of a single layer the one array itself


class CvxpyLayer:
    """A parametrized CVXPY problem as a function of JAX arrays, for JAX's transformations.

        theta -> the solution of the problem with the parameters set to theta

    Arguments are those of `cvxlpgd.torch.CvxpyLayer`. Under `jax.jit` use on_failure="nan": JAX
    does not define what an exception in compiled code does.
    """

    def __init__(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        solver: str | Solver | None = None,
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: Mapping[str, Any] | None = None,
        *,
        derivative: Derivative = DEFAULT,
        on_failure: str = "raise",
        fallback: str | Solver | None = None,
        time_limit: float | None = None,
        executor: Executor | Processes | None = None,
        single: bool = False,
    ) -> None:
        settings = Settings(
            solver, gp, verbose, canon_backend, solver_args, derivative, on_failure, fallback,
            time_limit, executor,
        )  # fmt: skip
        self._layer = compile_layer(problem, parameters, variables, settings)
        self._single = check_single(single, len(self._layer.shapes))
        self._host = Host(self._layer, None, Newest())

    def __repr__(self) -> str:
        return f"CvxpyLayer({summarize(self._layer)})"

    def _repr_html_(self) -> str:
        return summary_html(self._layer, "CvxpyLayer")

    @property
    def info(self) -> Record:
        """The newest call, whichever thread ran it, sample by sample."""
        record = self._host.newest.record
        if record is None:
            raise CvxlpgdError("info is of a call, and no call of this layer has run yet")
        return record

    def __call__(
        self,
        *values: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool = False,
    ) -> Outputs:
        """The variables' values at the solution, each (*batch shape, *shape).

        A tuple with one for each variable, or that one alone if the layer is `single`. They have
        the parameters' promoted floating dtype; solves are in double precision.

        Parameters
        ----------
        values : arrays (*batch axes, *parameter shape)
            One for each parameter; batch axes broadcast.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : False
            The other layers' True, a start from the previous solution, is not offered here.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        if warm_start is not False:
            raise InvalidOption(
                "warm_start is not offered in JAX, which may run calls in any order, again, or not "
                "at all: what a call returns must follow from its values alone"
            )
        self._layer.chosen(solver_args)  # raises here what compiled code cannot
        host = replace(self._host, solver_args=solver_args) if solver_args else self._host
        outputs = solve(host, _arrays(self._layer, values))
        return outputs[0] if self._single else outputs

    def weakly_active(self, tol: float = 1e-6) -> list[WeaklyActive]:
        """The constraints that are weakly active at the newest call's solutions.

        They hold with equality though their dual variable is 0, both up to `tol`: the solution has
        a kink there, and one-sided and averaged gradients differ.
        """
        return weakly_active(self._layer, tol, self.info)


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
