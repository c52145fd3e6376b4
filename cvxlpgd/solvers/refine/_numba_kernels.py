"""Newton's conditions and steps, compiled; see conditions.py and matrices.py.

A sample's sums are added up in one order, whoever is beside it: its bits depend on nothing else.
What is kept on disk knows of changes in this file alone, so that all of it is here, and constants
of other files are arguments.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

_ints = types.Array(types.int64, 1, "C", readonly=True)
_table = types.Array(types.int64, 2, "C", readonly=True)
_vector = types.Array(types.float64, 1, "C", readonly=True)
_numbers = types.Array(types.float64, 2, "C", readonly=True)
_matrices = types.Array(types.float64, 3, "C", readonly=True)
_out, _out_vector = types.Array(types.float64, 2, "C"), types.Array(types.float64, 1, "C")
_compiled = {"cache": True, "nogil": True, "error_model": "numpy"}
TOGETHER = 4  # samples from which on a matrix that they share is gone through for all at once
SHORT = 4  # rows of a cone up to which matrices are multiplied row by row


@njit(**_compiled)
def _larger(a, b):
    """The larger one; NaN where one is NaN."""
    return a if a > b or a != a else b


@njit(**_compiled)
def _share(part, whole):
    return part / whole if whole > 0 else part


@njit(**_compiled)
def _of(values, k):
    """A sample's, of values that the batch may share."""
    return values[min(k, len(values) - 1)]


@njit(_out(_ints, _ints, _numbers, _ints, _numbers, types.int64), **_compiled)
def _times(starts, rows, A, places, x, height):
    """Ax for vectors (k, n), whose matrices are at these places."""
    k, n = x.shape
    if len(A) == 1 and k >= TOGETHER:
        every, values, sums = x.T.copy(), A[0], np.zeros((height, k))
        for j in range(n):
            for p in range(starts[j], starts[j + 1]):
                row, value = np.uint64(rows[p]), values[p]
                for i in range(k):
                    sums[row, i] += value * every[j, i]
        return sums.T.copy()
    Ax = np.zeros((k, height))
    for i in range(k):
        own, values, one = Ax[i], _of(A, places[i]), x[i]
        for j in range(n):
            for p in range(starts[j], starts[j + 1]):
                own[np.uint64(rows[p])] += values[p] * one[j]
    return Ax


@njit(_out(_ints, _ints, _numbers, _ints, _numbers, types.int64), **_compiled)
def _transposed_times(starts, rows, A, places, y, width):
    """A'y for vectors (k, m), whose matrices are at these places."""
    k = len(y)
    if len(A) == 1 and k >= TOGETHER:
        every, values, sums = y.T.copy(), A[0], np.zeros((width, k))
        for j in range(width):
            for p in range(starts[j], starts[j + 1]):
                row, value = np.uint64(rows[p]), values[p]
                for i in range(k):
                    sums[j, i] += value * every[row, i]
        return sums.T.copy()
    Aty = np.zeros((k, width))
    for i in range(k):
        values, one = _of(A, places[i]), y[i]
        for j in range(width):
            total = 0.0
            for p in range(starts[j], starts[j + 1]):
                total += values[p] * one[np.uint64(rows[p])]
            Aty[i, j] = total
    return Aty


@njit(types.void(_table, _vector, _vector, _vector, _out_vector), **_compiled)
def _times_M(runs, M, active, g, out):
    """M g, in weighted units."""
    for i in range(len(g)):
        out[i] = active[i] * g[i]
    for run in range(len(runs)):
        row, size, count, place = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        for _ in range(count):
            own, sums = g[row : row + size], out[row : row + size]
            if size <= SHORT:
                for i in range(size):
                    total = 0.0
                    for j in range(size):
                        total += M[place + i * size + j] * own[j]
                    sums[i] = total
            else:
                for i in range(size):
                    sums[i] = 0.0
                for j in range(size):  # M is symmetric
                    column = M[place + j * size : place + (j + 1) * size]
                    for i in range(size):
                        sums[i] += column[i] * own[j]
            place += size * size
            row += size


