"""Refined solutions: right to rounding, or the solver's own; whoever is beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import cvxpy as cp
import numpy as np
import pytest

import cvxlpgd.numpy
from cvxlpgd import LPGD
from cvxlpgd.cones import SOC, Exp, NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import ConeProgram, Data, Pattern, Point, norm, threads
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import DAQP, PIQP, SCS, Clarabel, Refined
from cvxlpgd.solvers.refine import matrices, systems
from cvxlpgd.solvers.refine import newton as refinement
from cvxlpgd.solvers.refine.newton import is_refinable, refine
from cvxlpgd.solvers.refine.scales import Scales
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense
from tests.zoo import ROWS, SMOOTH, Row, program

BATCH = 4
TIGHT = SCS(eps=1e-10)
FREE = {"adaptive_scale": False, "acceleration_lookback": 0}


def rows(several: tuple[Row, ...]) -> pytest.MarkDecorator:
    usable = [row for row in several if is_refinable(program(row, row.inputs(1)).structure)]
    return pytest.mark.parametrize("row", usable, ids=lambda row: row.name)


def disk(q: np.ndarray, radius: float = 1.0) -> ConeProgram:
    """min q'x subject to |x| <= radius: x = -radius q/|q|."""
    n = q.shape[1]
    A = -np.concatenate([np.zeros((1, n)), np.eye(n)])[None]
    b = np.append(radius, np.zeros(n))[None]
    return dense(q, A, b, (SOC(n + 1),))


@rows(ROWS)
def test_what_is_refined_is_a_solution_to_rounding(row: Row) -> None:
    programs = program(row, row.inputs(BATCH))
    start = solve(SCS(eps=1e-3, max_iters=2000), programs)
    found = refine(programs, start.point)
    residuals = programs.residuals(found.point).largest
    assert (residuals[found.ok] <= 1e-10).all()
    again = refine(programs, solve(TIGHT, programs).point)
    objectives = programs.objective(found.point.x), programs.objective(again.point.x)
    both = found.ok & again.ok
    np.testing.assert_allclose(*(v[both] for v in objectives), rtol=1e-9, atol=1e-9)


@rows(SMOOTH)
def test_regular_points_are_refined_and_near_the_solvers(row: Row) -> None:
    programs = program(row, row.inputs(BATCH))
    tight = solve(TIGHT, programs)
    found = refine(programs, tight.point)
    if not (programs.data.q.any() or programs.data.P.any()):
        pytest.skip("without an objective every feasible point is a solution")
    assert found.ok.all()
    for name, v in found.point.items():
        wanted = getattr(tight.point, name)
        assert np.abs(v - wanted).max() <= 1e-6 * (1 + np.abs(wanted).max()), name


