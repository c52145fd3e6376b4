"""A parametrized problem as a function with derivatives: canonicalize, solve, retrieve.

    forward   parameters --map--> cone programs --solve--> points --map--> variables
    backward  parameters_bar <--map'-- data_bar <--derivative-- point_bar <--map'-- variables_bar

Framework-neutral: the adapters hand in and take out NumPy arrays of doubles.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.canonical import Canonical, canonicalize, check_dpp, checked, substituted
from cvxlpgd.canonical.witness import Witness
from cvxlpgd.checks import check_flag, is_one_of
from cvxlpgd.derivatives import Derivative, check_derivative
from cvxlpgd.derivatives.protocol import require_structure
from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.layer import failure
from cvxlpgd.layer.call import Call
from cvxlpgd.layer.compiled import Compiled, taken
from cvxlpgd.layer.inputs import Batch, Domain, batched
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.spellings import DEFAULT, as_mapping, checked_limit, understood
from cvxlpgd.program import ConeProgram, Data, Structure
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.choose.choice import names, resolved
from cvxlpgd.solvers.protocol import Solver, solve
from cvxlpgd.solvers.run.executor import OnExecutor
from cvxlpgd.solvers.run.ladder import first_of
from cvxlpgd.solvers.run.processes import Processes

SHAPES = 8  # batch shapes whose last solutions a thread keeps
LOSSES = 8  # losses whose layers are kept

_witnessing = threading.Lock()


class Layer:
    """A parametrized CVXPY problem as a differentiable function. See the adapters for arguments."""

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
        derivative: Derivative = DEFAULT,
        on_failure: str = "raise",
        fallback: str | Solver | None = None,
        time_limit: float | None = None,
        executor: Executor | Processes | None = None,
    ) -> None:
        check_derivative("derivative", derivative)
        check_flag("gp", gp)
        check_flag("verbose", verbose)
        if canon_backend is not None and not (isinstance(canon_backend, str) and canon_backend):
            raise InvalidOption(f"canon_backend must be None or a name, not {canon_backend!r}")
        if executor is not None and not isinstance(executor, Executor | Processes):
            raise InvalidOption(
                f"executor must be a concurrent.futures.Executor or Processes(), not {executor!r}"
            )
        if not is_one_of(on_failure, ("raise", "nan")):
            raise InvalidOption(f'on_failure must be "raise" or "nan", not {on_failure!r}')
        self._settings: dict[str, Any] = {
            "solver": solver, "verbose": verbose, "canon_backend": canon_backend,
            "solver_args": solver_args, "derivative": derivative, "on_failure": on_failure,
            "time_limit": time_limit, "executor": executor, "fallback": fallback, "gp": gp,
        }  # fmt: skip
        parameters, variables = checked(problem, parameters, variables, gp)
        own = substituted(problem, parameters)
        check_dpp(own, gp)
        canonical = canonicalize(own, parameters, variables, gp, canon_backend)
        logs = {i for i, logarithm in canonical.parameters.sources if logarithm}
        self.domains = [Domain.of(p, i in logs) for i, p in enumerate(parameters)]
        self.shapes = [output.shape for output in canonical.variables.outputs]
        self._compiled = Compiled(canonical, self.domains)
        self._solver, self._derivative, self._executor = solver, derivative, executor
        self._always: dict[str, Any] = {"verbose": True} if verbose else {}
        if time_limit is not None:
            self._always["time_limit"] = checked_limit(time_limit)
        self._args = as_mapping(solver_args)
        self._on_failure = on_failure
        structure = canonical.structure
        self._fallback = None
        if fallback is not None:
            self._fallback = resolved(fallback, structure, self._always, "fallback")
        self._setting = self._resolve({})
        self._problem: tuple[cp.Problem, list[cp.Parameter]] | None = own, parameters
        self.derived: dict[Any, Any] = {}  # layers made of this one's problem, by constraint
        self._of_losses: dict[Any, Any] = {}  # and by loss
        self._witness: Witness | None = Witness(own, parameters)
        self._once = failure.Once()
        self._local = threading.local()

    @property
    def info(self) -> Record:
        """This thread's newest record."""
        record: Record | None = getattr(self._local, "record", None)
        if record is None:
            raise CvxlpgdError("info is of a call, and this thread has not called the layer yet")
        return record

    @property
    def canonical(self) -> Canonical:
        """The problem, canonicalized."""
        return self._compiled.canonical

    @property
    def problem(self) -> cp.Problem:
        """The problem, with parameters that are not listed replaced by their values."""
        return self._origin[0]

    @property
    def parameters(self) -> list[cp.Parameter]:
        """Its parameters, as listed."""
        return self._origin[1]

    @property
    def _origin(self) -> tuple[cp.Problem, list[cp.Parameter]]:
        if self._problem is None:
            raise InvalidOption(
                "a copy of a layer does not have the CVXPY problem, which its variables and "
                "constraints belong to: ask the layer that was made from it"
            )
        return self._problem

    @property
    def structure(self) -> Structure:
        """What all of its programs have in common."""
        return self._compiled.canonical.structure

    @property
    def solver(self) -> Solver:
        """The solver that it asks."""
        return self._setting[0]

    @property
    def derivative(self) -> Derivative:
        """Its derivative, as it was given."""
        return self._setting[1]

    def entries(self, needed: Sequence[bool]) -> Data:
        """The entries of the data that these parameters reach."""
        return self.canonical.parameters.entries(needed)

    def require_entries(self, needed: Sequence[bool]) -> None:
        """Raise where the derivative has none for parameters, before anything is solved."""
        if any(needed):
            self.derivative.refuse(self.structure, self.entries(needed))

    @property
    def solvers(self) -> tuple[str, ...]:
        """The solvers that it asks, in turn."""
        return names(self._setting[0])

    def __repr__(self) -> str:
        """What goes in, what comes out, and how."""
        ins = ", ".join(f"{d.name} {d.shape}" for d in self.domains)
        outs = ", ".join(f"{o.name} {o.shape}" for o in self._compiled.canonical.variables.outputs)
        solver, derivative = self._setting
        return f"parameters=[{ins}], variables=[{outs}], solver={solver.name}, {derivative}"

    def __getstate__(self) -> dict[str, Any]:
        """All but what belongs to threads of this process."""
        state = self.__dict__ | {"_problem": None, "derived": {}, "_of_losses": {}}
        del state["_local"]
        if isinstance(self._executor, Executor):
            solver, derivative = state["_setting"]
            state["_setting"] = (solver.solver, derivative)
            state["_executor"] = None
            state["_settings"] = self._settings | {"executor": None}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def alike(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
    ) -> Layer:
        """A layer of another problem with the same settings."""
        return Layer(problem, parameters, variables, **self._settings)

    def of_loss(self, key: Any, make: Callable[[], Layer]) -> Layer:
        """The layer that was made for a loss; the last few are kept.

        `key` is kept with it: what it holds is alive, and no other object's identity.
        """
        made: Layer | None = self._of_losses.get(key)
        if made is None:
            made = make()
            _keep(self._of_losses, key, made, LOSSES)
        return made

    def forward(
        self,
        values: Sequence[np.ndarray],
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
        along: Sequence[np.ndarray] | None = None,
    ) -> Call:
        """Solve for parameter values (*batch axes, *shape), doubles.

        With `along`, cotangents (batch or 1, size) of the variables, the objective is diminished by
        the linear function that they are of.

        Raises
        ------
        InvalidInput
            For a wrong number or shape of values, or one outside its domain.
        SolveFailed
            For samples without a solution, unless on_failure="nan".
        InvalidOption
            For solver_args that the solver does not have.
        """
        args = as_mapping(solver_args)
        warm = warm_start is not False
        if args:
            solver, derivative = self._resolve(args, warm)
        else:
            solver, derivative = self._warm_setting if warm else self._setting
        batch = batched(self.domains, values)
        bound = derivative.bind(self.structure, solver, batch.shape)
        faults = self._compiled.faults(batch)
        if self._on_failure == "raise":
            failure.raise_faults(faults, batch.shape)
        samples = np.flatnonzero([not fault for fault in faults])
        flat = [taken(v, samples, batch.samples) for v in self._compiled.flat(batch.values)]
        program, offset = self._compiled.program(flat, len(samples))
        if along is not None:
            program = self._along(program, [taken(v, samples, batch.samples) for v in along])
        start = self._start(warm_start, batch)
        solution = solve(solver, program, start and start.take(samples))
        full = solution.scatter(samples, batch.samples, tuple(faults))
        outputs = self._compiled.canonical.variables.values(full.point)
        for output in outputs:
            output[~full.ok] = np.nan
        objective = np.full(batch.samples, np.nan)
        value = program.objective(solution.point.x) + offset
        objective[samples] = self._compiled.objective(value)
        record = Record.of(solver.name, full, objective, batch.shape, warm)
        self._local.record = record
        failure.say_solutions(full, faults, batch.shape, self._on_failure)
        if along is None:  # else it is another objective
            self._bear_witness(batch, full, objective)
        if warm_start is True:
            _keep(self._starts, batch.shape, full, SHAPES)
        return Call(
            self._compiled, batch, samples, flat, program, solution, full, outputs, record, solver,
            derivative, bound, self._on_failure, self._once,
        )  # fmt: skip

    def _along(self, program: ConeProgram, bars: Sequence[np.ndarray]) -> ConeProgram:
        """The programs with -bar'v added to their objectives, v the returned variables."""
        x_bar = np.zeros((1, self.structure.n))
        for output, bar in zip(self.canonical.variables.outputs, bars, strict=True):
            x_bar = x_bar + output.linear.transposed(bar)
        return replace(program, data=replace(program.data, q=program.data.q - x_bar))

    def _resolve(
        self, solver_args: dict[str, Any], warm: bool = False
    ) -> tuple[Solver, Derivative]:
        """The solver and the derivative for these solver_args on top of the constructor's; if
        `warm`, one that gains from an earlier solution is chosen.
        """
        structure = self._compiled.canonical.structure
        args = understood(self._args | solver_args)
        if args.derivative is not None and self._derivative is not DEFAULT:
            raise InvalidOption('"mode" in solver_args contradicts the derivative= of the layer')
        if args.solver is not None and self._solver is not None:
            raise InvalidOption(
                '"solve_method" in solver_args contradicts the solver= of the layer'
            )
        wanted = self._solver if args.solver is None else args.solver
        solver = resolved(wanted, structure, self._always | args.options, warm=warm)
        if self._fallback is not None:
            solver = first_of(solver, self._fallback)
        if self._executor is not None:
            solver = OnExecutor(solver, self._executor, self._always.get("time_limit"))
        derivative = self._derivative if args.derivative is None else args.derivative
        require_structure(derivative, structure, solver)
        return solver, derivative

    @property
    def _warm_setting(self) -> tuple[Solver, Derivative]:
        """The setting of calls that start from earlier solutions; worked out once for a thread."""
        if not hasattr(self._local, "warm"):
            warm = self._setting if self._solver is not None else self._resolve({}, warm=True)
            self._local.warm = warm
        setting: tuple[Solver, Derivative] = self._local.warm
        return setting

    @property
    def _starts(self) -> dict[tuple[int, ...], Solution]:
        """This thread's solutions of its last calls with warm_start=True, by batch shape."""
        if not hasattr(self._local, "starts"):
            self._local.starts = {}
        starts: dict[tuple[int, ...], Solution] = self._local.starts
        return starts

    def _start(self, warm_start: bool | Solution, batch: Batch) -> Solution | None:
        if isinstance(warm_start, bool):
            return self._starts.get(batch.shape) if warm_start else None
        if not isinstance(warm_start, Solution):
            raise InvalidOption(
                f"warm_start must be True, False or an info.solution, not {warm_start!r}"
            )
        point, structure = warm_start.point, self._compiled.canonical.structure
        if point.x.shape != (batch.samples, structure.n) or point.y.shape[1] != structure.m:
            raise InvalidInput(
                f"warm_start is a solution of {len(point.x)} samples, or of another problem; this "
                f"call has {batch.samples} samples"
            )
        return warm_start

    def _bear_witness(self, batch: Batch, solution: Solution, objective: np.ndarray) -> None:
        """On the first call with a solved sample, evaluate the user's own problem there."""
        witness, solved = self._witness, np.flatnonzero(solution.status == Status.SOLVED)
        if witness is None or not len(solved):
            return
        i = int(solved[0])
        values = [v[i if len(v) > 1 else 0] for v in batch.values]
        everything = self._compiled.canonical.everything
        point = solution.point.pick(np.array([i]))
        shapes = [output.shape for output in everything.outputs]
        found = everything.values(point)
        with _witnessing:
            witness.check(
                values,
                [v.reshape(shape) for v, shape in zip(found, shapes, strict=True)],
                float(objective[i]),
            )
        self._witness = None


def _keep(store: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Put a value in, as the newest, and let go of the oldest where there are more than `most`."""
    store.pop(key, None)
    store[key] = value
    for old in list(store)[:-most]:
        store.pop(old, None)
