"""CVXPY problems as functions of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import numpy as np

from cvxlpgd.analysis.degeneracy import WeaklyActive, weakly_active
from cvxlpgd.analysis.tau_plot import plot_tau
from cvxlpgd.derivatives import Derivative
from cvxlpgd.layer import (
    DEFAULT,
    Record,
    Settings,
    check_single,
    compile_layer,
    real,
    summarize,
    summary_html,
)
from cvxlpgd.layer.arguments import arrange
from cvxlpgd.layer.arrays import double
from cvxlpgd.numpy._calls import (
    Arrays,
    Outputs,
    evaluate,
    forward,
    pull_back,
    push_forward,
)
from cvxlpgd.program import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.values.differences import lagrangian_difference
from cvxlpgd.values.envelopes import prepare_envelope
from cvxlpgd.values.optimal import as_list, optimal_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CvxpyLayer:
    """A parametrized CVXPY problem as a function of NumPy arrays, with its derivatives.

        theta -> the solution of the problem with the parameters set to theta

    Arguments are those of `cvxlpgd.torch.CvxpyLayer`.
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

    def __repr__(self) -> str:
        return f"CvxpyLayer({summarize(self._layer)})"

    def _repr_html_(self) -> str:
        return summary_html(self._layer, "CvxpyLayer")

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
        """The variables' values at the solution, each (*batch shape, *shape).

        A tuple with one for each variable, or that one alone if the layer is `single`.

        Parameters
        ----------
        values : arrays (*batch axes, *parameter shape)
            One for each parameter; batch axes broadcast. SciPy's sparse arrays and matrices are
            accepted; one with a pattern is not made dense.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : bool or Solution
            True: from this thread's previous warm-started call of the same batch shape.
        named : arrays
            Values by the names of their parameters, after those by position.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        values = self._arrange(values, named)
        return self._returned(forward(self._layer, values, solver_args, warm_start).outputs)

    def vjp(
        self, *values: Any, solver_args: Mapping[str, Any] | None = None, **named: Any
    ) -> tuple[Outputs, Callable[..., tuple[Any, ...]]]:
        """The variables, as a call returns them, and their pullback.

            x_star, pullback = layer.vjp(A, b)  # of a single layer
            A_bar, b_bar = pullback(x_bar)

        The pullback takes one cotangent for each variable, and returns a tuple with one for each
        parameter, in their order. Cotangents of parameters shared by the batch are summed over it.
        That of a sparse value of a parameter with a pattern is sparse, of the value's own kind, and
        stores the whole pattern; all others are dense.
        """
        values = self._arrange(values, named)
        self._layer.require_gradients([True] * len(values))
        done = forward(self._layer, values, solver_args)

        def pullback(*bars: Any) -> tuple[Any, ...]:
            return pull_back(self._layer, done, bars)

        return self._returned(done.outputs), pullback

    def jvp(
        self,
        values: Sequence[Any],
        tangents: Sequence[Any],
        *,
        solver_args: Mapping[str, Any] | None = None,
    ) -> tuple[Outputs, Outputs]:
        """The variables, and their tangents for the parameters' tangents, as a call returns them.

        x_star, x_dot = layer.jvp([A, b], [A_dot, b_dot])  # of a single layer
        """
        done, dots = push_forward(self._layer, values, tangents, solver_args)
        return self._returned(done.outputs), self._returned(dots)

    def weakly_active(self, tol: float = 1e-6) -> list[WeaklyActive]:
        """The constraints that are weakly active at this thread's newest solutions.

        They hold with equality though their dual variable is 0, both up to `tol`: the solution has
        a kink there, and one-sided and averaged gradients differ.
        """
        return weakly_active(self._layer, tol)

    def plot_tau(
        self,
        *values: Any,
        cotangents: Any = None,
        loss: Callable[..., Any] | None = None,
        taus: Sequence[float] | None = None,
        path: str | PathLike[str] | None = None,
    ) -> Figure:
        """Draw the gradient against tau: where it is noise, exact, zero, or looks further.

        Arguments are those of `cvxlpgd.torch.CvxpyLayer.plot_tau`; the loss is a function of
        arrays.
        """
        arrays = [double(real(v, f"value {i}")) for i, v in enumerate(values)]
        bars = None if cotangents is None else as_list(cotangents, "cotangents", np.ndarray)
        return plot_tau(self._layer, arrays, bars, loss, taus, path, tensors=False)

    def optimal_value(self, *values: Any) -> np.ndarray:
        """The problem's optimal value (*batch shape)."""
        return self._evaluate(partial(optimal_value, self._layer), values)[0]

    def optimal_value_vjp(self, *values: Any) -> tuple[np.ndarray, Callable[[Any], Arrays]]:
        """The optimal value, and the function from its cotangent to the parameters'."""
        return self._evaluate(partial(optimal_value, self._layer), values)

    def envelope(self, *values: Any, **options: Any) -> np.ndarray:
        """A Lagrange-Moreau envelope of a loss of the solution, (*batch shape).

        Arguments are those of `cvxlpgd.torch.CvxpyLayer.envelope`: cotangents= or loss= and
        loss_values=, tau=, side=, rho=.
        """
        return self.envelope_vjp(*values, **options)[0]

    def envelope_vjp(
        self,
        *values: Any,
        cotangents: Any = None,
        tau: Any = None,
        side: str | None = None,
        rho: float = 0.0,
        loss: cp.Expression | None = None,
        loss_values: Mapping[cp.Parameter, Any] | None = None,
    ) -> tuple[np.ndarray, Callable[[Any], Arrays]]:
        """The envelope, and the function from its cotangent to the parameters'.

        With `loss`, the cotangents of the loss's own parameters follow, in the order of
        `loss.parameters()`.
        """
        bars = None if cotangents is None else as_list(cotangents, "cotangents", np.ndarray)
        make, inputs = prepare_envelope(
            self._layer, values, bars, loss, loss_values, tau, side, rho
        )
        return self._evaluate(make, inputs)

    def lagrangian_difference(self, *values: Any, targets: Any, margin: Any = None) -> np.ndarray:
        """How much worse targets are than the solution, (*batch shape), >= 0.

        Arguments are those of `cvxlpgd.torch.CvxpyLayer.lagrangian_difference`.
        """
        return self.lagrangian_difference_vjp(*values, targets=targets, margin=margin)[0]

    def lagrangian_difference_vjp(
        self, *values: Any, targets: Any, margin: Any = None
    ) -> tuple[np.ndarray, Callable[[Any], Arrays]]:
        """The difference, and the function from its cotangent to the parameters'."""
        arrays = as_list(targets, "targets", np.ndarray)
        along = None if margin is None else as_list(margin, "margin", np.ndarray)
        make = partial(lagrangian_difference, self._layer, targets=arrays, margin=along)
        return self._evaluate(make, values)

    def _evaluate(
        self,
        make: Callable[[list[Any]], Any],
        values: Sequence[Any],
        derivative: Derivative | None = None,
    ) -> tuple[np.ndarray, Callable[[Any], Arrays]]:
        return evaluate(self._layer, make, values, derivative)

    def _constants(self, values: Any, what: str) -> list[np.ndarray]:
        return as_list(values, what, np.ndarray)

    def _arrange(self, values: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values in the parameters' order."""
        return arrange([domain.name for domain in self._layer.domains], values, named)

    def _returned(self, outputs: Arrays) -> Outputs:
        """The variables, or their tangents, as the caller gets them."""
        return outputs[0] if self._single else outputs
