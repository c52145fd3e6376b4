"""Gurobi: its cones, its models, what it refuses, and other solvers' answers beside its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec

import cvxpy as cp
import numpy as np
import pytest

from campaigns import statuses
from cvxlpgd.cones import SOC, NonNeg, Zero
from cvxlpgd.errors import InvalidOption, SolverNotInstalled, UnsuitableSolver
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import Clarabel, Gurobi, HiGHS, Refined, solve
from cvxlpgd.solvers.gurobi.cones import Pins, cones_of, form_of, pinned
from cvxlpgd.solvers.gurobi.conic import Conic
from cvxlpgd.solvers.gurobi.environment import home
from cvxlpgd.solvers.gurobi.idle import Key, idle_setups
from cvxlpgd.solvers.gurobi.model import linear_of
from tests.helpers.programs import dense, orthant, random_linear
from tests.solvers.test_reuse import linear, quadratic, same


def missing() -> str:
    """Why Gurobi cannot be asked, nothing where it can."""
    if find_spec("gurobipy") is None:
        return "not installed: pip install gurobipy"
    try:
        home()
    except SolverNotInstalled as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it is here")


def assert_agrees(programs: ConeProgram, other: Solution, within: float = 1e-7) -> None:
    """The same statuses, and objectives where there are points; KKT residuals at rounding."""
    own = solve(Gurobi(), programs)
    assert own.status.tolist() == other.status.tolist(), own.messages
    values = [programs.objective(s.point.x) for s in (own, other)]
    np.testing.assert_allclose(values[0], values[1], atol=within, rtol=within)
    if not programs.structure.mixed_integer:
        assert own.residuals is not None
        assert not (own.residuals.largest[own.ok] > 1e-9).any()


@pytest.mark.parametrize("seed", range(40))
def test_linear_programs_are_those_of_highs(seed: int) -> None:
    programs = random_linear(seed, 3)
    assert_agrees(programs, solve(HiGHS(), programs))


@pytest.mark.parametrize("seed", range(20))
def test_quadratic_programs_are_those_of_a_refined_interior_point(seed: int) -> None:
    """P of any rank; bounded by a box."""
    random = np.random.default_rng(seed)
    n, rank, rows = (int(random.integers(1, top)) for top in (12, 12, 8))
    root = random.standard_normal((n, rank))
    A = np.concatenate([random.standard_normal((rows, n)), np.eye(n), -np.eye(n)])
    b = np.concatenate([A[:rows] @ random.uniform(-0.5, 0.5, n) + 0.1, np.ones(2 * n)])
    q = 3 * random.standard_normal((3, n))
    programs = dense(q, A[None], b[None], (NonNeg(len(b)),), (root @ root.T)[None])
    assert_agrees(programs, solve(Refined(Clarabel()), programs))


def whole(programs: ConeProgram, seed: int) -> ConeProgram:
    """Columns as booleans, and others as integers between -3.5 and 3.5."""
    w, n = programs.data, programs.structure.n
    integer, boolean = np.arange(0, n, 3), np.arange(1, n, 3)
    A = np.swapaxes(w.A.reshape(1, n, -1), 1, 2)
    A = np.concatenate([A, np.eye(n)[None, integer], -np.eye(n)[None, integer]], axis=1)
    b = np.concatenate([w.b, np.full((len(w.b), 2 * len(integer)), 3.5)], axis=1)
    more = dense(w.q, A, b, (NonNeg(b.shape[1]),))
    return replace(more, structure=replace(more.structure, integer=integer, boolean=boolean))


@pytest.mark.parametrize("seed", range(20))
def test_integer_programs_are_those_of_highs(seed: int) -> None:
    programs = whole(linear(3, seed), seed)
    assert_agrees(programs, solve(HiGHS(), programs))


def test_a_quadratic_integer_program_is_that_of_enumeration() -> None:
    random = np.random.default_rng(0)
    root, q = random.standard_normal((4, 4)), random.standard_normal((5, 4))
    P, A = root @ root.T, np.ones((1, 1, 4))
    programs = dense(q, A, np.array([[2.0]]), (NonNeg(1),), P[None])
    booleans = replace(programs.structure, boolean=np.arange(4))
    solution = solve(Gurobi(), replace(programs, structure=booleans))
    corners = np.array([c for c in np.ndindex(2, 2, 2, 2) if sum(c) <= 2], dtype=float)
    values = (corners @ P * corners).sum(axis=1) / 2 + q @ corners.T
    assert solution.ok.all()
    np.testing.assert_allclose(solution.point.x, corners[values.argmin(axis=1)], atol=1e-9)
    assert (solution.gap == 0).all()


def conic(seed: int, batch: int = 3) -> ConeProgram:
    """Feasible programs in a box, cones of each form, some with a strictly convex objective."""
    random = np.random.default_rng(seed)
    n, zeros, rows = int(random.integers(3, 9)), int(random.integers(0, 2)), 3
    inside = 0.3 * random.uniform(-1, 1, (batch, n))
    A = [random.standard_normal((zeros + rows, n)), np.eye(n), -np.eye(n)]
    room = [np.zeros(zeros), random.random(rows), np.full(2 * n, 2.0)]
    cones = [NonNeg(rows + 2 * n)]
    for kind in range(3):
        size = int(random.integers(2 + (kind == 1), 6))
        own = random.standard_normal((size, n))
        if kind == 0:
            own[0] = 0.0
        if kind == 1:
            own[1] = -own[0]
        s = 0.5 * random.standard_normal(size)
        s[0] = np.linalg.norm(s[1:]) + random.random()
        A.append(own)
        room.append(s)
        cones.append(SOC(size))
    both = np.concatenate(A)
    b = inside @ both.T + np.concatenate(room)
    P = 0.1 * np.eye(n)[None] if seed % 2 else None
    kinds = (*[Zero(zeros)] * (zeros > 0), *cones)
    return dense(random.standard_normal((batch, n)), both[None], b, kinds, P)


@pytest.mark.parametrize("seed", range(30))
def test_second_order_programs_are_those_of_a_refined_interior_point(seed: int) -> None:
    programs = conic(seed)
    assert_agrees(programs, solve(Refined(Clarabel()), programs), 1e-6)


def forms_of(programs: ConeProgram) -> list[str]:
    structure = programs.structure
    matrix = structure.A.matrix(programs.data.A[0]).tocsr()
    forms = []
    for rows in cones_of(structure):
        part = matrix[rows]
        part.eliminate_zeros()
        forms.append(form_of(rows, part).kind)
    return forms


def test_the_programs_above_have_every_form() -> None:
    assert forms_of(conic(0)) == ["disk", "rotated", "cone"]


def test_a_disk_whose_square_would_be_full_has_variables_of_its_own() -> None:
    """|F'x| <= 1 with few rows and many columns, F'F full."""
    random = np.random.default_rng(0)
    for n, direct in ((3, True), (40, False)):
        A = np.concatenate(
            [np.zeros((1, n)), random.standard_normal((3, n)), np.eye(n), -np.eye(n)]
        )
        order = np.concatenate([np.arange(4, len(A)), np.arange(4)])
        b = np.concatenate([np.ones(2 * n), [1.0, 0.1, 0.0, 0.0]])[None]
        q = random.standard_normal((2, n))
        programs = dense(q, A[order][None], b, (NonNeg(2 * n), SOC(4)))
        matrix = programs.structure.A.matrix(programs.data.A[0]).tocsr()[2 * n :]
        matrix.eliminate_zeros()
        assert (form_of(slice(2 * n, 2 * n + 4), matrix).square is not None) == direct
        assert_agrees(programs, solve(Refined(Clarabel()), programs), 1e-6)


c, z, r = cp.Parameter(4), cp.Variable(4), cp.Parameter(nonneg=True)
BALLS = {
    "norm": cp.norm(z) <= 2.0,
    "squares": cp.sum_squares(z) <= 4.0,
    "norm, a parameter": cp.norm(z) <= r,
    "squares, a parameter": cp.sum_squares(z) <= 2 * r,
}


@pytest.mark.parametrize("name", BALLS)
def test_a_ball_has_its_closed_form(name: str) -> None:
    """Min c'z over |z| <= 2: z = -2 c / |c|, the multiplier of |z| <= 2 is |c|."""
    ball = BALLS[name]
    dual = ball.dual_variables[0]
    parameters = [c] + [r] * bool(ball.parameters())
    problem = cp.Problem(cp.Minimize(c @ z), [ball])
    layer = CvxpyLayer(problem, parameters, [z, dual], solver="GUROBI")
    values = np.random.default_rng(0).standard_normal((3, 4))
    length = np.linalg.norm(values, axis=1, keepdims=True)
    found, multiplier = layer(*[values, np.full(3, 2.0)][: len(parameters)])
    np.testing.assert_allclose(found, -2 * values / length, atol=1e-9)
    scale = 1.0 if "norm" in name else 0.25  # |z|² <= 4 moves by 4 where |z| <= 2 moves by 1
    np.testing.assert_allclose(multiplier.ravel(), scale * length.ravel(), atol=1e-9)


