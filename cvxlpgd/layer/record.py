"""What a forward pass, and later its backward pass, report: the layer's `info`."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cvxlpgd.layer.record_text import finite, one_line, table
from cvxlpgd.layer.report import Report, Reports
from cvxlpgd.program import Solution


@dataclass(frozen=True, eq=False)
class Record:
    """One forward pass, sample by sample, and from its backward pass on `tau`, `side` and more.

    All but `solver` and `solution` are NumPy arrays of the batch shape; all are read as attributes
    or by name. A backward pass adds a report of its own and changes no array.

    Attributes
    ----------
    solver : str
        The solver that was asked; an option that only another one has can change it. With
        solver=None, the names of those whose answers these are.
    solved_by : str
        The solvers of the usable samples, and how many each where there are several.
    status : array of str
        "solved", "inaccurate", "infeasible", "unbounded" or "failed".
    ok : bool array
        Whether the sample has a usable solution.
    objective : array
        The problem's value, as the user wrote it.
    iterations, seconds : arrays
        The solver's iterations, and the wall time of the sample's solve.
    primal_residual, dual_residual, gap : arrays
        The relative KKT residuals.
    tau : array
        The perturbation that the newest backward pass used: 0 for the limit, NaN before it and for
        a derivative without one.
    method : array of str
        How the newest gradient came about: "path" (the limit, in closed form), "differences" (of
        perturbed programs' solutions), "path and differences", "embedding" (diffcp's); else empty.
    regular : object array
        True where the solution is differentiable as far as the newest gradient is concerned, False
        where it is not, None where that is unknown.
    kink : array
        Where the gradient is the mean of both sides of a kink, g+ and g-: |g+ - g-| / (|g+| +
        |g-|); 0 elsewhere.
    gradient_error : array
        How far the newest gradient may be off, relative to the largest entry of each parameter's;
        NaN where that is unknown.
    breakpoints : array (*batch shape, 2)
        How far the solutions move straight along the newest cotangent, for tau > 0 and tau < 0:
        until an inequality becomes active or inactive, or a curved cone's pair has moved by 1e-3 of
        its size. NaN where that is unknown.
    retries : int array
        How often the perturbation was tried anew: enlarged where the difference was noise, on one
        side only where the other end had no solution, or reduced where neither had.
    side : array of str
        The side that the newest backward pass took, "average", "lower" or "upper"; empty before it.
    informative : bool array
        Whether the newest backward pass found a gradient above the solver's noise; `tau` is NaN
        where there was nothing to differentiate.
    differentiated : bool array
        False where the newest backward pass failed (and was not asked to raise).
    setups : array
        How often matrices were set up (factored, scaled, ...) for the sample, by the forward pass
        and all of its backward passes.
    resolve_iterations : array
        The iterations of the newest backward pass, over all of its re-solves; Newton steps where
        the path led to them.
    solution : Solution
        To start another call from, as `warm_start=`. What the solver keeps for that, such as
        factorizations, is in it as long as the call's graph exists, or the call was warm-started.
    """

    asked: str  # the solver's name
    bare: Solution  # of the whole batch, without what the solver keeps
    full: Callable[[], Solution | None]  # with that, as long as it lives
    value: np.ndarray  # (batch,)
    shape: tuple[int, ...]
    reports: Reports

    @property
    def solution(self) -> Solution:
        """To start another call from."""
        full = self.full()
        return self.bare if full is None else full

    @classmethod
    def of(
        cls,
        solver: str,
        solution: Solution,
        objective: np.ndarray,
        shape: tuple[int, ...],
        lasting: bool = False,
    ) -> Record:
        """The record of a solution of the whole batch, flattened from `shape`; objective (batch,).

        `solver` is the one that was asked. If `lasting`, what it keeps lives as long as the record.
        """
        return cls(
            solver,
            solution.change(workspace=None),
            (lambda: solution) if lasting else weakref.ref(solution),
            objective,
            shape,
            Reports(shape, solution.setups),
        )

    @cached_property
    def solver(self) -> str:
        """The names of the solvers whose answers these are; the one asked where nobody says so."""
        bare = self.bare
        used = set() if bare.solvers is None else set(bare.solvers) - {""}
        first = [self.asked] if self.asked in used or not used else []
        return ", ".join(first + sorted(used - {self.asked}))

    @cached_property
    def solved_by(self) -> str:
        """The solvers of the usable samples, such as "DAQP (7), PIQP (1)"; all, where none is."""
        if self.bare.solvers is None or not self.bare.ok.any():
            return self.solver
        names, numbers = np.unique(self.bare.solvers[self.bare.ok].astype(str), return_counts=True)
        if len(names) == 1:
            return str(names[0]) or self.solver
        pairs = sorted(zip(-numbers, names, strict=True))
        return ", ".join(f"{name or self.asked} ({-count})" for count, name in pairs)

    @cached_property
    def status(self) -> np.ndarray:
        """The samples' statuses, as text."""
        return np.array([str(s) for s in self.bare.status], dtype="<U10").reshape(self.shape)

    def _shaped(self, values: Any) -> np.ndarray:
        return np.asarray(values).reshape(self.shape)

    ok = cached_property(lambda self: self._shaped(self.bare.ok))
    objective = cached_property(lambda self: self._shaped(self.value))
    iterations = cached_property(lambda self: self._shaped(self.bare.iterations))
    seconds = cached_property(lambda self: self._shaped(self.bare.seconds))
    primal_residual = cached_property(lambda self: self._shaped(self.bare.residuals.primal))
    dual_residual = cached_property(lambda self: self._shaped(self.bare.residuals.dual))
    gap = cached_property(lambda self: self._shaped(self.bare.residuals.gap))

    def __getattr__(self, name: str) -> Any:
        """What the newest backward pass reported."""
        if name not in Report.__dataclass_fields__:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self.reports.newest, name)

    def __getstate__(self) -> dict[str, Any]:
        """Without what the solver keeps, as solutions are copied too."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"full": _none}

    def without_backward(self) -> Record:
        """The same forward pass without any backward pass."""
        return replace(self, reports=Reports(self.shape, self.bare.setups))

    def __repr__(self) -> str:
        return one_line(self.solved_by, self.status, self._residual, self.reports.newest)

    def _repr_html_(self) -> str:
        return table(
            self.solved_by, self.status, self._residual, self.reports.newest, self.objective,
            self.iterations, self.seconds,
        )  # fmt: skip

    @property
    def _residual(self) -> float:
        """The largest of the usable samples."""
        residuals = [v[self.ok] for v in (self.primal_residual, self.dual_residual, self.gap)]
        return float(np.max(finite(residuals), initial=0.0))

    def __getitem__(self, name: str) -> Any:
        names = [*_OF_FORWARD, *Report.__dataclass_fields__, "solution"]
        if name not in names:
            raise KeyError(f"{name!r}; there are {', '.join(names)}")
        return getattr(self, name)


_OF_FORWARD = (
    "solver", "status", "ok", "objective", "iterations", "seconds", "primal_residual",
    "dual_residual", "gap",
)  # fmt: skip


def _none() -> None:
    """The full solution of a copy."""
