"""Statuses: certificates of programs without a solution, integer programs that were stopped."""

from __future__ import annotations

import subprocess
import sys
import warnings

import cvxpy as cp
import numpy as np
import pytest

from campaigns import statuses
from cvxlpgd.cones import SOC, NonNeg
from cvxlpgd.errors import InaccurateSolutionWarning
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import Clarabel, HiGHS
from cvxlpgd.solvers.run.certify import certify
from cvxlpgd.solvers.run.ladder import FirstOf
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense


@pytest.mark.parametrize("solver", [None, "SCS", "CLARABEL"])
def test_programs_are_called_what_they_are(solver):
    results = statuses.told(0, 4, solver)
    assert len(results) == 4 * len(statuses.CONES) * len(statuses.KINDS)
    assert [r for r in results if r.status != r.kind] == []


class Liar:
    """Says of every program that it is infeasible, or unbounded, and leaves a ray or none."""

    name, requires, quadratic, integer, arrays, accuracy = "LIAR", (), True, False, "numpy", 1e-8
    cones = frozenset({NonNeg, SOC})

    def __init__(self, status: Status, ray: np.ndarray | None = None) -> None:
        self.status, self.ray = status, ray

    def with_options(self, options):
        return self

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        batch, n, m = program.batch, program.structure.n, program.structure.m
        point = Point(*(np.full((batch, size), np.nan) for size in (n, m, m)))
        if self.ray is not None:
            field = "y" if self.status == Status.INFEASIBLE else "x"
            getattr(point, field)[:] = self.ray
        told = np.full(batch, self.status, dtype=object)
        return Solution(point, told, np.zeros(batch), np.zeros(batch), ("so I say",) * batch)


def box(low: float, high: float) -> ConeProgram:
    """Min x² over low <= x <= high."""
    A = np.array([[[1.0], [-1.0]]])
    return dense(np.zeros((1, 1)), A, np.array([[high, -low]]), (NonNeg(2),), np.ones((1, 1, 1)))


@pytest.mark.parametrize("ray", [None, np.array([1.0, 1.0]), np.array([1.0, -1.0])])
def test_a_claim_without_a_certificate_is_a_failure(ray):
    solution = solve(Liar(Status.INFEASIBLE, ray), box(1.0, 2.0))
    assert solution.status.tolist() == [Status.FAILED]
    assert solution.messages == ("called infeasible (so I say), which no certificate confirms",)


def test_a_claim_without_a_certificate_goes_to_the_next_solver():
    solver = FirstOf((Liar(Status.UNBOUNDED), Clarabel()))
    solution = solve(solver, box(1.0, 2.0))
    assert solution.status.tolist() == [Status.SOLVED]
    np.testing.assert_allclose(solution.point.x, 1.0, atol=1e-6)


@pytest.mark.parametrize("status", [Status.INFEASIBLE, Status.UNBOUNDED])
def test_a_certificate_decides_whatever_was_claimed(status):
    solution = solve(Liar(status), box(2.0, 1.0))
    assert solution.status.tolist() == [Status.INFEASIBLE]
    assert np.isnan(solution.point.x).all()


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-12])
def test_bounds_that_contradict_each_other_by_little(gap):
    solution = solve(Liar(Status.INFEASIBLE, np.array([1.0, 1.0])), box(1.0 + gap, 1.0))
    assert solution.status.tolist() == [Status.INFEASIBLE]


def test_a_ray_counts_in_the_units_of_the_data():
    """1e-6 x <= 1 and x >= 1e6 (1 - 1e-3): feasible; A'y = 1e-3 of its terms is no small rest."""
    A, b = np.array([[[1e-6], [-1.0]]]), np.array([[1.0, -1e6 * (1 - 1e-3)]])
    program = dense(np.zeros((1, 1)), A, b, (NonNeg(2),))
    ray = np.array([[1.0, 1.002e-6]])
    nothing = np.full((1, 1), np.nan), np.full((1, 2), np.nan)
    claim = Solution(
        Point(nothing[0], ray, nothing[1]), np.array([Status.INFEASIBLE], dtype=object),
        np.zeros(1), np.zeros(1), ("",),
    )  # fmt: skip
    assert certify(claim, program).status.tolist() == [Status.FAILED]


@pytest.mark.parametrize("seed", [2, 3])
def test_a_simplex_of_large_numbers_is_feasible(seed):
    x, p = cp.Variable(20), cp.Parameter(20)
    constraints = [x >= 0, cp.sum(x) == 1e7]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), constraints)
    layer = CvxpyLayer(problem, [p], [x])
    (found,) = layer(1e7 * np.random.default_rng(seed).normal(size=20))
    assert layer.info.status == "solved"
    np.testing.assert_allclose(found.sum(), 1e7)


