"""Traps around a call: what it writes to, what it leaves behind, what it disturbs."""

from __future__ import annotations

import threading
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch

from campaigns.traps.trap import Layer, Seen, Trap, mine, outcome, tensor, theirs


def projection(layer: Layer, **options: Any) -> Any:
    """Minimize |x - a|² with sum(x) = 1, x >= 0."""
    a, x = cp.Parameter(3), cp.Variable(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [cp.sum(x) == 1, x >= 0])
    return layer(problem, [a], [x], **options)


def _shared_matrix() -> Seen:
    """One matrix with a stored 0 for a batch of 8, ten times over."""
    import diffcp

    n = 100
    A = sp.csc_matrix(np.vstack([np.ones((n, n)) + np.eye(n), -np.eye(n)]))
    A.data[1] = 0.0  # stored
    b, c, cones = np.append(np.ones(n), np.zeros(n)), -np.ones(n), {"l": 2 * n}
    stored, errors = A.nnz, []
    for _ in range(10):
        shared = A.copy()
        errors.append(outcome(lambda shared=shared: diffcp.solve_and_derivative_batch(  # type: ignore[misc]
            [shared] * 8, [b] * 8, [c] * 8, [cones] * 8, n_jobs_forward=4)))  # fmt: skip
    diffcp.solve_and_derivative(A, b, c, cones)
    failed = [error for error in errors if error]
    what = f"the caller's A has {A.nnz} of {stored} entries left"
    if failed:
        what += f"; {len(failed)} of 10 shared batches raise {failed[0]}"
    return Seen(A.nnz != stored or bool(failed), what)


def _written_ours() -> Seen:
    """Parameter values with a 0 among them, read-only, shared by a batch of 8."""
    from cvxlpgd.numpy import CvxpyLayer

    A, b, x = cp.Parameter((2, 3)), cp.Parameter(2), cp.Variable(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [A @ x == b])
    values = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]), np.ones((8, 2))
    for value in values:
        value.flags.writeable = False
    layer = CvxpyLayer(problem, [A, b], [x])
    for _ in range(10):
        found, pullback = layer.vjp(*values)
        pullback(found[0])
    return Seen(False, "read-only arrays taken, 10 of 10 shared batches run")


def _threads(layer: Layer) -> Seen:
    """Threads that are left after 5 batches that fail."""
    low, x = cp.Parameter(), cp.Variable()
    made = layer(cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= 1]), [low], [x])
    before = threading.active_count()
    errors = [outcome(lambda: made(torch.full((8,), 2.0).double())) for _ in range(5)]
    left = threading.active_count() - before
    return Seen(left > 2, f"{left} threads left after {sum(map(bool, errors))} failing batches")


def _no_grad(layer: Layer, **options: Any) -> Seen:
    made = projection(layer, **options)
    with torch.no_grad():
        failed = outcome(lambda: made(tensor(0.1, 0.5, 0.9)))
    return Seen(bool(failed), failed or "runs")


def _collisions(layer: Layer, **options: Any) -> Seen:
    """Two threads, one with a batch of 3 and one without, 300 calls each, of 30 parameters."""
    parts, x = [cp.Parameter(3) for _ in range(30)], cp.Variable(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - cp.sum(parts))), [cp.sum(x) == 1])
    made, start = layer(problem, parts, [x], **options), threading.Barrier(2)
    one = torch.tensor([0.1, 0.5, 0.9]).double()
    right, errors = one + (1 - one.sum()) / 3, list[str]()

    def check(values: list[torch.Tensor]) -> None:
        (found,) = made(*values)
        if found.shape != values[0].shape or not torch.allclose(found.double(), right, atol=1e-2):
            raise ValueError("a wrong result")

    def work(value: torch.Tensor) -> None:
        start.wait()
        failed = [outcome(lambda: check([value] * len(parts))) for _ in range(300)]
        errors.extend(error for error in failed if error)

    jobs = (one / len(parts), (one / len(parts)).expand(3, 3))
    threads = [threading.Thread(target=work, args=(value,)) for value in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = f": {errors[0]}" if errors else ""
    return Seen(bool(errors), f"{len(errors)} of 600 calls fail{first}")


LPGD_ARGS = {"mode": "lpgd", "derivative_kwargs": {"tau": 0.1, "rho": 0.1}}
TRAPS = {
    "written-arguments": Trap(
        "The caller's matrix is written to, and a batch that shares one fails",
        {"diffcp": _shared_matrix},
        _written_ours,
        ("solvers/test_solvers.py::test_nothing_of_the_callers_is_written_to",
         "layer/test_calls.py::test_nothing_of_the_callers_is_written_to"),
    ),
    "threads-left": Trap(
        "Batches that fail leave threads behind",
        {"cvxpylayers": lambda: _threads(theirs())},
        lambda: _threads(mine()),
        ("campaigns/test_soak.py::test_failing_batches_leave_no_thread",),
    ),
    "no-grad": Trap(
        "A layer made for LPGD fails under no_grad",
        {"cvxpylayers": lambda: _no_grad(theirs(), solver_args=LPGD_ARGS)},
        lambda: _no_grad(mine(), solver_args=LPGD_ARGS),
        ("campaigns/test_traps.py::test_every_spelling_of_a_derivative_runs_without_gradients",),
    ),
    "thread-collisions": Trap(
        "A call changes the layer: two threads collide",
        {"cvxpylayers": lambda: _collisions(theirs()),
         "cvxpylayers + Moreau": lambda: _collisions(theirs(), solver="MOREAU")},
        lambda: _collisions(mine()),
        ("layer/test_calls.py::test_threads_do_not_disturb_each_other",
         "campaigns/test_traps.py::test_threads_with_other_batch_shapes_do_not_collide"),
    ),
}  # fmt: skip
