"""Layers for torch: modules with backward, forward mode and vmap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from cvxlpgd._autograd import Run, Solve, Tensor
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Layer
from cvxlpgd.record import Record
from cvxlpgd.solution import Solution
from cvxlpgd.solvers._protocol import Solver
from cvxlpgd.spellings import DEFAULT


class CvxpyLayer(torch.nn.Module):
    """A parametrized CVXPY problem as a differentiable torch module.

        theta -> the solution of the problem with the parameters set to theta

    Parameters
    ----------
    problem : cp.Problem
        DPP. It is read, never written to.
    parameters : list of cp.Parameter
        The inputs, in the order of the call. Parameters of the problem that are not listed keep
        the values that they have now.
    variables : list of cp.Variable
        The outputs: variables of the problem, or dual variables of its constraints.
    solver : None, str or Solver
        None chooses one; a name is any of `cvxpy.installed_solvers()`.
    gp : bool
        Whether the problem is a geometric program.
    verbose : bool
        Whether the solver prints.
    canon_backend : str, optional
        CVXPY's canonicalization backend.
    solver_args : dict, optional
        The solver's own options, "eps" for all its tolerances, and the spellings of cvxpylayers.
    derivative : Derivative
        LPGD(), Implicit() or FiniteDifference().
    on_failure : "raise" or "nan"
        Whether a failed sample raises SolveFailed, or becomes a row of NaN with gradient 0.
    fallback : None, str or Solver
        Solves inaccurate and failed samples again.
    time_limit : float, optional
        Seconds for each sample's solve, where the solver has such an option.
    executor : concurrent.futures.Executor, optional
        Runs the solves, cut in one piece for each of its workers. It stays the caller's.

    Raises
    ------
    InvalidProblem, InvalidOption, SolverNotInstalled, UnsuitableSolver
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
        super().__init__()
        self._layer = Layer(
            problem, parameters, variables, solver, gp, verbose, canon_backend, solver_args,
            derivative, on_failure, fallback, time_limit, executor,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """What goes in, what comes out, and how."""
        return repr(self._layer)

    @property
    def info(self) -> Record:
        """This thread's newest call, sample by sample."""
        return self._layer.info

    def forward(
        self,
        *values: Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
    ) -> tuple[Tensor, ...]:
        """The variables' values at the solution, each (*batch shape, *shape).

        They have the parameters' promoted floating dtype and the first parameter's device; solves
        are in double precision.

        Parameters
        ----------
        values : tensors (*batch axes, *parameter shape)
            One for each parameter; batch axes broadcast.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : bool or Solution
            True: from this thread's previous warm-started call of the same batch shape; or from
            the `info.solution` of a call.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        if torch.compiler.is_compiling():  # a graph break: solvers cannot be traced
            eager: Callable[..., tuple[Tensor, ...]] = torch.compiler.disable(self.forward)
            return eager(*values, solver_args=solver_args, warm_start=warm_start)
        tensors = [_tensor(i, value) for i, value in enumerate(values)]
        run = Run(self._layer, solver_args, warm_start)
        outputs = Solve.apply(run, *tensors)
        return tuple(outputs[: len(self._layer.shapes)])


def _tensor(i: int, value: Any) -> Tensor:
    """The i-th value as a dense real tensor; arrays are copied, lists and numbers converted."""
    try:
        own = value.copy() if isinstance(value, np.ndarray) else value
        tensor = own if isinstance(own, Tensor) else torch.as_tensor(own)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(f"value {i} cannot be made into a tensor: {error}") from None
    if tensor.is_complex():
        raise InvalidInput(f"value {i} is complex; real numbers are needed")
    if tensor.is_meta or tensor.layout != torch.strided:
        raise InvalidInput(f"value {i} is a meta or sparse tensor; a dense one is needed")
    return tensor
