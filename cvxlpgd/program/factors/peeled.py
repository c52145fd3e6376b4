"""Full systems without what stands alone in them, for samples of equal sizes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from cvxlpgd.program.factors.scaling import DELTA, scales_of
from cvxlpgd.threads import shared

LITTLE = 0.1  # of all columns and rows: less is not worth being peeled off
WORTH = 2e7  # multiplications from which a second thread pays


@dataclass(frozen=True, eq=False)
class Division:
    """What is peeled off each sample's [H G'; G -C], C 1 on rigid rows and 0 on active ones.

    A row with one entry, such as a bound's, fixes its column, whose equation then gives the row's
    multiplier. A column without curvature that stands in one active row alone, such as an
    epigraph's, gives that row's multiplier, and the row gives the column.

    Masks of rows (batch, m) and of columns (batch, n); `column_of` (batch, m) is the column of a
    bound or of an owner.
    """

    bounds: np.ndarray
    owners: np.ndarray
    left: np.ndarray
    kept: np.ndarray
    column_of: np.ndarray

    @classmethod
    def of(cls, H: np.ndarray, G: np.ndarray, rows: np.ndarray, rigid: np.ndarray) -> Division:
        """That of H (batch or 1, n, n), G (batch, m, n), `rows` of it, some of them `rigid`.

        Samples in which little would be peeled off stay whole.
        """
        batch, m, n = G.shape
        stored = (G != 0) & rows[:, :, None]
        entries, active = stored.sum(axis=2), rows & ~rigid
        single = (entries == 1) & active
        column_of = stored.argmax(axis=2)
        times = np.zeros((batch, n), dtype=int)
        sample, row = np.nonzero(single)
        np.add.at(times, (sample, column_of[sample, row]), 1)
        bounds = np.zeros_like(rows)
        bounds[sample, row] = times[sample, column_of[sample, row]] == 1  # several: to refinement
        fixed = np.zeros((batch, n), dtype=bool)
        sample, row = np.nonzero(bounds)
        fixed[sample, column_of[sample, row]] = True
        stored[sample, row] = False
        alone = (stored.sum(axis=1) == 1) & ~fixed & ~H.any(axis=1)
        owners, peeled = np.zeros_like(rows), np.zeros((batch, n), dtype=bool)
        if alone.any():
            mine = stored & alone[:, None, :]
            owners = (mine.sum(axis=2) == 1) & active & ~bounds
            column_of = np.where(owners, mine.argmax(axis=2), column_of)
            sample, row = np.nonzero(owners)
            peeled[sample, column_of[sample, row]] = True
        left = rows & ~bounds & ~owners & (rigid | (entries > 0))  # rows of zeros say nothing
        little = (bounds | owners).sum(axis=1) < LITTLE * (n + rows.sum(axis=1))
        whole = little[:, None]
        return cls(
            bounds & ~whole,
            owners & ~whole,
            np.where(whole, rows & (rigid | (entries > 0)), left),
            (~fixed & ~peeled) | whole,
            column_of,
        )

    def groups(self) -> Iterator[np.ndarray]:
        """The samples, by the sizes of what is peeled off."""
        sizes = np.stack([v.sum(axis=1) for v in (self.bounds, self.owners, self.left)], axis=1)
        _, group = np.unique(sizes, axis=0, return_inverse=True)
        group = group.reshape(-1)
        return (np.flatnonzero(group == k) for k in range(int(group.max(initial=-1)) + 1))


class Peeled:
    """Some samples' systems, divided, of equal sizes: what is left of each is factored.

    Arrays have the samples' axis first; `..._at` are positions (samples, size).
    """

    def __init__(
        self, H: np.ndarray, G: np.ndarray, corner: np.ndarray, division: Division,
        samples: np.ndarray,
    ) -> None:  # fmt: skip
        self.samples, count = samples, len(samples)

        def at(mask: np.ndarray) -> np.ndarray:
            return np.nonzero(mask[samples])[1].reshape(count, -1)

        self.bounds_at, self.owners_at = at(division.bounds), at(division.owners)
        self.left_at, self.kept_at = at(division.left), at(division.kept)
        columns = division.column_of[samples]
        self.fixed_at = np.take_along_axis(columns, self.bounds_at, axis=1)
        self.peeled_at = np.take_along_axis(columns, self.owners_at, axis=1)
        H = H if len(H) == 1 else H[samples]
        own, each = G[samples], np.arange(count)[:, None]
        of_H = each if len(H) > 1 else np.zeros_like(each)
        self.bound_pivots = own[each, self.bounds_at, self.fixed_at]
        self.pivots = own[each, self.owners_at, self.peeled_at]
        # rows in order: how NumPy multiplies depends on strides, and these on the batch
        self.across, self.G_fixed, self.H_fixed = (
            np.ascontiguousarray(v)
            for v in (
                _block(own, self.owners_at, self.kept_at),
                np.take_along_axis(own, self.fixed_at[:, None], axis=2),
                np.take_along_axis(H, self.fixed_at[:, None], axis=2),
            )
        )
        k, size = self.kept_at.shape[1], self.kept_at.shape[1] + self.left_at.shape[1]
        self.is_whole = k == G.shape[2]
        M = np.zeros((count, size, size))
        if self.is_whole:
            M[:, :k, :k] = H
            M[:, k:, :k] = np.take_along_axis(own, self.left_at[:, :, None], axis=1)
        else:
            M[:, :k, :k] = _block(H, self.kept_at, self.kept_at)
            M[:, k:, :k] = _block(own, self.left_at, self.kept_at)
        M[:, :k, k:] = M[:, k:, :k].swapaxes(1, 2)
        diagonal = np.arange(size)
        M[:, diagonal[k:], diagonal[k:]] = -np.take_along_axis(corner[samples], self.left_at, 1)
        self.scale = scales_of(M)
        M *= self.scale[:, :, None] * self.scale[:, None]
        M[:, diagonal, diagonal] += np.where(diagonal < k, DELTA, -DELTA)
        self.factors = _factored(M) if size else []
        self.faulty = np.array([fault != 0 for *_, fault in self.factors] or [False] * count)
        self._set_scales(H, of_H, own)

    def _set_scales(self, H: np.ndarray, of_H: np.ndarray, G: np.ndarray) -> None:
        """Scales (samples, n) and (samples, m): fixed columns' largest other entry is about 1."""
        count, m, n = G.shape
        k, each = self.kept_at.shape[1], np.arange(count)[:, None]
        self.scale_x, self.scale_u = np.ones((count, n)), np.ones((count, m))
        self.scale_x[each, self.kept_at] = self.scale[:, :k]
        self.scale_u[each, self.left_at] = self.scale[:, k:]
        height = np.abs(self.across * self.scale[:, None, :k]).max(axis=2, initial=0.0)
        height = np.where(height > 0, height, np.abs(self.pivots))
        self.scale_u[each, self.owners_at] = 1 / height
        self.scale_x[each, self.peeled_at] = height / np.abs(self.pivots)
        if not self.fixed_at.shape[1]:
            return
        others, free = self.scale_u.copy(), self.scale_x.copy()
        others[each, self.bounds_at], free[each, self.fixed_at] = 0.0, 0.0
        reached = (np.abs(self.G_fixed) * others[:, :, None]).max(axis=1, initial=0.0)
        curved = (np.abs(self.H_fixed) * free[:, :, None]).max(axis=1, initial=0.0)
        own = np.sqrt(np.abs(H[of_H, self.fixed_at, self.fixed_at]))
        largest = np.maximum(np.maximum(reached, curved), own)
        scale = 1 / np.where(largest > 0, largest, 1.0)
        self.scale_x[each, self.fixed_at] = scale
        self.scale_u[each, self.bounds_at] = 1 / (np.abs(self.bound_pivots) * scale)

    def solve(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, u) of these samples' stacks f (samples, columns, n) and g (samples, columns, m)."""
        u = np.zeros_like(g)
        if self.is_whole:
            x, left = self._left(f, _at(g, self.left_at))
            _put(u, self.left_at, left)
            x[self.faulty] = np.nan
            return x, u
        x, top, low = np.zeros_like(f), f, g
        bounded, owned = self.fixed_at.shape[1] > 0, self.owners_at.shape[1] > 0
        if bounded:
            known = _at(g, self.bounds_at) / self.bound_pivots[:, None]
            _put(x, self.fixed_at, known)
            top = f - known @ self.H_fixed.swapaxes(1, 2)
            low = g - known @ self.G_fixed.swapaxes(1, 2)
        right = _at(top, self.kept_at)
        if owned:
            known = _at(top, self.peeled_at) / self.pivots[:, None]
            _put(u, self.owners_at, known)
            right = right - known @ self.across
        kept, left = self._left(right, _at(low, self.left_at))
        _put(x, self.kept_at, kept)
        _put(u, self.left_at, left)
        if owned:
            rest = _at(low, self.owners_at) - kept @ self.across.swapaxes(1, 2)
            _put(x, self.peeled_at, rest / self.pivots[:, None])
        if bounded:
            rest = _at(f, self.fixed_at) - x @ self.H_fixed - u @ self.G_fixed
            _put(u, self.bounds_at, rest / self.bound_pivots[:, None])
        x[self.faulty] = np.nan
        return x, u

    def _left(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the kept columns and the rows that are left."""
        right, k = np.concatenate([f, g], axis=2) * self.scale[:, None], f.shape[2]
        for part, (matrix, order, _) in zip(right, self.factors, strict=False):
            part[:] = lapack.dgetrs(matrix, order, part.T)[0].T
        right *= self.scale[:, None]
        return right[:, :, :k], right[:, :, k:]


def _factored(M: np.ndarray) -> list[Any]:
    """The factors of symmetric matrices, in threads where that pays; they are overwritten."""
    factors: list[Any] = [None] * len(M)

    def factor(i: int) -> None:
        factors[i] = lapack.dgetrf(M[i].T, overwrite_a=True)

    work = deque(range(len(M)))
    if len(M) * M.shape[1] ** 3 > WORTH:
        shared(work, factor)
    else:
        for i in work:
            factor(i)
    return factors


def _block(M: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """These rows and columns (samples, size) of each sample's M (samples or 1, ...)."""
    first = np.arange(len(rows))[:, None] * (len(M) > 1)
    places = ((first * M.shape[1] + rows) * M.shape[2])[:, :, None] + cols[:, None]
    return np.take(np.ascontiguousarray(M), places)


def _at(v: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The entries (samples, columns, size) of a stack at each sample's positions."""
    return np.take_along_axis(v, positions[:, None], axis=2)


def _put(v: np.ndarray, positions: np.ndarray, values: np.ndarray) -> None:
    """Write them, in an array of one's own."""
    np.put_along_axis(v, positions[:, None], values, axis=2)
