"""Layers for NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.call import Call
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.inputs import real, spread
from cvxlpgd.layer import Layer
from cvxlpgd.record import Record
from cvxlpgd.solution import Solution
from cvxlpgd.solvers._protocol import Solver
from cvxlpgd.spellings import DEFAULT

Arrays = tuple[np.ndarray, ...]


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
        executor: Executor | None = None,
    ) -> None:
        self._layer = Layer(
            problem, parameters, variables, solver, gp, verbose, canon_backend, solver_args,
            derivative, on_failure, fallback, time_limit, executor,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"CvxpyLayer({self._layer!r})"

    @property
    def info(self) -> Record:
        """This thread's newest call, sample by sample."""
        return self._layer.info

    def __call__(
        self,
        *values: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
    ) -> Arrays:
        """The variables' values at the solution, each (*batch shape, *shape).

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
        return self._forward(values, solver_args, warm_start)[1]

    def vjp(
        self, *values: Any, solver_args: Mapping[str, Any] | None = None
    ) -> tuple[Arrays, Callable[..., Arrays]]:
        """The variables, and the function from their cotangents to the parameters'.

        Cotangents of parameters shared by the batch are summed over it.
        """
        call, outputs, dtypes = self._forward(values, solver_args, False)

        def pullback(*bars: Any) -> Arrays:
            if len(bars) != len(outputs):
                raise InvalidInput(f"received {len(bars)} cotangents, expected {len(outputs)}")
            flat = [
                _double(spread(bar, out.shape, f"cotangent {i}")).reshape(call.batch.samples, size)
                for i, (bar, out, size) in enumerate(zip(bars, outputs, self._sizes, strict=True))
            ]
            found = call.vjp(flat, [True] * len(values))
            return tuple(np.asarray(v, dtype=dtype) for v, dtype in zip(found, dtypes, strict=True))

        return outputs, pullback

    def jvp(
        self,
        values: Sequence[Any],
        tangents: Sequence[Any],
        *,
        solver_args: Mapping[str, Any] | None = None,
    ) -> tuple[Arrays, Arrays]:
        """The variables, and their tangents for the parameters' tangents."""
        call, outputs, _ = self._forward(values, solver_args, False)
        if len(tangents) != len(values):
            raise InvalidInput(f"received {len(tangents)} tangents, expected {len(values)}")
        dots = [
            _double(spread(dot, np.shape(v), f"tangent {i}"))
            for i, (dot, v) in enumerate(zip(tangents, values, strict=True))
        ]
        found = call.jvp(dots)
        return outputs, tuple(
            np.asarray(v.reshape(out.shape), dtype=out.dtype)
            for v, out in zip(found, outputs, strict=True)
        )

    @property
    def _sizes(self) -> list[int]:
        return [int(np.prod(shape)) for shape in self._layer.shapes]

    def _forward(
        self, values: Sequence[Any], solver_args: Mapping[str, Any] | None, warm: bool | Solution
    ) -> tuple[Call, Arrays, list[np.dtype]]:
        arrays = [real(v, f"value {i}") for i, v in enumerate(values)]
        dtypes = [v.dtype if v.dtype.kind == "f" else np.dtype(float) for v in arrays]
        floating = [v.dtype for v in arrays if v.dtype.kind == "f"]
        dtype = np.result_type(*floating) if floating else np.dtype(float)
        call = self._layer.forward([_double(v) for v in arrays], solver_args, warm)
        outputs = tuple(
            v.reshape(call.batch.shape + shape).astype(dtype)
            for v, shape in zip(call.outputs, self._layer.shapes, strict=True)
        )
        return call, outputs, dtypes


def _double(values: np.ndarray) -> np.ndarray:
    """A copy: the caller may write to its own array before the pullback is called."""
    return np.array(values, dtype=np.float64, order="C")
