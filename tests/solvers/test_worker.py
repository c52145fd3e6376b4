"""What a worker of an executor keeps, and what it says that it lacks."""

from __future__ import annotations

import gc
import pickle
import secrets
import weakref
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from cvxlpgd.program import ConeProgram, Structure
from cvxlpgd.solvers import DAQP, SCS, Clarabel, HiGHS, Refined
from cvxlpgd.solvers.refine import newton
from cvxlpgd.solvers.run import stock, tokens
from cvxlpgd.solvers.run.solve import solve
from cvxlpgd.solvers.run.worker import Outcome, Piece, run_piece
from tests.solvers.test_refined import disk
from tests.solvers.test_reuse import linear, quadratic


@pytest.fixture(autouse=True)
def _as_new():
    """A worker that has seen nothing."""
    stock.SHELF.clear()
    yield
    stock.SHELF.clear()


def abroad(piece: Piece, structure: Structure | None, token: str) -> Outcome:
    """What a worker in another process, to which the structure is known by a token, returns."""
    own = replace(piece, token=token, structure=structure)
    outcome: Outcome = run_piece(solve, pickle.loads(pickle.dumps(own)))
    return outcome


def test_a_structure_travels_once():
    program, token = quadratic(), secrets.token_hex(16)
    piece = Piece.of(DAQP(), program, None)
    assert piece.structure is None
    assert abroad(piece, None, token).lacking
    first = abroad(piece, program.structure, token).solution
    later = abroad(piece, None, token).solution
    expected = solve(DAQP(), program).point.x
    assert first is not None
    assert later is not None
    assert np.array_equal(first.point.x, expected)
    assert np.array_equal(later.point.x, expected)


def test_set_ups_stay_until_their_structure_is_gone():
    program, token = quadratic(), secrets.token_hex(16)
    piece = Piece.of(Clarabel(), program, None)
    counts = [
        abroad(piece, program.structure, token).solution.setups.sum(),
        abroad(piece, None, token).solution.setups.sum(),
        abroad(replace(piece, solver=Clarabel(max_iter=60)), None, token).solution.setups.sum(),
    ]
    assert counts[0] >= 1
    assert counts[1] == 0
    assert counts[2] >= 1  # another solver's
    moved = replace(program.data, A=program.data.A + 1e-9)
    assert abroad(replace(piece, data=moved), None, token).solution.setups.sum() >= 1
    assert abroad(piece, None, token).solution.setups.sum() == 0  # those of the first are there
    other = quadratic(seed=1)
    farewell = replace(Piece.of(Clarabel(), other, None), gone=(token,))
    abroad(farewell, other.structure, secrets.token_hex(16))
    assert abroad(piece, None, token).lacking


def test_structures_that_go_are_announced():
    structure = replace(quadratic().structure)
    token, last = tokens.token_of(structure), weakref.ref(structure)
    assert tokens.structure_of(token) is structure
    assert tokens.token_of(structure) == token
    assert tokens.token_of(pickle.loads(pickle.dumps(structure))) != token  # a copy starts anew
    del structure
    gc.collect()
    assert last() is None
    assert token in tokens.gone()


def test_a_worker_keeps_few_structures():
    program = quadratic()
    piece, names = Piece.of(DAQP(), program, None), [secrets.token_hex(16) for _ in range(20)]
    for name in names:
        abroad(piece, program.structure, name)
    gc.collect()
    lacking = [abroad(piece, None, name).lacking for name in names]
    assert lacking == [True] * (20 - tokens.STRUCTURES) + [False] * tokens.STRUCTURES


def test_a_shelf_has_room_for_so_many_entries(monkeypatch):
    structure, shelf = quadratic().structure, stock.Shelf()
    shelf.structures.add(tokens.token_of(structure))
    monkeypatch.setattr(stock, "ENTRIES", 30)

    def kept(k: int) -> stock.Stock:
        return shelf.stock("solver", structure, np.full(4, float(k)), np.full(6, float(k)))

    first, second, third = kept(1), kept(2), kept(3)
    assert kept(1) is first  # which makes it the newest
    kept(4)
    assert kept(1) is first
    assert kept(3) is third
    assert kept(2) is not second
    big = shelf.stock("solver", structure, np.zeros(40), np.zeros(0))
    assert shelf.stock("solver", structure, np.zeros(40), np.zeros(0)) is big  # the newest stays
    assert stock.Shelf().stock("solver", structure, np.zeros(4), np.zeros(6)).free == []


