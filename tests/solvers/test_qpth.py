"""QPTH: what it refuses, and that samples which it fails at leave the others alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption, SolveFailed, SolverNotInstalled, UnsuitableSolver
from cvxlpgd.program import ConeProgram, Data
from cvxlpgd.solution import Status
from cvxlpgd.solvers import DAQP, QPTH, solve
from cvxlpgd.solvers.choose import choice
from cvxlpgd.solvers.protocol import require
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.device import SimulatedDevice
from tests.helpers.programs import dense, orthant

needs_qpth = pytest.mark.skipif(
    find_spec("qpth") is None, reason="not installed: pip install --no-deps qpth"
)
MATES = 1e-8  # how far a sample's solution may be from that without its batch mates


def programs(batch: int, n: int, equalities: int, inequalities: int, size: float) -> ConeProgram:
    """Feasible, strictly convex programs with costs of a size."""
    random = np.random.default_rng(n)
    root = random.normal(size=(batch, n, n))
    A = random.normal(size=(batch, equalities + inequalities, n))
    b = np.einsum("kij,kj->ki", A, random.normal(size=(batch, n)))
    b[:, equalities:] += random.random((batch, inequalities))
    cones = [Zero(equalities)] * (equalities > 0) + [NonNeg(inequalities)] * (inequalities > 0)
    P = root @ root.swapaxes(1, 2) + 0.1 * np.eye(n)
    return dense(size * random.normal(size=(batch, n)), A, b, tuple(cones), P)


SHAPES = [(8, 5, 0, 4), (8, 10, 3, 12), (8, 6, 3, 0), (1, 4, 1, 1), (3, 20, 5, 20)]


@needs_qpth
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_solutions_are_those_of_an_active_set(shape: tuple[int, ...], size: float) -> None:
    batch = programs(*shape, size)
    solution, exact = solve(QPTH(), batch), solve(DAQP(), batch)
    assert set(solution.status) == {Status.SOLVED}
    assert solution.residuals.largest.max() < 1e-9
    largest = np.abs(exact.point.x).max()
    np.testing.assert_allclose(solution.point.x, exact.point.x, atol=1e-7 * largest)
    y_size = np.abs(exact.point.y).max()
    np.testing.assert_allclose(solution.point.y, exact.point.y, atol=1e-5 * y_size)


@needs_qpth
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_mates_matter_within_the_accuracy_only(shape: tuple[int, ...]) -> None:
    batch = programs(*shape, 1.0)
    together = solve(QPTH(), batch)
    for i in range(shape[0]):
        alone = solve(QPTH(), batch.take(np.array([i])))
        size = np.abs(alone.point.x).max()
        np.testing.assert_allclose(together.point.x[i], alone.point.x[0], atol=MATES * size)


def spoiled(fault: str) -> ConeProgram:
    """Programs of which the second one has no solution, or none that QPTH finds."""
    batch = programs(6, 5, 2, 4, 1.0)
    P, q, A, b = (v.copy() for _, v in batch.data.items())
    rows = A.reshape(6, 5, 6)  # a view, column by column: (sample, column, row)
    if fault == "infeasible":  # two rows contradict each other
        rows[1, :, 3] = -rows[1, :, 2]
        b[1, 2:4] = -1.0
    if fault == "dependent equations":
        rows[1, :, 1] = rows[1, :, 0]
        b[1, 1] = b[1, 0]
    if fault == "not convex":
        P[1] *= -1.0
    if fault == "flat":
        P[1] = 0.0
    return ConeProgram(batch.structure, Data(P, q, A, b))


FAULTS = {
    "infeasible": (Status.INFEASIBLE, "stopped at a residual"),
    "dependent equations": (Status.FAILED, "no certificate confirms"),
    "not convex": (Status.FAILED, "not strictly convex"),
    "flat": (Status.FAILED, "not strictly convex"),
}


@needs_qpth
@pytest.mark.parametrize("fault", FAULTS)
def test_a_sample_that_fails_leaves_the_others_alone(
    fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    batch = spoiled(fault)
    solution, others = solve(QPTH(), batch), np.array([0, 2, 3, 4, 5])
    status, words = FAULTS[fault]
    assert solution.status[1] == status
    assert words in solution.messages[1]
    assert np.isnan(solution.point.x[1]).all()
    assert set(solution.status[others]) == {Status.SOLVED}
    without = solve(QPTH(), batch.take(others))
    np.testing.assert_allclose(solution.point.x[others], without.point.x, atol=MATES)
    assert capfd.readouterr() == ("", "")  # qpth prints warnings unless it is told not to


@needs_qpth
def test_programs_that_are_not_strictly_convex_fail() -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c) + cp.norm1(x)), [x >= -1])
    layer = CvxpyLayer(problem, [c], [x], solver="QPTH")
    with pytest.raises(SolveFailed, match="not strictly convex where the equations hold"):
        layer(torch.ones(2))
    linear = solve(QPTH(), orthant([[1, 0]], [[4, 1, 1]], quadratic=False))
    assert list(linear.status) == [Status.FAILED]


@needs_qpth
def test_a_layer_of_it_learns_like_others() -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == 1, x >= 0])
    values = torch.tensor([[0.3, 0.9, 0.2], [0.8, 0.5, -3.0]], dtype=torch.double)
    gradients = []
    for solver in (QPTH(), DAQP()):
        for derivative in (LPGD(), LPGD(tau=1e-4)):
            leaf = values.clone().requires_grad_()
            (x_star,) = CvxpyLayer(problem, [c], [x], solver=solver, derivative=derivative)(leaf)
            (x_star[:, 0] ** 2).sum().backward()
            gradients.append(leaf.grad)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-4, atol=1e-5)


@needs_qpth
def test_an_infeasible_sample_raises() -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [x >= c, cp.sum(x) <= 1])
    layer = CvxpyLayer(problem, [c], [x], solver=QPTH())
    with pytest.raises(SolveFailed, match=r"sample 1: infeasible"):
        layer(torch.tensor([[0.0, 0.1], [2.0, 2.0]]))


@needs_qpth
def test_threads_solve_batches_of_different_shapes() -> None:
    """qpth keeps a mask of its last batch's shape in a global of its module."""
    batches = [programs(k, 4 + k, 1, 3 + k, 1.0) for k in range(1, 7)]
    alone = [solve(QPTH(), batch).point.x for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: solve(QPTH(), batch).point.x, batches * 5))
    for k, x in enumerate(together):
        np.testing.assert_array_equal(x, alone[k % len(batches)])


