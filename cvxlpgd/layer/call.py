"""One forward pass, and the derivatives of its outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

from cvxlpgd.derivatives import Derivative, Info
from cvxlpgd.derivatives.protocol import Bound
from cvxlpgd.layer import failure
from cvxlpgd.layer import totals as shared_totals
from cvxlpgd.layer.accuracy import Gradients, Tangents, assess, assess_fields
from cvxlpgd.layer.compiled import Compiled
from cvxlpgd.layer.inputs import Batch, form_batch
from cvxlpgd.layer.packed import Packed, packed_in
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.remarks import Remarks
from cvxlpgd.layer.selection import Selection, only_where
from cvxlpgd.layer.totals import Total
from cvxlpgd.program import Array, ConeProgram, Data, Point, Residuals, Solution, Status
from cvxlpgd.program.motion import Motion
from cvxlpgd.program.pattern import namespace_of
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.arrays import array_in, array_like, point_in, program_in


@dataclass(frozen=True, eq=False)
class Call:
    """One forward pass, all that its derivatives need.

    The solver was `handed` the samples whose values are in their domains; `flat`, `program` and
    `solution` are of these, `full` and `outputs` of the whole batch.
    """

    compiled: Compiled
    batch: Batch
    handed: Selection
    flat: list[Array]  # values (handed or 1, size), symmetric where they must be
    program: ConeProgram
    solution: Solution
    full: Solution  # the record has it as long as this call exists
    outputs: list[Array]  # (batch, size), NaN where a sample failed
    record: Record
    solver: Solver
    derivative: Derivative
    bound: Bound  # the derivative, with all that may change between calls read
    policy: str  # "raise" or "nan": what becomes of samples without a derivative
    once: failure.Once

    @classmethod
    def of(
        cls, compiled: Compiled, batch: Batch, z: Point, solver: Solver, derivative: Derivative,
        bound: Bound, policy: str, once: failure.Once,
    ) -> Call:  # fmt: skip
        """A call that led to this point, (batch, ...), NaN where a sample failed."""
        flat, count = compiled.flat(batch.values), batch.samples
        with np.errstate(invalid="ignore", divide="ignore"):  # failed samples are among them
            program, _ = compiled.program(flat, count)
        finite = _are_finite([z.x], count)
        status = np.where(finite, Status.SOLVED, Status.FAILED).astype(object)
        nothing = np.zeros(count)
        residuals = Residuals(nothing, nothing, nothing, nothing)
        solution = Solution(z, status, nothing, nothing, ("",) * count, residuals)
        handed = Selection.of(np.ones(count, dtype=bool))
        outputs = compiled.canonical.variables.values(z)
        record = Record.of(solver.name, solution, nothing, batch.shape)
        return cls(
            compiled, batch, handed, flat, program, solution, solution, outputs, record, solver,
            derivative, bound, policy, once,
        )  # fmt: skip

    def at(self, values: Sequence[Array | Packed], z: Point) -> Call:
        """A call that led to this point, for derivatives with more batch axes than this one has.

        `values` are (*batch axes, *parameter shape), `z` is (batch, ...). Nobody sees its record.
        """
        batch = form_batch(self.compiled.domains, values)
        bound = self.bound.spread(batch.shape)
        return Call.of(
            self.compiled, batch, z, self.solver, self.derivative, bound, self.policy, self.once
        )

    def with_derivative(self, derivative: Derivative) -> Call:
        """The same with another derivative."""
        bound = derivative.bind(self.program.structure, self.solver, self.batch.shape)
        return replace(self, derivative=derivative, bound=bound)

    @property
    def remarks(self) -> Remarks:
        """Where what is said of its derivatives goes."""
        return Remarks(self.record, self.once, self.policy, self.derivative.remedy)

    @property
    def _as_derived(self) -> Call:
        """The same in the arrays that its derivative takes."""
        if self.bound.arrays == "any" or is_numpy_array(self.program.data.q):
            return self
        return self._in_numpy

    @cached_property
    def _in_numpy(self) -> Call:
        """The same in NumPy arrays: the one place where what a solver made of tensors is moved to
        the CPU, once for a forward pass.
        """
        solution = self.solution.change(point=point_in(self.solution.point, "numpy"))
        return replace(
            self,
            flat=[array_in(v, "numpy") for v in self.flat],
            program=program_in(self.program, "numpy"),
            solution=solution,
            outputs=[array_in(v, "numpy") for v in self.outputs],
        )

    def vjp(self, bars: Sequence[Array], needed: Sequence[bool]) -> list[Array | None]:
        """Parameters' cotangents, as their values were given, for the variables' (batch, size).

        Those of parameters that are not `needed` are None. All are arrays of the values' kind.

        Raises
        ------
        SolveFailed
            Where a sample's derivative cannot be computed, unless the policy is "nan".
        """
        call = self._as_derived
        if call is not self:
            gradients = call.vjp([array_in(bar, "numpy") for bar in bars], needed)
            pairs = zip(gradients, self.flat, strict=True)
            return [None if g is None else array_like(g, value) for g, value in pairs]
        finite = _are_finite(bars, self.batch.samples)[self.handed.places]
        active, lost = (self.handed.where(self.solution.ok & keep) for keep in (finite, ~finite))
        point_bar = self.compiled.canonical.variables.cotangent(
            [active.rows_of_batch(output) for output in self.outputs],
            [active.rows_of_batch(bar) for bar in bars],
            self.solution.point.pick(active.rows),
        )
        moving = point_bar.any()
        if not moving.all():
            active, point_bar = active.where(moving), point_bar.pick(np.flatnonzero(moving))
        gradients = [None] * len(needed)
        reports: list[Info] = []
        errors = np.zeros(len(active))
        for group in self._groups(needed) if len(active) else []:
            part, info, error = self._differentiate(active, point_bar, group)
            gradients = [b if a is None else a for a, b in zip(gradients, part, strict=True)]
            reports.append(info)
            errors = np.maximum(errors, error)  # NaN where one is not known
        if reports:
            info = Info.merge(reports)
            present = [
                v.present if isinstance(v, Total) else array_in(v.any(axis=1), "numpy")
                for v in gradients
                if v is not None
            ]
            zero = (info.unresolved | ~np.any(present or [info.ok], axis=0)) & info.ok
            self.remarks.note(info, active, gradient_error=errors, informative=info.ok & ~zero)
            self.remarks.say_zeros(zero & ~info.best, active)
            self.remarks.say_accuracy(info, errors, active)
        return self.gather(gradients, active, lost, needed)

    def _groups(self, needed: Sequence[bool]) -> list[list[bool]]:
        """The parameters that are differentiated together, those that reach no data in none."""
        parameters = self.compiled.canonical.parameters
        self.entries(needed)
        if self.bound.separates:
            fields = [parameters.fields(k) if need else "" for k, need in enumerate(needed)]
            alone = [name if name in ("q", "b") else "mixed" if name else "" for name in fields]
            groups = [[name == kind for name in alone] for kind in ("q", "b", "mixed")]
        else:
            groups = [list(needed)]
        return [group for group in groups if any(len(v) for _, v in self.entries(group).items())]

    def _differentiate(
        self, active: Selection, point_bar: Point, needed: Sequence[bool]
    ) -> tuple[list[Any], Info, np.ndarray]:
        """Some parameters' cotangents, the report, and how far they may be off, (active,)."""
        parameters, entries = self.compiled.canonical.parameters, self.entries(needed)
        w_bar, info = self.bound.take(active.places).pull(
            active.of_programs(self.program), self._starts(active), point_bar, entries
        )
        flat = [active.of_handed(v) for v in self.flat]
        if isinstance(w_bar, Motion):
            totals = self._of_totals(w_bar, info, flat, needed)
            if totals is not None:
                return totals
            w_bar = w_bar.pull_back(self.program.structure, entries)
        gradients = parameters.cotangents(flat, w_bar, entries, needed)
        mapping = Gradients(parameters, flat, entries, needed, len(active))
        gradients, info, error = assess(gradients, w_bar, info, mapping)
        if not info.ok.all():
            gradients = [None if v is None else only_where(info.ok, v, 0.0) for v in gradients]
        return gradients, info, error

    def _of_totals(
        self, motion: Motion, info: Info, flat: list[Array], needed: Sequence[bool]
    ) -> tuple[list[Any], Info, np.ndarray] | None:
        """As `_differentiate`, with one product for parameters that the samples share; None where
        there are none, or where a sample's own gradients must be looked at.
        """
        own, structure = self.batch.own, self.program.structure
        shared = [k for k, need in enumerate(needed) if need and math.prod(own[k]) == 1]
        if not shared or not info.ok.all() or len(info.ok) == 1:
            return None
        parameters = self.compiled.canonical.parameters
        outcome = shared_totals.differentiate(parameters, structure, motion, flat, shared, info)
        if outcome is None:
            return None
        sums, error = outcome
        rest = [need and k not in sums for k, need in enumerate(needed)]
        gradients: list[Any] = [None] * len(needed)
        if any(rest):
            # whole fields: how an entry is rounded may depend on those that it is pulled back with
            fields = zip(
                parameters.entries(rest).items(), self.entries(needed).items(), strict=True
            )
            entries = Data(*(every if len(own) else own for (_, own), (_, every) in fields))
            w_bar = motion.pull_back(structure, entries)
            gradients = parameters.cotangents(flat, w_bar, entries, rest)
            mapping = Gradients(parameters, flat, entries, rest, len(info.ok))
            own_error = assess_fields(gradients, w_bar, info, mapping)
            if own_error is None:
                return None
            error = np.maximum(error, own_error)
        return [sums.get(k, v) for k, v in enumerate(gradients)], info, error

    def _starts(self, active: Selection) -> Solution:
        """The solutions of these samples, to start others from."""
        whole = len(active) == len(self.solution.status)
        return self.solution if whole else self.solution.take(active.rows)

    def entries(self, needed: Sequence[bool]) -> Data:
        """The entries of the data that get a cotangent; raises where the derivative has none."""
        entries = self.compiled.canonical.parameters.entries(needed)
        self.derivative.refuse(self.program.structure, entries)
        return entries

    def jvp(self, dots: Sequence[Array | Packed]) -> list[Array]:
        """Variables' tangents (batch, size) for parameters' (*own axes, *shape), or packed ones."""
        call = self._as_derived
        if call is not self:
            moved = call.jvp([packed_in(dot, "numpy") for dot in dots])
            return [array_like(v, like) for v, like in zip(moved, self.outputs, strict=True)]
        compiled, handed = self.compiled, self.handed
        spread = [compiled.spread(k, dot, self.batch) for k, dot in enumerate(dots)]
        tangents = [handed.of_batch(v) for v in compiled.flat(spread)]
        active = handed.where(self.solution.ok & _are_finite(tangents, len(handed)))
        places = active.places
        values: list[Any] = [output[places] * 0.0 for output in self.outputs]
        if len(active) and tangents:
            variables, outputs = compiled.canonical.variables, [v[places] for v in self.outputs]
            w_dot = compiled.canonical.parameters.tangent(
                [active.of_handed(v) for v in self.flat], [active.of_handed(v) for v in tangents]
            )
            z_dot, info = self.bound.take(places).jvp(
                active.of_programs(self.program), self.solution.take(active.rows), w_dot
            )
            values = variables.tangents(outputs, z_dot)
            values, info, errors = assess(values, z_dot, info, Tangents(variables, outputs))
            self.remarks.note(info, active, gradient_error=errors)
            self.remarks.say_accuracy(info, errors, active)
            values = [only_where(info.ok, value, np.nan) for value in values]
        return [active.into_batch(value, np.nan) for value in values]

    def gather(
        self,
        gradients: Sequence[Array | None],
        active: Selection,
        lost: Selection,
        needed: Sequence[bool],
    ) -> list[Array | None]:
        """Parameters' cotangents as their values were given: sums over samples that share a value.

        `gradients` (active, size), None where all are 0, are of the `active` samples; those of the
        `lost` are NaN, of the others 0, of parameters that are not `needed` None.
        """
        return [
            self._gather(k, gradient, active, lost) if need else None
            for k, (gradient, need) in enumerate(zip(gradients, needed, strict=True))
        ]

    def _gather(
        self, k: int, gradient: Array | Total | None, active: Selection, lost: Selection
    ) -> Array:
        if isinstance(gradient, Total):
            value = gradient.value * np.nan if len(lost) else gradient.value
            return self.compiled.gather_total(k, value, self.batch)
        if gradient is None:
            like, shape = self.flat[k], (len(active), math.prod(self.compiled.domains[k].kept))
            gradient = namespace_of(like).zeros(shape, dtype=like.dtype, device=like.device)
        whole = active.into_batch(gradient, 0.0)
        if len(lost):
            whole[lost.places] = np.nan
        return self.compiled.gather(k, whole, self.batch)


def _are_finite(rows: Sequence[Array], count: int) -> np.ndarray:
    """Which samples have no NaN or infinity in (samples or 1, size) arrays, bool (count,)."""
    finite = np.ones(count, dtype=bool)
    for values in rows:
        finite &= array_in(namespace_of(values).isfinite(values).all(axis=1), "numpy")
    return finite
