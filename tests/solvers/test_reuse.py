"""What solvers keep for the next solve: bitwise the same answers, nobody else's, set up once."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import SolverNotInstalled
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import DAQP, PIQP, SCS, Clarabel
from cvxlpgd.solvers.protocol import Solver, is_installed
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense
from tests.zoo import program, row_named

BATCH = 4
# of what they prepared; MOREAU and GUROBI too, where they are installed
KEEPERS = {"CLARABEL", "SCS", "DAQP", "HIGHS", "PIQP", "OSQP"}
# Every solver of the registry that takes inequalities and keeps what it prepared, but
FOR_THIS_CALL = {"SCS", "PIQP"}  # set-ups that remember their last solve
# interior points; OSQP polishes, as many iterations; Gurobi has a basis of large programs only
COLD = {"CLARABEL", "PIQP", "OSQP", "GUROBI"}
VARIANTS = {"PIQP": (PIQP(backend="sparse"), PIQP(backend="dense"))}


def keeps_what_it_prepared(solver: Solver) -> bool:
    """Whether it takes inequalities, and its solutions have a workspace."""
    return {Zero, NonNeg} <= solver.cones and solve(solver, linear()).workspace is not None


def reason_to_skip(solver: Solver) -> str:
    """Why a solver cannot be asked, nothing where it can."""
    if not is_installed(solver):
        return f"{solver.name} is not installed"
    try:
        return "" if keeps_what_it_prepared(solver) else f"{solver.name} keeps nothing"
    except SolverNotInstalled as error:  # it has no license
        return str(error)


def cases(without: set[str]) -> pytest.MarkDecorator:
    found = []
    solvers = [VARIANTS.get(name, (row.adapter(),)) for name, row in SOLVERS.items()
               if name not in without]  # fmt: skip
    for solver in (solver for variants in solvers for solver in variants):
        reason = reason_to_skip(solver)
        marks = [pytest.mark.skip(reason=reason)] if reason else []
        found.append(pytest.param(solver, id=solver.name, marks=marks))
    return pytest.mark.parametrize("solver", found)


def quadratic(batch: int = BATCH, batched: bool = False, seed: int = 0) -> ConeProgram:
    """A strictly convex QP with equalities, inequalities and bounds; matrices shared or not."""
    random = np.random.default_rng(seed)
    n, rows, many = 12, 9, batch if batched else 1
    root = random.standard_normal((many, n, n))
    P = root @ root.swapaxes(1, 2) / n + 0.5 * np.eye(n)
    A = np.concatenate(
        [
            random.standard_normal((many, 2 + rows, n)),
            np.tile(-np.eye(n)[:4], (many, 1, 1)),
            np.tile(np.eye(n)[2:5], (many, 1, 1)),
        ],
        axis=1,
    )
    inside = 0.1 * random.standard_normal((batch, n))
    room = random.uniform(0.1, 0.5, (batch, A.shape[1]))
    room[:, :2] = 0.0
    b = (A @ inside[:, :, None])[:, :, 0] + room
    return dense(
        2.0 * random.standard_normal((batch, n)), A, b, (Zero(2), NonNeg(A.shape[1] - 2)), P
    )


def linear(batch: int = BATCH, seed: int = 0) -> ConeProgram:
    """A bounded linear program, b shared: a new cost moves the solution to another vertex."""
    random = np.random.default_rng(seed)
    n, rows = 14, 8
    A = np.concatenate([random.standard_normal((rows, n)), -np.eye(n), np.eye(n)])[None]
    b = np.concatenate([random.uniform(0.1, 1.0, rows), np.ones(2 * n)])[None]
    return dense(random.standard_normal((batch, n)), A, b, (NonNeg(rows + 2 * n),))


def programs_for(solver: Solver) -> list[ConeProgram]:
    found = [quadratic(), quadratic(batched=True)]
    if solver.name in ("HIGHS", "CLARABEL", "SCS", "GUROBI"):
        found.append(linear())
    if solver.name in ("SCS", "CLARABEL", "MOREAU"):
        row = row_named("entropy")
        found.append(program(row, row.inputs(BATCH)))
    if solver.name == "GUROBI":
        rows = (row_named("quadratic_constraint"), row_named("second_order_cone"))
        found += [program(row, row.inputs(BATCH)) for row in rows]
    return found


def moved(programs: ConeProgram, size: float = 1e-3) -> ConeProgram:
    """Both ends of a perturbation of q and b, as LPGD re-solves them."""
    random, w = np.random.default_rng(7), programs.data
    both = np.tile(np.arange(programs.batch), 2)
    base = programs.take(both)
    sign = np.repeat([size, -size], programs.batch)[:, None]
    q = base.data.q + sign * np.tile(random.standard_normal((programs.batch, w.q.shape[1])), (2, 1))
    return replace(base, data=replace(base.data, q=q))


def twice(solution: Solution) -> Solution:
    return solution.take(np.tile(np.arange(len(solution.status)), 2))


def same(one: Solution, other: Solution, index: np.ndarray | None = None) -> bool:
    """Bitwise: other's samples are one's at `index`."""
    picked = one if index is None else one.take(index)
    return bool((picked.status == other.status).all()) and all(
        np.array_equal(v, getattr(other.point, k)) for k, v in picked.point.items()
    )


everyone = cases(set())


@pytest.mark.parametrize("name", sorted(KEEPERS))
def test_who_keeps_what_it_prepared(name: str) -> None:
    """A solver that kept nothing any more would be left out of the tests below."""
    assert keeps_what_it_prepared(SOLVERS[name].adapter())


@everyone
def test_answers_do_not_depend_on_what_an_object_solved_before(solver: Solver) -> None:
    for programs in programs_for(solver):
        solution = solve(solver, programs)
        assert list(solution.status) == [Status.SOLVED] * BATCH, solution.messages
        order = np.random.default_rng(1).permutation(BATCH)
        assert same(solution, solve(solver, programs.take(order)), order)
        for i in range(BATCH):
            alone = np.array([i])
            assert same(solution, solve(solver, programs.take(alone)), alone)


@everyone
def test_re_solves_are_the_same_again_and_in_any_order(solver: Solver) -> None:
    for programs in programs_for(solver):
        solution, ends = solve(solver, programs), moved(programs)
        found = solve(solver, ends, twice(solution))
        assert same(found, solve(solver, ends, twice(solution)))
        order = np.random.default_rng(2).permutation(BATCH)
        both = np.concatenate([order, order + BATCH])
        again = solve(solver, ends.take(both), twice(solution).take(both))
        assert same(found, again, both)
        cold = solve(solver, ends)
        np.testing.assert_allclose(found.point.x, cold.point.x, atol=1e-6)


@cases(FOR_THIS_CALL)
def test_matrices_are_set_up_once(solver: Solver) -> None:
    """At most once for each thread: how many take part depends on how busy the machine is."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for programs in programs_for(solver):
        solution = solve(solver, programs)
        solves = [solve(solver, moved(programs), twice(solution)) for _ in range(2)]
        solves.append(solve(solver, programs, solution))
        setups = [0.0 if v.setups is None else v.setups.sum() for v in (solution, *solves)]
        assert 1 <= setups[0] <= BATCH
        assert sum(setups) <= max(setups[0], threads or 1)


