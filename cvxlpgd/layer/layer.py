"""A parametrized problem as a function with derivatives: canonicalize, solve, retrieve.

    forward   parameters --map--> cone programs --solve--> points --map--> variables
    backward  parameters_bar <--map'-- data_bar <--derivative-- point_bar <--map'-- variables_bar

Framework-neutral: the adapters hand in and take out NumPy arrays of doubles.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.canonical import Canonical, canonicalize, check_dpp, check_lists, substitute
from cvxlpgd.canonical.witness import Witness
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.layer import failure
from cvxlpgd.layer.call import Call
from cvxlpgd.layer.compiled import Compiled
from cvxlpgd.layer.description import SHOWN, cone_name, kind_of, named_shapes, spelling
from cvxlpgd.layer.html import facts_html
from cvxlpgd.layer.inputs import Batch, Domain, form_batch
from cvxlpgd.layer.packed import Packed
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.selection import Selection
from cvxlpgd.layer.settings import Settings, as_mapping, choose
from cvxlpgd.program import Data, Point, Solution, Status, Structure
from cvxlpgd.solvers.choose.choice import solver_names
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.solve import solve

SHAPES = 8  # batch shapes whose last solutions a thread keeps
LOSSES = 8  # losses whose layers are kept

_witness_lock = threading.Lock()


class _Memory(threading.local):
    """What a thread remembers of its calls of a layer."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.chosen: tuple[Solver, Derivative] | None = None  # for calls that start warm
        self.starts: dict[tuple[int, ...], Solution] = {}  # of warm-started calls, by batch shape


