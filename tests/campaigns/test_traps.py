"""The traps that other layers fell into: ours does not, and a test of ours holds each."""

from __future__ import annotations

import ast
import sys
import threading
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
import torch

from campaigns.traps import __main__ as traps
from campaigns.traps.report import listing, written
from campaigns.traps.trap import Seen, Trap
from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import InaccurateSolutionWarning, SolveFailed
from cvxlpgd.numpy import CvxpyLayer as NumpyLayer
from cvxlpgd.solvers import DAQP, ECOS, PIQP, SCS, Clarabel, HiGHS
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors

TESTS = Path(__file__).parent.parent
WITHOUT = {"lost-constraints-moreau": "moreau"}  # the module that ours needs there


def defined(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", traps.TRAPS)
def test_each_is_held_by_tests_that_exist(name):
    trap = traps.TRAPS[name]
    assert trap.tests
    assert trap.peers
    for test in trap.tests:
        file, _, function = test.partition("::")
        assert function in defined(file), test


@pytest.mark.parametrize("name", traps.TRAPS)
def test_ours_does_not_fall_in(name):
    module = WITHOUT.get(name)
    if module is not None and find_spec(module) is None:
        pytest.skip(f"{name} needs {module}, which is not installed")
    seen = traps._sprung(name, traps.OURS)
    assert seen["fell"] is False, seen["what"]


def test_what_happens_in_another_process_is_a_result(tmp_path):
    """A crash, a hang and an exit are results of a trap, and not the end of the run."""

    def apart(script: str) -> dict:
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o700)
        return traps._apart(str(file), "dtypes", "cvxpylayers", 0.5)

    assert apart("kill -SEGV $$") == {"fell": True, "what": "the process dies of signal 11"}
    assert apart("exec sleep 30") == {"fell": True, "what": "no answer within 0.5 s"}
    assert apart("echo gone >&2; exit 3") == {"fell": True, "what": "the process ends: gone"}
    assert apart("echo noise; echo '{\"fell\": false}'") == {"fell": False}


def test_a_peer_that_raises_fell_in_and_one_that_is_missing_was_not_tried(monkeypatch):
    def raises() -> Seen:
        raise TypeError("no")

    def missing() -> Seen:
        raise ImportError("nothing of that name")

    trap = Trap("a title", {"one": raises, "two": missing}, lambda: Seen(False, "fine"), ("t",))
    monkeypatch.setitem(traps.TRAPS, "dtypes", trap)
    row = {"title": "a title", "tests": ["t"]}
    row["seen"] = {who: traps._sprung("dtypes", who) for who in ("one", "two", traps.OURS)}
    assert [seen["fell"] for seen in row["seen"].values()] == [True, None, False]
    text = listing([row])
    assert all(part in text for part in ("falls in: TypeError: no", "not tried", "fine"))
    page = written("a\n<!-- traps -->\nold\n<!-- /traps -->\nb\n", "traps", text)
    assert page == f"a\n<!-- traps -->\n\n{text}\n\n<!-- /traps -->\nb\n"
    with pytest.raises(ValueError, match="no block"):
        written("a page", "traps", text)


def test_the_command_fails_where_ours_falls_in(monkeypatch, tmp_path, capsys):
    fallen = {traps.OURS: {"fell": True, "what": "a wrong number"}}
    row = {"name": "dtypes", "title": "t", "seen": fallen, "tests": ["t"]}
    monkeypatch.setattr(traps, "_all", lambda *_: [row])
    monkeypatch.setattr(sys, "argv", ["traps", "dtypes", "--json", str(tmp_path / "found.json")])
    assert traps.main() == 1
    assert "**falls in**: a wrong number" in capsys.readouterr().out
    assert "a wrong number" in (tmp_path / "found.json").read_text()


