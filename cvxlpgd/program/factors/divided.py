"""Any system: curved rows eliminated where columns are few, what stands alone peeled off."""

from __future__ import annotations

import numpy as np

from cvxlpgd.program.factors.division import Division, Remainder
from cvxlpgd.program.factors.entries import Layout, entries
from cvxlpgd.program.matrices import Matrices, Stack


class Divided:
    """Each sample's system, in the steps of its division.

    A curved row's u is G x - g: where H = P + G_c'G_c is a full matrix these rows are eliminated.
    Bounds give their columns, cores the kept ones; then owners their columns', bounds their
    multipliers:

        x_fixed = g / G,   K_core (x, u) = (f - Hx - G'u, g - Gx),   u_bound = (f - Hx - G'u) / G

    `full` says whether H is a full matrix.
    """

    def __init__(self, K: Matrices, full: bool) -> None:
        structure = K.program.structure
        self.K, self.full = K, full
        batch, n, m = len(K.held), structure.n, structure.m
        self.curved = K.curved & K.easy & full
        rows = K.held & ~self.curved
        self.rigid = K.curved & rows
        self.values, matrices = entries(K)
        self.layout = Layout.of(structure)
        self.H = self._curvature(matrices)
        self.bent = bool(self.curved.any())
        places = self.layout.rows, self.layout.cols
        stored = (self.values != 0) & rows[:, self.layout.rows]
        self.division = Division.of(places, stored, rows, self.rigid, self._curved_columns())
        self.regular, self.faulty = np.zeros(batch, dtype=bool), np.zeros(batch, dtype=bool)
        self.scale_x, self.scale_u = np.ones((batch, n)), np.ones((batch, m))
        division, P, P_values = self.division, structure.P, K.program.data.P
        self.linear = structure.polyhedral and not P.size  # no column has curvature
        remainder = Remainder(
            division, self.layout, self.values, self.H, P, P_values, self.rigid, full, self.linear
        )
        self.cores = list(remainder.cores())
        self.regular[~(division.kept.any(axis=1) | division.left.any(axis=1))] = True
        empty = rows & ~division.left & ~division.bounds & ~division.owners
        for core in self.cores:
            self.faulty[core.samples] = core.faulty
            self.regular[core.samples] = core.regular
        self.regular &= ~empty.any(axis=1)
        self._set_scales()

    def _curvature(self, matrices: list[np.ndarray | None]) -> np.ndarray | None:
        """H (batch or 1, n, n), None where it is 0 or sparse."""
        structure, w = self.K.program.structure, self.K.program.data
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
            if run.shape[0] == 1 and run.shape[2] == n:
                H = H + squares[:, 0]
                continue
            columns = np.where(run.columns >= 0, run.columns, 0)  # entries of -1 are 0 in `part`
            places = columns[:, :, None] * n + columns[:, None]
            if len(H) < batch:
                H = np.repeat(H, batch, axis=0)
            if run.apart:  # no two cones share an entry
                H.reshape(batch, -1)[:, places.ravel()] += squares.reshape(batch, -1)
                continue
            flat = (np.arange(batch)[:, None] * n * n + places.ravel()).ravel()
            H += np.bincount(flat, squares.ravel(), minlength=batch * n * n).reshape(H.shape)
        return H

    def _curved_columns(self) -> np.ndarray:
        """Which columns have curvature, bool (batch, n)."""
        structure, P = self.K.program.structure, self.K.program.data.P
        shape = len(self.curved), structure.n
        if self.H is not None:
            own = np.diagonal(self.H, axis1=1, axis2=2)  # H is semidefinite
            return np.broadcast_to(own != 0, shape)
        curved = np.zeros((len(P), structure.n), dtype=bool)
        sample, entry = np.nonzero(P)
        curved[sample, structure.P.cols[entry]] = True
        return np.broadcast_to(curved, shape)

    def _set_scales(self) -> None:
        """Scales of what is peeled off: its columns' largest other entry is about 1."""
        division, values, layout = self.division, np.abs(self.values), self.layout
        for core in self.cores:
            for scale, mask, own in (
                (self.scale_x, division.kept, core.scale_x),
                (self.scale_u, division.left, core.scale_u),
            ):
                sample, place = np.nonzero(mask[core.samples])
                scale[core.samples[sample], place] = own
        if not (division.bounds.any() or division.owners.any()):
            return
        batch, (m, n) = len(values), self.K.program.structure.A.shape
        by_row, by_col = _Maxima(layout.rows, m), _Maxima(layout.cols, n)
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
        if self.H is not None and division.fixed.any():
            free = np.where(division.fixed, 0.0, self.scale_x)
            curved = (np.abs(self.H) * free[:, :, None]).max(axis=1)
            own_curvature = np.sqrt(np.abs(np.diagonal(self.H, axis1=1, axis2=2)))
            largest = np.maximum(np.maximum(largest, curved), own_curvature)
        scale = 1 / np.where(largest > 0, largest, 1.0)
        self.scale_x = np.where(division.fixed, scale, self.scale_x)
        sample, row = np.nonzero(division.bounds)
        entry = division.bound_entry[sample, row]
        self.scale_u[sample, row] = 1 / (values[sample, entry] * scale[sample, layout.cols[entry]])

    def apply(self, right: Stack) -> Stack:
        """(x, u) for stacks of (f, g)."""
        K, curved, n = self.K, self.curved[:, None], self.scale_x.shape[1]
        f, g = right[..., :n], right[..., n:]
        whole = np.zeros((*right.shape[:2], right.shape[2] + 1))
        out = whole[..., :-1]
        x, u = out[..., :n], out[..., n:]
        top = f + K.back(np.where(curved, g, 0.0)) if self.bent else f
        low, bounds, owners = g, self.division.bounds, self.division.owners
        if bounds.any():
            sample, row, column, pivot = self._pivots(bounds, self.division.bound_entry)
            x[sample, :, column] = g[sample, :, row] / pivot[:, None]
            Gx = K.across(x)
            top, low = top if self.linear else top - self._curved_product(x, Gx), low - Gx
        if owners.any():
            owned, owner, owned_column, own_pivot = self._pivots(owners, self.division.owner_entry)
            u[owned, :, owner] = top[owned, :, owned_column] / own_pivot[:, None]
            top = top - K.back(u)
        reduced = np.concatenate([top, low], axis=2)
        for core in self.cores:
            core.put(reduced, whole)
        Gx = K.across(x)
        if owners.any():
            rest = g[owned, :, owner] - Gx[owned, :, owner]
            x[owned, :, owned_column] += rest / own_pivot[:, None]
            Gx = K.across(x)
        if self.bent:
            np.copyto(u, Gx - g, where=curved)
        if bounds.any():
            rest = f - K.back(u)
            rest = rest if self.linear else rest - K.curvature(x)
            u[sample, :, row] = rest[sample, :, column] / pivot[:, None]
        x[self.faulty] = np.nan
        return out

    def _pivots(self, rows: np.ndarray, entry_of: np.ndarray) -> tuple[np.ndarray, ...]:
        """Samples, rows, columns and pivots of these rows, bool (batch, m)."""
        sample, row = np.nonzero(rows)
        entry = entry_of[sample, row]
        return sample, row, self.layout.cols[entry], self.values[sample, entry]

    def _curved_product(self, x: np.ndarray, Gx: np.ndarray) -> np.ndarray:
        """H x."""
        Px = self.K.curvature(x)
        return Px + self.K.back(np.where(self.curved[:, None], Gx, 0.0)) if self.bent else Px


class _Maxima:
    """The largest of entries that share a row, or a column: (batch, entries) -> (batch, size)."""

    def __init__(self, places: np.ndarray, size: int) -> None:
        self.order, counts = np.argsort(places, kind="stable"), np.bincount(places, minlength=size)
        self.filled, self.size = np.flatnonzero(counts), size
        self.starts = (np.cumsum(counts) - counts)[self.filled]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(values), self.size))
        if len(self.order):
            out[:, self.filled] = np.maximum.reduceat(values[:, self.order], self.starts, axis=1)
        return out