def test_a_factorization_of_scs_serves_both_ends() -> None:
    programs = quadratic()
    solution = solve(SCS(), programs)
    again = solve(SCS(), moved(programs), twice(solution))
    assert again.setups is not None
    assert again.setups.tolist() == [1.0] * BATCH + [0.0] * BATCH


@cases(COLD)
def test_a_re_solve_takes_fewer_iterations(solver: Solver) -> None:
    for programs in programs_for(solver)[: 1 if solver.name == "HIGHS" else 2]:
        kept = linear() if solver.name == "HIGHS" else programs
        solution, ends = solve(solver, kept), moved(kept)
        warm, cold = solve(solver, ends, twice(solution)), solve(solver, ends)
        assert warm.iterations.sum() < cold.iterations.sum()


Change = Callable[[ConeProgram], ConeProgram]
CHANGES: dict[str, Change] = {
    "P": lambda p: replace(p, data=replace(p.data, P=1.5 * p.data.P)),
    "A": lambda p: replace(p, data=replace(p.data, A=1.1 * p.data.A)),
    "b": lambda p: replace(p, data=replace(p.data, b=p.data.b + 0.01)),
    "one sample": lambda p: p.take(np.array([3])),
    "more samples": lambda p: p.take(np.array([0, 1, 2, 3, 0, 1])),
    "other matrices of the same shape": lambda p: quadratic(seed=5),
    "a matrix for each sample": lambda p: quadratic(batched=True, seed=6),
    "rows in another order": lambda p: quadratic(seed=8),
}


@everyone
@pytest.mark.parametrize("change", CHANGES)
def test_what_no_longer_fits_is_set_up_again(solver: Solver, change: str) -> None:
    programs = quadratic()
    solution = solve(solver, programs)
    other = CHANGES[change](programs)
    index = np.arange(other.batch) % BATCH
    found = solve(solver, other, solution.take(index))
    fresh = solve(solver, other)
    np.testing.assert_allclose(found.point.x, fresh.point.x, atol=1e-6)
    np.testing.assert_allclose(found.point.y, fresh.point.y, atol=1e-5)
    # and the first program's objects still serve it
    assert same(solve(solver, moved(programs), twice(solution)),
                solve(solver, moved(programs), twice(solve(solver, programs))))  # fmt: skip


@everyone
def test_a_start_of_another_solver_is_only_a_point(solver: Solver) -> None:
    programs = quadratic()
    for other in (SCS(), DAQP(), Clarabel()):
        start = solve(other, programs)
        found = solve(solver, programs, start)
        np.testing.assert_allclose(found.point.x, start.point.x, atol=1e-6)


@everyone
def test_threads_share_a_solution(solver: Solver) -> None:
    """Many times: what one call leaves to another is a matter of moments."""
    programs = quadratic()
    solution, ends = solve(solver, programs), moved(programs)
    expected = solve(solver, ends, twice(solution))
    starts = [twice(solution)] * 100
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda start: solve(solver, ends, start), starts))
    assert all(same(expected, one) for one in found)


@everyone
def test_copies_leave_it_out(solver: Solver) -> None:
    solution = solve(solver, quadratic())
    assert solution.workspace is not None
    copy = pickle.loads(pickle.dumps(solution))
    assert copy.workspace is None
    assert same(solution, copy)
