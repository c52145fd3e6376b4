"""Cone programs as functions of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np

from cvxlpgd.cone_programs import ConeStructure
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import DEFAULT, Record, Settings, check_single, summarize, summary_html
from cvxlpgd.layer.arguments import arrange
from cvxlpgd.layer.cones import OUTPUTS, choose_inputs, compile_cone_layer, read_values
from cvxlpgd.numpy._calls import Outputs, evaluate, forward, pull_back, push_forward
from cvxlpgd.program import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.values.optimal import optimal_value


class ConeLayer:
    """A cone program as a function of NumPy arrays and SciPy matrices, with its derivatives.

        (P, q, A, b) -> (x, y, s):   minimize ½x'Px + q'x   subject to   Ax + s = b,  s in K

    Arguments are those of `cvxlpgd.torch.ConeLayer`.
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

    def __repr__(self) -> str:
        return f"ConeLayer({summarize(self._layer)})"

    def _repr_html_(self) -> str:
        return summary_html(self._layer, "ConeLayer")

    @property
    def info(self) -> Record:
        """This thread's newest call, sample by sample."""
        return self._layer.info

    def __call__(
        self,
        *values: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
        **named: Any,
    ) -> Outputs:
        """x, y and s at the solution, each (*batch shape, size).

        Those that `variables` lists, in its order; that one alone if the layer is `single`.

        Parameters
        ----------
        values, named : arrays (*batch axes, *shape), by position or by name
            One for each parameter; batch axes broadcast. A sparse matrix is a SciPy matrix, a list
            of them, or its stored entries (*batch axes, entries) in the order of its data.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : bool or Solution
            True: from this thread's previous warm-started call of the same batch shape.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        arrays = read_values(self._inputs, values, named)
        return self._returned(forward(self._layer, arrays, solver_args, warm_start).outputs)

    def vjp(
        self, *values: Any, solver_args: Mapping[str, Any] | None = None, **named: Any
    ) -> tuple[Outputs, Callable[..., tuple[Any, ...]]]:
        """The variables, as a call returns them, and their pullback.

            (x, y, s), pullback = layer.vjp(A, b, c)
            A_bar, b_bar, c_bar = pullback(x_bar, y_bar, s_bar)

        The pullback takes one cotangent for each variable, None for 0, and returns one for each
        parameter, of the form of its value: that of a SciPy matrix is one with the same entries.
        Cotangents of parameters shared by the batch are summed over it.
        """
        arrays = read_values(self._inputs, values, named)
        self._layer.require_gradients([True] * len(arrays))
        done = forward(self._layer, arrays, solver_args)

        def pullback(*bars: Any) -> tuple[Any, ...]:
            if all(bar is None for bar in bars):
                raise InvalidInput("received no cotangent that is not None")
            full = [0.0 if bar is None else bar for bar in bars]
            gradients = pull_back(self._layer, done, full)
            return self._written(gradients, values, named)

        return self._returned(done.outputs), pullback

    def jvp(
        self,
        values: Sequence[Any] | Mapping[str, Any],
        tangents: Sequence[Any] | Mapping[str, Any],
        *,
        solver_args: Mapping[str, Any] | None = None,
    ) -> tuple[Outputs, Outputs]:
        """The variables, and their tangents for the parameters' tangents, as a call returns them.

            (x, y, s), (x_dot, y_dot, s_dot) = layer.jvp((A, b, c), (A_dot, b_dot, c_dot))

        Values and tangents are lists, one for each parameter, or dictionaries by name.
        """
        at, along = (
            read_values(self._inputs, (), each) if isinstance(each, Mapping)
            else read_values(self._inputs, each, {})
            for each in (values, tangents)
        )  # fmt: skip
        done, dots = push_forward(self._layer, at, along, solver_args)
        return self._returned(done.outputs), self._returned(dots)

    def optimal_value(self, *values: Any, **named: Any) -> np.ndarray:
        """The program's optimal value (*batch shape)."""
        return self.optimal_value_vjp(*values, **named)[0]

    def optimal_value_vjp(
        self, *values: Any, **named: Any
    ) -> tuple[np.ndarray, Callable[[Any], tuple[Any, ...]]]:
        """The optimal value, and the function from its cotangent to the parameters'.

        That is Danskin's theorem: no derivative of the solution is needed.
        """
        arrays = read_values(self._inputs, values, named)
        value, pull = evaluate(self._layer, partial(optimal_value, self._layer), arrays)

        def pullback(bar: Any) -> tuple[Any, ...]:
            return self._written(pull(bar), values, named)

        return value, pullback

    def _written(
        self, gradients: Sequence[Any], values: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """Gradients, each of the form of its value."""
        given = arrange([own.name for own in self._inputs], values, named)
        triples = zip(self._inputs, gradients, given, strict=True)
        return tuple(own.write(gradient, value) for own, gradient, value in triples)

    def _returned(self, outputs: tuple[np.ndarray, ...]) -> Outputs:
        """The variables, or their tangents, as the caller gets them."""
        return outputs[0] if self._single else outputs
