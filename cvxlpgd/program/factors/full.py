"""Full matrices, one for each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cvxlpgd.program.data import Structure
from cvxlpgd.program.factors.peeled import Division, Peeled
from cvxlpgd.program.factors.scaling import NOTHING
from cvxlpgd.program.pairs import is_diagonal

if TYPE_CHECKING:
    from cvxlpgd.program.kkt import Systems


class Full:
    """A full matrix for each sample, curved rows eliminated, and what stands alone peeled off."""

    def __init__(self, systems: Systems) -> None:
        structure, w = systems.program.structure, systems.program.data
        batch, n, m = len(systems.held), structure.n, structure.m
        self.curved, self.regular = systems.curved & systems.easy, np.zeros(batch, dtype=bool)
        others = systems.held & ~self.curved
        self.G = _turned(systems, others)
        H = np.zeros((len(w.P), n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        for rows in _curved_rows(structure):
            part = np.where(self.curved[:, rows, None], self.G[:, rows], 0.0)
            H = H + part.swapaxes(1, 2) @ part
        rigid = systems.curved & others
        division = Division.of(H, self.G, others, rigid)
        self.scale_x, self.scale_u = np.ones((batch, n)), np.ones((batch, m))
        self.parts = [
            Peeled(H, self.G, rigid.astype(float), division, samples)
            for samples in division.groups()
        ]
        for part in self.parts:
            self.scale_x[part.samples], self.scale_u[part.samples] = part.scale_x, part.scale_u

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) for stacks."""
        curved, bent = self.curved[:, None], self.curved.any()
        top = f + np.where(curved, g, 0.0) @ self.G if bent else f
        if len(self.parts) == 1:
            x, u = self.parts[0].solve(top, g)
        else:
            x, u = np.empty_like(f), np.zeros_like(g)
            for part in self.parts:
                x[part.samples], u[part.samples] = part.solve(top[part.samples], g[part.samples])
        if bent:
            u = np.where(curved, x @ self.G.swapaxes(1, 2) - g, u)
        return x, u


def _curved_rows(structure: Structure) -> list[slice]:
    """The rows of each run of cones whose boundaries are curved."""
    return [
        slice(first, first + cone.rows * count)
        for cone, first, count in structure.blocks
        if not is_diagonal(cone)
    ]


def _turned(systems: Systems, kept: np.ndarray) -> np.ndarray:
    """Stretch B t A, (batch, m, n), cone by cone over the columns that each cone has; in rows that
    are `kept` (batch, m) what is nothing but rounding is 0.
    """
    structure, pairs, values = systems.program.structure, systems.pairs, systems.program.data.A
    A, (batch, m), n = structure.A, kept.shape, structure.n
    G = np.zeros((batch, m * n))
    for run, B in zip(_runs(structure), pairs.directions, strict=True):
        own, t = values[:, run.entries], pairs.weights
        if B is None:
            rows = A.rows[run.entries]
            G[:, run.targets] = own * (t * systems.stretch)[:, rows]
            continue
        shape = (batch, *run.shape[:2], 1)
        part = np.zeros((len(values), int(np.prod(run.shape))))
        part[:, run.places] = own
        part = part.reshape(len(values), *run.shape) * t[:, run.rows].reshape(shape)
        turned = B @ part
        own_kept = kept[:, run.rows].reshape(shape[:3])
        some = np.flatnonzero(own_kept.any(axis=(0, 1)))
        terms = np.abs(B[:, :, some]) @ np.abs(part)
        rounding = (np.abs(turned[:, :, some]) <= NOTHING * terms) & own_kept[:, :, some, None]
        turned[:, :, some] = np.where(rounding, 0.0, turned[:, :, some])
        turned *= systems.stretch[:, run.rows].reshape(shape)
        if run.is_whole:
            G.reshape(batch, m, n)[:, run.rows] = turned.reshape(batch, -1, n)
        else:
            G[:, run.targets] = turned.reshape(batch, -1)[:, run.inside]
    return G.reshape(batch, m, n)


class _Run(NamedTuple):
    """Where A's entries of a run of equal cones stand, and over which columns each cone is turned.

    `shape` is (count, rows of a cone, columns at most), in which the entries are at `places`; those
    that are `inside` go to `targets` in (m, n). If the cones are turned over all columns in order
    it is whole. A run of single rows has entries and targets alone.
    """

    rows: slice
    entries: np.ndarray
    shape: tuple[int, int, int]
    places: np.ndarray
    inside: np.ndarray
    targets: np.ndarray
    is_whole: bool

    @classmethod
    def of(cls, structure: Structure, cone: Any, first: int, count: int) -> _Run:
        """Those of `count` cones from a first row on."""
        A, n, height = structure.A, structure.n, cone.rows
        rows = slice(first, first + height * count)
        entries = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop))
        at, column = A.rows[entries] - first, A.cols[entries]
        if is_diagonal(cone):
            nothing = np.zeros(0, dtype=int)
            targets = A.rows[entries] * n + column
            return cls(rows, entries, (count, height, 0), nothing, nothing, targets, False)
        pairs = np.unique(at // height * n + column)
        owner = pairs // n
        counts = np.bincount(owner, minlength=count)
        starts = np.cumsum(counts) - counts
        width = int(counts.max(initial=0))
        columns = np.full((count, width), -1)
        columns[owner, np.arange(len(owner)) - np.repeat(starts, counts)] = pairs % n
        order = np.searchsorted(pairs, at // height * n + column) - starts[at // height]
        every = np.broadcast_to(columns[:, None], (count, height, width)).ravel()
        inside = np.flatnonzero(every >= 0)
        targets = (first + inside // width) * n + every[inside] if width else inside
        whole = width == n  # then each has all of them, in order
        return cls(rows, entries, (count, height, width), at * width + order, inside, targets, whole)


def _runs(structure: Structure) -> list[_Run]:
    """Those of a structure, worked out once."""
    if "runs" not in structure.memory:
        structure.memory["runs"] = [_Run.of(structure, *block) for block in structure.blocks]
    runs: list[_Run] = structure.memory["runs"]
    return runs
