"""CVXPY problems as torch modules, with backward, forward mode and vmap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import torch

from cvxlpgd.analysis.degeneracy import WeaklyActive, weakly_active
from cvxlpgd.analysis.tau_plot import plot_tau
from cvxlpgd.derivatives import Derivative
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
from cvxlpgd.program import Solution
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.torch._calls import Numbered, call, evaluate
from cvxlpgd.torch._sparse import take_in
from cvxlpgd.torch._tensors import Tensor, constants, double, eagerly
from cvxlpgd.values.differences import lagrangian_difference
from cvxlpgd.values.envelopes import prepare_envelope
from cvxlpgd.values.optimal import optimal_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CvxpyLayer(torch.nn.Module):
    """A parametrized CVXPY problem as a differentiable torch module.

        theta -> the solution of the problem with the parameters set to theta

    Parameters
    ----------
    problem : cp.Problem
        It follows CVXPY's DPP rules. It is read, never written to.
    parameters : list of cp.Parameter
        The inputs, in the order of the call. Parameters of the problem that are not listed keep
        the values that they have now.
    variables : list of cp.Variable
        The outputs: variables of the problem, or dual variables of its constraints.
    solver : None, str or Solver
        None chooses one by the structure and size of the problem. A name is any of
        `cvxpy.installed_solvers()`.
    gp : bool
        Whether the problem is a geometric program.
    verbose : bool
        Whether the solver prints.
    canon_backend : str, optional
        CVXPY's canonicalization backend.
    solver_args : dict, optional
        The solver's own options, "eps" for all its tolerances, and the spellings of cvxpylayers.
    derivative : LPGD, Exact, Implicit or FiniteDifference
        How gradients are computed, a value such as `LPGD(tau=0.1)`.
    on_failure : "raise" or "nan"
        Whether a failed sample raises SolveFailed, or becomes a row of NaN with gradient 0.
    fallback : None, str or Solver
        Solves inaccurate and failed samples again, forward and backward.
    time_limit : float, optional
        Seconds for each sample's solve, by the solver's own option; one without it is refused.
    executor : concurrent.futures.Executor or Processes, optional
        Runs the solves, cut in pieces for its workers. An executor stays the caller's;
        `cvxlpgd.solvers.Processes()` survives solvers that crash or hang.
    pieces : int, optional
        How many pieces a batch is cut in for the executor's workers; as many as there are CPUs to
        run on, if not given. `Processes` get at least one for each worker.
    single : bool
        For a layer of one variable: whether a call returns that variable itself instead of a tuple
        of one, so that the layer stands in the middle of a `torch.nn.Sequential`.

    Raises
    ------
    InvalidProblem, InvalidOption, SolverNotInstalled, UnsuitableSolver
    """

    __module__ = "cvxlpgd.torch"  # where users import it from

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
        super().__init__()
        settings = Settings(
            solver, gp, verbose, canon_backend, solver_args, derivative, on_failure, fallback,
            time_limit, executor, pieces,
        )  # fmt: skip
        self._layer = compile_layer(problem, parameters, variables, settings)
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
        return summary_html(self._layer, "CvxpyLayer")

    @property
    @eagerly
    def info(self) -> Record:
        """This thread's newest call, sample by sample."""
        return self._layer.info

    def forward(
        self,
        *values: Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
        **named: Tensor,
    ) -> tuple[Tensor, ...] | Tensor:
        """The variables' values at the solution, each (*batch shape, *shape).

        A tuple with one for each variable, or that one alone if the layer is `single`. They have
        the parameters' promoted floating dtype and the first parameter's device; solves are in
        double precision.

        Parameters
        ----------
        values : tensors (*batch axes, *parameter shape)
            One for each parameter; batch axes broadcast. Sparse tensors (COO, CSR) are accepted,
            also with gradients; one of a parameter with a pattern is not made dense.
        solver_args : dict, optional
            On top of the constructor's.
        warm_start : bool or Solution
            True: from this thread's previous warm-started call of the same batch shape; or from
            the `info.solution` of a call.
        named : tensors
            Values by the names of their parameters, after those by position.

        Raises
        ------
        InvalidInput, SolveFailed, InvalidOption
        """
        if named:
            values = arrange(self._numbered.names, values, named)
        outputs = call(self._layer, self._numbered, values, solver_args, warm_start)
        return outputs[0] if self._single else outputs

    @eagerly
    def weakly_active(self, tol: float = 1e-6) -> list[WeaklyActive]:
        """The constraints that are weakly active at this thread's newest solutions.

        They hold with equality though their dual variable is 0, both up to `tol`: the solution has
        a kink there, and one-sided and averaged gradients differ.
        """
        return weakly_active(self._layer, tol)

    @eagerly
    def plot_tau(
        self,
        *values: Tensor,
        cotangents: Any = None,
        loss: Callable[..., Any] | None = None,
        taus: Sequence[float] | None = None,
        path: str | PathLike[str] | None = None,
    ) -> Figure:
        """Draw the gradient against tau: where it is noise, exact, zero, or looks further.

        For each tau the largest entries of the parameters' gradient, its norm, and its cosine with
        the exact gradient. Parameters whose exact gradient is 0, as a linear program's costs, have
        panels of their own. The tau that the layer itself takes is marked. `info` stays that of the
        last call.

        Parameters
        ----------
        values : tensors (*batch axes, *parameter shape)
            As for a call.
        cotangents : one for each returned variable, optional
            The loss' derivative, (*batch shape, *shape) or broadcast to that; standard normal from
            a fixed seed if neither this nor `loss` is given.
        loss : callable, optional
            loss(*variables) -> a number, of tensors.
        taus : list of float, optional
            By default from the solver's noise to a hundred times the data's own size.
        path : str or path, optional
            A file to write the picture to.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.

        Raises
        ------
        InvalidInput, InvalidOption, SolveFailed
        SolverNotInstalled
            Without matplotlib.
        """
        arrays = [double(tensor) for tensor in take_in([], values).tensors]
        bars = None if cotangents is None else constants(cotangents, "cotangents")
        return plot_tau(self._layer, arrays, bars, loss, taus, path, tensors=True)

    def optimal_value(self, *values: Tensor) -> Tensor:
        """The problem's optimal value (*batch shape), differentiable by Danskin's theorem.

        Raises
        ------
        InvalidInput, SolveFailed
        """
        return evaluate(self._layer, partial(optimal_value, self._layer), values)

    def envelope(
        self,
        *values: Tensor,
        cotangents: Sequence[Any] | Tensor | None = None,
        tau: Any = None,
        side: str | None = None,
        rho: float = 0.0,
        loss: cp.Expression | None = None,
        loss_values: Mapping[cp.Parameter, Tensor] | None = None,
    ) -> Tensor:
        """A Lagrange-Moreau envelope of a loss of the solution, (*batch shape), differentiable.

            V(t) = min_x max_y  L(x, y; w) + t l(x, y)
            lower [V(tau) - V(0)]/tau,  upper [V(0) - V(-tau)]/tau,  average: their mean

        For losses of primal variables lower <= l(x*) <= upper. The gradient is LPGD's for the same
        tau, side and cotangents.

        Parameters
        ----------
        values : tensors (*batch axes, *parameter shape)
        cotangents : one for each returned variable
            The loss is l = sum of cotangent * variable; each is (*batch shape, *shape), or is
            broadcast to that.
        loss : cp.Expression
            Instead: the loss itself, a scalar of the problem's variables: convex for "lower",
            concave for "upper", affine for any side.
        loss_values : {cp.Parameter: tensor}
            Values of the loss's own parameters, with any batch axes. They get gradients too.
        tau, side : as LPGD's; None takes those of the layer's own LPGD
            With `loss`, tau must be a number or an array of the batch shape.
        rho : float
            Weight of a proximal term at x*, with `cotangents` only.

        Raises
        ------
        InvalidInput, InvalidOption, SolveFailed
        """
        bars = None if cotangents is None else constants(cotangents, "cotangents")
        make, inputs = prepare_envelope(
            self._layer, values, bars, loss, loss_values, tau, side, rho
        )
        return evaluate(self._layer, make, inputs)

    def lagrangian_difference(
        self,
        *values: Tensor,
        targets: Sequence[Any] | Tensor,
        margin: Sequence[Any] | Tensor | None = None,
    ) -> Tensor:
        """How much worse targets are than the solution, (*batch shape), differentiable, >= 0.

            D(v | w) = min_{x: variables = v} f(x; w) - min_x f(x; w)

        Parameters
        ----------
        targets : one for each returned variable
            Feasible values, (*batch shape, *shape) or broadcast to that.
        margin : one for each returned variable, optional
            Cotangents of a linear function that f is diminished by.

        Raises
        ------
        InvalidInput
            For a target that is not feasible.
        InvalidOption, SolveFailed
        """
        arrays = constants(targets, "targets")
        along = None if margin is None else constants(margin, "margin")
        make = partial(lagrangian_difference, self._layer, targets=arrays, margin=along)
        return evaluate(self._layer, make, values)

    def _evaluate(
        self,
        make: Callable[[list[Any]], Any],
        values: Sequence[Any],
        derivative: Derivative | None = None,
    ) -> Tensor:
        return evaluate(self._layer, make, values, derivative)

    def _constants(self, values: Any, what: str) -> list[Any]:
        return list(constants(values, what))