LOW, HIGH, COST, X = cp.Parameter(), cp.Parameter(), cp.Parameter(2), cp.Variable(2)
REGION = [X[0] <= HIGH, X[0] >= LOW, X[1] >= -1, X[0] + X[1] >= -1.5]
LINEAR = cp.Problem(cp.Minimize(COST @ X), REGION)
SQUARE = cp.Problem(cp.Minimize(cp.sum_squares(X) + COST @ X), REGION)
FAR = cp.Problem(cp.Minimize(cp.norm(X - 3) + COST @ X), REGION)
UNFINISHED = [
    (LINEAR, Clarabel(max_iter=1)), (LINEAR, SCS(max_iters=1)), (FAR, ECOS(max_iters=1)),
    (SQUARE, DAQP(iter_limit=1)), (SQUARE, PIQP(max_iter=1)), (SQUARE, SCS(max_iters=1)),
    (LINEAR, HiGHS(simplex_iteration_limit=0, presolve="off")),
]  # fmt: skip


@pytest.mark.parametrize("solver", [Clarabel(), SCS(), ECOS(), HiGHS(), None], ids=repr)
@pytest.mark.parametrize(
    ("values", "word"),
    [((2.0, 1.0, [1.0, 1.0]), "infeasible"), ((-1.0, 1.0, [1.0, -1.0]), "unbounded"),
     ((-1.0, 1.0, [np.nan, 1.0]), "NaN")],
)  # fmt: skip
def test_every_bad_status_speaks(solver, values, word):
    with pytest.raises((SolveFailed, ValueError), match=word):
        NumpyLayer(LINEAR, [LOW, HIGH, COST], [X], solver=solver)(*map(np.array, values))


@pytest.mark.parametrize(("problem", "solver"), UNFINISHED, ids=lambda v: getattr(v, "name", ""))
def test_a_solve_that_does_not_finish_speaks(problem, solver):
    """Stopped by its iteration limit: an error, or a warning beside the point."""
    layer = NumpyLayer(problem, [LOW, HIGH, COST], [X], solver=solver)
    with pytest.raises((SolveFailed, InaccurateSolutionWarning)):
        layer(np.array(-1.0), np.array(1.0), np.array([1.0, 0.3]))


def test_duals_of_many_cones_are_in_order():
    """Both kinds of cones, as vectors, against their closed forms; and their gradients."""
    c, V, t = cp.Parameter((3, 2)), cp.Variable((3, 2)), cp.Variable(2)
    ball = cp.SOC(t, V, axis=0)
    cost = cp.Minimize(cp.sum(cp.multiply(c, V)))
    layer = NumpyLayer(cp.Problem(cost, [ball, t == [1.0, 2.0]]), [c], list(ball.dual_variables))
    value = np.arange(1.0, 7.0).reshape(3, 2)
    lengths = np.linalg.norm(value, axis=0)
    (length, direction), pullback = layer.vjp(value)
    np.testing.assert_allclose(length, lengths, rtol=1e-6)
    np.testing.assert_allclose(np.abs(direction.reshape(3, 2)), value, rtol=1e-6)
    (c_bar,) = pullback(np.ones(2), np.zeros(direction.shape))
    np.testing.assert_allclose(c_bar, value / lengths, rtol=1e-3)  # of the length

    y, z, b = cp.Variable(3), cp.Variable(3), cp.Parameter(3)
    cone = cp.ExpCone(y, np.ones(3), z)  # exp(y) <= z
    problem = cp.Problem(cp.Minimize(cp.sum(z)), [cone, y >= b])
    value = np.array([0.0, 1.0, -1.0])
    (first,) = NumpyLayer(problem, [b], [cone.dual_variables[0]])(value)
    np.testing.assert_allclose(np.abs(first), np.exp(value), rtol=1e-5)


def test_the_gradient_through_power_cones_is_that_of_the_formula():
    """The weighted geometric mean is largest at x = w b / c."""
    w, x = np.array([0.2, 0.3, 0.5]), cp.Variable(3)
    c, b = cp.Parameter(3), cp.Parameter()
    mean = cp.geo_mean(x, w.tolist(), approx=False)
    layer = NumpyLayer(cp.Problem(cp.Maximize(mean), [c @ x <= b]), [c, b], [x])
    price, budget, bar = np.array([1.0, 2.0, 1.5]), np.array(3.0), np.array([1.0, -1.0, 0.5])
    (found,), pullback = layer.vjp(price, budget)
    np.testing.assert_allclose(found, w * budget / price, rtol=1e-6)
    c_bar, b_bar = pullback(bar)
    np.testing.assert_allclose(c_bar, -bar * w * budget / price**2, rtol=1e-3)
    np.testing.assert_allclose(b_bar, bar @ (w / price), rtol=1e-3)


