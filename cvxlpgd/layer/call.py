"""One forward pass, and the derivatives of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cvxlpgd.derivatives import Derivative, Info
from cvxlpgd.derivatives.protocol import Bound
from cvxlpgd.layer import failure
from cvxlpgd.layer.accuracy import Gradients, Mapping, Tangents, Values, judged
from cvxlpgd.layer.compiled import Compiled, some, taken
from cvxlpgd.layer.inputs import Batch, batched
from cvxlpgd.layer.record import Record
from cvxlpgd.program import ConeProgram, Data, Point, Residuals
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.protocol import Solver

UNSURE = 0.01  # a gradient that may be off by more than this is warned of


@dataclass(frozen=True, eq=False)
class Call:
    """One forward pass, all that its derivatives need.

    Parameters
    ----------
    compiled : Compiled
    batch : Batch
        The parameters' values.
    samples : int array
        The samples that were handed to the solver: those whose values are in their domains.
    flat : list of arrays (samples or 1, size)
        Their values, flattened, and symmetric where they must be.
    program : ConeProgram
    solution : Solution
        Of these samples.
    full : Solution
        Of the whole batch: the record has it as long as this call exists.
    outputs : list of arrays (batch, size)
        Of the whole batch, NaN where a sample failed.
    record : Record
    solver : Solver
    derivative : Derivative
    bound : Bound
        The derivative, with all that may change between calls read.
    policy : "raise" or "nan"
        What becomes of samples without a derivative.
    once : Once
        Whether the layer has warned of degenerate gradients.
    """

    compiled: Compiled
    batch: Batch
    samples: np.ndarray
    flat: list[np.ndarray]
    program: ConeProgram
    solution: Solution
    full: Solution
    outputs: list[np.ndarray]
    record: Record
    solver: Solver
    derivative: Derivative
    bound: Bound
    policy: str
    once: failure.Once

    def resumed(self, values: Sequence[np.ndarray], z: Point) -> Call:
        """A call that led to this point, for derivatives with more batch axes than this one has.

        Its record is its own: nobody sees it.
        """
        batch = batched(self.compiled.domains, values)
        flat, count = self.compiled.flat(batch.values), batch.samples
        with np.errstate(invalid="ignore", divide="ignore"):  # failed samples are among them
            program, _ = self.compiled.program(flat, count)
        status = np.where(np.isfinite(z.x).all(axis=1), Status.SOLVED, Status.FAILED).astype(object)
        nothing = np.zeros(count)
        residuals = Residuals(nothing, nothing, nothing, nothing)
        solution = Solution(z, status, nothing, nothing, ("",) * count, residuals)
        return replace(
            self,
            batch=batch,
            samples=np.arange(count),
            flat=flat,
            program=program,
            solution=solution,
            full=solution,
            outputs=self.compiled.canonical.variables.values(z),
            record=Record.of(self.solver.name, solution, nothing, batch.shape),
            bound=self.bound.spread(batch.shape),
        )

    def with_derivative(self, derivative: Derivative) -> Call:
        """The same with another derivative."""
        bound = derivative.bind(self.program.structure, self.solver, self.batch.shape)
        return replace(self, derivative=derivative, bound=bound)

    def vjp(self, bars: Sequence[np.ndarray], needed: Sequence[bool]) -> list[np.ndarray | None]:
        """Parameters' cotangents, each of its parameter's shape, for the variables' cotangents.

        Parameters
        ----------
        bars : arrays (batch, size)
        needed : which parameters' cotangents are wanted; the others are None

        Raises
        ------
        SolveFailed
            Where a sample's derivative cannot be computed, unless the policy is "nan".
        """
        finite = self.solution.ok & _finite(bars, self.batch.samples)[self.samples]
        active, lost = np.flatnonzero(finite), self.samples[self.solution.ok & ~finite]
        where = self.samples[active]
        variables = self.compiled.canonical.variables
        outputs = [output[where] for output in self.outputs]
        point_bar = variables.cotangent(
            outputs, [bar[where] for bar in bars], self.solution.point.pick(active)
        )
        moving = np.flatnonzero(point_bar.any())
        active, where, point_bar = active[moving], where[moving], point_bar.pick(moving)
        gradients: list[Any] = [None] * len(needed)
        reports: list[Info] = []
        errors = np.zeros(len(active))
        groups = self._groups(needed) if len(active) else []
        for group in groups:
            part, info, error = self._differentiate(active, where, point_bar, group)
            gradients = [b if a is None else a for a, b in zip(gradients, part, strict=True)]
            reports.append(info)
            errors = np.maximum(errors, error)  # NaN where one is not known
        if reports:
            info = Info.merged(reports)
            self.note(info, where)
            self._inform(gradients, info, where)
            self._judge(info, errors, where)
        return self.gathered(gradients, where, lost, needed)

    def _groups(self, needed: Sequence[bool]) -> list[list[bool]]:
        """The parameters that are differentiated together, those that reach no data in none."""
        parameters = self.compiled.canonical.parameters
        self.wanted(needed)
        if self.bound.separates:
            fields = [parameters.fields(k) if need else "" for k, need in enumerate(needed)]
            alone = [name if name in ("q", "b") else "mixed" if name else "" for name in fields]
            groups = [[name == kind for name in alone] for kind in ("q", "b", "mixed")]
        else:
            groups = [list(needed)]
        return [group for group in groups if any(len(v) for _, v in self.wanted(group)._items())]

    def _differentiate(
        self, active: np.ndarray, where: np.ndarray, point_bar: Point, needed: Sequence[bool]
    ) -> tuple[list[Any], Info, np.ndarray]:
        """Some parameters' cotangents, the report, and how far they may be off, (active,)."""
        parameters, entries = self.compiled.canonical.parameters, self.wanted(needed)
        w_bar, info = self.bound.take(where).vjp(
            some(self.program, active), self.solution.take(active), point_bar, entries
        )
        flat = [taken(v, active, len(self.samples)) for v in self.flat]
        gradients = parameters.cotangents(flat, w_bar, entries, needed)
        error = np.full(len(active), np.nan)
        if info.evidence is not None:
            mapping = Gradients(parameters, flat, entries, needed, len(active))
            gradients, error, info = _judged(gradients, w_bar, info, mapping)
        if not info.ok.all():
            gradients = [
                None if v is None else np.where(info.ok[:, None], v, 0.0) for v in gradients
            ]
        return gradients, info, error

    def wanted(self, needed: Sequence[bool]) -> Data:
        """The entries of the data that get a cotangent; raises where the derivative has none."""
        entries = self.compiled.canonical.parameters.entries(needed)
        self.derivative.refuse(self.program.structure, entries)
        return entries

    def jvp(self, dots: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Variables' tangents (batch, size) for parameter tangents (*own axes, *shape)."""
        domains, count = self.compiled.domains, len(self.samples)
        spread = [self.batch.spread(k, dot, domains[k].shape) for k, dot in enumerate(dots)]
        tangents = [taken(v, self.samples, self.batch.samples) for v in self.compiled.flat(spread)]
        finite = self.solution.ok & _finite(tangents, count)
        active = np.flatnonzero(finite)
        where = self.samples[active]
        found = [output * 0.0 for output in self.outputs]
        for out in found:
            out[self.samples[~finite]] = np.nan
        if len(active) and tangents:
            w_dot = self.compiled.canonical.parameters.tangent(
                [taken(v, active, count) for v in self.flat],
                [taken(v, active, count) for v in tangents],
            )
            z_dot, info = self.bound.take(where).jvp(
                some(self.program, active), self.solution.take(active), w_dot
            )
            outputs = [output[where] for output in self.outputs]
            variables = self.compiled.canonical.variables
            values: list[Any] = variables.tangents(outputs, z_dot)
            errors = np.full(len(active), np.nan)
            if info.evidence is not None:
                mapping = Tangents(variables, outputs)
                values, errors, info = _judged(values, z_dot, info, mapping)
            self.note(info, where)
            self._judge(info, errors, where)
            for out, value in zip(found, values, strict=True):
                out[where] = np.where(info.ok[:, None], value, np.nan)
        return found

    def gathered(
        self,
        found: Sequence[np.ndarray | None],
        where: np.ndarray,
        lost: np.ndarray,
        needed: Sequence[bool],
    ) -> list[np.ndarray | None]:
        """Parameters' cotangents, from those of the samples at `where`; NaN at `lost`."""
        pairs = enumerate(zip(found, needed, strict=True))
        return [self._gathered(k, v, where, lost) if need else None for k, (v, need) in pairs]

    def _gathered(
        self, k: int, found: np.ndarray | None, where: np.ndarray, lost: np.ndarray
    ) -> np.ndarray:
        if found is not None and len(where) == self.batch.samples:
            full = found
        else:
            full = np.zeros((self.batch.samples, self.compiled.domains[k].size))
            if found is not None:
                full[where] = found
            full[lost] = np.nan
        return self.compiled.gathered(k, full, self.batch)

    def note(self, info: Info, where: np.ndarray) -> None:
        """Add a derivative to the record, and say what went wrong with it."""
        self.record.add(where, info)
        failure.say_gradients(info.ok, info.messages, where, self.batch.shape, self.policy)
        if info.inaccurate.any():
            failure.say_inaccurate_gradients(where[info.inaccurate], self.batch.shape)

    def _inform(self, gradients: list[np.ndarray | None], info: Info, where: np.ndarray) -> None:
        """Note which gradients inform; warn, once, of those that are zero or noise though their
        cotangents are not zero.
        """
        given = [v.any(axis=1) for v in gradients if v is not None]
        zero = (info.unresolved | ~np.any(given or [info.ok], axis=0)) & info.ok
        self.record.inform(where, info.ok & ~zero)
        if zero.any() and not self.once.degenerate:
            self.once.degenerate = True
            failure.say_degenerate(where[zero], self.batch.shape, self.derivative.remedy)

    def _judge(self, info: Info, errors: np.ndarray, where: np.ndarray) -> None:
        """Note how far values may be off; warn where the solution is not differentiable, and of
        values that may be off by more than 1 %, or by nobody knows how much.
        """
        self.record.bound(where, errors)
        shape = self.batch.shape
        irregular = np.array([known is False for known in info.regular], dtype=bool) & info.ok
        if irregular.any():
            failure.say_irregular(where[irregular], info.kink[irregular], shape)
        unknown = np.isnan(errors) & ~info.settled & ~irregular
        unsure = np.flatnonzero(((errors > UNSURE) & ~irregular) | (unknown & info.ok))
        if len(unsure):
            failure.say_uncertain(where[unsure], errors[unsure], shape)


def _judged(
    values: Values, fields: Any, info: Info, mapping: Mapping
) -> tuple[Values, np.ndarray, Info]:
    """Values judged by the evidence, their errors, and the report with kinks and what is not unique
    noted.
    """
    judgement = judged(values, fields, info.evidence, mapping, info.settled)
    irregular = (judgement.kink > 0) | ~judgement.unique
    info = replace(
        info,
        kink=np.maximum(info.kink, judgement.kink),
        regular=np.where(irregular, False, info.regular),
    )
    return judgement.values, np.where(info.settled, judgement.error, np.nan), info


def _finite(rows: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Which samples have no NaN or infinity in (samples or 1, size) arrays, bool (count,)."""
    found = np.ones(count, dtype=bool)
    for values in rows:
        found &= np.isfinite(values).all(axis=1)
    return found
