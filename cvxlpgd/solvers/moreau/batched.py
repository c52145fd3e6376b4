"""Moreau's batched objects: set up for matrices, solved for many vectors, kept with the solutions.

The rows that Moreau wants are zero, nonnegative, second-order, semidefinite (upper triangle),
exponential and power: ours, but for the triangle and for second-order cones of one row, which are
nonnegative. P and A are compressed by rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.cones import SOC
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import Pattern, Point, Structure
from cvxlpgd.program.rows import scs_cones, upper_triangle
from cvxlpgd.program.threads import one_thread_each

SETTINGS = "solver device device_id yolo yolo_num_iters max_iter time_limit verbose"
IPM = (
    "tol_gap_abs tol_gap_rel tol_feas tol_infeas_abs tol_infeas_rel tol_ktratio "
    "max_step_fraction equilibrate_enable direct_solve_method cudss_ir_steps cudss_pivot_enable "
    "max_lu_nnz reduced_tol_gap_abs reduced_tol_gap_rel reduced_tol_feas reduced_tol_infeas_abs "
    "reduced_tol_infeas_rel reduced_tol_ktratio chordal_decomposition_enable "
    "chordal_decomposition_merge_method"
)
ACTIVE_SET = "primal_tol dual_tol zero_tol pivot_tol progress_tol fval_bound iter_limit cycle_tol"
LONG = 100_000  # entries in a batch from which a thread of its own, 0.1 ms, is nothing to a solve


class Raw(NamedTuple):
    """What Moreau answers: its point in our rows, its words and its iterations, by sample."""

    point: Point
    messages: tuple[str, ...]
    iterations: np.ndarray


class Batched:
    """Moreau's object for `size` samples of some matrices.

    It knows nothing of q and b but what the newest call gave it, and treats each sample alone: a
    sample's result is the same in any batch, from a used object and from a new one.
    """

    def __init__(
        self,
        structure: Structure,
        values: tuple[np.ndarray, np.ndarray],
        options: Mapping[str, Any],
        size: int,
    ) -> None:
        """Set up the values of P and A, each (size or 1, entries)."""
        cones, self._rows = _cones(structure)
        import moreau

        P, A = structure.P, structure.A
        self._places = np.argsort(self._rows)
        P_order, P_starts = _by_row(P, np.arange(structure.n))
        A_order, A_starts = _by_row(A, self._places)
        self._solver = moreau.CompiledSolver(
            structure.n, structure.m, P_starts, P.cols[P_order], A_starts, A.cols[A_order],
            cones=moreau.Cones(**cones), settings=_settings(moreau, options, size),
        )  # fmt: skip
        # exactly symmetric, or it refuses: the upper triangle on both sides
        upper = np.where(P.rows <= P.cols, np.arange(P.size), P.mirror)
        P_values, A_values = values[0][:, upper[P_order]], values[1][:, A_order]
        if len(P_values) == len(A_values) == 1:
            P_values, A_values = P_values[0], A_values[0]  # shared by the batch, set up once
        else:  # it takes both shared, or none
            P_values = np.broadcast_to(P_values, (size, P.size))
            A_values = np.broadcast_to(A_values, (size, A.size))
        self._solver.setup(P_values, A_values)
        self._warm = moreau.BatchedWarmStart
        self._size = size
        self._long = size * (P.size + A.size) > LONG
        # semidefinite cones call BLAS from each of Moreau's own threads
        self._blas = one_thread_each if "psd_dims" in cones else nullcontext

    def solve(self, q: np.ndarray, b: np.ndarray, start: Point | None) -> Raw:
        """Solve for q (batch, n) and b (batch, m), a whole multiple of `size` samples."""
        vectors = [q, b[:, self._rows]]
        if start is not None:  # a sample without a start begins at 0
            x, y, s = (np.where(np.isfinite(v), v, 0.0) for v in (start.x, start.y, start.s))
            vectors += [x, y[:, self._rows], s[:, self._rows]]
        pieces = range(0, len(q), self._size)
        with self._blas():
            answers = [self._piece(*(v[k : k + self._size] for v in vectors)) for k in pieces]
        x, z, s = (np.concatenate([getattr(a, k) for a, _ in answers]) for k in ("x", "z", "s"))
        messages = tuple(status.name for _, info in answers for status in info.status)
        iterations = np.concatenate([np.asarray(i.iterations, dtype=float) for _, i in answers])
        return Raw(Point(x, z[:, self._places], s[:, self._places]), messages, iterations)

    def _piece(self, q: np.ndarray, b: np.ndarray, *start: np.ndarray) -> tuple[Any, Any]:
        """Moreau's own answer for `size` samples, and its report."""
        warm = self._warm(*start) if start else None
        answer = call_interruptibly(lambda: self._solver.solve(q, b, warm), self._long)
        return answer, self._solver.info


def call_interruptibly(call: Callable[[], Any], long: bool) -> Any:
    """What `call` returns. Ctrl-C in the main thread does not wait for a long one's end.

    Moreau cannot be stopped: what was interrupted goes on, unused, and Python ends after it.
    """
    if not long or threading.current_thread() is not threading.main_thread():
        return call()
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work).start()  # a daemon would abort Python at its exit
    while not future.done():  # Windows sees Ctrl-C between two waits only
        wait([future], 0.1)
    return future.result()


def _by_row(pattern: Pattern, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The entries' order row by row with row i moved to places[i], and where each row begins."""
    rows = places[pattern.rows]
    counts = np.bincount(rows, minlength=pattern.shape[0])
    return np.lexsort((pattern.cols, rows)), np.concatenate([[0], np.cumsum(counts)])


def _cones(structure: Structure) -> tuple[dict[str, Any], np.ndarray]:
    """Moreau's cones by its names, and which of our rows stands at each place of its own."""
    counts: dict[str, Any] = scs_cones(structure)
    flat, rows = counts["z"] + counts["l"], upper_triangle(structure).rows
    runs = [(first, count) for cone, first, count in structure.blocks if cone == SOC(1)]
    lone = [first + k for first, count in runs for k in range(count)]
    names = {
        "num_zero_cones": counts["z"],
        "num_nonneg_cones": counts["l"] + len(lone),
        "so_cone_dims": [dimension for dimension in counts["q"] if dimension > 1],
        "num_exp_cones": counts["ep"],
        "power_alphas": counts["p"],
    } | ({"psd_dims": counts["s"]} if counts["s"] else {})  # Moreau before 0.4 has no such field
    rest = np.setdiff1d(np.arange(flat, structure.m), lone)
    return names, rows[np.concatenate([np.arange(flat), lone, rest]).astype(int)]


def _settings(moreau: Any, options: Mapping[str, Any], size: int) -> Any:
    def among(names: str) -> dict[str, Any]:
        return {name: options[name] for name in names.split() if name in options}

    try:
        return moreau.Settings(
            batch_size=size,
            # a cold start after a failed warm one is ours: Moreau's takes the whole batch, warning
            ipm_settings=moreau.IPMSettings(
                warm_start_no_retry=frozenset(moreau.SolverStatus), **among(IPM)
            ),
            active_set_settings=moreau.ActiveSetSettings(**among(ACTIVE_SET)),
            **among(SETTINGS),
        )
    except ValueError as error:  # pydantic's: a title, then the option and what it should be
        lines = [line.strip() for line in str(error).splitlines()]
        raise InvalidOption(f"MOREAU: {': '.join(lines[1:3]) or lines[0]}") from None
