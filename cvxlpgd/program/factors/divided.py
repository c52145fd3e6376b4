"""Any system: curved rows eliminated where columns are few, what stands alone peeled off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from cvxlpgd.program.factors.cores import Core, Dense, Sparse, Square
from cvxlpgd.program.factors.division import Division
from cvxlpgd.program.factors.entries import Layout, entries

if TYPE_CHECKING:
    from cvxlpgd.program.kkt import Systems

LARGE = 300  # columns and rows of a core from which on it is sparse, where the program is


class Divided:
    """Each sample's system, in the steps of its division.

    A curved row's u is G x - g: where H = P + G_c'G_c is a full matrix these rows are eliminated.
    Bounds give their columns, cores the kept ones; then owners their columns', bounds their
    multipliers:

        x_fixed = g / G,   K_core (x, u) = (f - Hx - G'u, g - Gx),   u_bound = (f - Hx - G'u) / G

    Parameters
    ----------
    full : bool
        Whether H is a full matrix.
    """

    def __init__(self, systems: Systems, full: bool) -> None:
        structure = systems.program.structure
        self.systems, self.full = systems, full
        batch, n, m = len(systems.held), structure.n, structure.m
        self.curved = systems.curved & systems.easy & full
        rows = systems.held & ~self.curved
        self.rigid = systems.curved & rows
        self.values, matrices = entries(systems)
        self.layout = Layout.of(structure)
        self.H = self._curvature(matrices)
        self.bent = bool(self.curved.any())
        self.division = Division.of(
            (self.layout.rows, self.layout.cols), (self.values != 0) & rows[:, self.layout.rows],
            rows, self.rigid, self._curved_columns(),
        )  # fmt: skip
        self.regular, self.faulty = np.zeros(batch, dtype=bool), np.zeros(batch, dtype=bool)
        self.scale_x, self.scale_u = np.ones((batch, n)), np.ones((batch, m))
        self.cores = list(self._cores())
        unsaid = rows & ~self.division.left & ~self.division.bounds & ~self.division.owners
        for core in self.cores:
            self.faulty[core.samples] = core.faulty
            self.regular[core.samples] = core.regular
        self.regular &= ~unsaid.any(axis=1)
        self._set_scales()

    def _curvature(self, matrices: list[np.ndarray | None]) -> np.ndarray | None:
        """H (batch or 1, n, n), None where it is 0 or sparse."""
        structure, w = self.systems.program.structure, self.systems.program.data
        if not self.full or (structure.polyhedral and not structure.P.size):
            return None
        n, batch = structure.n, len(self.curved)
        H = np.zeros((len(w.P), n, n))
        H[:, structure.P.rows, structure.P.cols] = w.P
        for run, turned in zip(self.layout.runs, matrices, strict=True):
            if turned is None or not self.curved[:, run.rows].any():
                continue
            part = np.where(self.curved[:, run.rows].reshape(*turned.shape[:3], 1), turned, 0.0)
            squares = part.swapaxes(-1, -2) @ part
            columns = np.where(run.columns >= 0, run.columns, 0)  # those that fill up are 0
            places = columns[:, :, None] * n + columns[:, None]
            flat = (np.arange(batch)[:, None] * n * n + places.ravel()).ravel()
            added = np.bincount(flat, squares.ravel(), minlength=batch * n * n)
            H = H + added.reshape(batch, n, n)
        return H

    def _curved_columns(self) -> np.ndarray:
        """Which columns have curvature, bool (batch, n)."""
        structure, P = self.systems.program.structure, self.systems.program.data.P
        shape = len(self.curved), structure.n
        if self.H is not None:
            return np.broadcast_to(self.H.any(axis=1), shape)
        curved = np.zeros((len(P), structure.n), dtype=bool)
        sample, entry = np.nonzero(P)
        curved[sample, structure.P.cols[entry]] = True
        return np.broadcast_to(curved, shape)

    def _cores(self) -> Iterator[Core]:
        """The samples' cores: together where they are full and of equal sizes."""
        kept, left = self.division.kept, self.division.left
        sizes = np.stack([kept.sum(axis=1), left.sum(axis=1)], axis=1)
        _, group = np.unique(sizes, axis=0, return_inverse=True)
        linear = self.H is None and not self.systems.program.structure.P.size
        for number in range(int(group.max(initial=-1)) + 1):
            samples = np.flatnonzero(group.reshape(-1) == number)
            k, l = sizes[samples[0]]
            if not k + l:  # all is peeled off
                self.regular[samples] = True
                continue
            if linear and k == l and self.full:
                square = Square(samples, self._across(samples, k, l))
                if not square.faulty.all():
                    yield square
                samples = samples[square.faulty]
                if not len(samples):
                    continue
            if self.full and k + l <= LARGE or self.H is not None:
                yield Dense(samples, k, self._whole(samples, k, l))
            else:
                yield from (Sparse(np.array([i]), k, self._sparse(i)) for i in samples)

    def _inside(self, samples: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of G's entries in the samples' left rows and kept columns: the sample's number, the row
        and column in its core, and the value.
        """
        (kept, left), layout = (self.division.kept[samples], self.division.left[samples]), self.layout
        values = self.values[samples]
        chosen = left[:, layout.rows] & kept[:, layout.cols] & (values != 0)
        sample, entry = np.nonzero(chosen)
        row = np.cumsum(left, axis=1)[sample, layout.rows[entry]] - 1
        col = np.cumsum(kept, axis=1)[sample, layout.cols[entry]] - 1
        return sample, row, col, values[sample, entry]

    def _across(self, samples: np.ndarray, k: int, l: int) -> np.ndarray:
        """The samples' G of left rows and kept columns, (samples, l, k)."""
        G = np.zeros((len(samples), l, k))
        sample, row, col, values = self._inside(samples)
        G[sample, row, col] = values
        return G

    def _whole(self, samples: np.ndarray, k: int, l: int) -> np.ndarray:
        """The samples' cores as full matrices."""
        M = np.zeros((len(samples), k + l, k + l))
        if self.H is not None:
            H = self.H if len(self.H) == 1 else self.H[samples]
            M[:, :k, :k] = H if k == H.shape[1] else _block(H, _at(self.division.kept[samples]))
        sample, row, col, values = self._inside(samples)
        M[sample, k + row, col] = M[sample, col, k + row] = values
        rigid = self.rigid[samples[:, None], _at(self.division.left[samples])]
        diagonal = k + np.arange(l)
        M[:, diagonal, diagonal] = -rigid.astype(float)
        return M

    def _sparse(self, i: int) -> sp.csc_array:
        """A sample's core as a sparse matrix."""
        structure, w = self.systems.program.structure, self.systems.program.data
        kept, left = np.flatnonzero(self.division.kept[i]), np.flatnonzero(self.division.left[i])
        _, row, col, values = self._inside(np.array([i]))
        G = sp.csc_array((values, (row, col)), shape=(len(left), len(kept)))
        P = sp.csc_array(structure.P.matrix(w.P[i if len(w.P) > 1 else 0]))[:, kept][kept]
        corner = sp.diags_array(-self.rigid[i, left].astype(float))
        return sp.csc_array(sp.block_array([[P, G.T], [G, corner]], format="csc"))

    def _set_scales(self) -> None:
        """Scales of what is peeled off: its columns' largest other entry is about 1."""
        division, values, layout = self.division, np.abs(self.values), self.layout
        for core in self.cores:
            of_x, of_u = division.kept[core.samples], division.left[core.samples]
            k = core.scale.shape[1] - int(of_u[0].sum())
            own = self.scale_x[core.samples]
            own[of_x] = core.scale[:, :k].ravel()
            self.scale_x[core.samples] = own
            own = self.scale_u[core.samples]
            own[of_u] = core.scale[:, k:].ravel()
            self.scale_u[core.samples] = own
        if not (division.bounds.any() or division.owners.any()):
            return
        batch, (m, n) = len(values), self.systems.program.structure.A.shape
        by_row, by_col = _Maxima.of(layout.rows, m), _Maxima.of(layout.cols, n)
        each = np.arange(batch)[:, None]
        pivots = values[each, division.owner_entry]
        scaled = values * np.where(division.kept, self.scale_x, 0.0)[:, layout.cols]
        height = by_row(scaled)
        height = np.where(height > 0, height, pivots)
        self.scale_u = np.where(division.owners, 1 / height, self.scale_u)
        sample, row = np.nonzero(division.owners)
        column = layout.cols[division.owner_entry[sample, row]]
        self.scale_x[sample, column] = height[sample, row] / pivots[sample, row]
        others = division.left | division.owners
        largest = by_col(values * np.where(others, self.scale_u, 0.0)[:, layout.rows])
        if self.H is not None:
            free = np.where(division.fixed, 0.0, self.scale_x)
            curved = (np.abs(self.H) * free[:, :, None]).max(axis=1)
            own_curvature = np.sqrt(np.abs(np.diagonal(self.H, axis1=1, axis2=2)))
            largest = np.maximum(np.maximum(largest, curved), own_curvature)
        scale = 1 / np.where(largest > 0, largest, 1.0)
        self.scale_x = np.where(division.fixed, scale, self.scale_x)
        sample, row = np.nonzero(division.bounds)
        entry = division.bound_entry[sample, row]
        self.scale_u[sample, row] = 1 / (values[sample, entry] * scale[sample, layout.cols[entry]])

    def apply(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) for stacks."""
        systems, curved = self.systems, self.curved[:, None]
        x, u = np.zeros_like(f), np.zeros_like(g)
        top = f + systems.back(np.where(curved, g, 0.0)) if self.bent else f
        low, bounds, owners = g, self.division.bounds, self.division.owners
        if bounds.any():
            sample, row, column, pivot = self._peeled(bounds, self.division.bound_entry)
            x[sample, :, column] = g[sample, :, row] / pivot[:, None]
            Gx = systems.across(x)
            top, low = top - self._curved_product(x, Gx), low - Gx
        if owners.any():
            owned, owner, owned_column, own_pivot = self._peeled(owners, self.division.owner_entry)
            u[owned, :, owner] = top[owned, :, owned_column] / own_pivot[:, None]
            top = top - systems.back(u)
        for core in self.cores:
            kept, left = self.division.kept[core.samples], self.division.left[core.samples]
            places, rows = _at(kept), _at(left)
            parts = [_picked(v, core.samples, at) for v, at in ((top, places), (low, rows))]
            own_x, own_u = core.solve(*parts)
            x[core.samples[:, None, None], np.arange(f.shape[1])[:, None], places[:, None]] = own_x
            u[core.samples[:, None, None], np.arange(f.shape[1])[:, None], rows[:, None]] = own_u
        Gx = systems.across(x)
        if owners.any():
            rest = g[owned, :, owner] - Gx[owned, :, owner]
            x[owned, :, owned_column] += rest / own_pivot[:, None]
            Gx = systems.across(x)
        if self.bent:
            u = np.where(curved, Gx - g, u)
        if bounds.any():
            rest = f - systems.back(u) - systems.curvature(x)
            u[sample, :, row] = rest[sample, :, column] / pivot[:, None]
        x[self.faulty] = np.nan
        return x, u

    def _peeled(self, rows: np.ndarray, entry_of: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of each of these rows: its sample, itself, its column and its entry there."""
        sample, row = np.nonzero(rows)
        entry = entry_of[sample, row]
        return sample, row, self.layout.cols[entry], self.values[sample, entry]

    def _curved_product(self, x: np.ndarray, Gx: np.ndarray) -> np.ndarray:
        """H x."""
        Px = self.systems.curvature(x)
        return Px + self.systems.back(np.where(self.curved[:, None], Gx, 0.0)) if self.bent else Px


class _Maxima:
    """The largest of entries that share a row, or a column: (batch, entries) -> (batch, size)."""

    def __init__(self, order: np.ndarray, starts: np.ndarray, filled: np.ndarray, size: int) -> None:
        self.order, self.starts, self.filled, self.size = order, starts, filled, size

    @classmethod
    def of(cls, places: np.ndarray, size: int) -> _Maxima:
        """For entries at these places."""
        order, counts = np.argsort(places, kind="stable"), np.bincount(places, minlength=size)
        starts, filled = np.cumsum(counts) - counts, np.flatnonzero(counts)
        return cls(order, starts[filled], filled, size)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(values), self.size))
        if len(self.order):
            out[:, self.filled] = np.maximum.reduceat(values[:, self.order], self.starts, axis=1)
        return out


def _at(mask: np.ndarray) -> np.ndarray:
    """Where each sample's mask (samples, size) holds, equally often: (samples, times)."""
    return np.nonzero(mask)[1].reshape(len(mask), -1)


def _picked(v: np.ndarray, samples: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Some samples' entries (samples, columns, places) of a stack."""
    own = v if len(samples) == len(v) else v[samples]
    return own if places.shape[1] == v.shape[2] else np.take_along_axis(own, places[:, None], 2)


def _block(M: np.ndarray, places: np.ndarray) -> np.ndarray:
    """These rows and columns (samples, size) of each sample's M (samples or 1, n, n)."""
    first = np.arange(len(places))[:, None] * (len(M) > 1)
    flat = ((first * M.shape[1] + places) * M.shape[2])[:, :, None] + places[:, None]
    return np.take(M, flat)
