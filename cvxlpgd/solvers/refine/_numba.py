"""What stands for Newton's conditions and steps where they are compiled: the kernels' callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvxlpgd.program import Structure
from cvxlpgd.program.structure import per_structure
from cvxlpgd.solvers.refine import _numba_kernels as kernels
from cvxlpgd.solvers.refine.conditions import LEAST, Conditions
from cvxlpgd.solvers.refine.matrices import DenseFactors
from cvxlpgd.solvers.refine.systems import dense


def conditions(
    at: Conditions, x: np.ndarray, y: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Conditions.at`."""
    structure, w = at.program.structure, at.program.data
    f, g, error = np.empty(x.shape), np.empty(y.shape), np.empty(len(x))
    first = np.array([start for _, start, _ in structure.blocks] + [structure.m])
    kernels.conditions(
        structure.P.indptr, structure.P.rows, _plain(w.P),
        structure.A.indptr, structure.A.rows, _plain(w.A), _plain(w.q),
        _plain(at.t), _plain(at.b), at.P_size, at.A_size, LEAST, first, np.arange(len(x)),
        _plain(x), _plain(y), _plain(s), f, g, error,
    )  # fmt: skip
    return f, g, error


class Tables(NamedTuple):
    """Where a structure's curved cones and local columns stand, (k, 4) of ints."""

    runs: np.ndarray  # first row, rows of a cone, cones, place in M
    local: np.ndarray  # column, first row of its cone, rows, place in a


@per_structure
def tables(structure: Structure) -> Tables:
    """The tables of a structure."""
    runs, local = [], []
    M_place = a_place = 0
    for run in dense(structure).runs:
        if run.cone is None:
            continue
        start, size = run.rows.start, run.size
        count = (run.rows.stop - start) // size
        runs.append((start, size, count, M_place))
        M_place += size**2 * count
        for column, cone in zip(run.local.columns, run.local.cones, strict=True):
            local.append((column, start + cone * size, size, a_place))
            a_place += size
    return Tables(*(np.array(v, dtype=np.int64).reshape(-1, 4) for v in (runs, local)))


class Steps(NamedTuple):
    """What `DenseSteps` does, for samples at these places of factors."""

    factors: DenseFactors
    places: np.ndarray
    order: np.ndarray  # of the samples: those with the same factors one after the other
    M: np.ndarray  # (k, numbers), and so on: all runs' in a row
    a: np.ndarray
    Ma: np.ndarray
    over: np.ndarray

    @classmethod
    def of(cls, factors: DenseFactors, places: np.ndarray) -> Steps:
        """Those of samples at these places."""
        arrays = zip(*factors.blocks, strict=True) if factors.blocks else [()] * 4
        k = len(factors.factors)
        flat = (_row(several, k) for several in arrays)
        return cls(factors, places, np.argsort(places, kind="stable"), *flat)

    def __call__(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(dx, dy, ds) in weighted units for f and t g."""
        factors = self.factors
        structure = factors.program.structure
        dx, dy, ds = np.zeros(f.shape), np.empty(g.shape), np.empty(g.shape)
        kernels.steps(
            structure.A.indptr, structure.A.rows, _plain(factors.program.data.A),
            dense(structure).kept, self.places, self.order,
            _plain(factors.factors), _plain(factors.weights), _plain(factors.active),
            *tables(structure), *self[3:],
            _plain(f), _plain(g), dx, dy, ds,
        )  # fmt: skip
        return dx, dy, ds


def _row(arrays: Sequence[np.ndarray], k: int) -> np.ndarray:
    """Arrays (k, ...) as one (k, numbers)."""
    flat = [v.reshape(k, -1) for v in arrays] or [np.zeros((k, 0))]
    return _plain(flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1))


def _plain(v: np.ndarray) -> np.ndarray:
    """The array as the kernels take it; nothing is copied where it is so already."""
    return np.ascontiguousarray(v, dtype=float)