def bounded_norm(cost: float, top: float = 2.0) -> ConeProgram:
    """Min z_0 + cost t over |z| <= t <= top, columns (z_0, z_1, t)."""
    A = np.array([[[0, 0, 1.0], [0, 0, -1.0], [-1.0, 0, 0], [0, -1.0, 0]]])
    b = np.array([[top, 0, 0, 0]])
    return dense(np.array([[1.0, 0.0, cost]]), A, b, (NonNeg(1), SOC(3)))


def stored(programs: ConeProgram) -> ConeProgram:
    """The same, without the entries that are 0."""
    structure, w = programs.structure, programs.data
    kept = np.flatnonzero(w.A[0])
    A = replace(structure.A, rows=structure.A.rows[kept], cols=structure.A.cols[kept])
    return replace(programs, structure=replace(structure, A=A), data=replace(w, A=w.A[:, kept]))


def test_a_variable_is_pinned_where_nothing_but_its_bound_holds_it() -> None:
    free = stored(bounded_norm(0.0))
    bounds = linear_of(free.structure).bounds(free)
    matrix = free.structure.A.matrix(free.data.A[0])
    assert pinned(free.structure, bounds, matrix).columns.tolist() == [2]
    assert Conic(free.structure, bounds, free.data.A[0]).disks_only
    turned = free.structure.A.matrix(-free.data.A[0])  # more of it shrinks the cone
    assert pinned(free.structure, bounds, turned).columns.tolist() == []
    assert Pins.none().hold(np.ones(3), np.ones(4))


