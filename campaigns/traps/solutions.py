"""Traps of the forward pass: points that are no solutions, returned without a word."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch

from campaigns.traps.trap import Layer, Seen, Trap, both, mine, numbers, outcome, tensor, theirs


def _dropped(layer: Layer, **options: Any) -> Seen:
    """Project (3, -4, 0): constraints that stand on a variable must not get lost."""
    target, x = cp.Parameter(3), cp.Variable(3)
    objective, lost = cp.Minimize(cp.sum_squares(x - target)), []
    for constraint, right in (
        (x >= 0, [3.0, 0.0, 0.0]),
        (cp.norm(x) <= 1, [0.6, -0.8, 0.0]),
        (x <= 1, [1.0, -4.0, 0.0]),
    ):
        made = layer(cp.Problem(objective, [constraint]), [target], [x], **options)
        (found,) = made(tensor(3.0, -4.0, 0.0))
        if not np.allclose(found.detach().numpy(), right, atol=1e-2):
            lost.append(str(constraint.args[0]) + (" <= 1" if right[0] <= 1 else " >= 0"))
    return Seen(bool(lost), f"{len(lost)} of 3 constraints lost" if lost else "all 3 kept")


def _perspective(layer: Layer) -> Seen:
    """The perspective of a norm is the norm itself."""
    target, x, s = cp.Parameter(2), cp.Variable(2), cp.Variable(nonneg=True)
    near = cp.sum_squares(x - target) + (s - 1) ** 2
    points = []
    for norm in (cp.pnorm(x, 3), cp.perspective(cp.pnorm(x, 3), s)):
        try:
            made = layer(cp.Problem(cp.Minimize(norm + near)), [target], [x])
            points.append(made(tensor(2.0, 1.0))[0].detach().numpy())
        except Exception as error:
            return Seen(False, f"refused: {type(error).__name__}: {str(error).partition(':')[0]}")
    right, found = points
    words = f"x = {numbers(found)}, right {numbers(right)}"
    return Seen(not np.allclose(found, right, atol=1e-3), words)


def _statuses(solve: Callable[[str], str]) -> Seen:
    """What each kind of bad program gives: `solve` returns a word, empty for an error."""
    words = {kind: solve(kind) for kind in ("infeasible", "unbounded", "NaN", "iteration limit")}
    silent = [kind for kind, word in words.items() if word]
    return Seen(bool(silent), f"numbers without a word: {', '.join(silent)}" if silent else
                "an error for each of 4 kinds")  # fmt: skip


def _bad(kind: str) -> tuple[Any, np.ndarray, np.ndarray, dict[str, Any]]:
    """(A, b, c, options) with x <= b_0, -x <= b_1."""
    A = sp.csc_matrix(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]]))
    b, c = np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0])
    if kind == "infeasible":
        b[1] = -2.0
    if kind == "unbounded":
        c[1] = -1.0
    if kind == "NaN":
        c[0] = np.nan
    return A, b, c, {"max_iter": 1} if kind == "iteration limit" else {}


def _statuses_diffcp() -> Seen:
    import diffcp

    def solve(kind: str) -> str:
        A, b, c, options = _bad(kind)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)
            failed = outcome(lambda: diffcp.solve_and_derivative(
                A, b, c, {"l": 3}, solve_method="Clarabel", **options))  # fmt: skip
        return "" if failed or said else kind

    return _statuses(solve)


def _statuses_layer(layer: Layer) -> Seen:
    low, high, cost, x = cp.Parameter(), cp.Parameter(), cp.Parameter(2), cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cost @ x), [x[0] <= high, x[0] >= low, x[1] >= -1])

    def solve(kind: str) -> str:
        _, b, c, options = _bad(kind)
        made = layer(
            problem, [low, high, cost], [x], solver_args={"solve_method": "Clarabel"} | options
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)
            failed = outcome(lambda: made(*(torch.tensor(v) for v in (-b[1], b[0], c))))
        return "" if failed or said else kind

    return _statuses(solve)


def _closest() -> Seen:
    """QPLayer and qpth on x <= -1, -x <= -1, which nothing satisfies."""
    from proxsuite.torch.qplayer import QPFunction

    Q, p, G, low = torch.eye(1)[None].double(), tensor([1.0]), tensor([[1.0], [-1.0]]), -1e20
    none = torch.zeros((1, 0, 1)).double(), torch.zeros((1, 0)).double()
    h = tensor([-1.0, -1.0])
    x = QPFunction()(Q, p, *none, G, torch.full_like(h, low), h)[0]
    return Seen(bool(x.isfinite().all()), f"infeasible: returns {numbers(x)}")


def _closest_qpth() -> Seen:
    from qpth.qp import QPFunction

    Q, p, G, h = torch.eye(1).double(), tensor(1.0), tensor([1.0], [-1.0]), tensor(-1.0, -1.0)
    none = torch.zeros(0).double()
    x = QPFunction(verbose=-1)(Q, p, G, h, none, none)
    return Seen(bool(x.isfinite().all()), f"infeasible: returns {numbers(x)}")


def _closest_ours() -> Seen:
    x, h = cp.Variable(1), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2 + cp.sum(x)), [x <= h[0], -x <= h[1]])
    failed = outcome(lambda: mine()(problem, [h], [x])(tensor(-1.0, -1.0)))
    return Seen(not failed, failed)


def _duals(layer: Layer) -> Seen:
    """Each dual (t, X) of many cones must be in the dual cone and orthogonal to its slack."""
    wrong = []
    c, X, t = cp.Parameter((3, 2)), cp.Variable((3, 2)), cp.Variable(2)
    ball = cp.SOC(t, X, axis=0)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(c, X))), [ball, t == [1.0, 2.0]])
    cost = np.arange(1.0, 7.0).reshape(3, 2)
    lengths = np.linalg.norm(cost, axis=0)
    t_bar, _ = layer(problem, [c], list(ball.dual_variables))(torch.tensor(cost))
    if not np.allclose(np.ravel(t_bar.detach().numpy()), lengths, rtol=1e-2):
        wrong.append("second-order")
    y, b, z = cp.Variable(3), cp.Parameter(3), cp.Variable(3)
    cone = cp.ExpCone(y, np.ones(3), z)
    problem = cp.Problem(cp.Minimize(cp.sum(z)), [cone, y >= b])
    values = np.array([0.0, 1.0, -1.0])
    first = layer(problem, [b], [cone.dual_variables[0]])(torch.tensor(values))[0]
    found = np.abs(np.ravel(first.detach().numpy()))  # of z_i >= exp(y_i): exp(y_i)
    if not np.allclose(found, np.exp(values), rtol=1e-2):
        wrong.append("exponential")
    return Seen(bool(wrong), f"wrong duals of vectors of {' and '.join(wrong)} cones" if wrong else
                "right")  # fmt: skip


_status_peer, _status_ours = both(_statuses_layer)
_duals_peer, _duals_ours = both(_duals)

TRAPS = {
    "lost-constraints": Trap(
        "Constraints that stand on a variable are lost in silence (newest CVXPY and Moreau)",
        {"cvxpylayers": lambda: _dropped(theirs()),
         "cvxpylayers + Moreau": lambda: _dropped(theirs(), solver="MOREAU")},
        lambda: _dropped(mine()),
        ("canonical/test_canonical.py::test_cones_that_cvxpy_moved_elsewhere_are_refused",
         "canonical/test_witness.py::test_what_is_lost_is_noticed"),
        newest=True,
    ),
    "lost-constraints-moreau": Trap(
        "The same with Moreau as our solver (newest CVXPY and Moreau)",
        {"cvxpylayers + Moreau": lambda: _dropped(theirs(), solver="MOREAU")},
        lambda: _dropped(mine(), solver="MOREAU"),
        ("solvers/test_solvers.py::test_rows_are_solved",),
        newest=True,
    ),
    "perspective": Trap(
        "The perspective of a norm other than the 2-norm is compiled wrongly by CVXPY",
        {"cvxpylayers": lambda: _perspective(theirs())},
        lambda: _perspective(mine()),
        ("canonical/test_hidden.py::test_perspectives_that_cvxpy_compiles_wrongly_are_refused",),
    ),
    "unchecked-status": Trap(
        "Infeasible, unbounded, NaN or unfinished programs return numbers (solver Clarabel)",
        {"diffcp": _statuses_diffcp, "cvxpylayers": _status_peer},
        _status_ours,
        ("layer/test_failures.py::test_failed_samples_are_named",
         "solvers/test_solvers.py::test_infeasible_and_unbounded_programs_are_called_so",
         "campaigns/test_traps.py::test_every_bad_status_speaks"),
    ),
    "closest-feasible": Trap(
        "An infeasible quadratic program returns a point",
        {"QPLayer": _closest, "qpth": _closest_qpth},
        _closest_ours,
        ("solvers/test_solvers.py::test_infeasible_and_unbounded_quadratic_programs_are_called_so",),
    ),
    "scrambled-duals": Trap(
        "Dual variables of vectors of second-order and exponential cones are scrambled",
        {"cvxpylayers": _duals_peer},
        _duals_ours,
        ("canonical/test_canonical.py::test_variables_duals_and_objective_are_those_of_cvxpy",
         "campaigns/test_traps.py::test_duals_of_many_cones_are_in_order"),
    ),
}  # fmt: skip
