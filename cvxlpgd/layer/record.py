"""What a forward pass, and later its backward pass, report: the layer's `info`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cvxlpgd.derivatives import Info
from cvxlpgd.layer.description import counts, number, span
from cvxlpgd.layer.html import facts_html
from cvxlpgd.program import Solution


@dataclass(frozen=True, eq=False)
class Report:
    """What a call's backward passes report, arrays of the batch shape; see `Record`."""

    tau: np.ndarray
    method: np.ndarray
    regular: np.ndarray
    kink: np.ndarray
    gradient_error: np.ndarray
    breakpoints: np.ndarray
    retries: np.ndarray
    side: np.ndarray
    informative: np.ndarray
    differentiated: np.ndarray
    setups: np.ndarray
    resolve_iterations: np.ndarray

    @classmethod
    def none(cls, shape: tuple[int, ...], setups: np.ndarray | None) -> Report:
        """The report before any backward pass; the forward pass had these set-ups, (batch,)."""
        return cls(
            tau=np.full(shape, np.nan), method=np.full(shape, "", dtype="<U20"),
            regular=np.full(shape, None), kink=np.zeros(shape),
            gradient_error=np.full(shape, np.nan), breakpoints=np.full((*shape, 2), np.nan),
            retries=np.zeros(shape, dtype=int), side=np.full(shape, "", dtype="<U7"),
            informative=np.zeros(shape, dtype=bool), differentiated=np.ones(shape, dtype=bool),
            setups=np.zeros(shape) if setups is None else setups.reshape(shape),
            resolve_iterations=np.zeros(shape),
        )  # fmt: skip

    def after(self, places: np.ndarray, info: Info, **more: np.ndarray) -> Report:
        """The same after a derivative of the samples at these places of the flattened batch.

        `more` are other fields, (selection,).
        """
        values = {name: getattr(info, name) for name in _OF_INFO} | more
        values |= {"differentiated": info.ok, "resolve_iterations": info.iterations}
        values["setups"] = self.setups.reshape(-1)[places] + info.setups
        return replace(self, **{k: self._change(k, places, v) for k, v in values.items()})

    def _change(self, name: str, places: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A field with other values (selection, ...) at these places."""
        array: np.ndarray = getattr(self, name)
        flat = array.reshape(-1, *values.shape[1:])
        if len(places) == len(flat) and values.dtype == flat.dtype:
            return values.reshape(array.shape)
        flat = flat.copy()
        flat[places] = values
        return flat.reshape(array.shape)


_OF_INFO = ("tau", "retries", "side", "method", "regular", "kink", "breakpoints")


HOW = {  # a gradient came about, by its method
    "path": "in closed form",
    "differences": "by differences",
    "path and differences": "in closed form and by differences",
    "embedding": "by diffcp",
}


class Reports:
    """The newest report of a call: backward passes replace it, whichever threads run them."""

    def __init__(self, shape: tuple[int, ...], setups: np.ndarray | None) -> None:
        self.shape, self.setups = shape, setups
        self.latest: Report | None = None

    @property
    def newest(self) -> Report:
        """The newest report, or that of no backward pass."""
        if self.latest is None:
            self.latest = Report.none(self.shape, self.setups)
        return self.latest

    def update(self, change: Callable[[Report], Report]) -> None:
        """Replace the newest one by what `change` makes of it."""
        with _reports_lock:
            self.latest = change(self.newest)


_reports_lock = threading.Lock()


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
        """A line: which solver, how many samples of each status, how accurate; the gradient."""
        line = f"{self.solved_by}: {counts(self.status) or 'no samples'}"
        line += f"; KKT residual <= {self._worst_residual:.1e}"
        gradient = "; gradient: " + ", ".join(self._gradient.values()) if self._gradient else ""
        return f"Record({line}{gradient})"

    def _repr_html_(self) -> str:
        """The same for notebooks, a fact in each line."""
        size = f"{self.status.size} sample{'s' * (self.status.size != 1)}"
        iterations, seconds = _finite(self.iterations), _finite(self.seconds)
        facts = {"status": counts(self.status) or "no samples"}
        facts["solved by"] = self.solved_by
        facts["KKT residual"] = f"at most {self._worst_residual:.1e}"
        facts["objective"] = span(_finite(self.objective), "{:.6g}".format)
        facts["iterations"] = span(iterations, "{:.0f}".format)
        facts["seconds"] = f"{seconds.sum():.2g}, all samples together"
        facts |= self._gradient
        return facts_html(f"Record of {size}", facts)

    @property
    def _worst_residual(self) -> float:
        """Of the usable samples."""
        residuals = [v[self.ok] for v in (self.primal_residual, self.dual_residual, self.gap)]
        return float(np.max(_finite(residuals), initial=0.0))

    @property
    def _gradient(self) -> dict[str, str]:
        """What the newest backward pass did, by what it is about; empty before it."""
        report = self.reports.newest
        done = report.method != ""
        if not done.any():
            return {}
        taus, errors = _finite(report.tau), _finite(report.gradient_error[done])
        facts = {
            "gradient": "; ".join(HOW.get(name, name) for name in np.unique(report.method[done]))
        }
        if taus.size:
            facts["perturbation"] = f"tau {span(taus, number)}" if taus.any() else "limit tau -> 0"
        if errors.size:
            facts["error"] = f"error <= {errors.max():.1e}"
        remarks = {
            "informative": (done & ~report.informative, "zero or noise"),
            "kinks": (report.kink > 0, "at a kink"),
            "failed": (~report.differentiated, "without a gradient"),
        }
        for name, (where, words) in remarks.items():
            if where.any():
                facts[name] = f"{where.sum()} of {where.size} {words}"
        return facts

    def __getitem__(self, name: str) -> Any:
        names = [*_OF_FORWARD, *Report.__dataclass_fields__, "solution"]
        if name not in names:
            raise KeyError(f"{name!r}; there are {', '.join(names)}")
        return getattr(self, name)


_OF_FORWARD = (
    "solver", "status", "ok", "objective", "iterations", "seconds", "primal_residual",
    "dual_residual", "gap",
)  # fmt: skip


def _finite(values: Any) -> np.ndarray:
    flat = np.ravel(np.asarray(values, dtype=float))
    return flat[np.isfinite(flat)]


def _none() -> None:
    """The full solution of a copy."""