@pytest.mark.parametrize("mode", ["lsqr", "lsmr", "dense", "lpgd"])
def test_the_exact_derivative_stands_wide_scales(mode):
    """Five decades of curvature: x = -q / s inside the box, and so is its derivative."""
    rng, n = np.random.default_rng(0), 40
    scale = np.logspace(-3, 2, n)
    value, bar = rng.normal(size=n) * scale, rng.normal(size=n)
    q, x = cp.Parameter(n), cp.Variable(n)
    cost = cp.sum_squares(cp.multiply(np.sqrt(scale), x)) / 2 + q @ x
    problem = cp.Problem(cp.Minimize(cost), [x >= -1, x <= 1])
    derivative = LPGD() if mode == "lpgd" else Implicit(mode)
    _, pullback = NumpyLayer(problem, [q], [x], derivative=derivative).vjp(value)
    right = np.where(np.abs(value) < scale, -bar / scale, 0.0)
    np.testing.assert_allclose(pullback(bar)[0], right, atol=1e-6 * np.abs(right).max())


@pytest.mark.parametrize("mode", ["lsqr", "lsmr", "dense", "lpgd", "lpgd_left", "lpgd_right"])
def test_every_spelling_of_a_derivative_runs_without_gradients(mode):
    settings = {"derivative_kwargs": {"tau": 0.1, "rho": 0.1}} if mode.startswith("lpgd") else {}
    layer = layer_of("scalars", solver_args={"mode": mode, **settings})
    values = tensors("scalars", 2, grad=True)
    expected = [output.detach() for output in layer(*values)]
    with torch.no_grad():
        assert same(layer(*values), expected)
    with torch.inference_mode():
        assert same(layer(*values), expected)


def test_threads_with_other_batch_shapes_do_not_collide():
    layer, values = layer_of("scalars"), tensors("scalars", 4)
    jobs = [[v[0] for v in values], [v[:3] for v in values], [v.reshape(2, 2) for v in values]]
    expected = [([o.detach() for o in layer(*job)], gradients(layer, job)) for job in jobs]
    wrong, start = [], threading.Barrier(len(jobs))

    def work(job, right):
        start.wait()
        for _ in range(20):
            leaves = copies(job)
            outputs = layer(*leaves)
            loss(outputs).backward()
            if not same(outputs, right[0]) or not same([v.grad for v in leaves], right[1]):
                wrong.append(job)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(jobs, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@dataclass(frozen=True)
class Recording:
    """SCS, with its options seen by each solve."""

    seen: list
    options: dict = field(default_factory=dict)
    name = "RECORDING"
    requires, cones, quadratic, integer = SCS.requires, SCS.cones, SCS.quadratic, SCS.integer
    arrays, accuracy = SCS.arrays, 1e-8

    def with_options(self, options):
        return Recording(self.seen, self.options | dict(options))

    def solve(self, program, start=None):
        self.seen.append(self.options)
        return SCS().solve(program, start)


def test_a_solver_of_the_callers_gets_every_option():
    """The constructor's and the call's, the call's on top, in both passes."""
    solver = Recording([])
    given = {"one": 1, "two": 2}
    layer = layer_of(
        "second_order_cone", solver=solver, solver_args=given, derivative=LPGD(tau=0.1)
    )
    assert isinstance(layer, CvxpyLayer)
    outputs = layer(*tensors("second_order_cone", 2, grad=True), solver_args={"two": 3})
    loss(outputs).backward()
    assert len(solver.seen) >= 2
    assert all(options == {"one": 1, "two": 3} for options in solver.seen)