class Layer:
    """A parametrized CVXPY problem as a differentiable function.

    Parameters
    ----------
    problem, parameters, variables : as the adapters'
    settings : Settings, optional
    options : fields of `Settings` by name, which go over those of `settings`

    Raises
    ------
    InvalidProblem, InvalidOption, SolverNotInstalled, UnsuitableSolver
    """

    def __init__(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        settings = Settings() if settings is None else settings
        if not isinstance(settings, Settings):
            raise InvalidOption(f"settings must be Settings(...), not {settings!r}")
        self.settings = settings = replace(settings, **options)
        parameters, variables = check_lists(problem, parameters, variables, settings.gp)
        own = substitute(problem, parameters)
        check_dpp(own, settings.gp)
        canonical = canonicalize(own, parameters, variables, settings.gp, settings.canon_backend)
        logs = {i for i, logarithm in canonical.parameters.sources if logarithm}
        self.domains = [Domain.of(p, i in logs) for i, p in enumerate(parameters)]
        self.shapes = [output.shape for output in canonical.variables.outputs]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self._compiled = Compiled(canonical, self.domains)
        self._chosen = choose(settings, canonical.structure)
        self._problem: tuple[cp.Problem, list[cp.Parameter]] | None = own, parameters
        self.derived: dict[Any, Any] = {}  # layers made of this one's problem, by constraint
        self._layers_of_losses: dict[Any, Any] = {}  # and by loss
        self._witness: Witness | None = Witness(own, parameters)
        self._once = failure.Once()
        self._memory = _Memory()

    @property
    def info(self) -> Record:
        """This thread's newest record."""
        record = self._memory.record
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
        """The problem's parameters, as listed."""
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
        return self._chosen[0]

    @property
    def derivative(self) -> Derivative:
        """The derivative, as it was given."""
        return self._chosen[1]

    def entries(self, needed: Sequence[bool]) -> Data:
        """The entries of the data that these parameters reach."""
        return self.canonical.parameters.entries(needed)

    def require_gradients(self, needed: Sequence[bool]) -> None:
        """Raise where parameters have no gradient by this derivative, before anything is solved."""
        if any(needed):
            self.derivative.refuse(self.structure, self.entries(needed))

    @property
    def solvers(self) -> tuple[str, ...]:
        """The solvers that it asks, in turn."""
        return solver_names(self.solver)

    def __repr__(self) -> str:
        """What goes in, what comes out, and how."""
        solver, derivative = self._chosen
        return (
            f"{self._inputs()} -> {self._outputs()}; {kind_of(self.structure)}, "
            f"solver={solver.name}, {spelling(derivative)}"
        )

    def _inputs(self, most: int = SHOWN) -> str:
        return named_shapes(((d.name, d.shape) for d in self.domains), most)

    def _outputs(self, most: int = SHOWN) -> str:
        outputs = self.canonical.variables.outputs
        return named_shapes(((o.name, o.shape) for o in outputs), most)

    def _repr_html_(self) -> str:
        """The same for notebooks, with the sizes of the cone program."""
        structure, settings = self.structure, self.settings
        rows: Counter[str] = Counter()
        for cone, _, count in structure.blocks:
            rows[cone_name(type(cone))] += cone.rows * count
        by_cone = ", ".join(f"{count} {name}" for name, count in rows.items())
        entries = f"{structure.A.size} entries in A, {structure.P.size} in P"
        first, *others = self.solvers
        chosen = "chosen for this structure and size" if settings.solver is None else "as asked"
        facts = {
            "problem": kind_of(structure),
            "parameters": self._inputs(len(self.domains)),
            "variables": self._outputs(len(self.shapes)),
            "cone program": f"{structure.n} variables, {structure.m} rows ({by_cone}), {entries}",
            "solver": f"{first}, {chosen}" + (f"; then {', '.join(others)}" if others else ""),
            "derivative": spelling(self.derivative),
            "a failed sample": {"raise": "raises SolveFailed"}.get(settings.on_failure, "is NaN"),
        }
        return facts_html("CvxpyLayer", facts)

    def __getstate__(self) -> dict[str, Any]:
        """All but what belongs to threads of this process."""
        state = self.__dict__ | {"_problem": None, "derived": {}, "_layers_of_losses": {}}
        del state["_memory"]
        if isinstance(self.settings.executor, Executor):
            solver, derivative = state["_chosen"]
            state["_chosen"] = (solver.solver, derivative)
            state["settings"] = replace(self.settings, executor=None, pieces=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._memory = _Memory()

    def alike(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
    ) -> Layer:
        """A layer of another problem with the same settings."""
        return Layer(problem, parameters, variables, self.settings)

    def layer_of_loss(self, key: Any, make: Callable[[], Layer]) -> Layer:
        """The layer that was made for a loss; the last few are kept.

        `key` is kept with it: what it holds is alive, and no other object's identity.
        """
        layer: Layer | None = self._layers_of_losses.get(key)
        if layer is None:
            layer = make()
            _keep(self._layers_of_losses, key, layer, LOSSES)
        return layer

    def forward(
        self,
        values: Sequence[np.ndarray | Packed],
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
        along: Sequence[np.ndarray] | None = None,
    ) -> Call:
        """Solve for parameter values (*batch axes, *shape), doubles.

        If there are cotangents `along`, (batch or 1, size), the linear function of the variables
        that they are the cotangents of is subtracted from the objective.

        Raises
        ------
        InvalidInput
            For a wrong number or shape of values, or one outside its domain.
        SolveFailed
            For samples without a solution, unless on_failure="nan".
        InvalidOption
            For solver_args that the solver does not have.
        """
        warm = warm_start is not False
        solver, derivative = self.chosen(solver_args, warm)
        batch = form_batch(self.domains, values)
        bound = derivative.bind(self.structure, solver, batch.shape)
        faults, policy = self._compiled.faults(batch), self.settings.on_failure
        if policy == "raise" and any(faults):
            failure.raise_faults(faults, batch.shape)
        handed = Selection.of(np.array([not fault for fault in faults], dtype=bool))
        flat = [handed.of_batch(v) for v in self._compiled.flat(batch.values)]
        program, offset = self._compiled.program(flat, len(handed))
        if along is not None:
            x_bar = self._cotangent([handed.of_batch(v) for v in along])
            program = replace(program, data=replace(program.data, q=program.data.q - x_bar))
        start = self._start(warm_start, batch)
        solution = solve(solver, program, start and start.take(handed.places))
        full = solution.scatter(handed.places, batch.samples, tuple(faults))
        outputs = self._compiled.canonical.variables.values(full.point)
        if not full.ok.all():
            for output in outputs:
                output[~full.ok] = np.nan
        assert solution.residuals is not None
        value = solution.residuals.objective + offset
        objective = handed.into_batch(self._compiled.objective(value), np.nan)
        record = Record.of(solver.name, full, objective, batch.shape, warm)
        self._memory.record = record
        failure.say_solutions(full, faults, batch.shape, policy)
        if along is None:  # else it is another objective
            self._bear_witness(batch, full, objective)
        if warm_start is True:
            _keep(self._memory.starts, batch.shape, full, SHAPES)
        return Call(
            self._compiled, batch, handed, flat, program, solution, full, outputs, record, solver,
            derivative, bound, policy, self._once,
        )  # fmt: skip

    def at(
        self,
        values: Sequence[np.ndarray | Packed],
        z: Point,
        solver_args: Mapping[str, Any] | None = None,
    ) -> Call:
        """The call that led to this point, without solving, for derivatives of a call that is gone.

        `values` and `solver_args` are those of `forward`; z is (batch, ...), NaN where a sample
        failed. Nobody sees its record.
        """
        solver, derivative = self.chosen(solver_args)
        batch = form_batch(self.domains, values)
        bound = derivative.bind(self.structure, solver, batch.shape)
        policy = self.settings.on_failure
        return Call.of(self._compiled, batch, z, solver, derivative, bound, policy, self._once)

    def chosen(
        self, solver_args: Mapping[str, Any] | None = None, warm: bool = False
    ) -> tuple[Solver, Derivative]:
        """Who serves calls with these options; if `warm`, those that start from earlier solutions.

        Raises
        ------
        InvalidOption
            For solver_args that the solver does not have.
        """
        args = as_mapping(solver_args)
        if args:
            return choose(self.settings, self.structure, args, warm)
        return self._warmly_chosen if warm else self._chosen

    def _cotangent(self, bars: Sequence[np.ndarray]) -> np.ndarray:
        """The cotangent of x, (batch or 1, n), for the returned variables', all primal."""
        x_bar = np.zeros((1, self.structure.n))
        for output, bar in zip(self.canonical.variables.outputs, bars, strict=True):
            x_bar = x_bar + output.linear.adjoint(bar)
        return x_bar

    @property
    def _warmly_chosen(self) -> tuple[Solver, Derivative]:
        """Who serves calls that start from earlier solutions."""
        if self._memory.chosen is None:
            warm = self.settings.solver is None
            self._memory.chosen = (
                choose(self.settings, self.structure, warm=True) if warm else self._chosen
            )
        return self._memory.chosen

    def _start(self, warm_start: bool | Solution, batch: Batch) -> Solution | None:
        if isinstance(warm_start, bool):
            return self._memory.starts.get(batch.shape) if warm_start else None
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
        own = (v[i if len(v) > 1 else 0] for v in batch.values)
        values = [self._compiled.whole(k, v) for k, v in enumerate(own)]
        everything = self._compiled.canonical.everything
        point = solution.point.pick(np.array([i]))
        shapes = [output.shape for output in everything.outputs]
        variables = [
            v.reshape(shape) for v, shape in zip(everything.values(point), shapes, strict=True)
        ]
        with _witness_lock:
            witness.check(values, variables, float(objective[i]), _residual(solution, i))
        self._witness = None


def _residual(solution: Solution, i: int) -> float:
    """The relative KKT residual of a sample; 0 where it is unknown."""
    residuals = solution.residuals
    return 0.0 if residuals is None else float(np.nan_to_num(np.asarray(residuals.largest)[i]))


def _keep(store: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Put a value in, as the newest, and let go of the oldest where there are more than `most`."""
    store.pop(key, None)
    store[key] = value
    for old in list(store)[:-most]:
        store.pop(old, None)