@pytest.mark.parametrize(
    ("cost", "top", "x"),
    [
        (0.0, 2.0, [-2, 0, 2]),
        (0.5, 2.0, [-2, 0, 2]),
        (2.0, 2.0, [0, 0, 0]),
        (2.0, np.inf, [0, 0, 0]),
    ],
)
def test_a_cost_or_a_bound_at_infinity_unpins_it(cost: float, top: float, x: list[float]) -> None:
    programs = stored(bounded_norm(cost, min(top, 1e6)))
    if np.isinf(top):
        programs = replace(programs, data=replace(programs.data, b=programs.data.b * 0.0 + np.inf))
        programs.data.b[:, 1:] = 0.0
        point = Gurobi().solve(programs).point  # infinite data have no residuals
    else:
        solution = solve(Gurobi(), programs)
        assert solution.status.tolist() == [Status.SOLVED], solution.messages
        point = solution.point
    np.testing.assert_allclose(point.x[0], x, atol=1e-5)


def test_multipliers_at_the_tip_of_a_cone() -> None:
    """Min q'x + |x| with |q| < 1: x = 0, y = (1, q) turned; Gurobi has no multipliers there."""
    q = np.array([[0.3, -0.4, 1.0], [0.6, 0.0, 1.0], [0.0, 0.0, 1.0]])
    A = -np.array([[[0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0]]])
    solution = solve(Gurobi(), dense(q, A, np.zeros((1, 3)), (SOC(3),)))
    assert solution.status.tolist() == [Status.SOLVED] * 3
    np.testing.assert_allclose(solution.point.x, 0.0, atol=1e-9)
    np.testing.assert_allclose(solution.point.y, q[:, [2, 0, 1]], atol=1e-9)


