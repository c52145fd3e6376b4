"""solver=None: the rules, several solvers in turn, the explanation and the ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd.__main__ import main
from cvxlpgd.analysis.tuning import tune
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import CVXPY, DAQP, SCS, Clarabel, HiGHS
from cvxlpgd.solvers.choose.choice import choose_solver, solver_names, solver_of_name
from cvxlpgd.solvers.choose.rules import DENSE, RULES, rule_for
from cvxlpgd.solvers.daqp.solver import strictly_convex
from cvxlpgd.solvers.protocol import is_installed, missing_cones
from cvxlpgd.solvers.run.ladder import FirstOf
from cvxlpgd.solvers.run.solve import solve
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.programs import dense, orthant
from tests.zoo import ROWS, canonical, program


def test_every_rule_names_solvers_that_take_its_programs() -> None:
    seen = set()
    for row in ROWS:
        structure = canonical(row).structure
        rule = rule_for(structure)
        seen.add(rule.kind)
        chosen = choose_solver(None, structure, {})
        assert not missing_cones(chosen, structure)
        able = [s for s in map(solver_of_name, rule.solvers) if is_installed(s)]
        able = [s for s in able if not missing_cones(s, structure)]
        assert solver_names(chosen) == tuple(s.name for s in able)
    assert len(RULES) - len(seen) <= 2  # the zoo has no large linear or quadratic program
    assert all(rule.why and rule.measured and "TODO" not in rule.measured for rule in RULES)


def structure_of(n: int, quadratic: bool) -> Structure:
    P = np.eye(n)[None] if quadratic else None
    cones = (Zero(1), NonNeg(n))
    A = np.concatenate([np.ones((1, n)), -np.eye(n)])[None]
    return dense(np.zeros((1, n)), A, np.zeros((1, n + 1)), cones, P).structure


@pytest.mark.parametrize(
    ("structure", "first"),
    [
        (structure_of(3, quadratic=False), "DAQP"),
        (structure_of(500, quadratic=False), "HIGHS"),
        (structure_of(3, quadratic=True), "DAQP"),
        (structure_of(DENSE + 1, quadratic=True), "PIQP"),
    ],
)
def test_the_first_of_each_kind(structure: Structure, first: str) -> None:
    assert rule_for(structure).solvers[0] == first


def test_an_option_picks_those_that_have_it() -> None:
    structure = structure_of(3, quadratic=True)
    assert "DAQP" not in solver_names(choose_solver(None, structure, {"max_iters": 5}))
    assert solver_names(choose_solver(None, structure, {"max_iters": 5}))[0] == "SCS"
    assert solver_names(choose_solver(None, structure, {"cycle_tol": 5})) == ("DAQP",)
    both = choose_solver(None, structure, {"eps": 1e-7})
    assert solver_names(both) == solver_names(choose_solver(None, structure, {}))
    assert both.accuracy == 1e-7
    with pytest.raises(InvalidOption, match="nope"):
        FirstOf((DAQP(), Clarabel())).with_options({"nope": 1})


@dataclass(frozen=True)
class Leaving:
    """A solver that leaves some samples failed or inaccurate."""

    left: tuple[int, ...]
    status: Status = Status.FAILED
    off: float = 1e-3
    accuracy: float = 1e-8
    name = "LEAVING"
    requires = ()
    cones = Clarabel.cones
    quadratic = True
    integer = False
    arrays = "numpy"

    def with_options(self, options: object) -> Leaving:
        return self

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        found = Clarabel().solve(program)
        index, point = list(self.left), found.point
        found.status[index] = self.status
        if self.status == Status.FAILED:
            point.x[index] = np.nan
        else:
            point.x[index] += self.off
        return replace(found, workspace=None)


@pytest.mark.parametrize("status", [Status.FAILED, Status.INACCURATE])
def test_what_one_leaves_the_next_solves(status: Status) -> None:
    programs = orthant([[1, 0]], [[4, 1, 1], [4, 2, 1], [4, 3, 1]], quadratic=True)
    expected = solve(Clarabel(), programs)
    first = FirstOf((Leaving((0, 2), status), HiGHS(), Clarabel()))
    found = solve(first, programs)
    assert list(found.status) == [Status.SOLVED] * 3
    np.testing.assert_allclose(found.point.x, expected.point.x, atol=1e-6)
    assert found.solvers is not None
    assert found.solvers.tolist() == ["HIGHS", "LEAVING", "HIGHS"]
    assert found.residuals is not None
    assert found.residuals.largest.max() <= 1e-6
    alone = solve(FirstOf((Leaving((0, 2), status),)), programs)
    assert list(alone.status) == [status, Status.SOLVED, status]


def test_what_is_solved_but_not_as_asked_goes_on() -> None:
    """A small residual may hide much where data are of different sizes."""
    programs = orthant([[1, 0]], [[4, 1, 1], [4, 2, 1], [4, 3, 1]], quadratic=True)
    for accuracy, solvers in ((1e-9, ["HIGHS", "LEAVING", "HIGHS"]), (1e-6, ["LEAVING"] * 3)):
        off = Leaving((0, 2), Status.SOLVED, 3e-7, accuracy)
        found = solve(FirstOf((off, HiGHS())), programs)
        assert list(found.status) == [Status.SOLVED] * 3
        assert found.solvers is not None
        assert found.solvers.tolist() == solvers
    worse = solve(FirstOf((off, Leaving((0, 2), Status.SOLVED, 9e-7))), programs)
    np.testing.assert_array_equal(worse.point.x, solve(off, programs).point.x)


def test_dual_residuals_that_the_largest_cost_hides_do_not_pass() -> None:
    """A cost of 0.1 decides over x[0], and is next to nothing beside 1.6e6 in a residual."""
    x, c = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(c @ x), [x <= 3, x >= -1, cp.sum(x) <= 1])
    for cost in ([-0.1, 1.6e6], [-0.1, -1.6e6], [0.1, 1.6e6]):
        [found] = CvxpyLayer(problem, [c], [x])(np.array(cost))
        wanted = [2, -1] if cost[1] > 0 and cost[0] < 0 else [-1, 2] if cost[1] < 0 else [-1, -1]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_infeasible_is_an_answer() -> None:
    programs = orthant([[1, 0]], [[4, 1, 1], [-1, 0, 1]], quadratic=True)
    found = solve(FirstOf((HiGHS(), Leaving((0, 1)))), programs)
    assert list(found.status) == [Status.SOLVED, Status.INFEASIBLE]


def test_a_program_that_is_not_strictly_convex_goes_to_the_next() -> None:
    x, q = cp.Variable(3), cp.Parameter(3)
    P = cp.Parameter((3, 3), PSD=True)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) + q @ x), [cp.sum(x) == 1, x >= -1])
    layer = CvxpyLayer(problem, [P, q], [x])
    definite, singular = np.eye(3), np.diag([1.0, 1.0, 0.0])
    batch = torch.tensor(np.stack([definite, singular])).requires_grad_()
    cost = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    (found,) = layer(batch, cost)
    assert layer.info.status.tolist() == ["solved"] * 2
    assert layer.info.solver.startswith("DAQP, ")
    found.square().sum().backward()
    gradients = batch.grad, cost.grad
    other = CvxpyLayer(problem, [P, q], [x], solver=SCS())
    (expected,) = other(batch, cost)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    wanted = torch.autograd.grad(expected.square().sum(), [batch, cost])
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)


FILE = """
import cvxpy as cp
import numpy as np