def test_a_stock_of_another_process_fits_nothing():
    structure, P, A = quadratic().structure, np.ones(4), np.ones(6)
    own = stock.Stock("solver", structure, P, A, [object()])
    there = pickle.loads(pickle.dumps(own))
    assert own.fits("solver", structure, P, A)
    assert there.is_of("solver", structure)
    assert not there.is_here
    assert not there.fits("solver", structure, P, A)
    assert there.take() is None
    unknown = stock.Stock("solver", None, P, A)
    assert pickle.loads(pickle.dumps(unknown)).structure is None


STATES = {
    "HIGHS": (HiGHS(), linear(), lambda slot: slot.state.basis.col_status),
    "DAQP": (DAQP(), quadratic(), lambda slot: slot.state.sense.tolist()),
    "SCS": (SCS(), quadratic(), lambda slot: slot.state.scale),
}


@pytest.mark.parametrize("name", STATES)
def test_states_travel(name):
    solver, program, state = STATES[name]
    start = solve(solver, program)
    sent = pickle.loads(pickle.dumps(start.workspace))
    assert [state(slot) for slot in sent] == [state(slot) for slot in start.workspace]
    moved = replace(program, data=replace(program.data, q=program.data.q * 1.01 + 1e-3))
    near, far = (solve(solver, moved, start.change(workspace=w)) for w in (start.workspace, sent))
    for one, other in zip(near.point.items(), far.point.items(), strict=True):
        assert np.array_equal(one[1], other[1])
    assert (near.iterations == far.iterations).all()


def cones(q: np.ndarray) -> ConeProgram:
    return disk(q)


@pytest.mark.parametrize("dense", [300, 0])
def test_factors_are_made_again_bitwise(dense, monkeypatch):
    monkeypatch.setattr(newton.systems, "DENSE", dense)
    q = np.random.default_rng(8).normal(size=(5, 4))
    solver, program = Refined(SCS()), cones(q)
    start = solve(solver, program)
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(start.workspace))))
    both = np.tile(np.arange(5), 2)
    far = np.concatenate([q + 1e-2, q - 1e-2])
    moved = replace(program, data=replace(program.data, q=far))
    near, other = (
        solve(solver, moved, start.take(both).change(workspace=w[both]))
        for w in (start.workspace, twice)
    )
    for one, two in zip(near.point.items(), other.point.items(), strict=True):
        assert np.array_equal(one[1], two[1])
    changed = replace(moved, data=replace(moved.data, A=2 * moved.data.A))
    again = solve(solver, changed, start.take(both).change(workspace=twice[both]))
    assert (again.setups > 0).all()  # those of other matrices do not serve


def test_what_is_kept_of_a_sample_does_not_depend_on_its_batch(monkeypatch):
    q = np.random.default_rng(8).normal(size=(5, 4))
    solver = Refined(SCS())
    each = solve(solver, cones(q[:1])).workspace[0].factors.numbers
    for room, kept in ((newton.TOGETHER * each, True), (3 * each, False)):
        monkeypatch.setattr(newton, "KEPT", room)
        for batch in (q, q[:1]):
            workspace = solve(solver, cones(batch)).workspace
            assert [entry.factors is not None for entry in workspace] == [kept] * len(batch)


def solve_from_what_is_left(solver, program, start):
    """As `solve`, where what is left is known to be of this structure."""
    assert all(slot.stock.structure is program.structure for slot in start.workspace)
    return solve(solver, program, start)


def test_a_workers_first_piece_may_start_from_what_another_worker_left():
    """The structure arrives with it: bits must not depend on which worker did what before."""
    program = disk(np.random.default_rng(5).normal(size=(4, 6)))
    first = solve(SCS(), program)
    moved = replace(program, data=replace(program.data, q=program.data.q + 0.3))
    piece = Piece.of(SCS(), moved, first).with_structure(moved.structure)
    expected = solve(SCS(), moved, first).point
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for _ in range(2):  # where it is known already, too
            outcome = pool.submit(run_piece, solve_from_what_is_left, piece).result(120)
            assert np.array_equal(outcome.solution.point.x, expected.x)
            assert np.array_equal(outcome.solution.point.y, expected.y)
