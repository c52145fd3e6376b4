"""Quadratic programs solved by Newton's method on their duals: or left to the solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD
from cvxlpgd.analysis.tuning import explanation
from cvxlpgd.canonical import canonicalize
from cvxlpgd.errors import InvalidOption
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.program.factors.separable import Separable, Separation
from cvxlpgd.program.kkt import Systems
from cvxlpgd.program.pairs import Pairs, weights
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import DAQP, Clarabel
from cvxlpgd.solvers import dual_newton as module
from cvxlpgd.solvers.dual_newton import DualNewton
from cvxlpgd.solvers.run.ladder import Around
from cvxlpgd.solvers.run.solve import solve

BATCH, N = 6, 20


@dataclass(frozen=True)
class Counting(Around):
    """A solver that remembers how many samples it was asked for."""

    solver: Clarabel = field(default_factory=lambda: Clarabel(eps=1e-12))
    asked: list[int] = field(default_factory=list, compare=False)

    def with_options(self, options: Any) -> Counting:
        return Counting(self.solver.with_options(options), self.asked)

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        self.asked.append(program.batch)
        return self.solver.solve(program, start)


def portfolio(unit: float, own: bool, **settings: Any) -> tuple[CvxpyLayer, list[np.ndarray]]:
    """Weights within bounds, factors and single risks, groups with a limit; data in a unit."""
    n, random = N, np.random.default_rng(0)
    w, f = cp.Variable(n), cp.Variable(3)
    mu, d, F = cp.Parameter(n), cp.Parameter(n, nonneg=True), random.standard_normal((n, 3))
    groups = (random.random((2, n)) < 0.4).astype(float)
    risk = cp.sum_squares(f) + cp.sum_squares(cp.multiply(d, w))
    rows = [f == F.T @ w, cp.sum(w) == 1, w >= 0, w <= 0.4, groups @ w <= 0.5]
    problem = cp.Problem(cp.Minimize(unit * 0.5 * risk - unit * mu @ w), rows)
    layer = CvxpyLayer(problem, [mu, d], [w, f], **settings)
    risks = random.uniform(0.3, 1.0, (BATCH, n) if own else n)
    return layer, [random.standard_normal((BATCH, n)), risks]


def program_of(layer: CvxpyLayer, values: list[np.ndarray]) -> ConeProgram:
    compiled, batch = layer._layer._compiled, len(values[0])
    return compiled.program(compiled.flat([np.atleast_2d(v) for v in values]), batch)[0]


CASES = [(unit, own) for unit in (1e-6, 1.0, 1e6) for own in (False, True)]


@pytest.mark.parametrize(("unit", "own"), CASES)
def test_they_are_solved_without_the_solver(unit: float, own: bool) -> None:
    program, solver = program_of(*portfolio(unit, own)), Counting()
    assert Separation.of(program.structure).holds
    solution, truth = solve(DualNewton(solver), program), solve(DAQP(), program)
    assert not solver.asked
    assert (solution.status == Status.SOLVED).all()
    assert solution.residuals is not None
    assert solution.residuals.largest.max() < 1e-13
    np.testing.assert_allclose(solution.point.x, truth.point.x, rtol=1e-8, atol=1e-10)
    assert ((solution.point.y == 0) | (solution.point.s == 0)).all()
    free = solution.point.y[:, program.structure.inequalities] == 0
    assert 0 < free.sum() < free.size


@pytest.mark.parametrize("own", [False, True])
def test_a_sample_does_not_depend_on_its_batch(own: bool, monkeypatch) -> None:
    program, solver = program_of(*portfolio(1.0, own)), DualNewton(Counting())
    whole = solve(solver, program).point
    monkeypatch.setattr(module, "TOGETHER", 2 * (program.structure.n + program.structure.m))
    pieces = solve(solver, program).point
    for i in range(BATCH):
        alone = solve(solver, program.take(np.array([i]))).point
        for name, v in whole.items():
            assert np.array_equal(getattr(alone, name)[0], v[i])
            assert np.array_equal(getattr(pieces, name)[i], v[i])


def test_a_start_needs_one_step_at_most() -> None:
    program, solver = program_of(*portfolio(1.0, True)), DualNewton(Counting())
    first = solve(solver, program)
    again = solve(solver, program, first)
    assert (first.iterations > 1).all()
    assert (again.iterations <= 1).all()
    np.testing.assert_allclose(again.point.x, first.point.x, rtol=1e-13, atol=1e-15)


def test_what_does_not_converge_is_left_to_the_solver(monkeypatch) -> None:
    program, solver = program_of(*portfolio(1.0, False)), Counting()
    needed = solve(DualNewton(solver), program).iterations
    monkeypatch.setattr(module, "STEPS", int(needed.min()))
    assert needed.min() < needed.max()
    solution = solve(DualNewton(solver), program)
    assert solver.asked == [int((needed > needed.min()).sum())]
    assert (solution.status == Status.SOLVED).all()


def test_what_has_no_solution_is_left_to_the_solver_alone() -> None:
    x, q, low, high = cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter(3)
    rows = [x >= low, x <= high, cp.sum(x) == 1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + q @ x), rows)
    layer = CvxpyLayer(problem, [q, low, high], [x])
    q_value = np.random.default_rng(0).standard_normal((4, 3))
    lows, highs = np.zeros((4, 3)), np.ones((4, 3))
    highs[1] = 0.1  # nowhere a sum of 1
    lows[2, 0] = highs[2, 0] = 0.5  # both bounds are active
    lows[3], highs[3] = 1 / 3, 1.0  # all lower bounds are, and so the sum is too
    program, solver = program_of(layer, [q_value, lows, highs]), Counting()
    solution = solve(DualNewton(solver), program)
    assert list(solution.status == Status.SOLVED) == [True, False, True, True]
    assert solution.status[1] == Status.INFEASIBLE
    assert solver.asked == [1]
    np.testing.assert_allclose(solution.point.x[3], 1 / 3, atol=1e-8)


def test_bounds_that_hold_with_equality_but_do_not_push() -> None:
    """x = 0 is the solution with and without its bound: no row is to change for ever."""
    x, q = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - 0.5) + q @ x), [x >= 0, x[0] <= 0.2])
    layer = CvxpyLayer(problem, [q], [x])
    q_value = np.array([[1.0, 1.0, 0.0, 2.0], [0.6, 1.0 + 1e-16, 1.0, 1.0]])
    program, solver = program_of(layer, [q_value]), Counting()
    solve(DualNewton(solver), program)
    assert not solver.asked
    x_value = layer(q_value)[0]
    np.testing.assert_allclose(x_value, [[0, 0, 0.5, 0], [0.2, 0, 0, 0]], atol=1e-14)


def test_another_p_is_left_to_the_solver() -> None:
    x, q = cp.Variable(3), cp.Parameter(3)
    P = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) + q @ x), [x >= 0])
    layer, solver = CvxpyLayer(problem, [q], [x]), Counting()
    program = program_of(layer, [np.ones((2, 3))])
    assert not Separation.of(program.structure).holds
    solution = solve(DualNewton(solver), program)
    assert solver.asked == [2]
    np.testing.assert_allclose(solution.point.x.min(axis=1), 0.0, atol=1e-6)


def test_a_curvature_of_zero_does_no_harm() -> None:
    """d = 0 leaves a weight without a risk of its own, at a bound or between."""
    layer, (mu, d) = portfolio(1.0, False)
    d[0], mu[:3, 0] = 0.0, 1.0
    program, solver = program_of(layer, [mu, d]), Counting()
    solution, truth = solve(DualNewton(solver), program), solve(solver.solver, program)
    w = truth.point.x[:, Separation.of(program.structure).e.kept[3]]
    assert 0 < ((w > 1e-3) & (w < 0.4 - 1e-3)).sum() < BATCH
    assert (solution.status == Status.SOLVED).all()
    np.testing.assert_allclose(solution.point.x, truth.point.x, atol=1e-4)


def test_integers_are_the_solvers() -> None:
    x, q = cp.Variable(3, integer=True), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + q @ x), [x >= -1, x <= 2])
    assert not Separation.of(canonicalize(problem, [q], [x]).structure).holds


@pytest.mark.parametrize(("assets", "ahead"), [(20, False), (100, True)])
def test_the_default_asks_it_first_where_that_pays(assets: int, ahead: bool) -> None:
    w, mu = cp.Variable(assets), cp.Parameter(assets)
    risk = cp.Minimize(cp.sum_squares(w) - mu @ w)
    layer = CvxpyLayer(cp.Problem(risk, [cp.sum(w) == 1, w >= 0]), [mu], [w])
    first = layer._layer.solver.solvers[0]
    assert isinstance(first, DualNewton) == ahead
    assert ("on the dual first" in explanation(layer._layer)) == ahead
    mus = np.random.default_rng(0).standard_normal((3, assets))
    assert (layer(mus)[0].min(axis=1) == 0).all() or not ahead
    np.testing.assert_allclose(layer(mus)[0].sum(axis=1), 1.0)


def test_options_that_say_how_to_work_are_obeyed() -> None:
    solver = DualNewton(Clarabel())
    assert isinstance(solver.with_options({"eps": 1e-9}), DualNewton)
    assert solver.with_options({"max_iter": 3}) == Clarabel(max_iter=3)
    with pytest.raises(InvalidOption, match="must be a solver"):
        DualNewton("CLARABEL")


@pytest.mark.parametrize("own", [False, True])
def test_systems_are_solved(own: bool) -> None:
    """Separable factors solve what they are the factors of."""
    program = program_of(*portfolio(1.0, own))
    z = solve(DualNewton(Clarabel()), program).point
    with np.errstate(all="ignore"):
        systems = Systems(program, Pairs.of(program.structure, z, weights(program, z)))
        assert isinstance(systems.factors, Separable)
        random, n = np.random.default_rng(0), program.structure.n
        both = random.standard_normal((BATCH, 3, n + program.structure.m)) * systems.scale
        both[..., n:] *= systems.held[:, None]
        right = systems.matrices.product(both)
        np.testing.assert_allclose(
            systems.factors.apply(right) / systems.scale, both / systems.scale, atol=1e-10
        )


@pytest.mark.parametrize("derivative", [LPGD(), LPGD(tau=1e-4)], ids=["limit", "differences"])
def test_gradients_are_those_of_another_solver(derivative: LPGD) -> None:
    own, values = portfolio(1.0, True, derivative=derivative)
    other, _ = portfolio(1.0, True, derivative=derivative, solver="CLARABEL")
    random = np.random.default_rng(3)
    bars = [random.standard_normal((BATCH, size)) for size in (N, 3)]
    gradients = [one.vjp(*values)[1](*bars) for one in (own, other)]
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_points_are_nobody_elses() -> None:
    """What a solution holds is not written to by the next solve."""
    program, solver = program_of(*portfolio(1.0, False)), DualNewton(Clarabel())
    first = solve(solver, program)
    before = Point(*(v.copy() for _, v in first.point.items()))
    solve(solver, program.take(np.arange(BATCH)[::-1]), first)
    for name, v in before.items():
        assert np.array_equal(getattr(first.point, name), v)


def test_calls_that_interleave_are_those_of_fresh_layers() -> None:
    """Other matrices, batch sizes and layers between; pull-backs twice, and out of order."""
    random = np.random.default_rng(4)
    settings: dict[str, Any] = {"solver": DualNewton(Clarabel()), "derivative": LPGD(tau=1e-4)}
    layer, (mu, d) = portfolio(1.0, True, **settings)
    other, _ = portfolio(1e3, False, **settings)
    calls = [(mu, d), (mu[:1], d[:1]), (mu, d[::-1].copy()), (mu[:4], d[0]), (mu, d)]
    bars = [[random.standard_normal((len(m), size)) for size in (N, 3)] for m, _ in calls]
    results, pullbacks = [], []
    for values in calls:
        point, pullback = layer.vjp(*values)
        results.append(point)
        pullbacks.append(pullback)
        other(mu, d[0])
    order = [4, 1, 3, 0, 2]
    gradients = {k: pullbacks[k](*bars[k]) for k in order}
    for k, values in enumerate(calls):
        fresh, pullback = portfolio(1.0, True, **settings)[0].vjp(*values)
        right = pullback(*bars[k])
        for mine, theirs in zip(results[k], fresh, strict=True):
            assert np.array_equal(mine, theirs)
        for again in (gradients[k], pullbacks[k](*bars[k])):
            for mine, theirs in zip(again, right, strict=True):
                assert np.array_equal(mine, theirs)
