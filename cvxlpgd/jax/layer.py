"""CVXPY problems as functions of JAX arrays, under jit, vmap, grad and other transformations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import cvxpy as cp

from cvxlpgd.analysis.degeneracy import WeaklyActive, weakly_active
from cvxlpgd.derivatives import Derivative
from cvxlpgd.jax._calls import Outputs, call, newest_record
from cvxlpgd.jax._host import Host, Newest
from cvxlpgd.layer import (
    DEFAULT,
    Record,
    Settings,
    check_single,
    compile_layer,
    summarize,
    summary_html,
)
from cvxlpgd.layer.arguments import arrange
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes


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
        pieces: int | None = None,
        single: bool = False,
    ) -> None:
        settings = Settings(
            solver, gp, verbose, canon_backend, solver_args, derivative, on_failure, fallback,
            time_limit, executor, pieces,
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
        return newest_record(self._host)

    def __call__(
        self,
        *values: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool = False,
        **named: Any,
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
        named : arrays
            Values by the names of their parameters, after those by position.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        values = arrange([domain.name for domain in self._layer.domains], values, named)
        outputs = call(self._host, values, solver_args, warm_start)
        return outputs[0] if self._single else outputs

    def weakly_active(self, tol: float = 1e-6) -> list[WeaklyActive]:
        """The constraints that are weakly active at the newest call's solutions.

        They hold with equality though their dual variable is 0, both up to `tol`: the solution has
        a kink there, and one-sided and averaged gradients differ.
        """
        return weakly_active(self._layer, tol, self.info)
