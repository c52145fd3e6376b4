"""Perturbed linear programs, followed from the basis of their solution: as if they were solved."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD
from cvxlpgd.derivatives.resolves import Perturbed
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.schedules import Relative
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import Clarabel, HiGHS
from cvxlpgd.solvers.highs import ends as followed
from cvxlpgd.solvers.protocol import WithEnds
from cvxlpgd.solvers.run.ends import follow_ends
from cvxlpgd.solvers.run.ladder import Around, FirstOf
from cvxlpgd.solvers.run.solve import judge, solve
from tests.helpers.programs import grid, random_linear, sparse

BATCH, HIGHS = 4, HiGHS()


@dataclass(frozen=True)
class Solved(Around):
    """HiGHS without `ends`."""

    solver: HiGHS = HIGHS

    def with_options(self, options):
        return self

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        return self.solver.solve(program, start)


def assignment(size: int, batch: int, whole: bool) -> ConeProgram:
    """Doubly stochastic matrices: degenerate, and one equality is redundant."""
    one, each = np.ones((1, size)), np.eye(size)
    A = np.concatenate([np.kron(each, one), np.kron(one, each), -np.eye(size**2)])
    b = np.concatenate([np.ones(2 * size), np.zeros(size**2)])[None]
    random = np.random.default_rng(0)
    q = random.integers(0, 4, (batch, size**2)) if whole else random.random((batch, size**2))
    return sparse(q.astype(float), A, b, 2 * size)


def paths(side: int, batch: int, whole: bool) -> ConeProgram:
    """Unit flows on a grid, of which each arc takes one."""
    flow, supply = grid(side)
    n, random = flow.shape[1], np.random.default_rng(1)
    A = np.concatenate([flow, -np.eye(n), np.eye(n)])
    b = np.concatenate([supply, np.zeros(n), np.ones(n)])[None]
    q = random.integers(1, 4, (batch, n)) if whole else random.random((batch, n))
    return sparse(q.astype(float), A, b, len(flow))


def box(batch: int) -> ConeProgram:
    """Inequalities and bounds, which have a unique solution."""
    random, n, rows = np.random.default_rng(2), 10, 6
    A = np.concatenate([random.standard_normal((rows, n)), -np.eye(n), np.eye(n)])
    b = np.concatenate([random.uniform(0.1, 1.0, rows), np.ones(2 * n)])[None]
    return sparse(random.standard_normal((batch, n)), A, b, 0)


def direction(program: ConeProgram, seed: int, x: bool = True, y: bool = False) -> Point:
    random, (n, m) = np.random.default_rng(seed), (program.structure.n, program.structure.m)
    shape = program.batch
    return Point(
        random.standard_normal((shape, n)) * x,
        random.standard_normal((shape, m)) * y * (random.random((shape, m)) < 0.5),
        np.zeros((shape, m)),
    )


def both_sides(tau: np.ndarray) -> np.ndarray:
    return np.stack([tau, -tau])


def perturbed(program: ConeProgram, along: Point, taus: np.ndarray) -> ConeProgram:
    return Perturbed(program, along, taus.ravel()).programs()


def follow_or_solve(
    solver: Any, program: ConeProgram, start: Solution, along: Point, taus: np.ndarray
) -> Solution:
    """The ends as a derivative gets them: what is not followed is solved."""
    programs = perturbed(program, along, taus)
    ends = follow_ends(solver, program, start, along, taus, lambda: programs)
    if ends is None:
        return solve(solver, programs)
    left = np.flatnonzero(ends.status != Status.SOLVED)
    if not len(left):
        return ends
    rest = solve(solver, programs.take(left))
    return ends.replace_samples(left, rest, np.ones(len(left), dtype=bool))


def follow(program: ConeProgram, along: Point, taus: np.ndarray) -> Solution:
    """The ends that HiGHS follows, judged."""
    ends = HIGHS.ends(program, solve(HIGHS, program), along, taus)
    assert ends is not None
    return judge(ends, perturbed(program, along, taus), HIGHS.accuracy)


def assert_optimal(ends: Solution, programs: ConeProgram) -> None:
    """Where they are reached they are solved to rounding, and as good as solved anew."""
    fresh = solve(HIGHS, programs)
    reached = ends.ok & (fresh.status == Status.SOLVED)
    assert (ends.residuals.largest[reached] < 1e-9).all()
    value, best = programs.objective(ends.point.x), programs.objective(fresh.point.x)
    np.testing.assert_allclose(value[reached], best[reached], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("moved", [(True, False), (False, True), (True, True)])
def test_ends_are_optimal_in_programs_of_every_kind(moved, monkeypatch) -> None:
    monkeypatch.setattr(followed, "COLUMNS_A_STEP", 1)
    reached = steps = 0
    for seed in range(60):
        program = random_linear(seed, BATCH)
        along = direction(program, seed, *moved)
        taus = both_sides(10.0 ** np.random.default_rng(seed).uniform(-3, 1, BATCH))
        ends = follow(program, along, taus)
        assert_optimal(ends, perturbed(program, along, taus))
        certain = ends.ok & (np.nan_to_num(ends.residuals.largest, nan=1.0) < 1e-9)
        reached, steps = reached + certain.sum(), steps + ends.iterations[certain].sum()
    assert reached > 60
    assert steps > 30


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("program", [assignment, paths])
@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0, 100.0])
def test_degenerate_vertices_are_walked_without_cycles(program, whole, size, monkeypatch) -> None:
    monkeypatch.setattr(followed, "COLUMNS_A_STEP", 1)
    programs = program(7, BATCH, whole)
    along, taus = direction(programs, 3), both_sides(np.full(BATCH, size))
    ends = follow(programs, along, taus)
    assert ends.ok.all()
    assert ends.iterations.max() < 100
    assert_optimal(ends, perturbed(programs, along, taus))


def test_a_sample_is_followed_bitwise_as_alone() -> None:
    programs = paths(9, 6, False)
    along, taus = direction(programs, 5), both_sides(np.full(6, 0.02))
    solution = solve(HIGHS, programs)
    ends = HIGHS.ends(programs, solution, along, taus)
    assert ends.iterations.any()
    order = np.random.default_rng(0).permutation(6)
    for index in (order, *(np.array([i]) for i in range(6))):
        own = HIGHS.ends(
            programs.take(index), solution.take(index), along.take(index), taus[:, index]
        )
        places = np.concatenate([index, index + 6])
        for name, value in own.point.items():
            np.testing.assert_array_equal(value, getattr(ends.point, name)[places])
    again = HIGHS.ends(programs, solution, along, taus)
    np.testing.assert_array_equal(again.point.x, ends.point.x)


def test_every_sample_may_have_matrices_of_its_own() -> None:
    programs = box(BATCH)
    A = programs.data.A * np.ones((BATCH, 1))
    own = programs.structure.A.rows < 6
    A[:, own] *= 1 + 0.1 * np.random.default_rng(3).random((BATCH, int(own.sum())))
    programs = replace(programs, data=replace(programs.data, A=A))
    along, taus = direction(programs, 1), both_sides(np.full(BATCH, 1e-2))
    ends = follow(programs, along, taus)
    assert ends.ok.all()
    assert_optimal(ends, perturbed(programs, along, taus))


def test_long_walks_are_left_to_the_solver() -> None:
    programs = assignment(7, BATCH, False)
    along, taus = direction(programs, 3), both_sides(np.full(BATCH, 10.0))
    assert not HIGHS.ends(programs, solve(HIGHS, programs), along, taus).ok.any()


def test_what_does_not_fit_is_solved() -> None:
    """Other matrices, other options, solutions of other solvers, or without what was kept."""
    programs, taus = box(BATCH), both_sides(np.full(BATCH, 1e-2))
    along, own = direction(programs, 1), solve(HIGHS, programs)
    ends, data = perturbed(programs, along, taus), programs.data
    equal = replace(programs, data=replace(data, A=data.A.copy()))
    assert HIGHS.ends(equal, own, along, taus).ok.all()
    tilted = replace(programs, data=replace(data, A=data.A * 1.5))
    assert not HIGHS.ends(tilted, own, along, taus).ok.any()
    coarse = HiGHS(dual_feasibility_tolerance=1e-8)
    others = [solve(Clarabel(), programs), solve(coarse, programs), solve(HIGHS, tilted)]
    for start in (pickle.loads(pickle.dumps(own)), *others):
        follows = HIGHS.ends(programs, start, along, taus)
        assert follows is None or not follows.ok.any()
        assert_optimal(follow_or_solve(HIGHS, programs, start, along, taus), ends)
    moved_b = replace(programs, data=replace(data, b=data.b + 0.1))  # its bases may fit by chance
    elsewhere = perturbed(moved_b, along, taus)
    assert_optimal(follow_or_solve(HIGHS, moved_b, own, along, taus), elsewhere)
    proximal = programs.proximal(1.0, own.point.x)
    assert HIGHS.ends(proximal, solve(HIGHS, proximal), along, taus) is None


@dataclass(frozen=True)
class Wrong(Solved):
    """Its ends are wrong, or an error."""

    raises: bool = False

    def ends(self, program, solution, direction, taus):
        if self.raises:
            raise FloatingPointError("no")
        right = self.solver.ends(program, solution, direction, taus)
        return replace(right, point=right.point * 1.001)


@pytest.mark.parametrize("raises", [True, False])
def test_ends_without_a_certificate_are_solved(raises) -> None:
    programs = paths(5, BATCH, False)
    along, taus = direction(programs, 1), both_sides(np.full(BATCH, 1e-3))
    ends = perturbed(programs, along, taus)
    start = solve(HIGHS, programs)
    solution = follow_or_solve(Wrong(raises=raises), programs, start, along, taus)
    assert solution.ok.all()
    assert_optimal(solution, ends)


def test_the_first_solver_of_several_follows_its_own() -> None:
    programs = paths(5, BATCH, False)
    several = FirstOf((HIGHS, Clarabel()))
    along, taus = direction(programs, 1), both_sides(np.full(BATCH, 1e-3))
    assert isinstance(several, WithEnds)
    assert several.ends(programs, solve(several, programs), along, taus).ok.all()
    other = FirstOf((Clarabel(), HIGHS))
    assert other.ends(programs, solve(other, programs), along, taus) is None


@pytest.mark.parametrize("side", ["average", "lower", "upper"])
@pytest.mark.parametrize("kappa", [1e-3, 0.1])
def test_gradients_are_those_of_solves(side, kappa) -> None:
    random = np.random.default_rng(0)
    x, c, b = cp.Variable(12), cp.Parameter(12), cp.Parameter(5)
    A = random.standard_normal((5, 12))
    problem = cp.Problem(cp.Minimize(c @ x), [A @ x <= b, x >= -1, x[:6] <= 1, cp.sum(x) == 0.5])
    values = random.standard_normal((6, 12)), random.uniform(0.1, 1.0, 5)
    bar, gradients = random.standard_normal((6, 12)), []
    for solver in (HIGHS, Solved()):
        layer = CvxpyLayer(
            problem, [c, b], [x], solver=solver, derivative=LPGD(tau=Relative(kappa), side=side)
        )
        _, pull_back = layer.vjp(*values)
        gradients.append(pull_back(bar))
        assert list(layer.info.status) == ["solved"] * 6
    assert np.abs(gradients[0][0]).max() > 0 or kappa < 0.1
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def large(batch: int) -> ConeProgram:
    """Columns of 20 entries, so many that HiGHS takes an interior point."""
    random, n, rows = np.random.default_rng(0), 1000, 500
    A = np.where(random.random((rows, n)) < 0.04, random.standard_normal((rows, n)), 0.0)
    room = random.uniform(0.0, 0.5, rows)
    whole = np.concatenate([A, -np.eye(n), np.eye(n)])
    b = np.concatenate([A.sum(axis=1) / 2 + room, np.zeros(n), np.ones(n)])[None]
    return sparse(random.standard_normal((batch, n)), whole, b, 0)


def test_large_programs_are_solved_by_an_interior_point_to_the_same_vertex() -> None:
    programs = large(3)
    inside, simplex = (solve(one, programs) for one in (HIGHS, HiGHS(solver="simplex")))
    assert (inside.iterations < simplex.iterations / 5).all()
    assert (inside.residuals.largest < 1e-11).all()  # begun anew at its basis, which rounds less
    off = 10 * simplex.residuals.largest.max()
    np.testing.assert_allclose(inside.point.x, simplex.point.x, atol=off)
    np.testing.assert_allclose(inside.point.y, simplex.point.y, atol=off)
    for one, other in zip(inside.workspace, simplex.workspace, strict=True):
        assert one.state.basis.col_status == other.state.basis.col_status
        assert one.state.basis.row_status == other.state.basis.row_status
    alone = solve(HIGHS, programs.take(np.array([2])))
    np.testing.assert_array_equal(alone.point.x[0], inside.point.x[2])
    along, taus = direction(programs, 1), both_sides(np.full(3, 1e-4))
    ends = HIGHS.ends(programs, inside, along, taus)
    assert ends.ok.all()  # its basis is one
    assert_optimal(
        judge(ends, perturbed(programs, along, taus), 1e-9), perturbed(programs, along, taus)
    )


def test_large_programs_without_a_solution_are_called_so() -> None:
    programs = large(2)
    b = np.tile(programs.data.b, (2, 1))
    b[1, :500] = -100.0
    solution = solve(HIGHS, replace(programs, data=replace(programs.data, b=b)))
    assert list(solution.status) == [Status.SOLVED, Status.INFEASIBLE]
