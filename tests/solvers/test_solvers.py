"""Conformance: every solver on every row that it declares to take, and its manners."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy.linalg import null_space

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import CVXPY, DAQP, Clarabel
from cvxlpgd.solvers.daqp.solver import strictly_convex
from cvxlpgd.solvers.protocol import Solver, is_installed, missing_cones
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.solvers.run.each import sample
from cvxlpgd.solvers.run.ladder import FirstOf
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense, orthant
from tests.zoo import ROWS, Row, canonical, flattened, program, row_named, solved_by_cvxpy


@dataclass(frozen=True)
class Case:
    """A solver and the relative KKT residual that it reaches on the zoo by default.

    One with `takes` refuses some programs by their values: it is asked the zoo's rows that it takes
    and nothing else. A sample's solution may move by `mates` with its batch mates.
    """

    solver: Solver
    residual: float
    takes: Callable[[ConeProgram], bool] | None = None
    mates: float = 0.0

    def __str__(self) -> str:
        kind = type(self.solver).__name__
        return f"CVXPY-{self.solver.name}" if kind == "CVXPY" else kind


# Others reach 1e-6, at which a sample still counts as solved.
RESIDUALS = {
    "SCS": 1e-8, "HIGHS": 1e-12, "PIQP": 1e-8, "OSQP": 1e-8, "DAQP": 1e-12, "MOREAU": 1e-8,
    "QPTH": 1e-9, "GUROBI": 1e-10,
}  # fmt: skip


def definite(program: ConeProgram) -> bool:
    """Whether the first sample's P is positive definite where the equations hold, none twice."""
    P, _, A, _ = sample(program, 0)
    equations = A.toarray()[program.structure.rows_of(Zero)]
    Z = null_space(equations) if len(equations) else np.eye(program.structure.n)
    independent = Z.shape[1] == program.structure.n - len(equations)
    return independent and bool((np.linalg.eigvalsh(Z.T @ P @ Z) > 1e-9).all())


TAKES = {"DAQP": strictly_convex, "QPTH": definite}
MATES = {"QPTH": 1e-7}  # iterates until the slowest sample of a batch is done

CASES = (
    *(
        Case(row.adapter(), RESIDUALS.get(name, 1e-6), TAKES.get(name), MATES.get(name, 0.0))
        for name, row in SOLVERS.items()
    ),
    Case(FirstOf((DAQP(), Clarabel())), 1e-6),
    Case(CVXPY("CLARABEL"), 1e-6),
    Case(CVXPY("OSQP"), 1e-12),
    Case(CVXPY("HIGHS"), 1e-12),
    Case(CVXPY("SCIPY"), 1e-12),
    Case(CVXPY("PIQP"), 1e-8),
    Case(CVXPY("DAQP"), 1e-8),
)


def params(names: tuple[str, ...] | None = None, quadratic: bool = False) -> list[object]:
    """Each case that takes inequalities; with names, each case with each row that it takes.

    A solver that is not installed is skipped by name.
    """
    found: list[object] = []
    for case in CASES:
        if not is_installed(case.solver):
            reason = f"not installed: pip install {' '.join(case.solver.requires)}"
            nothing = (case, None) if names else (case,)
            found.append(
                pytest.param(*nothing, id=str(case), marks=pytest.mark.skip(reason=reason))
            )
        elif names is None:
            able = {Zero, NonNeg} <= case.solver.cones and (case.solver.quadratic or not quadratic)
            if able and case.takes is None:
                found.append(pytest.param(case, id=str(case)))
        else:
            takes = [
                row
                for row in map(row_named, names)
                if not missing_cones(case.solver, canonical(row).structure)
                and (case.takes is None or case.takes(program(row, row.inputs(1))))
            ]
            found += [pytest.param(case, row, id=f"{case}-{row.name}") for row in takes]
    return found


every_case = pytest.mark.parametrize("case", params())


