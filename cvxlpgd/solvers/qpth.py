"""qpth: a batched interior point for dense, strictly convex QPs, on the device of its tensors.

    minimize ½x'Qx + p'x   subject to  Gx <= h,  Ax = b

Amos and Kolter, "OptNet", ICML 2017, https://github.com/locuslab/qpth. Its forward pass alone is
asked: gradients are this library's.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import Array, ConeProgram, Pattern, Point, Solution, Status, norm
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.arrays import array_in

_ROUGH = 1e-2  # no point counts beyond this residual: qpth does not tell infeasible samples apart
_one_at_a_time = threading.Lock()  # qpth keeps a mask of its last batch's shape in a global


@dataclass(frozen=True, init=False)
class QPTH(Configured):
    """qpth with its own options, such as `QPTH(eps=1e-8, maxIter=30)`.

    It works on torch tensors where they are: a layer of it hands CUDA tensors over as they are. All
    samples are solved at once, until the worst one has a residual of `eps` (1e-10 by default, in
    absolute terms), or none has improved for `notImprovedLim` (3) iterations, or after `maxIter`
    (50). A sample's result depends on its batch mates within that accuracy.

    Programs must be strictly convex where their equations hold: a sample with another objective
    fails, and so does one whose equality rows depend on each other. It cannot be warm-started, it
    does not count its iterations, and `solver=None` never chooses it. Install it with
    `pip install --no-deps qpth`: it asks for an older NumPy than it needs.
    """

    name = "QPTH"
    requires = ("qpth", "torch")
    packages = "--no-deps qpth"
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    arrays = "torch"
    known = Options(
        "eps maxIter notImprovedLim verbose",
        defaults={"eps": 1e-10, "maxIter": 50, "notImprovedLim": 3, "verbose": False},
        tolerances=("eps",),
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve the whole batch at once; `start` cannot help an interior-point method."""
        import torch

        begin, size = perf_counter(), program.batch
        with torch.no_grad(), _one_at_a_time, _unraised():
            convex = _Convex.of(program)
            point = convex.solve(size, self.settings)
            worst = program.residuals(point).largest
        definite, worst = (array_in(v, "numpy") for v in (convex.definite.expand(size), worst))
        seconds = (perf_counter() - begin) / size
        small = np.isfinite(worst) & (worst <= _ROUGH)
        # what is not small is claimed to be infeasible, since nothing strictly convex is unbounded
        status = np.where(small, Status.SOLVED, Status.INFEASIBLE).astype(object)
        status[~definite] = Status.FAILED
        messages = tuple(map(_message, definite, small, worst))
        unknown = np.full(size, np.nan)  # qpth does not count its iterations
        return Solution(point, status, unknown, np.full(size, seconds), messages)


def _message(definite: bool, small: bool, worst: float) -> str:
    if not definite:
        return "the objective is not strictly convex where the equations hold, as QPTH needs it"
    return "" if small else f"qpth stopped at a residual of {worst:.1e}"


class _Convex(NamedTuple):
    """Programs of one structure as qpth takes them, tensors (batch or 1, ...).

    Where P is positive definite on the solutions of the equations only, as where equations define
    variables t = Sx, it becomes so everywhere by their squares, which are 0 at each solution:

        ½x'Px + q'x + (w/2) |A_e x - b_e|²,    y_e = those of this program + w (A_e x - b_e)
    """

    equations: int  # the first rows
    P: Array  # with these squares, as q
    q: Array
    A: Array
    b: Array
    weight: Array  # w (batch or 1, 1), such that the squares are of the size of P
    definite: Array  # bool (batch or 1,): which P are positive definite; the others are replaced

    @classmethod
    def of(cls, program: ConeProgram) -> _Convex:
        """The programs with squares of the equations."""
        import torch

        structure, w = program.structure, program.data
        P, A = _dense(structure.P, w.P), _dense(structure.A, w.A)
        equations = structure.m - int(structure.inequalities.sum())
        equal = A[:, :equations]
        size, length = norm(w.P)[:, None], norm(norm(equal))[:, None]
        weight = torch.where(size > 0, size, 1.0) / torch.where(length > 0, length, 1.0) ** 2
        P = P + weight[:, :, None] * (equal.mT @ equal)
        q = w.q - weight * _times(equal.mT, w.b[:, :equations])
        definite = torch.linalg.cholesky_ex(P).info == 0
        P = torch.where(definite[:, None, None], P, torch.eye(structure.n).to(P))
        return cls(equations, P, q, A, w.b, weight, definite)

    def solve(self, size: int, settings: Mapping[str, Any]) -> Point:
        """The points that qpth ends at, of `size` samples."""
        import torch
        from qpth.solvers.pdipm import batch as pdipm

        k, whole = self.equations, (self.P, self.q, self.A, self.b)
        P, q, A, b = (v.expand(size, *v.shape[1:]) for v in whole)
        if k == A.shape[1]:  # qpth needs an inequality; without, one linear system is all
            x, y, s = _on_equations(P, q, A, b)
        else:
            equal, unequal = (A[:, :k], b[:, :k]), (A[:, k:], b[:, k:])
            factors = pdipm.pre_factor_kkt(P, unequal[0], equal[0])
            # with verbose=0 it prints warnings
            options = dict(settings) | {"verbose": 1 if settings["verbose"] else -1}
            x, y, z, slack = pdipm.forward(P, q, *unequal, *equal, *factors, **options)
            y = torch.cat([z[:, :0] if y is None else y, z], 1)
            s = torch.cat([y[:, :k] * 0.0, slack], 1)
        rest = self.weight * (_times(A[:, :k], x) - b[:, :k])
        return Point(x, torch.cat([y[:, :k] + rest, y[:, k:]], 1), s)


def _times(matrices: Array, vectors: Array) -> Array:
    """Matrices (batch or 1, rows, columns) times vectors (batch or 1, columns)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]


def _dense(pattern: Pattern, values: Array) -> Array:
    """Full matrices (batch or 1, rows, columns) of the entries' values (batch or 1, entries)."""
    rows, columns = pattern.shape
    out = values.new_zeros(len(values), rows * columns)
    out[:, pattern.rows * columns + pattern.cols] = values
    return out.reshape(len(values), rows, columns)


def _on_equations(P: Array, q: Array, A: Array, b: Array) -> tuple[Array, Array, Array]:
    """(x, y, s) of Px + A'y = -q, Ax = b, s = 0."""
    import torch

    nothing = A.new_zeros(len(A), A.shape[1], A.shape[1])
    matrix = torch.cat([torch.cat([P, A.mT], 2), torch.cat([A, nothing], 2)], 1)
    xy = torch.linalg.solve_ex(matrix, torch.cat([-q, b], 1)).result
    x, y = xy[:, : q.shape[1]], xy[:, q.shape[1] :]
    return x, y, y * 0.0


def _unraised() -> AbstractContextManager[Any]:
    """A context in which torch factors a singular matrix of a batch to infinite values.

    Else it raises for the whole batch, and qpth returns all samples where they are at that moment.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Unraised(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is torch.linalg.lu_factor:
                return torch.linalg.lu_factor_ex(*args, **(kwargs or {}))[:2]
            return function(*args, **(kwargs or {}))

    return Unraised()