@needs_qpth
def test_its_options() -> None:
    batch = programs(4, 5, 1, 4, 1.0)
    usual, rough, short = (solve(QPTH(**given), batch).residuals.largest.max()
                           for given in ({}, {"eps": 1e-4}, {"maxIter": 5}))  # fmt: skip
    assert usual < 1e-9 < rough
    assert usual < 1e-9 < short
    assert QPTH(eps=1e-4).accuracy == 1e-4


def test_options_that_it_does_not_have() -> None:
    with pytest.raises(InvalidOption, match="no time limit"):
        QPTH(time_limit=1.0)
    with pytest.raises(InvalidOption, match="maxIter"):
        QPTH(max_iter=10)


def test_without_qpth_its_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its dependencies, taken at their word, would bring an old NumPy."""
    monkeypatch.setattr("cvxlpgd.solvers.protocol.is_installed", lambda solver: False)
    with pytest.raises(SolverNotInstalled, match="pip install --no-deps qpth, or"):
        require(QPTH(), programs(1, 3, 1, 1, 1.0).structure)


def test_it_is_asked_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule names it, and where no solver of a rule serves it is not among the others."""
    assert [name for name, row in SOLVERS.items() if row.on_demand] == ["QPTH", "GUROBI"]
    structure = programs(1, 3, 1, 1, 1.0).structure
    monkeypatch.setattr(choice, "is_installed", lambda solver: solver.name == "QPTH")
    with pytest.raises(UnsuitableSolver, match="no installed solver"):
        choice.choose_solver(None, structure, {})
    monkeypatch.setattr("cvxlpgd.solvers.protocol.is_installed", lambda solver: True)
    assert choice.choose_solver("qpth", structure, {}) == QPTH()


@needs_qpth
def test_it_works_where_its_tensors_are() -> None:
    """On a simulated device: its own decisions take numbers to the CPU, but nothing of a batch."""
    x, S, c = cp.Variable(3), cp.Parameter((3, 3), PSD=True), cp.Parameter(3)
    objective = cp.Minimize(cp.quad_form(x, S) + c @ x)
    problem = cp.Problem(objective, [cp.sum(x) == 1, x >= 0])
    random = np.random.default_rng(0)
    root = random.normal(size=(4, 3, 3))
    values = [root @ root.swapaxes(1, 2) + np.eye(3), random.normal(size=(4, 3))]
    outcomes = []
    with SimulatedDevice() as device:
        for put in (lambda v: v.requires_grad_(), device.put):
            layer = CvxpyLayer(problem, [S, c], [x], solver=QPTH(), derivative=LPGD(tau=1e-3))
            layer(*(put(torch.tensor(v)) for v in values))  # CVXPY is asked for one sample
            device.fetched.clear()
            tensors = [put(torch.tensor(v)) for v in values]
            (x_star,) = layer(*tensors)
            (x_star**3).sum().backward()
            assert {len(shape) for shape in device.fetched} <= {0, 1}, device.fetched
            outcomes.append([x_star.detach(), *(v.grad for v in tensors)])
    for there, on_cpu in zip(outcomes[1], outcomes[0], strict=True):
        assert torch.equal(there.held, on_cpu)