@njit(types.void(_numbers, _out_vector), **_compiled)
def _solve(L, x):
    """Solve LL'x = x in its place, L' being the upper triangle of `L`: four columns at once."""
    n, j = len(x), 0
    while j + 4 <= n:
        a = x[j] / L[j, j]
        b = (x[j + 1] - L[j, j + 1] * a) / L[j + 1, j + 1]
        c = (x[j + 2] - L[j, j + 2] * a - L[j + 1, j + 2] * b) / L[j + 2, j + 2]
        d = x[j + 3] - L[j, j + 3] * a - L[j + 1, j + 3] * b - L[j + 2, j + 3] * c
        d /= L[j + 3, j + 3]
        x[j], x[j + 1], x[j + 2], x[j + 3] = a, b, c, d
        j += 4
        A, B, C, D, rest = L[j - 4, j:], L[j - 3, j:], L[j - 2, j:], L[j - 1, j:], x[j:]
        for i in range(n - j):
            rest[i] -= (A[i] * a + B[i] * b) + (C[i] * c + D[i] * d)
    last = j
    for j in range(last, n):
        x[j] /= L[j, j]
        for i in range(j + 1, n):
            x[i] -= L[j, i] * x[j]
    for j in range(n - 1, last - 1, -1):
        for i in range(j + 1, n):
            x[j] -= L[j, i] * x[i]
        x[j] /= L[j, j]
    for j in range(last - 4, -1, -4):
        A, B, C, D = L[j, j + 4 :], L[j + 1, j + 4 :], L[j + 2, j + 4 :], L[j + 3, j + 4 :]
        a, b, c, d, rest = x[j], x[j + 1], x[j + 2], x[j + 3], x[j + 4 :]
        for i in range(n - j - 4):
            a -= A[i] * rest[i]
            b -= B[i] * rest[i]
            c -= C[i] * rest[i]
            d -= D[i] * rest[i]
        d /= L[j + 3, j + 3]
        c = (c - L[j + 2, j + 3] * d) / L[j + 2, j + 2]
        b = (b - L[j + 1, j + 2] * c - L[j + 1, j + 3] * d) / L[j + 1, j + 1]
        a = (a - L[j, j + 1] * b - L[j, j + 2] * c - L[j, j + 3] * d) / L[j, j]
        x[j], x[j + 1], x[j + 2], x[j + 3] = a, b, c, d


@njit(
    types.void(
        _ints, _ints, _numbers, _ints, _ints, _numbers, _numbers, _numbers, _numbers,
        _vector, _vector, types.float64, _ints, _ints, _numbers, _numbers, _numbers,
        _out, _out, _out_vector,
    ),
    **_compiled,
)  # fmt: skip
def conditions(
    P_starts, P_rows, P, A_starts, A_rows, A, all_q, all_t, all_b, P_size, A_size, small,
    first, places, all_x, all_y, all_s, all_f, all_g, error,
):  # fmt: skip
    """What `Conditions.at` returns, into the last three; `first` are the first rows of runs."""
    (batch, n), m, runs = all_x.shape, all_y.shape[1], len(first) - 1
    own, g_size, ty = np.empty(runs), np.empty(runs), np.empty(all_y.shape)
    for k in range(batch):
        for i in range(m):
            ty[k, i] = all_t[k, i] * all_y[k, i]
    all_Px = _times(P_starts, P_rows, P, places, all_x, n)
    all_Ax = _times(A_starts, A_rows, A, places, all_x, m)
    all_Aty = _transposed_times(A_starts, A_rows, A, places, ty, n)
    for k in range(batch):
        x, y, s, f, g, Px = all_x[k], all_y[k], all_s[k], all_f[k], all_g[k], all_Px[k]
        q, b, t, Ax, Aty = _of(all_q, k), all_b[k], all_t[k], all_Ax[k], all_Aty[k]
        x_size = q_size = P_term = A_term = f_size = 0.0
        for j in range(n):
            f[j] = Aty[j] + q[j] + Px[j]
            x_size, q_size = _larger(x_size, abs(x[j])), _larger(q_size, abs(q[j]))
            P_term, A_term = _larger(P_term, abs(Px[j])), _larger(A_term, abs(Aty[j]))
            f_size = _larger(f_size, abs(f[j]))
        x_whole = v_whole = b_whole = tv_size = 0.0
        for run in range(runs):
            x_own = v_own = b_own = g_own = 0.0
            for i in range(first[run], first[run + 1]):
                tAx, v = t[i] * Ax[i], y[i] - s[i]
                g[i] = tAx - b[i] + s[i]
                x_own, v_own = _larger(x_own, abs(tAx)), _larger(v_own, abs(v))
                b_own, g_own = _larger(b_own, abs(b[i])), _larger(g_own, abs(g[i]))
                tv_size = _larger(tv_size, abs(t[i] * v))
            own[run], g_size[run] = x_own + v_own + b_own, g_own
            x_whole, v_whole = _larger(x_whole, x_own), _larger(v_whole, v_own)
            b_whole = _larger(b_whole, b_own)
        least = small * (_of(P_size, k) * x_size + _of(A_size, k) * tv_size)
        largest = _share(f_size, _larger(q_size + P_term + A_term, least))
        least = small * (x_whole + v_whole + b_whole)
        for run in range(runs):
            largest = _larger(largest, _share(g_size[run], _larger(own[run], least)))
        error[k] = largest