def test_programs_are_called_what_they_are() -> None:
    results = statuses.told(0, 8, "GUROBI")
    assert {result.cones for result in results} == {"linear", "second order"}
    assert [result for result in results if result.status != result.kind] == []


def test_an_empty_disk_is_infeasible_and_leaves_the_others_alone() -> None:
    A = -np.concatenate([np.zeros((1, 1, 2)), np.eye(2)[None]], axis=1)
    b = np.array([[1.0, 0, 0], [-1.0, 0, 0], [2.0, 0, 0]])
    programs = dense(np.array([[1.0, 0.0]]), A, b, (SOC(3),))
    solution = solve(Gurobi(), programs)
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED]
    np.testing.assert_allclose(solution.point.x[[0, 2], 0], [-1, -2], atol=1e-9)


def test_second_order_programs_without_a_solution_are_called_so() -> None:
    """Rows x_0 <= -1 and x_1 >= |(x_2, x_0)|: x_1 may grow; with x_1 <= 0 there is no point."""
    rows, kinds = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0], [-1.0, 0, 0]]), SOC(3)
    grows = dense(-np.ones((1, 3)), rows[None], np.array([[-1.0, 0, 0, 0]]), (NonNeg(1), kinds))
    assert solve(Gurobi(), grows).status.tolist() == [Status.UNBOUNDED]
    closed, b = np.concatenate([[[0, 1.0, 0]], rows])[None], np.array([[0.0, -1.0, 0, 0, 0]])
    empty = dense(np.ones((1, 3)), closed, b, (NonNeg(2), kinds))
    assert solve(Gurobi(), empty).status.tolist() == [Status.INFEASIBLE]


@pytest.mark.parametrize("kind", ["linear", "quadratic", "integer", "conic"])
def test_a_sample_does_not_depend_on_the_others(kind: str) -> None:
    programs = {
        "linear": linear, "quadratic": quadratic, "integer": lambda b: whole(linear(b), 0),
        "conic": lambda b: conic(1, b),
    }[kind](6)  # fmt: skip
    together = solve(Gurobi(), programs)
    order = np.random.default_rng(0).permutation(6)
    assert together.ok.all()
    assert same(together, solve(Gurobi(), programs.take(order)), order)
    for i in range(6):
        alone = np.array([i])
        assert same(together, solve(Gurobi(), programs.take(alone)), alone)


def test_models_are_made_once_for_a_structure() -> None:
    programs, solver = linear(3), Gurobi()
    first = solve(solver, programs)
    structure, w = programs.structure, programs.data
    given = tuple(sorted(solver._settings(structure).items()))
    bounds = linear_of(structure).bounds(programs)
    idle = idle_setups(structure, Key(given, bounds, False, w.P, w.A))
    kept = list(idle)
    assert kept
    assert same(first, solve(solver, programs))
    assert set(map(id, idle)) <= set(map(id, kept)) or len(idle) > len(kept)
    turned = replace(programs, data=replace(w, A=1.5 * w.A))
    fresh = solve(solver, replace(turned, structure=replace(structure)))
    assert same(fresh, solve(solver, turned))


def test_a_long_linear_program_starts_from_its_basis() -> None:
    random, n = np.random.default_rng(0), 120
    A = np.concatenate([random.standard_normal((60, n)), np.eye(n), -np.eye(n)])
    b = np.ones((1, len(A)))
    programs = dense(random.standard_normal((2, n)), A[None], b, (NonNeg(len(A)),))
    cold = solve(Gurobi(), programs)
    moved = replace(programs, data=replace(programs.data, q=programs.data.q + 1e-3))
    warm = solve(Gurobi(), moved, cold)
    assert warm.ok.all()
    assert warm.iterations.sum() < 0.5 * solve(Gurobi(), moved).iterations.sum()
    assert cold.workspace is not None
    states = pickle.loads(pickle.dumps([slot.state for slot in cold.workspace]))
    assert all(len(state.columns) == n for state in states)


def test_numbers_that_are_none_fail_their_own_sample() -> None:
    programs = orthant([[1, 0], [np.nan, 0], [1, 0]], [[4, 1, 1]], quadratic=True)
    solution = solve(Gurobi(), programs)
    assert solution.status.tolist() == [Status.SOLVED, Status.FAILED, Status.SOLVED]
    assert "Nan" in solution.messages[1]