@rows(SMOOTH)
def test_sparse_factors_lead_to_the_same_point(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = program(row, row.inputs(BATCH))
    start = solve(SCS(eps=1e-4), programs).point
    dense = refine(programs, start)
    monkeypatch.setattr(systems, "DENSE", 0)
    sparse = refine(programs, start)
    assert sparse.ok[dense.ok].all()
    for i in np.flatnonzero(dense.ok):
        alone = refine(programs.take(np.array([i])), start.pick(np.array([i])))
        for name, v in sparse.point.items():
            wanted = getattr(dense.point, name)[i]
            np.testing.assert_array_equal(getattr(alone.point, name)[0], v[i])
            assert np.abs(v[i] - wanted).max() <= 1e-8 * (1 + np.abs(wanted).max()), name


@pytest.mark.parametrize("dense", [300, 0])
def test_factors_are_kept_where_the_matrices_are_the_same(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "DENSE", dense)
    q = np.random.default_rng(8).normal(size=(5, 4))
    solver, programs = Refined(SCS(), SCS(eps=1e-3, **FREE)), disk(q)
    start = solve(solver, programs)
    near = replace(programs, data=replace(programs.data, q=q + 1e-3))
    again = solve(solver, near, start)
    assert again.setups is not None
    assert again.setups.sum() == 0
    np.testing.assert_allclose(again.point.x, solve(solver, near).point.x, atol=1e-11)
    other = replace(near, data=replace(near.data, A=2 * near.data.A))
    changed = solve(solver, other, start)
    assert changed.setups is not None
    assert (changed.setups > 0).all()
    np.testing.assert_allclose(changed.point.x, solve(solver, other).point.x, atol=1e-11)
    monkeypatch.setattr(refinement, "KEPT", 0)
    nothing = solve(solver, near, solve(solver, programs))
    assert nothing.setups is not None
    assert nothing.setups.sum() == 5


def entropy(q: np.ndarray, unit: float = 1.0) -> ConeProgram:
    """min q'x - Σ entr(x) subject to 1'x = unit, as -t with (t, x, unit) in exponential cones, in
    the unit of x: x = unit e^-q / Σ e^-q.
    """
    n = q.shape[1]
    A = np.zeros((1, 1 + 3 * n, 2 * n))
    A[0, 0, :n] = 1.0
    for j in range(n):
        A[0, 1 + 3 * j, n + j], A[0, 2 + 3 * j, j] = 1.0, -1.0
    b = np.concatenate([[unit], np.tile([0.0, 0.0, unit], n)])[None]
    costs = np.concatenate([q, np.ones_like(q)], axis=1)
    return dense(costs, A, b, (Zero(1), *(Exp(),) * n))


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_exponential_cones_are_refined_in_any_unit(unit: float) -> None:
    q = np.random.default_rng(10).normal(size=(5, 6))
    wanted = unit * np.exp(-q) / np.exp(-q).sum(axis=1, keepdims=True)
    programs = entropy(q, unit)
    found = solve(_refined(), programs)
    assert (found.status == Status.SOLVED).all()
    np.testing.assert_allclose(found.point.x[:, :6], wanted, rtol=1e-12)
    for i in range(5):
        alone = solve(_refined(), programs.take(np.array([i])))
        for name, v in alone.point.items():
            np.testing.assert_array_equal(v[0], getattr(found.point, name)[i])


def test_probabilities_that_vanish_are_right_to_their_own_digits() -> None:
    """x spans 26 orders of magnitude: r of the pairs is as far from 0 as 60."""
    q = np.array([[0.0, 30.0, 60.0, 1.0]])
    found = solve(_refined(), entropy(q))
    wanted = np.exp(-q) / np.exp(-q).sum()
    assert (found.status == Status.SOLVED).all()
    np.testing.assert_allclose(found.point.x[:, :4], wanted, rtol=1e-6, atol=1e-14)


def test_columns_of_one_cone_are_not_a_part_of_the_full_matrix() -> None:
    programs = entropy(np.zeros((1, 6)))
    sparse = programs.data.A[0] != 0
    structure = programs.structure
    A = Pattern(structure.A.shape, structure.A.rows[sparse], structure.A.cols[sparse])
    assert systems.dense(replace(structure, A=A)).kept.tolist() == [0, 1, 2, 3, 4, 5]
    curved = Pattern.of((12, 12), [7], [7])  # t_1 has curvature of its own
    layout = systems.dense(replace(structure, A=A, P=curved))
    assert layout.kept.tolist() == [0, 1, 2, 3, 4, 5, 7]
    several = systems.dense(replace(structure, A=A, cones=(Zero(1), SOC(18))))
    assert len(several.kept) == 11  # one of a cone


def test_a_matrix_that_is_singular_up_to_rounding_has_a_factor() -> None:
    root = np.random.default_rng(0).normal(size=(5, 3))
    flat, indefinite = root @ root.T, np.diag([1.0, 1.0, -1.0, 1.0, 1.0])
    flat /= np.sqrt(np.outer(np.diag(flat), np.diag(flat)))
    fine = np.eye(5) + flat
    upper = matrices._factor(np.stack([flat - 1e-14 * np.eye(5), indefinite, fine]))
    lower = np.triu(upper).swapaxes(1, 2)
    np.testing.assert_allclose(lower[0] @ lower[0].T, flat, atol=1e-10)
    assert np.isnan(upper[1]).all()
    np.testing.assert_allclose(lower[2] @ lower[2].T, fine, atol=1e-14)


def _refined() -> Any:
    """What solver=None asks where solutions are to be refined."""
    return SOLVERS["SCS"].refined()  # type: ignore[misc]


@rows(SMOOTH)
def test_a_samples_numbers_do_not_depend_on_its_batch(row: Row) -> None:
    programs = program(row, row.inputs(BATCH))
    start = solve(SCS(eps=1e-4), programs).point
    whole = refine(programs, start)
    for i in range(BATCH):
        alone = refine(programs.take(np.array([i])), start.pick(np.array([i])))
        for name, v in alone.point.items():
            np.testing.assert_array_equal(v[0], getattr(whole.point, name)[i])
        assert alone.ok[0] == whole.ok[i]


def test_large_batches_are_cut_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = disk(np.random.default_rng(0).normal(size=(11, 3)))
    start = solve(SCS(eps=1e-3), programs).point
    whole = refine(programs, start)
    monkeypatch.setattr(refinement, "TOGETHER", 3)
    pieces = refine(programs, start)
    np.testing.assert_array_equal(pieces.point.x, whole.point.x)
    np.testing.assert_array_equal(pieces.steps, whole.steps)
    equal = disk(np.tile(programs.data.q[:1], (11, 1)))
    several = refine(
        equal, solve(SCS(eps=1e-3), equal).point
    )  # all in one piece, with one factorization
    np.testing.assert_array_equal(several.point.x, np.tile(pieces.point.x[:1], (11, 1)))
    assert several.factored.sum() == several.factored[0]


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = disk(np.random.default_rng(0).normal(size=(11, 3)))
    start = solve(SCS(eps=1e-3), programs).point
    monkeypatch.setattr(systems, "DENSE", 0)
    monkeypatch.setattr(threads, "workers", lambda: 1)
    whole = refine(programs, start)
    monkeypatch.setattr(threads, "workers", lambda: 3)
    np.testing.assert_array_equal(refine(programs, start).point.x, whole.point.x)


def test_the_solution_of_a_disk_is_known() -> None:
    q = np.random.default_rng(1).normal(size=(5, 4))
    found = solve(Refined(SCS(), SCS(eps=1e-3, **FREE)), disk(q))
    np.testing.assert_allclose(
        found.point.x, -q / np.linalg.norm(q, axis=1, keepdims=True), rtol=1e-14
    )
    np.testing.assert_allclose(found.point.y[:, 0], np.linalg.norm(q, axis=1), rtol=1e-14)
    assert (found.status == Status.SOLVED).all()


def test_resolves_are_a_few_steps_with_one_matrix_for_both_ends() -> None:
    q = np.random.default_rng(2).normal(size=(5, 4))
    solver, programs = Refined(SCS(), SCS(eps=1e-3, **FREE)), disk(q)
    start = solve(solver, programs)
    both = np.tile(np.arange(5), 2)
    moved = np.concatenate([q + 1e-3, q - 1e-3])
    again = solve(solver, disk(moved), start.take(both))
    np.testing.assert_allclose(
        again.point.x, -moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-12
    )
    assert (again.iterations <= 6).all()
    assert again.setups is not None
    assert again.setups.sum() <= 5


def test_far_points_get_new_factors_where_these_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """True Newton steps: their errors are squared, as those of kept factors are not."""
    q = np.random.default_rng(2).normal(size=(5, 4))
    start = solve(TIGHT, disk(q + 0.05)).point
    quick = refine(disk(q), start)
    monkeypatch.setattr(systems, "QUICK", 0.0)
    kept = refine(disk(q), start)
    assert quick.ok.all()
    assert kept.ok.all()
    assert (quick.steps < kept.steps).all()
    assert (quick.factored > kept.factored).all()
    np.testing.assert_allclose(quick.point.x, kept.point.x, atol=1e-14)


def test_rows_that_repeat_and_flat_directions_do_no_harm() -> None:
    """min x_0 on the disk, x_1 = 1/2 said twice, x_2 unused."""
    A = np.array([[[0, 1, 0], [0, 2, 0], [0, 0, 0], [-1, 0, 0], [0, -1, 0]]], dtype=float)
    b = np.array([[0.5, 1.0, 1.0, 0.0, 0.0]])
    programs = dense(np.array([[1.0, 0.0, 0.0]]), A, b, (Zero(2), SOC(3)))
    start = solve(SCS(eps=1e-4), programs)
    found = refine(programs, start.point)
    assert found.ok.all()
    np.testing.assert_allclose(found.point.x[0], [-np.sqrt(0.75), 0.5, start.point.x[0, 2]])


def test_a_step_that_is_held_back_is_not_taken_for_the_last_one() -> None:
    """min |x|² + c'x + w u'Ru subject to u = Cx, x >= 0, |x - z| <= 2, where C is large."""
    refined = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        A = np.zeros((8, 5))
        A[:3, :2], A[:3, 2:] = 1e3 * np.abs(random.normal(size=(3, 2))), -np.eye(3)
        A[3:5, :2] = A[6:, :2] = -np.eye(2)
        b = np.append([0.0, 0.0, 0.0, 0.0, 0.0, 2.0], -0.3 * random.normal(size=2))
        root = random.normal(size=(3, 3))
        P = np.diag([2.0, 2.0, 0.0, 0.0, 0.0])
        P[2:, 2:] = 1e-4 * (root @ root.T + 0.3 * np.eye(3))
        q = np.append(2 * random.normal(size=2), np.zeros(3))
        programs = dense(q[None], A[None], b[None], (Zero(3), NonNeg(2), SOC(3)), P[None])
        begin = refine(programs, solve(SCS(eps=1e-10), programs).point)
        q = q + 1e-5 * np.append(random.normal(size=2), np.zeros(3))
        near = replace(programs, data=replace(programs.data, q=q[None]))
        found = refine(near, begin.point, begin.factors)
        if found.ok.all():
            refined += 1
            assert near.residuals(found.point).largest[0] <= 1e-10
    assert refined >= 25


def test_wide_scales_are_scaled_sample_by_sample() -> None:
    """As right where columns are 1e10 apart, and beside samples where they are not."""
    random, radius = np.random.default_rng(5), 2.0
    q = random.normal(size=(4, 3))
    usual = disk(q, radius)
    structure, w = usual.structure, usual.data
    units = np.repeat([[1.0, 7.0, 50.0], [1.0, 1e6, 1e-4]], 2, axis=0)
    sizes = np.repeat([1.0, 1e-3], 2)[:, None]  # a cone may only be scaled as a whole
    A = sizes * w.A * units[:, structure.A.cols]
    programs = replace(usual, data=Data(w.P, q * units, A, sizes * w.b))
    x = -radius * q / np.linalg.norm(q, axis=1, keepdims=True) / units
    scales = Scales.of(programs)
    assert scales is not None
    for v in scales:
        assert (v[:2] == 1).all()
        assert not (v[2:] == 1).all()
    columns = norm(structure.A.matrix(scales.program(programs).data.A[2]).toarray().T)
    assert columns.max() < 4 * columns.min()
    point = solve(SCS(eps=1e-3), usual).point
    start = Point(x=x + 1e-3 * np.abs(x), y=point.y / sizes, s=sizes * point.s)
    found = refine(programs, start)
    assert found.ok.all()
    np.testing.assert_allclose(found.point.x, x, rtol=1e-9)
    for i in range(4):
        one = np.array([i])
        alone = refine(programs.take(one), start.pick(one))
        np.testing.assert_array_equal(alone.point.x[0], found.point.x[i])


def test_what_cannot_be_refined_is_the_solvers() -> None:
    """A linear program whose perturbation leads to another vertex is solved, not stepped to."""
    A = np.concatenate([-np.eye(2), np.ones((1, 2))])[None]
    b = np.array([[0.0, 0.0, 1.0]])
    tie = dense(np.array([[-1.0, -1.0]]), A, b, (NonNeg(3),))
    start = solve(SCS(), tie)
    moved = dense(np.array([[-1.0, -1.1]]), A, b, (NonNeg(3),))
    found = solve(Refined(SCS()), moved, start)
    np.testing.assert_allclose(found.point.x, [[0.0, 1.0]], atol=1e-6)


@dataclass(frozen=True)
class Bad:
    """Does what it is told to instead of solving."""

    does: str
    name = "BAD"
    requires = ()
    cones = frozenset({Zero, NonNeg, SOC, Exp})
    quadratic = integer = True
    arrays, accuracy = "numpy", 1e-3

    def with_options(self, options: Any) -> Self:
        return self

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        if self.does == "raise":
            raise RuntimeError("no")
        right = SCS().solve(program, start)
        status = np.full(program.batch, Status(self.does), dtype=object)
        point = right.point if self.does == "solved" else right.point * np.nan
        if self.does == "solved":
            point.x[0] = 1e6 * (1 + np.arange(point.x.shape[1]))
        return replace(right, status=status, point=point, workspace=None)


@pytest.mark.parametrize("does", ["raise", "solved", "infeasible", "failed"])
def test_a_bad_rough_solver_does_no_harm(does: str) -> None:
    programs = disk(np.random.default_rng(3).normal(size=(3, 4)))
    wanted = solve(SCS(), programs).point.x
    found = solve(Refined(SCS(), Bad(does)), programs)
    assert (found.status == Status.SOLVED).all()
    np.testing.assert_allclose(found.point.x, wanted, atol=1e-7)


def cusp() -> ConeProgram:
    """min t - u + (u² + v²)/2 subject to |(u, v)| <= t: 0 at 0, where no Newton step is sure."""
    q, P = np.array([[1.0, -1.0, 0.0]]), np.diag([0.0, 1.0, 1.0])[None]
    return dense(q, -np.eye(3)[None], np.zeros((1, 3)), (SOC(3),), P=P)


def test_what_is_not_refined_is_the_point_with_the_least_residual() -> None:
    """Whichever solver's it is, and with its status: the others' are of no account."""
    near, far = solve(Clarabel(), cusp()), solve(SCS(max_iters=20), cusp())
    assert near.residuals is not None
    assert far.residuals is not None
    assert not refine(cusp(), near.point).ok.any()
    assert not refine(cusp(), far.point).ok.any()
    assert near.residuals.largest < far.residuals.largest
    for solvers in ((SCS(max_iters=20), Clarabel()), (Clarabel(eps=1e-7), SCS(max_iters=20))):
        found = solve(Refined(solvers[0], solvers[1:]), cusp())
        best = min((solve(s, cusp()) for s in solvers), key=_largest)
        np.testing.assert_array_equal(found.point.x, best.point.x)
        assert found.status.tolist() == [Status.SOLVED]


def _largest(solution: Solution) -> float:
    assert solution.residuals is not None
    return float(solution.residuals.largest[0])


def test_who_is_at_the_solvers_accuracy_is_the_last_one_asked() -> None:
    found = solve(Refined(Bad("raise"), (Bad("infeasible"), Clarabel(), Bad("raise"))), cusp())
    np.testing.assert_array_equal(found.point.x, solve(Clarabel(), cusp()).point.x)
    assert found.status.tolist() == [Status.SOLVED]


@pytest.mark.parametrize("does", ["failed", "infeasible", "unbounded"])
def test_an_inaccurate_point_is_preferred_to_a_claim_without_a_certificate(does: str) -> None:
    hasty = SCS(max_iters=12)
    assert solve(hasty, cusp()).status.tolist() == [Status.INACCURATE]
    assert not refine(cusp(), solve(hasty, cusp()).point).ok.any()
    found = solve(Refined(hasty, Bad(does)), cusp())
    assert found.status.tolist() == [Status.INACCURATE]
    for solver in (Refined(Bad(does), hasty), Refined(hasty, Bad(does))):
        found = solve(solver, cusp())
        np.testing.assert_array_equal(found.point.x, solve(hasty, cusp()).point.x)


def test_that_there_is_no_point_is_preferred_to_an_inaccurate_one() -> None:
    A, b = np.array([[[1.0], [-1.0], [0.0], [1.0]]]), np.array([[-1.0, -1.0, 5.0, 0.0]])
    programs = dense(np.ones((1, 1)), A, b, (NonNeg(2), SOC(2)))
    hasty = SCS(max_iters=3)
    assert solve(hasty, programs).status.tolist() == [Status.INACCURATE]
    found = solve(Refined(hasty, Clarabel()), programs)
    assert found.status.tolist() == [Status.INFEASIBLE]


def test_infeasible_and_unbounded_programs_keep_their_status() -> None:
    infeasible = dense(
        np.ones((1, 1)), np.array([[[1.0], [-1.0], [0.0], [1.0]]]),
        np.array([[-1.0, -1.0, 5.0, 0.0]]), (NonNeg(2), SOC(2)),
    )  # fmt: skip
    unbounded = dense(
        np.ones((1, 2)), np.array([[[0.0, 0.0], [0.0, -1.0]]]), np.array([[1.0, 0.0]]), (SOC(2),)
    )
    solver = Refined(SCS(), SCS(eps=1e-3, **FREE))
    for programs, status in ((infeasible, Status.INFEASIBLE), (unbounded, Status.UNBOUNDED)):
        assert solve(solver, programs).status.tolist() == [status]


def test_large_and_integer_programs_are_the_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = disk(np.random.default_rng(4).normal(size=(2, 4)))
    monkeypatch.setattr(refinement, "LARGEST", (4, 100))
    assert not is_refinable(programs.structure)
    found = solve(Refined(SCS(), Bad("raise")), programs)
    np.testing.assert_array_equal(found.point.x, solve(SCS(), programs).point.x)
    monkeypatch.undo()
    monkeypatch.setattr(systems, "DENSE", 3)
    assert is_refinable(programs.structure)
    monkeypatch.setattr(refinement, "ENTRIES", 10)
    assert not is_refinable(programs.structure)
    monkeypatch.undo()
    integer = replace(programs.structure, integer=np.array([0]))
    assert not is_refinable(integer)


def test_options_are_the_solvers_and_the_rough_one_obeys_what_concerns_both() -> None:
    solver = Refined(SCS(), SCS(eps=1e-3))
    tighter = solver.with_options({"eps": 1e-10, "time_limit": 5.0})
    assert tighter == Refined(SCS(eps=1e-10, time_limit=5.0), SCS(eps=1e-3, time_limit=5.0))
    assert solver.with_options({"max_iters": 7}) == Refined(SCS(max_iters=7))
    with pytest.raises(InvalidOption, match="no option 'epss'"):
        solver.with_options({"epss": 1})
    for bad in (None, "SCS", SCS):
        with pytest.raises(InvalidOption, match="solver must be a solver"):
            Refined(bad)  # type: ignore[arg-type]
    for rough in ("SCS", (SCS(), None)):
        with pytest.raises(InvalidOption, match="rough must be a solver"):
            Refined(SCS(), rough)  # type: ignore[arg-type]


def test_nothing_is_written_to() -> None:
    programs = disk(np.random.default_rng(5).normal(size=(3, 4)))
    start = solve(SCS(eps=1e-3), programs)
    for v in (*(v for _, v in programs.data.items()), *(v for _, v in start.point.items())):
        v.setflags(write=False)
    assert solve(Refined(Clarabel(), SCS(eps=1e-3)), programs, start).ok.all()


def test_scs_without_a_memory_shares_its_factorization() -> None:
    programs = disk(np.random.default_rng(7).normal(size=(BATCH, 4)))
    solver = SCS(eps=1e-6, **FREE)
    first = solver.solve(programs)
    assert first.setups is not None
    assert 1 <= first.setups.sum() <= 2  # one for each thread
    again = solver.solve(programs.take(np.arange(BATCH)[::-1]), first)
    assert again.setups is not None
    assert again.setups.sum() == 0
    cold = solver.solve(programs.take(np.arange(BATCH)[::-1]))
    np.testing.assert_array_equal(cold.point.x, first.point.x[::-1])
    for i in range(BATCH):
        alone = solver.solve(programs.take(np.array([i])))
        np.testing.assert_array_equal(alone.point.x[0], first.point.x[i])


def test_the_scale_of_scs_without_a_memory_follows_each_samples_data() -> None:
    """As many iterations in units of 1e3 as in units of 1, and the same bits beside other units."""
    q = np.random.default_rng(12).normal(size=(BATCH, 4))
    usual, large = disk(q), disk(np.concatenate([q, 1e3 * q]))
    solver = SCS(eps=1e-3, **FREE)
    alone, beside = solver.solve(usual), solver.solve(large)
    np.testing.assert_array_equal(beside.point.x[:BATCH], alone.point.x)
    assert (beside.iterations <= 2 * alone.iterations.max()).all()
    assert beside.setups is not None
    assert 2 <= beside.setups.sum() <= 4  # one for each scale and thread
    fixed = SCS(eps=1e-3, scale=0.3, **FREE)
    assert fixed.solve(large).iterations[BATCH:].min() > 2 * alone.iterations.max()
    nothing = disk(np.zeros((1, 4)))
    assert solver.solve(nothing).status.tolist() == [Status.SOLVED]


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_few_iterations_lead_to_where_refinement_converges(size: float) -> None:
    programs = disk(size * np.random.default_rng(13).normal(size=(20, 8)))
    solver = _refined()
    few = Refined(Bad("failed"), solver.rough[0])
    found = solve(few, programs)
    assert (found.status == Status.SOLVED).all()
    assert found.iterations.max() <= 60


def test_gradients_of_curved_cones_are_exact_to_many_digits() -> None:
    """On the disk of radius r: x = -r q/|q|, whose derivative is known."""
    q, r, x = cp.Parameter(4), cp.Parameter(nonneg=True), cp.Variable(4)
    problem = cp.Problem(cp.Minimize(q @ x), [cp.norm(x) <= r])
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [q, r], [x], derivative=LPGD(tau=1e-3))
    rng = np.random.default_rng(6)
    value, radius, bar = rng.normal(size=(5, 4)), rng.uniform(1, 2, 5), rng.normal(size=(5, 4))
    (found,), pullback = layer.vjp(value, radius)
    size = np.linalg.norm(value, axis=1, keepdims=True)
    unit = value / size
    np.testing.assert_allclose(found, -radius[:, None] * unit, rtol=1e-12)
    q_bar, r_bar = pullback(bar)
    along = (bar * unit).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        q_bar, -radius[:, None] * (bar - along * unit) / size, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(r_bar, -along[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "solver", [PIQP(), Clarabel(eps=1e-8), SCS(eps=1e-5)], ids=lambda s: s.name
)
def test_quadratic_programs_are_refined_to_their_active_sets(solver: Any) -> None:
    """An interior point is off by its barrier; an active set's answer is exact."""
    rng, n, rows = np.random.default_rng(9), 12, 9
    root, A = rng.normal(size=(1, n, n)), rng.normal(size=(1, 2 + rows, n))
    P, inside = root @ root.swapaxes(1, 2) / n + 0.5 * np.eye(n), 0.1 * rng.normal(size=(5, n))
    room = rng.uniform(0.0, 0.5, (5, 2 + rows))
    room[:, :2] = 0.0
    b = inside @ A[0].T + room
    programs = dense(2 * rng.normal(size=(5, n)), A, b, (Zero(2), NonNeg(rows)), P)
    exact = solve(DAQP(), programs)
    found = solve(Refined(solver), programs)
    for name, v in found.point.items():
        np.testing.assert_allclose(v, getattr(exact.point, name), atol=1e-11, err_msg=name)
    alone = np.abs(solve(solver, programs).point.x - exact.point.x).max()
    assert np.abs(found.point.x - exact.point.x).max() < 1e-2 * alone


@pytest.mark.parametrize("size", [1e4, 1e5, 1e6])
def test_gradients_do_not_mind_units(size: float) -> None:
    """x_0 = p wherever it is measured in units of 1 and of 1/size."""
    x, p, P = cp.Variable(2), cp.Parameter(), cp.Parameter((1, 1), PSD=True)
    M = np.array([[-0.84, -0.6], [-0.6, 1.72]])
    square = cp.quad_form(cp.reshape(size * x[0], (1,), order="F"), P)
    problem = cp.Problem(
        cp.Minimize(square / size**2 + 0.1 * cp.sum(x)),
        [p <= x[0], x[1] >= -2, cp.lambda_max(size * x[0] * M) <= 2 * size, cp.exp(x[0]) <= 3],
    )
    layer = cvxlpgd.numpy.CvxpyLayer(problem, [p, P], [x])
    values = np.array([0.1, 0.2, 0.3]), np.ones((1, 1))
    (found,), pullback = layer.vjp(*values)
    p_bar, P_bar = pullback(np.ones((3, 2)))
    np.testing.assert_allclose(found, np.column_stack([values[0], np.full(3, -2.0)]), atol=1e-9)
    np.testing.assert_allclose(p_bar, 1.0, atol=1e-9)
    np.testing.assert_allclose(P_bar, 0.0, atol=1e-9)


def test_what_runs_away_warns_of_nothing() -> None:
    """Products of infinities are NaN; the sample is left as it is."""
    programs = disk(np.random.default_rng(6).normal(size=(3, 4)))
    point = solve(SCS(), programs).point
    away = Point(point.x * 1e200, point.y * 1e300, point.s * 1e300)
    assert not refine(programs, away).ok.any()
    assert solve(Refined(SCS(), Runaway()), programs).ok.all()


class Runaway(Bad):
    """Returns points that are nowhere near."""

    def __init__(self) -> None:
        super().__init__("solved")

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        right = SCS().solve(program, start)
        return replace(right, point=right.point * 1e300, workspace=None)


@pytest.mark.parametrize("kind", ["norm", "eigenvalue", "exponential"])
def test_programs_of_columns_of_one_cone_alone_are_refined(kind: str) -> None:
    """The least t above a norm, an eigenvalue or an exponential."""
    t, p = cp.Variable(), cp.Parameter(3)
    C = np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 0.5], [0.0, 0.5, -1.0]])
    values = np.array([[0.5, -1.0, 2.0], [1.0, 0.2, -0.3]])
    constraint, expected = {
        "norm": (cp.SOC(t, p), np.linalg.norm(values, axis=1)),
        "eigenvalue": (
            t * np.eye(3) - C - cp.diag(p) >> 0,
            [np.linalg.eigvalsh(C + np.diag(v))[-1] for v in values],
        ),
        "exponential": (cp.ExpCone(p[0], 1.0, t), np.exp(values[:, 0])),
    }[kind]
    layer = cvxlpgd.numpy.CvxpyLayer(cp.Problem(cp.Minimize(t), [constraint]), [p], [t])
    (least,) = layer(values)
    assert list(layer.info.status) == ["solved", "solved"]
    np.testing.assert_allclose(least, expected, rtol=1e-12)


def test_a_point_that_ran_away_is_not_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its conditions are rounding beside itself, as everything is, but not beside the data."""
    programs = disk(np.array([[1.0, 2.0], [-3.0, 1.0]]))
    expected = solve(Refined(Clarabel()), programs).point.x

    def run_away(programs: ConeProgram, start: Point, earlier: Any = None) -> Any:
        outcome = refine(programs, start, earlier)
        far = outcome.point.x.copy()
        far[0] *= 1e18
        point = replace(outcome.point, x=far)
        return outcome._replace(point=point, ok=np.ones(len(far), dtype=bool))

    monkeypatch.setattr("cvxlpgd.solvers.refine.solver.refine", run_away)
    solution = solve(Refined(Clarabel()), programs)
    assert solution.ok.all()
    np.testing.assert_allclose(solution.point.x, expected, rtol=1e-6, atol=1e-6)
