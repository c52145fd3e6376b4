"""Perturbed quadratic programs that the path solves: right, or left to the solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.derivatives import perturbation, resolves
from cvxlpgd.derivatives.resolves import Perturbed, follow_path
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram, Point, Solution
from cvxlpgd.solvers import DAQP
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense

BATCH, N, ROWS = 6, 8, 5


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def program(units: float = 1.0, own: bool = False, weak: bool = False) -> ConeProgram:
    """½x'Px + q'x, Gx <= h, 1'x = 1, -x <= 100; rows in units of their own, matrices if `own`.

    If `weak`, the first inequality holds with equality at x*, and its dual variable is 0.
    """
    random, count = generator(), BATCH if own else 1
    root = random.standard_normal((count, N, N)) / N**0.5
    P = root @ root.swapaxes(1, 2) + 0.5 * np.eye(N)
    G = random.standard_normal((count, ROWS, N))
    ones, bounds = np.ones((count, 1, N)), np.broadcast_to(-np.eye(N), (count, N, N))
    A = np.concatenate([ones, G, bounds], axis=1)
    b = np.concatenate([np.ones(1), random.uniform(0.1, 0.6, ROWS), np.full(N, 100.0)])
    b = np.broadcast_to(b, (BATCH, len(b))).copy()
    q = 3 * random.standard_normal((BATCH, N))
    heights = units ** random.uniform(-1, 1, A.shape[1])
    cones = (Zero(1), NonNeg(ROWS + N))
    if weak:
        without = dense(q, A[:, [0, *range(2, A.shape[1])]], b[:, [0, *range(2, b.shape[1])]],
                        (Zero(1), NonNeg(ROWS + N - 1)), P)  # fmt: skip
        x = solve(DAQP(), without).point.x
        b[:, 1] = np.einsum("kj,kj->k", np.broadcast_to(A[:, 1], x.shape), x)
    return dense(q, A * heights[:, None], b * heights, cones, P)


def cotangent(of: ConeProgram) -> Point:
    random = generator()
    x, y = (random.standard_normal((BATCH, k)) for k in (of.structure.n, of.structure.m))
    y[:, 1:] = 0.0
    y[:, 0] *= np.abs(of.data.A[0]).reshape(of.structure.n, -1)[0, 0]  # in the row's own unit
    return Point(x, y, np.zeros_like(y))


def both_ends(of: ConeProgram, tau: float) -> tuple[Perturbed, Solution, Solution]:
    """The perturbed programs, the path's solutions and DAQP's."""
    t = np.repeat([tau, -tau], BATCH)
    perturbed = Perturbed(of, cotangent(of), t)
    return (
        perturbed,
        follow_path(perturbed, solve(DAQP(), of).point),
        solve(DAQP(), perturbed.programs()),
    )


PROGRAMS: dict[str, Callable[[], ConeProgram]] = {
    "shared": program,
    "own matrices": lambda: program(own=True),
    "units": lambda: program(units=1e6),
    "weakly active": lambda: program(weak=True),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("tau", [1e-6, 1e-2, 1.0])
def test_what_the_path_solves_is_solved(name: str, tau: float) -> None:
    """To rounding, whatever rows become active or inactive on the way."""
    perturbed, path, expected = both_ends(PROGRAMS[name](), tau)
    ok = path.ok
    programs = perturbed.programs()
    residuals, terms = programs.measure(path.point)
    assert (residuals.largest[ok] < 1e-12).all()
    assert (programs.own_residual(path.point, terms)[ok] < 1e-10).all()
    assert expected.ok.all()
    for k in ("x", "s"):
        np.testing.assert_allclose(
            getattr(path.point, k)[ok], getattr(expected.point, k)[ok], rtol=1e-8, atol=1e-8
        )
    if tau == 1e-6:
        wanted = BATCH if name == "weakly active" else 2 * BATCH  # the row leaves at one end
        assert ok.sum() >= wanted


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("steps", [0, 3])
def test_newton_steps_go_on_where_rows_change(steps: int, own: bool, monkeypatch) -> None:
    """Without steps these ends are left to the solver."""
    monkeypatch.setattr(resolves, "STEPS", steps)
    _, path, expected = both_ends(program(own=own), 1.0)
    assert path.ok.all() == (steps > 0)
    if steps:
        assert path.iterations.max() > 0
        np.testing.assert_allclose(path.point.x, expected.point.x, atol=1e-9)
        np.testing.assert_allclose(path.point.y, expected.point.y, atol=1e-9)


def test_a_solution_that_is_not_quite_one_is_improved_first() -> None:
    of = program()
    t, z = np.repeat([1e-3, -1e-3], BATCH), solve(DAQP(), of).point
    noise = 1e-9 * generator().standard_normal(z.x.shape)
    perturbed = Perturbed(of, cotangent(of), t)
    exact, path = follow_path(perturbed, z), follow_path(perturbed, Point(z.x + noise, z.y, z.s))
    assert (exact.ok & path.ok).all()
    np.testing.assert_allclose(path.point.x, exact.point.x, atol=1e-14)
    far = follow_path(perturbed, Point(z.x + 1e6 * noise, z.y, z.s))
    assert not far.ok.any()


def test_rows_that_others_imply_are_in_nobodys_way() -> None:
    """x_0 + x_1 = 1 and <= 1: the second is always weakly active."""
    A = np.array([[[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]])
    b = np.broadcast_to([[1.0, 1.0, 3.0]], (BATCH, 3))
    of = dense(generator().standard_normal((BATCH, 2)), A, b, (Zero(1), NonNeg(2)), np.eye(2)[None])
    x_bar = generator().standard_normal((BATCH, 2))
    nothing = np.zeros((BATCH, 3))
    perturbed = Perturbed(of, Point(x_bar, nothing, nothing), np.repeat([1e-3, -1e-3], BATCH))
    path = follow_path(perturbed, solve(DAQP(), of).point)
    assert path.ok.all()
    assert (perturbed.programs().residuals(path.point).largest < 1e-14).all()


def test_a_small_variable_beside_a_large_one_has_its_own_sign() -> None:
    """x_1(t) = max(1e-6 - t, 0), beside x_0 = 1e6."""
    nothing, q = np.zeros((1, 1)), np.array([[-1e6, -1e-6]])
    of = dense(q, np.array([[[0.0, -1.0]]]), nothing, (NonNeg(1),), np.eye(2)[None])
    z = Point(-q, nothing, -q[:, 1:])
    perturbed = Perturbed(of, Point(np.array([[0.0, 1.0]]), nothing, nothing), np.array([2e-6]))
    path = follow_path(perturbed, z)
    assert path.ok.all()
    assert path.iterations == 1
    np.testing.assert_allclose(path.point.x, [[1e6, 0.0]], atol=1e-20)
    np.testing.assert_allclose(path.point.y, [[1e-6]], rtol=1e-9)


def test_what_has_no_solution_is_not_solved() -> None:
    """Infeasible rows, costs without a lower bound."""
    none = np.zeros((1, 0))
    A = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    twice = dense(np.zeros((1, 2)), A, np.zeros((1, 2)), (Zero(2),), np.eye(2)[None])
    flat = dense(np.zeros((1, 2)), np.zeros((1, 0, 2)), none, (), np.diag([1.0, 0.0])[None])
    rows = Point(np.zeros((1, 2)), np.array([[1.0, -1.0]]), np.zeros((1, 2)))
    costs = Point(np.array([[0.0, 1.0]]), none, none)
    for of, z_bar in ((twice, rows), (flat, costs)):
        zero = Point(np.zeros((1, 2)), z_bar.y * 0.0, z_bar.y * 0.0)
        assert not follow_path(Perturbed(of, z_bar, np.array([1e-3, -1e-3])), zero).ok.any()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sample_is_solved_alone_as_among_others(name: str, monkeypatch) -> None:
    """Bit by bit, and in pieces of the batch; also where others need Newton steps."""
    of = PROGRAMS[name]()
    z, z_bar = solve(DAQP(), of).point, cotangent(of)

    def follow(samples: np.ndarray) -> Solution:
        t = np.concatenate([np.full(len(samples), 1e-2), np.full(len(samples), -1e-2)])
        return follow_path(Perturbed(of.take(samples), z_bar.pick(samples), t), z.pick(samples))

    whole = follow(np.arange(BATCH))
    monkeypatch.setattr(resolves, "NUMBERS", 1)
    for i in range(BATCH):
        alone = follow(np.array([i]))
        for k in ("x", "y", "s"):
            np.testing.assert_array_equal(
                getattr(alone.point, k), getattr(whole.point, k)[[i, BATCH + i]]
            )
    pieces = follow(np.arange(BATCH))
    np.testing.assert_array_equal(pieces.point.y, whole.point.y)


@dataclass(frozen=True)
class Case:
    """A problem, its values and cotangents, and tau."""

    make: Callable[[], tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]]
    values: Callable[[np.random.Generator], list[np.ndarray]]
    tau: float = 1e-3
    rho: float = 0.0


def _projection() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    x, S, q, h = cp.Variable(4), cp.Parameter((4, 4)), cp.Parameter(4), cp.Parameter(3)
    rows = [np.ones((3, 4)) @ x <= h, cp.sum(x) == 1, x >= -50]  # the same row three times
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(S @ x) + q @ x), rows)
    return problem, [S, q, h], [x]


def _lasso() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """Its P is singular: of |x| no column has curvature, and fewer rows than columns fit x."""
    x, A, b = cp.Variable(4), cp.Parameter((3, 4)), cp.Parameter(3)
    objective = cp.sum_squares(A @ x - b) + 0.1 * cp.norm1(x)
    return cp.Problem(cp.Minimize(objective), [x <= 5]), [A, b], [x]


def _halfway() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """Unbounded where a cost turns negative."""
    x, y, cost, a = cp.Variable(), cp.Variable(nonneg=True), cp.Parameter(), cp.Parameter()
    return cp.Problem(cp.Minimize(cp.square(x - a) + cost * y)), [cost, a], [x, y]


CASES = {
    "duplicate rows": Case(
        _projection,
        lambda r: [np.eye(4) + 0.2 * r.standard_normal((4, 4)), r.standard_normal((5, 4)),
                   np.array([1.0, 1.0, 2.0])],
    ),
    "semidefinite": Case(
        _lasso, lambda r: [r.standard_normal((5, 3, 4)), r.standard_normal((5, 3))], tau=1e-4
    ),
    "proximal": Case(
        _lasso, lambda r: [r.standard_normal((5, 3, 4)), r.standard_normal((5, 3))], 1e-4, 0.1
    ),
    "unbounded on one side": Case(
        _halfway, lambda r: [np.array([0.5, 0.05, 0.002]), np.ones(3)], tau=0.1
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.FailedSampleWarning")
@pytest.mark.parametrize("side", ["average", "lower", "upper"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_solvers_ends(name: str, side: str, monkeypatch) -> None:
    """And what is said of the samples: where they failed, how often they were tried anew."""
    case = CASES[name]
    values, infos, gradients = case.values(generator()), [], []
    for by_path in (True, False):
        if not by_path:
            monkeypatch.setattr(perturbation, "serves", lambda structure: False)
        derivative = LPGD(tau=case.tau, rho=case.rho, side=side)
        layer = CvxpyLayer(*case.make(), derivative=derivative, on_failure="nan")
        outputs, pull_back = layer.vjp(*values)
        bars = [generator().standard_normal(v.shape) for v in outputs]
        gradients.append(pull_back(*bars))
        infos.append(layer.info)
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    for field in ("status", "side", "tau", "retries", "differentiated"):
        np.testing.assert_array_equal(*(getattr(info, field) for info in infos))


def test_no_call_changes_what_another_gave() -> None:
    """Two layers in turn, batches and matrices that change, gradients asked for late and twice."""

    def layer() -> CvxpyLayer:
        return CvxpyLayer(*_projection(), derivative=LPGD(tau=1e-3))

    random = generator()
    inputs = [
        [np.eye(4) + 0.2 * random.standard_normal((4, 4)), random.standard_normal((size, 4)),
         np.array([1.0, 1.5, 2.0])]
        for size in (3, 1, 5, 3)
    ]  # fmt: skip
    expected = []
    for values in inputs:
        outputs, pull_back = layer().vjp(*values)
        expected.append(pull_back(*(v * 1.0 for v in outputs)))
    layers, calls = (layer(), layer()), []
    for k, values in enumerate(inputs):
        calls.append(layers[k % 2].vjp(*values))
    for k in (2, 0, 3, 1, 2):
        outputs, pull_back = calls[k]
        for one, other in zip(pull_back(*(v * 1.0 for v in outputs)), expected[k], strict=True):
            np.testing.assert_array_equal(one, other)


def test_no_solver_is_asked_along_a_straight_path() -> None:
    layer = CvxpyLayer(*_projection(), derivative=LPGD(tau=1e-6))
    values = CASES["duplicate rows"].values(generator())
    values[2] = np.array([1.1, 1.5, 2.0])  # the sum is 1: no row is active
    outputs, pull_back = layer.vjp(*values)
    pull_back(*outputs)
    assert (layer.info.resolve_iterations == 0).all()
