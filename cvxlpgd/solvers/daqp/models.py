"""DAQP models of one pair of matrices, without the columns that equations define."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.program.structure import latest_per_structure
from cvxlpgd.solvers.daqp.flags import EQUALITY
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import Reduced, Reduction


class Reductions(NamedTuple):
    """The ways to eliminate variables, in the order in which they are tried.

    First without canonicalization's own variables: more of P stays diagonal, which is faster. Then
    without the user's defined variables too; None where there are none.
    """

    first: Reduction
    second: Reduction | None


@latest_per_structure(is_)
def reductions_of(structure: Structure, bounds: Bounds) -> Reductions:
    """The ways to eliminate variables of a structure."""
    first, wider = (Reduction.of(structure, bounds, user) for user in (False, True))
    return Reductions(
        first, wider if len(wider.columns.defined) > len(first.columns.defined) else None
    )


class Model(NamedTuple):
    """A DAQP model of a reduced program, refused where flag < 0."""

    flag: int
    daqp: Any
    reduced: Reduced
    cold: np.ndarray  # its `sense` where no active set is known
    size: int  # how many of its limits are the program's: DAQP wants one at least

    def vectors(self, q: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """(f, upper, lower) of samples, see `Reduced.vectors`."""
        f, upper, lower = self.reduced.vectors(q, b)
        if self.size < len(self.cold):
            one = np.ones((len(upper), 1))
            upper, lower = np.hstack([upper, one]), np.hstack([lower, -np.inf * one])
        return f, upper, lower

    def point(
        self, u: np.ndarray, multipliers: np.ndarray, q: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of samples, see `Reduced.point`."""
        return self.reduced.point(u, multipliers[:, : self.size], q, b)


def model_of(
    structure: Structure,
    reductions: Reductions,
    settings: Mapping[str, Any],
    P: np.ndarray,
    A: np.ndarray,
) -> Model:
    """The first model that DAQP does not refuse, else the first one."""
    varies = len(structure.varying.P) + len(structure.varying.A) > 0
    of_constants = None if varies else _reduced_constants(structure, (reductions.first, P, A))
    first = _model_of_reduced(of_constants or reductions.first.at(P, A), settings)
    wider = reductions.second if first.flag < 0 else None
    if wider is None or not A[wider.columns.pivots].all():
        return first
    second = _model_of_reduced(wider.at(P, A), settings)
    return first if second.flag < 0 else second


Matrices = tuple[Reduction, np.ndarray, np.ndarray]


def _are_same(one: Matrices, other: Matrices) -> bool:
    return one[0] is other[0] and all(map(np.array_equal, one[1:], other[1:]))


@latest_per_structure(_are_same)
def _reduced_constants(structure: Structure, matrices: Matrices) -> Reduced:
    """The reduced matrices of a structure whose matrices no parameter reaches."""
    reduction, P, A = matrices
    return reduction.at(P, A)


def _model_of_reduced(reduced: Reduced, settings: Mapping[str, Any]) -> Model:
    import daqp

    reduction = reduced.reduction
    size = reduction.bounded + len(reduction.columns.rows)
    # DAQP wants a row: 0 u <= 1
    cold = np.zeros(max(size, reduction.bounded + 1), dtype=np.intc)
    cold[reduction.bounded : reduction.bounded + reduction.equalities] = EQUALITY
    rows = reduced.A if len(reduced.A) else np.zeros((1, len(reduced.H)))
    model, f, b = daqp.Model(), np.zeros(len(reduced.H)), np.zeros(len(cold))
    model.settings = dict(settings)
    flag, _ = model.setup(reduced.H, f, rows, b, b, cold.copy())
    return Model(flag, model, reduced, cold, size)