@cache
def objectives_of_cvxpy(row: Row) -> list[float]:
    values = row.inputs(2)
    name = "HIGHS" if canonical(row).structure.mixed_integer else "CLARABEL"
    batch = max((len(v) for v in values), default=1)
    return [solved_by_cvxpy(row, [v[i] for v in values], name)[0] for i in range(batch)]


@pytest.mark.parametrize(("case", "row"), params(tuple(row.name for row in ROWS)))
def test_rows_are_solved(case: Case, row: Row, capfd: pytest.CaptureFixture[str]) -> None:
    c = canonical(row)
    values = row.inputs(2)
    programs = program(row, values)
    solution = solve(case.solver, programs)
    out, err = capfd.readouterr()
    if isinstance(case.solver, CVXPY):  # CVXPY lets HiGHS say who it is, once in a process
        out = re.sub(r"^(Running HiGHS|Includes third-party).*\n", "", out, flags=re.MULTILINE)
    assert (out, err) == ("", "")
    assert list(solution.status) == [Status.SOLVED] * programs.batch, solution.messages
    assert solution.residuals is not None
    whole = c.structure.mixed_integer
    worst = solution.residuals.primal if whole else solution.residuals.largest
    assert worst.max() <= case.residual
    _, offset = c.parameters.data(flattened(row, values))
    found = c.sign * (programs.objective(solution.point.x) + offset)
    found = np.exp(found) if c.exponential else found
    np.testing.assert_allclose(found, objectives_of_cvxpy(row), rtol=1e-5, atol=1e-5)


FREE = 1e3  # a bound that does not count


def check_statuses(solver: Solver, quadratic: bool) -> None:
    infeasible = orthant([[1, 0]], [[-1, 0, 1]], quadratic)
    assert list(solve(solver, infeasible).status) == [Status.INFEASIBLE]
    P = np.array([[[0.0, 0.0], [0.0, 1.0]]]) if quadratic else None
    unbounded = dense(np.array([[1.0, 1.0]]), np.eye(2)[None], np.ones((1, 2)), (NonNeg(2),), P)
    assert list(solve(solver, unbounded).status) == [Status.UNBOUNDED]


@every_case
def test_infeasible_and_unbounded_programs_are_called_so(case: Case) -> None:
    check_statuses(case.solver, quadratic=False)


@pytest.mark.parametrize("case", params(quadratic=True))
def test_infeasible_and_unbounded_quadratic_programs_are_called_so(case: Case) -> None:
    check_statuses(case.solver, quadratic=True)


def identical(one: Solution, i: int, other: Solution, j: int, within: float = 0.0) -> bool:
    pairs = ((getattr(one.point, k)[i], getattr(other.point, k)[j]) for k in ("x", "y", "s"))
    return one.status[i] == other.status[j] and all(
        np.allclose(v, w, rtol=0.0, atol=within, equal_nan=True) for v, w in pairs
    )


@every_case
def test_an_infeasible_sample_leaves_the_others_alone(case: Case) -> None:
    q, bounds = [[1, 0]], [[4, 1, 1], [-1, 0, 1], [4, 2, 1]]
    programs = orthant(q, bounds, case.solver.quadratic)
    solution = solve(case.solver, programs)
    assert list(solution.status) == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED]
    assert np.isnan(solution.point.x[1]).all()
    np.testing.assert_allclose(solution.point.x[[0, 2], 0], [-1, -2], atol=1e-6)
    for i in (0, 2):
        alone = solve(case.solver, programs.take(np.array([i])))
        assert identical(solution, i, alone, 0)


REPEATED = (
    "linear_program",
    "portfolio",
    "entropy",
    "quadratic_constraint",
    "semidefinite_program",
)


