"""Layers for NumPy arrays."""

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
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import (
    DEFAULT,
    Call,
    Record,
    Settings,
    check_single,
    compile_layer,
    real,
    spread,
    summarize,
    summary_html,
)
from cvxlpgd.program import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.values.differences import lagrangian_difference
from cvxlpgd.values.envelopes import prepare_envelope
from cvxlpgd.values.optimal import as_list, optimal_value, refuse_integer_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arrays = tuple[np.ndarray, ...]
Outputs = Arrays | Any  # a tuple to type checkers; of a single layer the one array itself

__all__ = ["CvxpyLayer"]


def __dir__() -> list[str]:
    """What is public."""
    return __all__


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
        single: bool = False,
    ) -> None:
        settings = Settings(
            solver, gp, verbose, canon_backend, solver_args, derivative, on_failure, fallback,
            time_limit, executor,
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
    ) -> Outputs:
        """The variables' values at the solution, each (*batch shape, *shape).

        A tuple with one for each variable, or that one alone if the layer is `single`.

        Parameters
        ----------
        values : arrays (*batch axes, *parameter shape)
            One for each parameter; batch axes broadcast.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : bool or Solution
            True: from this thread's previous warm-started call of the same batch shape.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        return self._returned(self._forward(values, solver_args, warm_start)[1])

    def vjp(
        self, *values: Any, solver_args: Mapping[str, Any] | None = None
    ) -> tuple[Outputs, Callable[..., Arrays]]:
        """The variables, as a call returns them, and their pullback.

            x_star, pullback = layer.vjp(A, b)  # of a single layer
            A_bar, b_bar = pullback(x_bar)

        The pullback takes one cotangent for each variable, and returns a tuple with one for each
        parameter. Cotangents of parameters shared by the batch are summed over it.
        """
        self._layer.require_gradients([True] * len(values))
        call, outputs, dtypes = self._forward(values, solver_args, False)

        def pullback(*bars: Any) -> Arrays:
            if len(bars) != len(outputs):
                raise InvalidInput(f"received {len(bars)} cotangents, expected {len(outputs)}")
            triples = zip(bars, outputs, self._layer.sizes, strict=True)
            flat = [
                _double(spread(bar, out.shape, f"cotangent {i}")).reshape(call.batch.samples, size)
                for i, (bar, out, size) in enumerate(triples)
            ]
            gradients = call.vjp(flat, [True] * len(values))
            pairs = zip(gradients, dtypes, strict=True)
            return tuple(np.asarray(v, dtype=dtype) for v, dtype in pairs)

        return self._returned(outputs), pullback

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
        for name, argument in (("values", values), ("tangents", tangents)):
            if not isinstance(argument, list | tuple):
                raise InvalidInput(f"{name} must be a list or tuple, one for each parameter")
        call, outputs, _ = self._forward(values, solver_args, False)
        if len(tangents) != len(values):
            raise InvalidInput(f"received {len(tangents)} tangents, expected {len(values)}")
        dots = [
            _double(spread(dot, np.shape(v), f"tangent {i}"))
            for i, (dot, v) in enumerate(zip(tangents, values, strict=True))
        ]
        variables_dot = tuple(
            np.asarray(v.reshape(out.shape), dtype=out.dtype)
            for v, out in zip(call.jvp(dots), outputs, strict=True)
        )
        return self._returned(outputs), self._returned(variables_dot)

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
        arrays = [_double(v) for v in _arrays(values)[0]]
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
        self, make: Callable[[list[np.ndarray]], Any], values: Sequence[Any]
    ) -> tuple[np.ndarray, Callable[[Any], Arrays]]:
        arrays, dtypes, dtype = _arrays(values)
        sums = make([_double(v) for v in arrays])

        def pullback(bar: Any) -> Arrays:
            refuse_integer_rows(self._layer, [True] * len(self._layer.domains))
            flat = _double(spread(bar, sums.shape, "cotangent")).ravel()
            bars = sums.vjp(flat, [True] * len(values))
            pairs = zip(bars, dtypes, strict=True)
            return tuple(np.asarray(bar, dtype=dtype) for bar, dtype in pairs)

        return sums.value.reshape(sums.shape).astype(dtype), pullback

    def _forward(
        self, values: Sequence[Any], solver_args: Mapping[str, Any] | None, warm: bool | Solution
    ) -> tuple[Call, Arrays, list[np.dtype]]:
        arrays, dtypes, dtype = _arrays(values)
        call = self._layer.forward([_double(v) for v in arrays], solver_args, warm)
        outputs = tuple(
            v.reshape(call.batch.shape + shape).astype(dtype)
            for v, shape in zip(call.outputs, self._layer.shapes, strict=True)
        )
        return call, outputs, dtypes

    def _returned(self, outputs: Arrays) -> Outputs:
        """The variables, or their tangents, as the caller gets them."""
        return outputs[0] if self._single else outputs


def _arrays(values: Sequence[Any]) -> tuple[list[np.ndarray], list[np.dtype], np.dtype]:
    """The values as arrays, the dtypes of their cotangents, and that of what is computed."""
    arrays = [real(v, f"value {i}") for i, v in enumerate(values)]
    dtypes = [v.dtype if v.dtype.kind == "f" else np.dtype(float) for v in arrays]
    floating = [v.dtype for v in arrays if v.dtype.kind == "f"]
    return arrays, dtypes, np.result_type(*floating) if floating else np.dtype(float)


def _double(values: np.ndarray) -> np.ndarray:
    """A copy: the caller may write to its own array before the pullback is called."""
    return np.array(values, dtype=np.float64, order="C")