@njit(
    types.void(
        _ints, _ints, _numbers, _ints, _ints, _ints, _matrices, _numbers, _numbers,
        _table, _table, _numbers, _numbers, _numbers, _numbers, _numbers, _numbers,
        _out, _out, _out,
    ),
    **_compiled,
)  # fmt: skip
def steps(
    A_starts, A_rows, A, kept, places, order, factors, weights, active,
    runs, local, M, all_a, all_Ma, all_over, f, g, dx, dy, ds,
):  # fmt: skip
    """What `DenseSteps` returns, into the last three, dx being 0; see `Tables` for `runs`, `local`.

    Samples of the same factors follow each other in `order`: those stay in the cache.
    """
    (batch, n), m = f.shape, g.shape[1]
    moved, rests, right = np.empty(g.shape), np.empty((batch, len(local))), np.empty(len(kept))
    for k in order:
        place, own = places[k], moved[k]
        a, Ma, over, t = all_a[place], all_Ma[place], all_over[place], weights[place]
        _times_M(runs, M[place], active[place], g[k], own)
        for c in range(len(local)):
            column, row, size, first = local[c, 0], local[c, 1], local[c, 2], local[c, 3]
            rest = -f[k, column]
            for i in range(size):
                rest -= a[first + i] * own[row + i]
            for i in range(size):
                own[row + i] += Ma[first + i] * (rest * over[c])
            rests[k, c] = rest
        for i in range(m):
            own[i] *= t[i]
    turned = _transposed_times(A_starts, A_rows, A, places, moved, n)
    for k in order:
        for j in range(len(kept)):
            right[j] = -f[k, kept[j]] - turned[k, kept[j]]
        _solve(factors[places[k]], right)
        for j in range(len(kept)):
            dx[k, kept[j]] = right[j]
    across = _times(A_starts, A_rows, A, places, dx, m)  # the local columns are still 0
    for k in order:
        place, own = places[k], across[k]
        a, Ma, over, t = all_a[place], all_Ma[place], all_over[place], weights[place]
        for i in range(m):
            own[i] *= t[i]
        for c in range(len(local)):
            column, row, size, first = local[c, 0], local[c, 1], local[c, 2], local[c, 3]
            rest = rests[k, c]
            for i in range(size):
                rest -= Ma[first + i] * own[row + i]
            dx[k, column] = rest * over[c]
            for i in range(size):
                own[row + i] += a[first + i] * dx[k, column]
        for i in range(m):
            own[i] += g[k, i]
            ds[k, i] = -own[i]
        _times_M(runs, M[place], active[place], own, dy[k])
