"""A parametrized problem as a function with derivatives: canonicalize, solve, retrieve.

    forward   parameters --map--> cone programs --solve--> points --map--> variables
    backward  parameters_bar <--map'-- data_bar <--derivative-- point_bar <--map'-- variables_bar

Framework-neutral: the adapters hand in and take out NumPy arrays of doubles.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd import failure
from cvxlpgd.canonical import canonicalize, check_dpp, checked, substituted
from cvxlpgd.derivatives import LPGD, Derivative, Info
from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.inputs import Batch, Domain, batched
from cvxlpgd.program import ConeProgram, Data, Point, Residuals
from cvxlpgd.record import Record
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers._choose import resolved
from cvxlpgd.solvers._executor import OnExecutor
from cvxlpgd.solvers._protocol import Solver, solve
from cvxlpgd.spellings import DEFAULT, as_mapping, checked_limit, understood
from cvxlpgd.witness import Witness

_witnessing = threading.Lock()


@dataclass(frozen=True, eq=False)
class Call:
    """One forward pass, all that its derivatives need.

    Parameters
    ----------
    batch : Batch
        The parameters' values.
    samples : int array
        The samples that were handed to the solver: those whose values are in their domains.
    flat : list of arrays (samples or 1, size)
        Their values, flattened, and symmetric where they must be.
    program : ConeProgram
    solution : Solution
        Of these samples.
    outputs : list of arrays (batch, size)
        Of the whole batch, NaN where a sample failed.
    record : Record
    solver : Solver
    derivative : Derivative
        With all that may change between calls read.
    """

    batch: Batch
    samples: np.ndarray
    flat: list[np.ndarray]
    program: ConeProgram
    solution: Solution
    outputs: list[np.ndarray]
    record: Record
    solver: Solver
    derivative: Derivative


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
        executor: Executor | None = None,
    ) -> None:
        if isinstance(derivative, type) or not callable(getattr(derivative, "vjp", None)):
            raise InvalidOption(f"derivative must be a value such as LPGD(), not {derivative!r}")
        if executor is not None and not isinstance(executor, Executor):
            raise InvalidOption(f"executor must be a concurrent.futures.Executor, not {executor!r}")
        if on_failure not in ("raise", "nan"):
            raise InvalidOption(f'on_failure must be "raise" or "nan", not {on_failure!r}')
        parameters, variables = checked(problem, parameters, variables, gp)
        own = substituted(problem, parameters)
        check_dpp(own, gp)
        self._canonical = canonicalize(own, parameters, variables, gp, canon_backend)
        logs = {i for i, logarithm in self._canonical.parameters.sources if logarithm}
        self.domains = [Domain.of(p, i in logs) for i, p in enumerate(parameters)]
        self.shapes = [output.shape for output in self._canonical.variables.outputs]
        self._solver, self._derivative, self._executor = solver, derivative, executor
        self._always: dict[str, Any] = {"verbose": True} if verbose else {}
        if time_limit is not None:
            self._always["time_limit"] = checked_limit(time_limit)
        self._args = as_mapping(solver_args)
        self._on_failure = on_failure
        structure = self._canonical.structure
        self._fallback = None if fallback is None else resolved(fallback, structure, {})
        self._setting = self._resolve({})
        self._witness: Witness | None = Witness(own, parameters)
        self._warned = False
        self._local = threading.local()

    @property
    def info(self) -> Record:
        """This thread's newest record."""
        record: Record | None = getattr(self._local, "record", None)
        if record is None:
            raise CvxlpgdError("info is of a call, and this thread has not called the layer yet")
        return record

    def __repr__(self) -> str:
        """What goes in, what comes out, and how."""
        ins = ", ".join(f"{d.name} {d.shape}" for d in self.domains)
        outs = ", ".join(f"{o.name} {o.shape}" for o in self._canonical.variables.outputs)
        solver, derivative = self._setting
        return f"parameters=[{ins}], variables=[{outs}], solver={solver.name}, {derivative}"

    def __getstate__(self) -> dict[str, Any]:
        """All but what belongs to threads of this process."""
        state = self.__dict__ | {"_executor": None}
        del state["_local"]
        if self._executor is not None:
            solver, derivative = state["_setting"]
            state["_setting"] = (solver.solver, derivative)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def forward(
        self,
        values: Sequence[np.ndarray],
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | Solution = False,
    ) -> Call:
        """Solve for parameter values (*batch axes, *shape), doubles.

        Raises
        ------
        InvalidInput
            For a wrong number or shape of values, or one outside its domain.
        SolveFailed
            For samples without a solution, unless on_failure="nan".
        InvalidOption
            For solver_args that the solver does not have.
        """
        solver, derivative = self._resolve(solver_args) if solver_args else self._setting
        batch = batched(self.domains, values)
        derivative = derivative.fixed(batch.shape)
        faults = self._faults(batch)
        if self._on_failure == "raise":
            failure.raise_faults(faults, batch.shape)
        samples = np.flatnonzero([not fault for fault in faults])
        flat = [_taken(value, samples, batch.samples) for value in self._flat(batch)]
        program, offset = self._program(flat, len(samples))
        start = self._start(warm_start, batch)
        solution = solve(solver, program, start and start.take(samples))
        solution = self._second_try(program, solution)
        full = solution.scatter(samples, batch.samples, tuple(faults))
        outputs = self._canonical.variables.values(full.point)
        for output in outputs:
            output[~full.ok] = np.nan
        objective = np.full(batch.samples, np.nan)
        objective[samples] = self._objective(program.objective(solution.point.x) + offset)
        record = self._local.record = Record.of(full, objective, batch.shape)
        failure.say_solutions(full, faults, batch.shape, self._on_failure)
        self._bear_witness(batch, full, objective)
        if warm_start is True:
            self._starts[batch.shape] = full
        return Call(
            batch, samples, flat, program, solution, outputs, record, solver, derivative
        )  # fmt: skip

    def resumed(self, call: Call, values: Sequence[np.ndarray], z: Point) -> Call:
        """A call that led to this point, for derivatives with more batch axes than `call` has.

        Its record is its own: nobody sees it.
        """
        batch = batched(self.domains, values)
        flat = self._flat(batch)
        with np.errstate(invalid="ignore", divide="ignore"):  # failed samples are among them
            program, _ = self._program(flat, batch.samples)
        count = batch.samples
        status = np.where(np.isfinite(z.x).all(axis=1), Status.SOLVED, Status.FAILED).astype(object)
        nothing = np.zeros(count)
        solution = Solution(
            z, status, nothing, nothing, ("",) * count, Residuals(nothing, nothing, nothing)
        )
        outputs = self._canonical.variables.values(z)
        record = Record.of(solution, nothing, batch.shape)
        samples = np.arange(count)
        return Call(
            batch, samples, flat, program, solution, outputs, record, call.solver,
            call.derivative.fixed(batch.shape),
        )  # fmt: skip

    def vjp(
        self, call: Call, bars: Sequence[np.ndarray], needed: Sequence[bool]
    ) -> list[np.ndarray | None]:
        """Parameters' cotangents, each of its parameter's shape, for the variables' cotangents.

        Parameters
        ----------
        bars : arrays (batch, size)
        needed : which parameters' cotangents are wanted; the others are None

        Raises
        ------
        SolveFailed
            Where a sample's derivative cannot be computed, unless on_failure="nan".
        """
        finite = call.solution.ok & _finite(bars, call.batch.samples)[call.samples]
        active, lost = np.flatnonzero(finite), call.samples[call.solution.ok & ~finite]
        where = call.samples[active]
        variables, parameters = self._canonical.variables, self._canonical.parameters
        point = call.solution.point.pick(active)
        outputs = [output[where] for output in call.outputs]
        point_bar = variables.cotangent(outputs, [bar[where] for bar in bars], point)
        moving = np.flatnonzero(point_bar.any())
        active, where, point_bar = active[moving], where[moving], point_bar.pick(moving)
        entries = parameters.entries(needed)
        flat = [_taken(v, active, len(call.samples)) for v in call.flat]
        found: list[Any] = [None] * len(flat)
        if len(active) and any(len(v) for _, v in entries._items()):
            w_bar, info = call.derivative.take(where).vjp(
                _some(call.program, active), call.solution.take(active), point_bar, entries,
                call.solver,
            )  # fmt: skip
            call.record.add(where, info)
            self._say(info, where, call.batch.shape)
            found = parameters.cotangents(flat, w_bar, entries, needed)
            found = [None if v is None else np.where(info.ok[:, None], v, 0.0) for v in found]
            self._say_degenerate(found, info, where, call)
        return [
            self._gathered(call, k, found[k], where, lost) if need else None
            for k, need in enumerate(needed)
        ]

    def jvp(self, call: Call, dots: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Variables' tangents (batch, size) for parameter tangents (*own axes, *shape)."""
        tangents = []
        for k, (domain, dot) in enumerate(zip(self.domains, dots, strict=True)):
            spread = domain.symmetrized(call.batch.spread(k, dot, domain.shape))
            flat = spread.reshape(len(spread), domain.size)
            tangents.append(_taken(flat, call.samples, call.batch.samples))
        count = len(call.samples)
        finite = call.solution.ok & _finite(tangents, count)
        active = np.flatnonzero(finite)
        where = call.samples[active]
        found = [output * 0.0 for output in call.outputs]
        for out in found:
            out[call.samples[~finite]] = np.nan
        if len(active) and tangents:
            w_dot = self._canonical.parameters.tangent(
                [_taken(v, active, count) for v in call.flat],
                [_taken(v, active, count) for v in tangents],
            )
            z_dot, info = call.derivative.take(where).jvp(
                _some(call.program, active), call.solution.take(active), w_dot, call.solver
            )
            call.record.add(where, info)
            self._say(info, where, call.batch.shape)
            outputs = [output[where] for output in call.outputs]
            values = self._canonical.variables.tangents(outputs, z_dot)
            for out, value in zip(found, values, strict=True):
                out[where] = np.where(info.ok[:, None], value, np.nan)
        return found

    def _resolve(self, solver_args: Mapping[str, Any]) -> tuple[Solver, Derivative]:
        """The solver and the derivative for these solver_args on top of the constructor's."""
        structure = self._canonical.structure
        args = understood(self._args | as_mapping(solver_args))
        if args.derivative is not None and self._derivative is not DEFAULT:
            raise InvalidOption('"mode" in solver_args contradicts the derivative= of the layer')
        if args.solver is not None and self._solver is not None:
            raise InvalidOption(
                '"solve_method" in solver_args contradicts the solver= of the layer'
            )
        wanted = self._solver if args.solver is None else args.solver
        solver = resolved(wanted, structure, self._always | args.options)
        if self._executor is not None:
            solver = OnExecutor(solver, self._executor)
        derivative = self._derivative if args.derivative is None else args.derivative
        derivative.require(structure, solver)
        return solver, derivative

    def _faults(self, batch: Batch) -> list[str]:
        """What is wrong with each sample's values; empty where nothing is."""
        faults = [""] * batch.samples
        for domain, value in zip(self.domains, batch.values, strict=True):
            for i, text in enumerate(domain.violations(value)):
                if text:
                    touched = range(batch.samples) if len(value) == 1 else [i]
                    for k in touched:
                        faults[k] = faults[k] or f"parameter {domain.name} {text}"
        return faults

    def _flat(self, batch: Batch) -> list[np.ndarray]:
        """The values flattened, and symmetric where they must be."""
        pairs = zip(self.domains, batch.values, strict=True)
        return [
            domain.symmetrized(value).reshape(len(value), domain.size) for domain, value in pairs
        ]

    def _gathered(
        self, call: Call, k: int, found: np.ndarray | None, where: np.ndarray, lost: np.ndarray
    ) -> np.ndarray:
        """The cotangent of parameter k in its own shape, from those of the samples at `where`.

        NaN for those at `lost`.
        """
        domain, batch = self.domains[k], call.batch
        full = np.zeros((batch.samples, domain.size))
        if found is not None:
            full[where] = found
        full[lost] = np.nan
        shaped = domain.symmetrized(full.reshape(batch.samples, *domain.shape))
        return batch.gathered(k, shaped, domain.shape)

    def _program(self, flat: list[np.ndarray], count: int) -> tuple[ConeProgram, np.ndarray]:
        """The cone programs of parameter values, and the constant terms of their objectives."""
        data, offset = self._canonical.parameters.data(flat)
        q = np.broadcast_to(data.q, (count, data.q.shape[1]))  # the batch's length, if nowhere else
        return ConeProgram(self._canonical.structure, Data(data.P, q, data.A, data.b)), offset

    def _objective(self, value: np.ndarray) -> np.ndarray:
        signed = self._canonical.sign * value
        return np.exp(signed) if self._canonical.exponential else signed

    @property
    def _starts(self) -> dict[tuple[int, ...], Solution]:
        """This thread's last solution for each batch shape called with warm_start=True."""
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
        point, structure = warm_start.point, self._canonical.structure
        if point.x.shape != (batch.samples, structure.n) or point.y.shape[1] != structure.m:
            raise InvalidInput(
                f"warm_start is a solution of {len(point.x)} samples, or of another problem; this "
                f"call has {batch.samples} samples"
            )
        return warm_start

    def _second_try(self, program: ConeProgram, solution: Solution) -> Solution:
        """Inaccurate and failed samples solved again by the fallback, kept where it did better."""
        again = np.flatnonzero(np.isin(solution.status, (Status.INACCURATE, Status.FAILED)))
        if self._fallback is None or not len(again):
            return solution
        second = solve(self._fallback, _some(program, again))
        return solution.replaced(again, second, second.status == Status.SOLVED)

    def _bear_witness(self, batch: Batch, solution: Solution, objective: np.ndarray) -> None:
        """On the first call with a solved sample, evaluate the user's own problem there."""
        witness, solved = self._witness, np.flatnonzero(solution.status == Status.SOLVED)
        if witness is None or not len(solved):
            return
        i = int(solved[0])
        values = [v[i if len(v) > 1 else 0] for v in batch.values]
        everything = self._canonical.everything
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

    def _say(self, info: Info, where: np.ndarray, shape: tuple[int, ...]) -> None:
        failure.say_gradients(info.ok, info.messages, where, shape, self._on_failure)
        if info.inaccurate.any():
            failure.say_inaccurate_gradients(where[info.inaccurate], shape)

    def _say_degenerate(
        self, found: list[np.ndarray | None], info: Info, where: np.ndarray, call: Call
    ) -> None:
        """Warn, once, of gradients that are zero or noise although the cotangent is not zero."""
        if self._warned or call.program.structure.mixed_integer:
            return
        zero = info.unresolved.copy()
        zero |= ~np.any([v.any(axis=1) for v in found if v is not None] or [info.ok], axis=0)
        zero &= info.ok
        if zero.any():
            self._warned = True
            is_lpgd = isinstance(call.derivative, LPGD)
            failure.say_degenerate(where[zero], call.batch.shape, is_lpgd)


def _finite(rows: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Which samples have no NaN or infinity in (samples or 1, size) arrays, bool (count,)."""
    found = np.ones(count, dtype=bool)
    for values in rows:
        found &= np.isfinite(values).all(axis=1)
    return found


def _taken(values: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """These samples of `count`, or values that they all share."""
    return values if len(values) == 1 or len(index) == count else values[index]


def _some(program: ConeProgram, index: np.ndarray) -> ConeProgram:
    return program if len(index) == program.batch else program.take(index)