def test_an_objective_that_is_not_convex_fails() -> None:
    P = np.array([[[1.0, 0.0], [0.0, -1.0]]])
    box = np.concatenate([np.eye(2), -np.eye(2)])[None]
    programs = dense(np.zeros((1, 2)), box, np.ones((1, 4)), (NonNeg(4),), P)
    solution = solve(Gurobi(), programs)
    assert solution.status.tolist() == [Status.FAILED]
    assert "GurobiError" in solution.messages[0]


@pytest.mark.parametrize("options", [{"Method": 99}, {"FeasibilityTol": 1e-12}, {"Presolve": "x"}])
def test_a_wrong_value_is_an_error_of_the_call(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(InvalidOption, match=f"GUROBI: {name} cannot be"):
        solve(Gurobi(**options), linear())


def test_options_have_the_names_that_gurobi_gives_them() -> None:
    import gurobipy

    if gurobipy.gurobi.version() >= (13,):  # earlier ones know fewer
        assert Gurobi.known.names - {"verbose"} <= set(dir(gurobipy.GRB.Param))
    limited = Gurobi(time_limit=3, eps=1e-6, OptimalityTol=1e-7)
    assert dict(limited.options) == {
        "BarConvTol": 1e-6, "BarQCPConvTol": 1e-6, "FeasibilityTol": 1e-6, "OptimalityTol": 1e-7,
        "TimeLimit": 3,
    }  # fmt: skip


def test_a_license_of_another_size_is_an_error_that_says_so() -> None:
    n = 2001
    programs = linear(1)
    A = replace(programs.structure.A, shape=(1, n), rows=np.zeros(n, int), cols=np.arange(n))
    structure = replace(
        programs.structure, P=replace(programs.structure.P, shape=(n, n)), A=A, cones=(NonNeg(1),),
        user=np.ones(n),
    )  # fmt: skip
    data = replace(programs.data, q=np.ones((1, n)), A=np.ones((1, n)), b=np.ones((1, 1)))
    large = replace(programs, structure=structure, data=data)
    try:
        solve(Gurobi(), large)
    except UnsuitableSolver as error:
        words = str(error)
    else:
        pytest.skip("this license has no limit")
    assert "license does not allow a program of this size: 2001 variables, 1 rows" in words


def test_no_license_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import gurobipy

    def refuse(*arguments: object, **options: object) -> None:
        raise gurobipy.GurobiError(10009, "No Gurobi license found")

    monkeypatch.setattr(gurobipy, "Env", refuse)
    with (
        ThreadPoolExecutor(1) as thread,  # it has no environment yet
        pytest.raises(SolverNotInstalled, match="No Gurobi license found; it needs a license"),
    ):
        thread.submit(solve, Gurobi(), linear()).result()


def test_nothing_is_printed_unless_asked_for() -> None:
    code = (
        "import cvxpy as cp, numpy as np; from cvxlpgd.numpy import CvxpyLayer\n"
        "z, c = cp.Variable(2, integer=True), cp.Parameter(2)\n"
        "problem = cp.Problem(cp.Minimize(c @ z), [z >= -3.5, z <= 2.5])\n"
        "layer = CvxpyLayer(problem, [c], [z], solver='GUROBI')\n"
        "assert layer(np.array([1.0, -1.0]))[0].tolist() == [-3.0, 2.0]\n"
        "print('quiet'); layer(np.ones(2), solver_args={'verbose': True})\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    quiet, _, loud = run.stdout.partition("quiet\n")
    assert (quiet, run.stderr) == ("", "")
    assert "Optimal solution found" in loud


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_makes_models_of_its_own() -> None:
    code = (
        "import os; from tests.solvers.test_reuse import linear, same, moved, twice\n"
        "from cvxlpgd.solvers import Gurobi, solve\n"
        "kept = solve(Gurobi(), linear()); there = moved(linear()); there = moved(linear())\n"
        "programs = linear(); kept = solve(Gurobi(), programs)\n"
        "ends = moved(programs); expected = solve(Gurobi(), ends, twice(kept))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if same(expected, solve(Gurobi(), ends, twice(kept))) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