@pytest.mark.parametrize(("case", "row"), params(REPEATED))
def test_a_result_does_not_depend_on_its_mates(case: Case, row: Row) -> None:
    whole = program(row, row.inputs(4))
    together = solve(case.solver, whole)
    turned = solve(case.solver, whole.take(np.array([3, 2, 1, 0])))
    for i in range(4):
        alone = solve(case.solver, whole.take(np.array([i])))
        assert identical(together, i, alone, 0, case.mates)
        assert identical(together, i, turned, 3 - i, case.mates)


@every_case
def test_an_entry_that_is_zero_at_the_moment_stays(case: Case) -> None:
    A = np.array([[[1.0, 1.0], [-1.0, a], [0.0, -1.0]] for a in (0.0, 1.0, 0.0)])
    P = np.array([[[1.0, a], [a, 2.0]] for a in (0.0, 0.5, 0.0)]) if case.solver.quadratic else None
    q, b = np.array([[1.0, -1.0]]), np.array([[1.0, 0.0, 1.0]])
    programs = dense(q, A, b, (Zero(1), NonNeg(2)), P)
    solution = solve(case.solver, programs)
    assert list(solution.status) == [Status.SOLVED] * 3
    assert identical(solution, 0, solution, 2)
    assert np.abs(solution.point.x[0] - solution.point.x[1]).max() > 0.1


@every_case
def test_programs_of_few_rows(case: Case) -> None:
    q, one = np.array([[1.0, -1.0]]), np.ones((1, 1, 2))
    square = np.array([[[1.0, -1.0], [1.0, 1.0]]])
    equalities = dense(q, square, np.array([[0.0, 2.0]]), (Zero(2),))
    assert solve(case.solver, equalities).point.x[0] == pytest.approx([1.0, 1.0], abs=1e-7)
    if case.solver.quadratic:
        P = np.array([[[2.0, 0.0], [0.0, 1.0]]])
        free = dense(q, np.zeros((1, 0, 2)), np.zeros((1, 0)), (), P)
        assert solve(case.solver, free).point.x[0] == pytest.approx([-0.5, 1.0], abs=1e-6)
        loose = dense(q, one, np.array([[FREE]]), (NonNeg(1),), P)
        assert solve(case.solver, loose).point.x[0] == pytest.approx([-0.5, 1.0], abs=1e-6)
        empty_row = dense(q, 0 * one, np.array([[0.0]]), (Zero(1),), P)
        assert solve(case.solver, empty_row).point.x[0] == pytest.approx([-0.5, 1.0], abs=1e-6)


@every_case
def test_nothing_of_the_callers_is_written_to(case: Case) -> None:
    name = "portfolio" if case.solver.quadratic else "linear_program"
    programs = program(row_named(name), row_named(name).inputs(2))
    structure = programs.structure
    arrays = [v for _, v in programs.data.items()]
    arrays += [structure.P.rows, structure.P.cols, structure.A.rows, structure.A.cols]
    kept = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    try:
        solution = solve(case.solver, programs)
        again = solve(case.solver, programs, solution)
    finally:
        for a in arrays:
            a.flags.writeable = True
    assert solution.ok.all()
    assert again.ok.all()
    np.testing.assert_allclose(again.point.x, solution.point.x, atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))


@every_case
def test_no_samples(case: Case) -> None:
    programs = orthant([[1, 0]], [[4, 1, 1]], quadratic=False)
    none = replace(programs, data=replace(programs.data, b=programs.data.b[:0]))
    assert solve(case.solver, none).point.x.shape == (0, 2)


@every_case
def test_solvers_are_values(case: Case) -> None:
    solver = case.solver
    again = pickle.loads(pickle.dumps(solver))
    assert again == solver
    assert hash(again) == hash(solver)
    tighter = solver.with_options({"eps": 1e-7})
    assert tighter != solver
    assert tighter.accuracy == 1e-7
    assert tighter.with_options({}) == tighter
    with pytest.raises(InvalidOption, match="positive"):
        solver.with_options({"eps": -1.0})
