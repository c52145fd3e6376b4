"""Cone programs as functions of JAX arrays, under jit, vmap, grad and other transformations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from cvxlpgd.cone_programs import ConeStructure
from cvxlpgd.derivatives import Derivative
from cvxlpgd.jax._calls import Outputs, call, newest_record
from cvxlpgd.jax._host import Host, Newest
from cvxlpgd.layer import DEFAULT, Record, Settings, check_single, summarize, summary_html
from cvxlpgd.layer.cones import OUTPUTS, choose_inputs, compile_cone_layer, read_values
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes


class ConeLayer:
    """A cone program as a function of JAX arrays, for JAX's transformations.

        (P, q, A, b) -> (x, y, s):   minimize ½x'Px + q'x   subject to   Ax + s = b,  s in K

    Arguments are those of `cvxlpgd.torch.ConeLayer`. Under `jax.jit` use on_failure="nan": JAX does
    not define what an exception in compiled code does.
    """

    def __init__(
        self,
        structure: ConeStructure,
        parameters: Sequence[str] | None = None,
        variables: Sequence[str] = OUTPUTS,
        solver: str | Solver | None = None,
        verbose: bool = False,
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
            solver, False, verbose, None, solver_args, derivative, on_failure, fallback,
            time_limit, executor, pieces,
        )  # fmt: skip
        self._inputs = choose_inputs(structure, parameters)
        self._layer = compile_cone_layer(structure, self._inputs, variables, settings)
        self._single = check_single(single, len(self._layer.shapes))
        self._host = Host(self._layer, None, Newest())

    def __repr__(self) -> str:
        return f"ConeLayer({summarize(self._layer)})"

    def _repr_html_(self) -> str:
        return summary_html(self._layer, "ConeLayer")

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
        """x, y and s at the solution, each (*batch shape, size).

        Those that `variables` lists, in its order; that one alone if the layer is `single`. They
        have the values' promoted floating dtype; solves are in double precision.

        Parameters
        ----------
        values, named : arrays (*batch axes, *shape), by position or by name
            As for `cvxlpgd.torch.ConeLayer`.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : False
            The other layers' True, a start from the previous solution, is not offered here.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        ordered = read_values(self._inputs, values, named)
        outputs = call(self._host, ordered, solver_args, warm_start)
        return outputs[0] if self._single else outputs