x, q = cp.Variable(3), cp.Parameter(3)
problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + q @ x), [cp.sum(x) == 1, x >= -1])
parameters, variables, values = [q], [x], [np.array([[0.0, 1.0, 2.0], [0.5, 0.0, 0.3]])]
"""


def test_the_command_line_explains_the_choice(tmp_path, capsys) -> None:
    file = tmp_path / "problem.py"
    file.write_text(FILE)
    assert main(["solvers", str(file)]) == 0
    said = capsys.readouterr().out
    assert "tried in this order: DAQP" in said
    assert "rule: quadratic, small" in said
    assert main(["solvers", str(file), "--tune"]) == 0
    ranking = capsys.readouterr().out
    assert "| DAQP " in ranking
    assert "KKT residual" in ranking


def test_tuning_ranks_and_names_what_fails() -> None:
    x, q = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(x[:2]) + cp.sum(cp.pos(x + q))),
        [cp.sum(x) == 1, x >= -1, x <= 1],
    )
    rows = tune(problem, [q], [x], [np.array([0.3, -0.2, 0.1])], rounds=1)
    by_name = {row.solver: row for row in rows}
    assert "strictly convex" in by_name["DAQP"].note
    assert np.isnan(by_name["DAQP"].forward)
    timed = [row for row in rows if not row.note]
    assert {"HIGHS", "CLARABEL", "SCS"} <= {row.solver for row in timed}
    totals = [row.forward + row.backward for row in timed]
    assert totals == sorted(totals)
    assert by_name["HIGHS"].residual <= 1e-9


def test_a_chosen_solver_has_the_name_of_the_one_asked_first() -> None:
    chosen = choose_solver(None, structure_of(3, quadratic=True), {})
    assert chosen.name == "DAQP"
    assert chosen.requires == ("daqp",)
    assert solver_names(CVXPY("HIGHS")) == ("HIGHS",)


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1.0, 1e6])
def test_rows_of_any_size_are_not_called_infeasible(size: float) -> None:
    """DAQP takes rows below 3e-6 for empty ones."""
    random = np.random.default_rng(0)
    n, rows, batch = 6, 5, 8
    A = random.standard_normal((1, rows, n))
    b = random.uniform(0.1, 0.5, (batch, rows))
    q = 2.0 * random.standard_normal((batch, n))
    expected = solve(DAQP(), dense(q, A, b, (NonNeg(rows),), np.eye(n)[None]))
    found = solve(DAQP(), dense(q, size * A, size * b, (NonNeg(rows),), np.eye(n)[None]))
    assert list(found.status) == [Status.SOLVED] * batch
    np.testing.assert_allclose(found.point.x, expected.point.x, atol=1e-9)
    np.testing.assert_allclose(size * found.point.y, expected.point.y, atol=1e-9)


def test_daqp_takes_the_strictly_convex_rows_of_the_zoo() -> None:
    able = [row for row in ROWS if not missing_cones(DAQP(), canonical(row).structure)]
    assert sum(strictly_convex(program(row, row.inputs(1))) for row in able) >= 20
