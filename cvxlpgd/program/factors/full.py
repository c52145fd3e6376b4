"""Full matrices, one for each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        self.G = _turned(systems)
        H = np.zeros((len(w.P), n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        for rows in _curved_rows(structure):
            part = np.where(self.curved[:, rows, None], self.G[:, rows], 0.0)
            H = H + part.swapaxes(1, 2) @ part
        others = systems.held & ~self.curved
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


def _turned(systems: Systems) -> np.ndarray:
    """Stretch B t A, (batch, m, n), cone by cone over the columns that each cone has."""
    structure, pairs, values = systems.program.structure, systems.pairs, systems.program.data.A
    A, batch = structure.A, len(systems.held)
    G = np.zeros((batch, structure.m, structure.n))
    G[:, A.rows, A.cols] = values * (pairs.weights * systems.stretch)[:, A.rows]
    for (cone, first, count), B in zip(structure.blocks, pairs.directions, strict=True):
        if B is None:
            continue
        rows = slice(first, first + cone.rows * count)
        columns = _columns(structure, cone, first, count)
        block = np.zeros((len(values), count, cone.rows, structure.n + 1))
        here = np.flatnonzero((A.rows >= rows.start) & (A.rows < rows.stop))
        at, column = A.rows[here] - first, A.cols[here]
        block[:, at // cone.rows, at % cone.rows, column] = values[:, here]
        part = np.take_along_axis(block, columns[None, :, None, :], axis=3)
        t = pairs.weights[:, rows].reshape(batch, count, cone.rows, 1)
        part = part * t
        turned = B @ part
        turned[np.abs(turned) <= NOTHING * (np.abs(B) @ np.abs(part))] = 0.0
        turned *= systems.stretch[:, rows].reshape(batch, count, cone.rows, 1)
        wide = np.zeros((batch, count, cone.rows, structure.n + 1))
        np.put_along_axis(wide, columns[None, :, None, :], turned, axis=3)
        G[:, rows] = wide[..., :-1].reshape(batch, -1, structure.n)
    return G


def _columns(structure: Structure, cone: Any, first: int, count: int) -> np.ndarray:
    """The columns that each cone of a run reaches, (count, most), filled up with n."""
    memory = structure.memory.setdefault("columns", {})
    if first not in memory:
        A, size = structure.A, structure.n
        inside = (A.rows >= first) & (A.rows < first + cone.rows * count)
        pairs = np.unique((A.rows[inside] - first) // cone.rows * (size + 1) + A.cols[inside])
        owner, column = pairs // (size + 1), pairs % (size + 1)
        counts = np.bincount(owner, minlength=count)
        out = np.full((count, max(1, int(counts.max(initial=0)))), size)
        out[owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)] = column
        memory[first] = out
    columns: np.ndarray = memory[first]
    return columns
