"""A parametrized program as a function with derivatives: solve, and pull back.

    forward   parameters --map--> cone programs --solve--> points --map--> outputs
    backward  parameters_bar <--map'-- data_bar <--derivative-- point_bar <--map'-- outputs_bar

Framework-neutral: the adapters hand in and take out NumPy arrays of doubles; or tensors, on any
device, where `layer.solver.arrays` says so.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from cvxlpgd.canonical import Canonical
from cvxlpgd.derivatives import Derivative
from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.layer import failure
from cvxlpgd.layer.call import Call
from cvxlpgd.layer.compiled import Compiled
from cvxlpgd.layer.inputs import Batch, form_batch
from cvxlpgd.layer.origin import Origin, keep
from cvxlpgd.layer.packed import Packed
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.selection import Selection
from cvxlpgd.layer.settings import Settings, as_mapping, choose
from cvxlpgd.program import Array, Data, Point, Solution, Structure
from cvxlpgd.solvers.choose.choice import solver_names
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.arrays import array_in
from cvxlpgd.solvers.run.solve import solve

SHAPES = 8  # batch shapes whose last solutions a thread keeps


class _Memory(threading.local):
    """What a thread remembers of its calls of a layer."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.chosen: tuple[Solver, Derivative] | None = None  # for calls that start warm
        self.starts: dict[tuple[int, ...], Solution] = {}  # of warm-started calls, by batch shape


class Layer:
    """A parametrized program as a differentiable function.

    Parameters
    ----------
    compiled : Compiled
        The maps from parameters to programs, and from points to outputs.
    settings : Settings
    origin : Origin, optional
        The CVXPY problem that the maps were made from.

    Raises
    ------
    InvalidOption, SolverNotInstalled, UnsuitableSolver
    """

    def __init__(
        self, compiled: Compiled, settings: Settings, origin: Origin | None = None
    ) -> None:
        self.settings, self._compiled, self._origin = settings, compiled, origin
        self.domains = compiled.domains
        self.shapes = [output.shape for output in compiled.canonical.variables.outputs]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self._chosen = choose(settings, compiled.canonical.structure)
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
    def compiled(self) -> Compiled:
        """The maps from parameters to programs, and from points to outputs."""
        return self._compiled

    @property
    def canonical(self) -> Canonical:
        """The problem, canonicalized."""
        return self._compiled.canonical

    @property
    def origin(self) -> Origin:
        """The CVXPY problem that it was made from.

        Raises
        ------
        InvalidOption
            Where there is none.
        """
        if self._origin is None:
            raise InvalidOption("this needs a CVXPY problem, and the layer was made without one")
        return self._origin

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

    def __getstate__(self) -> dict[str, Any]:
        """All but what belongs to threads of this process."""
        state = self.__dict__.copy()
        del state["_memory"]
        if isinstance(self.settings.executor, Executor):
            solver, derivative = state["_chosen"]
            state["_chosen"] = (solver.solver, derivative)
            state["settings"] = replace(self.settings, executor=None, pieces=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._memory = _Memory()

    def forward(
        self,
        values: Sequence[Array | Packed],
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
        along: Sequence[np.ndarray] | None = None,
    ) -> Call:
        """Solve for parameter values (*batch axes, *shape), doubles, all of one kind of arrays.

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
        value = solution.residuals.objective + array_in(offset, "numpy")
        objective = handed.into_batch(self._compiled.objective(value), np.nan)
        record = Record.of(solver.name, full, objective, batch.shape, warm)
        self._memory.record = record
        failure.say_solutions(full, faults, batch.shape, policy)
        if along is None and self._origin is not None:  # along a cotangent is another objective
            self._origin.bear_witness(self._compiled, batch, full, objective)
        if warm_start is True:
            keep(self._memory.starts, batch.shape, full, SHAPES)
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
