"""Options, names and refusals of the solvers."""

from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg
from cvxlpgd.errors import InvalidOption, SolverNotInstalled, UnsuitableSolver
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import Data
from cvxlpgd.solution import Status
from cvxlpgd.solvers import CVXPY, DAQP, ECOS, OSQP, PIQP, SCS, Clarabel, Gurobi, HiGHS
from cvxlpgd.solvers.cvxpy.problem import SampleProblem
from cvxlpgd.solvers.highs import setup
from cvxlpgd.solvers.highs.objects import set_options
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.protocol import is_installed, require
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense, orthant
from tests.zoo import ROWS, canonical, program, row_named


def test_unknown_options_are_refused() -> None:
    own = (row.adapter() for row in SOLVERS.values())
    for solver in (*own, *map(CVXPY, ("OSQP", "CLARABEL", "HIGHS", "SCIPY"))):
        with pytest.raises(InvalidOption, match="no option 'epsilon'"):
            solver.with_options({"epsilon": 1.0})
    with pytest.raises(InvalidOption, match="no time limit"):
        ECOS(time_limit=1.0)
    with pytest.raises(InvalidOption, match="its tolerances"):
        CVXPY("GLPK", eps=1e-8)


@dataclass(frozen=True, init=False)
class Declared(Configured):
    name = "DECLARED"
    known = Options(
        "tol gap seconds mode verbose",
        {"tol": 1e-9, "gap": 1e-6, "verbose": False}, ("tol", "gap"),
        time_limit="seconds", choices={"mode": ("fast", "exact")},
    )  # fmt: skip


def test_a_solver_declares_its_options_once() -> None:
    solver = Declared(eps=1e-5, gap=1e-4, time_limit=2)
    assert solver.options == (("gap", 1e-4), ("seconds", 2), ("tol", 1e-5))
    assert solver.settings == {"gap": 1e-4, "seconds": 2, "tol": 1e-5, "verbose": False}
    assert (Declared().accuracy, solver.accuracy) == (1e-6, 1e-4)
    assert solver.with_options({"gap": 1e-3, "mode": "fast"}) == Declared(
        mode="fast", gap=1e-3, tol=1e-5, seconds=2
    )
    assert hash(solver) == hash(solver.with_options({}))
    assert repr(Declared(tol=0.5)) == "Declared(options=(('tol', 0.5),))"
    assert Declared.known.defaults == {"tol": 1e-9, "gap": 1e-6, "verbose": False}
    with pytest.raises(InvalidOption, match='DECLARED: mode must be "fast" or "exact", not 3'):
        Declared(mode=3)
    with pytest.raises(InvalidOption, match="DECLARED: gap must be a positive number, not 0"):
        Declared(gap=0)


@pytest.mark.parametrize("solver", [SCS, Clarabel, ECOS, OSQP, PIQP, HiGHS, DAQP, Gurobi])
def test_what_a_solver_declares_is_whole(solver: type[Configured]) -> None:
    known = solver.known
    assert set(known.tolerances) <= known.names & set(known.defaults)
    assert known.time_limit is None or known.time_limit in known.names
    assert set(known.choices) <= known.names
    assert solver(eps=1e-3).accuracy == 1e-3


def test_names_that_cvxpy_does_not_know_are_refused() -> None:
    assert CVXPY("Clarabel") == CVXPY("CLARABEL")
    with pytest.raises(InvalidOption, match=r"no solver 'FANCY'.*CLARABEL"):
        CVXPY("FANCY")


def test_solvers_that_are_not_installed_say_what_to_install() -> None:
    absent = CVXPY("XPRESS")
    if is_installed(absent):
        pytest.skip("XPRESS is installed")
    with pytest.raises(SolverNotInstalled, match="pip install cvxpy xpress"):
        require(absent, canonical(ROWS[0]).structure)


def test_options_in_dictionaries() -> None:
    whole = CVXPY("SCIPY", scipy_options={"presolve": False}, time_limit=3.0)
    assert dict(whole.options) == {"scipy_options:presolve": False, "scipy_options:time_limit": 3.0}
    assert hash(whole) == hash(whole.with_options({}))
    assert solve(whole, orthant([[1, 0]], [[4, 1, 1]], quadratic=False)).ok.all()


