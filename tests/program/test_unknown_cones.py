"""Programs over cones that the library does not know: differentiated, or refused by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cvxlpgd import Exact
from cvxlpgd.cones import SOC, Cone, NonNeg, Zero, distance
from cvxlpgd.cones.linearization import Linearization, of_diagonal
from cvxlpgd.errors import UnsuitableSolver
from cvxlpgd.program import ConeProgram, Data, Point
from cvxlpgd.program.restriction import Restriction
from cvxlpgd.program.rows import lift, scs_cones
from cvxlpgd.program.solution import Solution
from cvxlpgd.solvers import (
    CVXPY,
    DAQP,
    ECOS,
    OSQP,
    PIQP,
    QPTH,
    SCS,
    Clarabel,
    Gurobi,
    HiGHS,
    Moreau,
)
from cvxlpgd.solvers.cvxpy.problem import SampleProblem
from cvxlpgd.solvers.protocol import require
from cvxlpgd.solvers.run.each import sample
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense
from tests.helpers.recipes import rotated

BATCH, N = 3, 4
SOLVERS = (SCS(), Clarabel(), ECOS(), HiGHS(), OSQP(), PIQP(), DAQP(), CVXPY("CLARABEL"))
# what they refuse they do not need to be installed for
ADAPTERS = (*SOLVERS, Moreau(), QPTH(), Gurobi())


@dataclass(frozen=True)
class NonPos:
    """{s : s <= 0}, a cone of single rows. It is its own dual times -1: y <= 0."""

    rows: int
    symmetric = True

    @property
    def interior(self) -> np.ndarray:
        return -np.ones(self.rows)

    def project(self, v):
        return v * (v < 0)

    def derivative(self, v: np.ndarray) -> np.ndarray:
        return (v < 0).astype(float)

    def linearize(self, y: np.ndarray, s: np.ndarray) -> Linearization:
        return of_diagonal(self, y, s)

    def reach(self, y, s, y_dot, s_dot):
        return NonNeg(self.rows).reach(-y, -s, -y_dot, -s_dot)


def over(known: Cone, unknown: Cone, turn: np.ndarray) -> tuple[ConeProgram, ConeProgram]:
    """The same programs over a known cone K and over T K, which is unknown: rows times T."""
    rng = np.random.default_rng(7)
    A, q = rng.normal(size=(1, 2 + known.rows, N)), rng.normal(size=(BATCH, N))
    x = rng.normal(size=(BATCH, N))
    s = known.project(rng.normal(size=(BATCH, known.rows))) + 0.1 * np.asarray(known.interior)
    b = np.einsum("ij,kj->ki", A[0], x) + np.concatenate([np.zeros((BATCH, 2)), s], axis=1)
    T = np.eye(2 + known.rows)
    T[2:, 2:] = turn
    P = np.eye(N)[None]
    one = dense(q, A, b, (Zero(2), known), P)
    return one, dense(q, T @ A, b @ T.T, (Zero(2), unknown), P)


HALF = np.sqrt(0.5)
TURN = np.array([[HALF, HALF, 0], [HALF, -HALF, 0], [0, 0, 1]])
PAIRS = {"RotatedSOC": (SOC(3), rotated(3), TURN), "NonPos": (NonNeg(3), NonPos(3), -np.eye(3))}
every_pair = pytest.mark.parametrize("name", PAIRS)


def at(program: ConeProgram, solution: Solution, turn: np.ndarray) -> Solution:
    """The solution of the program whose rows are turned."""
    z = solution.point
    y, s = (np.concatenate([v[:, :2], v[:, 2:] @ turn.T], axis=1) for v in (z.y, z.s))
    point = Point(z.x, y, s)
    return replace(solution, point=point, residuals=program.residuals(point))


@every_pair
def test_residuals_and_exact_derivatives_need_only_the_cones_own_members(name: str) -> None:
    known, unknown, turn = PAIRS[name]
    one, other = over(known, unknown, turn)
    solution = solve(Clarabel(), one)
    turned = at(other, solution, turn)
    assert turned.residuals is not None
    np.testing.assert_allclose(turned.residuals.largest, solution.residuals.largest, atol=1e-12)
    nothing = np.zeros(0, dtype=int)
    bar = Point(*(np.random.default_rng(8).normal(size=v.shape) for _, v in solution.point.items()))
    bar = replace(bar, y=bar.y * 0.0, s=bar.s * 0.0)
    entries = Data(nothing, np.arange(N), nothing, np.arange(5))
    expected, _ = Exact().bind(one.structure, Clarabel(), (1,)).vjp(one, solution, bar, entries)
    bound = Exact().bind(other.structure, Clarabel(), (1,))
    gradients, info = bound.vjp(other, turned, bar, entries)
    assert info.ok.all()
    np.testing.assert_allclose(gradients.q, expected.q, atol=1e-7)
    np.testing.assert_allclose(gradients.b[:, :2], expected.b[:, :2], atol=1e-7)
    np.testing.assert_allclose(gradients.b[:, 2:], expected.b[:, 2:] @ turn.T, atol=1e-7)
    assert np.abs(gradients.b[:, 2:]).max() > 0.01


@every_pair
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_solvers_refuse_it_by_name(solver, name: str) -> None:
    _, program = over(*PAIRS[name])
    with pytest.raises(UnsuitableSolver, match=name):
        require(solver, program.structure)


@every_pair
@pytest.mark.parametrize("solver", ADAPTERS, ids=lambda solver: solver.name)
def test_solvers_that_nobody_asked_first_refuse_it_too(solver, name: str) -> None:
    _, program = over(*PAIRS[name])
    with pytest.raises(UnsuitableSolver, match=name):
        solver.solve(program)


@pytest.mark.parametrize("cone", [NonPos(1), NonPos(3), rotated(3)], ids=repr)
def test_a_problem_of_cvxpy_takes_no_other_cone_for_one_of_its_own(cone: Cone) -> None:
    program = dense(np.zeros((1, N)), np.ones((1, cone.rows, N)), np.ones((1, cone.rows)), (cone,))
    with pytest.raises(UnsuitableSolver, match=type(cone).__name__):
        SampleProblem(program.structure, sample(program, 0), pinned=False)


@every_pair
def test_no_list_of_rows_leaves_it_out(name: str) -> None:
    _, program = over(*PAIRS[name])
    with pytest.raises(UnsuitableSolver, match=name):
        scs_cones(program.structure)
    with pytest.raises(UnsuitableSolver, match=name):
        lift(program)


@every_pair
def test_restrictions_keep_it_whole(name: str) -> None:
    _, program = over(*PAIRS[name])
    restriction = Restriction.of(program.structure, np.arange(N))
    _, violation = restriction.program(program, np.zeros((BATCH, N)))
    cone, b = PAIRS[name][1], program.data.b
    outside = np.maximum(np.abs(b[:, :2]).max(axis=1), distance(cone, b[:, 2:]))
    np.testing.assert_array_equal(violation > 0, outside > 0)