@pytest.mark.parametrize("solver", [None, "SCS", "CLARABEL"])
@pytest.mark.parametrize("kind", ["linear", "quadratic", "ball"])
def test_an_objective_that_falls_forever_over_nothing_is_infeasible(kind, solver):
    x, p = cp.Variable(2), cp.Parameter()
    cost = cp.square(x[0]) if kind == "quadratic" else 0
    rows = [cp.norm(x[0] - 2) <= 1, x[0] <= 0] if kind == "ball" else [x[0] >= 1, x[0] <= 0]
    problem = cp.Problem(cp.Minimize(cost - p * x[1]), rows)
    layer = CvxpyLayer(problem, [p], [x], solver=solver, on_failure="nan")
    with pytest.warns(UserWarning, match="infeasible"):
        layer(1.0)
    assert layer.info.status == "infeasible"


@pytest.mark.parametrize("solver", [None, "SCS", "CLARABEL", "ECOS", "PIQP", "OSQP", "HIGHS"])
def test_a_solution_that_is_zero_is_accurate(solver):
    z, a = cp.Variable(3), cp.Parameter(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(a @ z), [z >= 0]), [a], [z], solver=solver)
    (found,) = layer(np.array([1.0, 2.0, 3.0]))
    assert layer.info.status == "solved"
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def knapsack(**options) -> CvxpyLayer:
    """A knapsack with many constraints: half a second proves nothing."""
    rng, n = np.random.default_rng(0), 60
    W = rng.integers(10, 100, (30, n)).astype(float)
    x, c = cp.Variable(n, boolean=True), cp.Parameter(n)
    problem = cp.Problem(cp.Maximize(c @ x), [W @ x <= W.sum(axis=1) / 3])
    return CvxpyLayer(problem, [c], [x], solver=HiGHS(), **options)


def test_an_integer_program_that_is_stopped_is_inaccurate():
    layer = knapsack(time_limit=0.5)
    with pytest.warns(InaccurateSolutionWarning, match="before the optimum was proved, gap up to"):
        layer(np.random.default_rng(1).uniform(10, 100, 60))
    assert layer.info.status == "inaccurate"
    assert 0 < layer.info.gap < 1


def integer_layer() -> CvxpyLayer:
    z, c = cp.Variable(2, integer=True), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(c @ z), [z >= -3.5, z <= 2.5])
    return CvxpyLayer(problem, [c], [z], solver=HiGHS())


def test_an_integer_program_that_is_solved_has_no_gap():
    layer = integer_layer()
    layer(np.array([1.0, -1.0]))
    assert (layer.info.status, layer.info.gap) == ("solved", 0.0)


def test_highs_and_the_callers_own_highs_do_not_mind_each_other():
    """Its scheduler of threads is one for all that a thread of Python's runs."""
    x = cp.Variable(2, integer=True)
    own = cp.Problem(cp.Minimize(cp.sum(x)), [x >= 0.5])
    u, p = cp.Variable(2), cp.Parameter(2)
    square = cp.Problem(cp.Minimize(cp.sum_squares(u - p)), [u >= 0])
    quadratic = CvxpyLayer(square, [p], [u], solver=HiGHS())
    value = np.array([1.0, -1.0])
    for options in ({}, {"threads": 2}, {"threads": 1}, {"threads": 2}):
        assert integer_layer()(value)[0].tolist() == [-3.0, 2.0]
        np.testing.assert_allclose(quadratic(value)[0], [1.0, 0.0], atol=1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert own.solve(solver="HIGHS", **options) == 2.0
        assert integer_layer()(value)[0].tolist() == [-3.0, 2.0]
        reset()


def reset() -> None:
    """As the caller must between numbers of threads of his own."""
    import highspy

    highspy.Highs.resetGlobalScheduler(True)


def test_nothing_is_printed():
    code = (
        "import cvxpy as cp, numpy as np; from cvxlpgd.numpy import CvxpyLayer\n"
        "from cvxlpgd.solvers import HiGHS\n"
        "z, c = cp.Variable(2, integer=True), cp.Parameter(2)\n"
        "problem = cp.Problem(cp.Minimize(c @ z), [z >= -3.5, z <= 2.5])\n"
        "CvxpyLayer(problem, [c], [z], solver=HiGHS())(np.array([1.0, -1.0]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == ""
