"""Cone programs as torch modules, with backward, forward mode and vmap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import torch

from cvxlpgd.cone_programs import ConeStructure
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import DEFAULT, Record, Settings, check_single, summarize, summary_html
from cvxlpgd.layer.cones import OUTPUTS, choose_inputs, compile_cone_layer, read_values
from cvxlpgd.program import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.torch._calls import Numbered, call, evaluate
from cvxlpgd.torch._tensors import Tensor, eagerly
from cvxlpgd.values.optimal import optimal_value


class ConeLayer(torch.nn.Module):
    """A cone program as a differentiable torch module.

        (P, q, A, b) -> (x, y, s):   minimize ½x'Px + q'x   subject to   Ax + s = b,  s in K

    Parameters
    ----------
    structure : ConeStructure
        What `from_scs`, `from_clarabel`, `from_diffcp` or `from_qp` of `cvxlpgd.cone_programs`
        returns. Names and order of the inputs, order and scaling of the rows are theirs.
    parameters : list of str, optional
        Names of the inputs that a call takes, in its order. The others keep the values that the
        structure was made with. None lists all of them.
    variables : list of str
        The outputs, among "x", "y" (dual variables) and "s" (slacks), in the order of the call.
    solver, verbose, solver_args, derivative, on_failure, fallback, time_limit, executor, pieces
        As those of `cvxlpgd.torch.CvxpyLayer`.
    single : bool
        With one variable: whether a call returns it itself instead of a tuple of one.

    Raises
    ------
    InvalidOption, SolverNotInstalled, UnsuitableSolver
    """

    __module__ = "cvxlpgd.torch"  # where users import it from

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
        super().__init__()
        settings = Settings(
            solver, False, verbose, None, solver_args, derivative, on_failure, fallback,
            time_limit, executor, pieces,
        )  # fmt: skip
        self._inputs = choose_inputs(structure, parameters)
        self._layer = compile_cone_layer(structure, self._inputs, variables, settings)
        self._single = check_single(single, len(self._layer.shapes))
        self._numbered = Numbered.of(self._layer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy is another layer for compiled graphs."""
        torch.nn.Module.__setstate__(self, state)
        self._numbered = Numbered.of(self._layer)

    def extra_repr(self) -> str:
        """What goes in, what comes out, and how."""
        return summarize(self._layer)

    def _repr_html_(self) -> str:
        return summary_html(self._layer, "ConeLayer")

    @property
    @eagerly
    def info(self) -> Record:
        """This thread's newest call, sample by sample."""
        return self._layer.info

    def forward(
        self,
        *values: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
        **named: Any,
    ) -> tuple[Tensor, ...] | Tensor:
        """x, y and s at the solution, each (*batch shape, size).

        Those that `variables` lists, in its order; that one alone if the layer is `single`. They
        have the values' promoted floating dtype and the first value's device; solves are in double
        precision.

        Parameters
        ----------
        values, named : tensors (*batch axes, *shape), by position or by name
            One for each parameter; batch axes broadcast. Of a matrix that was sparse when the
            structure was made they are its stored entries, (*batch axes, entries), in the order of
            its data; of an array all entries. A SciPy matrix is a constant.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : bool or Solution
            As that of `cvxlpgd.torch.CvxpyLayer`.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        ordered = self._arrange(values, named)
        outputs = call(self._layer, self._numbered, ordered, solver_args, warm_start)
        return outputs[0] if self._single else outputs

    def optimal_value(self, *values: Any, **named: Any) -> Tensor:
        """The program's optimal value (*batch shape), differentiable by Danskin's theorem.

        Raises
        ------
        InvalidInput, SolveFailed
        """
        ordered = self._arrange(values, named)
        return evaluate(self._layer, partial(optimal_value, self._layer), ordered)

    def _arrange(self, values: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the inputs; a sparse one would be read as if it were dense."""
        ordered = read_values(self._inputs, values, named)
        for own, value in zip(self._inputs, ordered, strict=True):
            if isinstance(value, Tensor) and value.layout != torch.strided:
                raise InvalidInput(
                    f"{own.name} is a sparse tensor; pass its stored entries, in the order of the "
                    "matrix that the structure was made with"
                )
        return ordered
