"""What a forward pass, and later its backward pass, report: the layer's `info`."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxlpgd.derivatives import Info
from cvxlpgd.solution import Solution


@dataclass(eq=False)
class Record:
    """One forward pass, sample by sample; its backward pass adds `tau` and `retries`.

    All but `solver` and `solution` are NumPy arrays of the batch shape; all are read as attributes
    or by name.

    Attributes
    ----------
    solver : str
        The solver that was asked; an option that only another one has can change it.
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
        The perturbation that the newest backward pass used, NaN before it.
    retries : int array
        How often that was enlarged.
    differentiated : bool array
        False where the newest backward pass failed (and was not asked to raise).
    solution : Solution
        To start another call from, as `warm_start=`.
    """

    solver: str
    status: np.ndarray
    ok: np.ndarray
    objective: np.ndarray
    iterations: np.ndarray
    seconds: np.ndarray
    primal_residual: np.ndarray
    dual_residual: np.ndarray
    gap: np.ndarray
    tau: np.ndarray
    retries: np.ndarray
    differentiated: np.ndarray
    solution: Solution

    @classmethod
    def of(
        cls, solver: str, solution: Solution, objective: np.ndarray, shape: tuple[int, ...]
    ) -> Record:
        """The record of a solution whose batch is flattened from `shape`."""
        r = solution.residuals
        assert r is not None
        count = len(solution.status)
        return cls(
            solver=solver,
            status=np.array([str(s) for s in solution.status], dtype="<U10").reshape(shape),
            ok=solution.ok.reshape(shape),
            objective=objective.reshape(shape),
            iterations=np.asarray(solution.iterations).reshape(shape),
            seconds=np.asarray(solution.seconds).reshape(shape),
            primal_residual=np.asarray(r.primal).reshape(shape),
            dual_residual=np.asarray(r.dual).reshape(shape),
            gap=np.asarray(r.gap).reshape(shape),
            tau=np.full(count, np.nan).reshape(shape),
            retries=np.zeros(count, dtype=int).reshape(shape),
            differentiated=np.ones(count, dtype=bool).reshape(shape),
            solution=solution,
        )

    def add(self, samples: np.ndarray, info: Info) -> None:
        """Note what a backward pass did for some samples of the flattened batch."""
        with _adding:
            self.tau.reshape(-1)[samples] = info.tau
            self.retries.reshape(-1)[samples] = info.retries
            self.differentiated.reshape(-1)[samples] = info.ok

    def __repr__(self) -> str:
        """A line: which solver, how many samples of each status, how accurate."""
        counts = ", ".join(f"{np.sum(self.status == s)} {s}" for s in np.unique(self.status))
        residuals = np.ravel([self.primal_residual, self.dual_residual, self.gap])
        worst = np.max(residuals[np.isfinite(residuals)], initial=0.0)
        return f"Record({self.solver}: {counts or 'no samples'}; KKT residual <= {worst:.1e})"

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(f"{name!r}; there are {', '.join(self.__dataclass_fields__)}")
        return getattr(self, name)


_adding = threading.Lock()