def test_unsuitable_programs_are_refused_before_any_solve() -> None:
    cones = dense(np.ones((1, 3)), np.eye(3)[None], np.ones((1, 3)), (SOC(3),)).structure
    for solver in (CVXPY("OSQP"), CVXPY("HIGHS")):
        with pytest.raises(UnsuitableSolver, match="SOC"):
            require(solver, cones)
    semidefinite = dense(np.ones((1, 3)), np.eye(3)[None], np.ones((1, 3)), (PSD(2),)).structure
    with pytest.raises(UnsuitableSolver, match="PSD"):
        require(ECOS(), semidefinite)
    programs = orthant([[1, 0]], [[4, 1, 1]], quadratic=True)
    mixed = replace(programs, structure=replace(programs.structure, integer=np.array([0])))
    with pytest.raises(UnsuitableSolver, match="quadratic objective, integer"):
        CVXPY("HIGHS").solve(mixed)


def test_a_point_that_is_not_finite_is_a_failed_sample_of_any_cone() -> None:
    cones = (SOC(3), PSD(2), Exp())
    programs = dense(np.ones((2, 9)), np.eye(9)[None], np.ones((2, 9)), cones)
    solution = solve(SCS(max_iters=1), programs)
    broken = replace(solution.point, s=solution.point.s * np.array([[1.0], [np.nan]]))
    residuals = programs.residuals(broken)
    assert np.isnan(residuals.primal[1])
    assert np.isfinite(residuals.largest[0])


def test_arrays_of_another_kind_come_back_in_their_kind() -> None:
    torch = pytest.importorskip("torch")
    programs = orthant([[1, 0]], [[4, 1, 1], [4, 2, 1]], quadratic=True)
    tensors = Data(*(torch.from_numpy(v) for _, v in programs.data.items()))
    solution = solve(Clarabel(), replace(programs, data=tensors))
    assert isinstance(solution.point.x, torch.Tensor)
    np.testing.assert_array_equal(solution.point.x.numpy(), solve(Clarabel(), programs).point.x)


def test_a_solve_that_stops_early_is_inaccurate_and_silent(
    capfd: pytest.CaptureFixture[str],
) -> None:
    programs = orthant([[1, 0.5]], [[4, 1, 1]], quadratic=True)
    for solver in (SCS(max_iters=1), CVXPY("OSQP", max_iter=1), CVXPY("SCS", max_iters=1)):
        solution = solve(solver, programs)
        assert list(solution.status) == [Status.INACCURATE]
        assert np.isfinite(solution.point.x).all()
    assert capfd.readouterr() == ("", "")


def test_an_unbounded_integer_program_is_told_from_an_infeasible_one() -> None:
    q, b = np.ones((1, 2)), np.array([[0.0, -1.0]])
    unbounded = dense(q, np.eye(2)[None], b, (NonNeg(2),))
    infeasible = dense(q, np.array([[[1.0, 0.0], [-1.0, 0.0]]]), b, (NonNeg(2),))
    for programs, status in ((unbounded, Status.UNBOUNDED), (infeasible, Status.INFEASIBLE)):
        whole = replace(programs.structure, integer=np.array([0, 1]))
        solution = solve(CVXPY("HIGHS"), replace(programs, structure=whole))
        assert list(solution.status) == [status]


def test_samples_with_the_same_matrices_share_one_compiled_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    class Counted(SampleProblem):
        def __init__(self, *arguments: object) -> None:
            made.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr("cvxlpgd.solvers.cvxpy.solver.SampleProblem", Counted)
    row = row_named("linear_program")
    c, A, b = row.inputs(3)
    assert solve(CVXPY("HIGHS"), program(row, [c, A[:1], b])).ok.all()
    assert len(made) == 1
    assert solve(CVXPY("HIGHS"), program(row, [c, A, b])).ok.all()
    assert len(made) == 4


@pytest.mark.parametrize(
    ("n", "given", "expected"), [(8, None, False), (300, None, None), (8, 1, True)]
)
def test_small_integer_programs_go_without_feasibility_jump(n, given, expected, monkeypatch):
    name, seen = "mip_heuristic_run_feasibility_jump", []

    def recorded(solver, settings):
        seen.append(settings.get(name))
        set_options(solver, settings)

    monkeypatch.setattr(setup, "set_options", recorded)
    x, cost = cp.Variable(n, boolean=True), cp.Parameter(n)
    problem = cp.Problem(cp.Maximize(cost @ x), [cp.sum(x) <= 2])
    options = {} if given is None else {name: bool(given)}
    layer = CvxpyLayer(problem, [cost], [x], solver=HiGHS(**options))
    (chosen,) = layer(np.arange(n) / n)
    assert np.flatnonzero(chosen > 0.5).tolist() == [n - 2, n - 1]
    assert seen == [expected]
