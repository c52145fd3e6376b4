"""The zoo itself: what it covers, and that its smooth rows are smooth."""

import numpy as np
import pytest

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.solvers import Clarabel
from cvxlpgd.solvers.run.solve import solve
from tests.zoo import ROWS, SMOOTH, Row, canonical, program
from tests.zoo.row import MOST


def test_the_zoo_covers_what_it_should() -> None:
    assert len(ROWS) >= 30
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len(SMOOTH) >= 18
    structures = [canonical(row).structure for row in ROWS]
    kinds = {type(cone) for structure in structures for cone in structure.cones}
    assert kinds == {Zero, NonNeg, SOC, PSD, Exp, Pow}
    assert {structure.P.size > 0 for structure in structures} == {False, True}
    assert {structure.mixed_integer for structure in structures} == {False, True}
    assert {structure.m == 0 for structure in structures} == {False, True}
    assert any(len(structure.varying.P) for structure in structures)
    for flag in ("vertex", "degenerate", "gp", "frozen"):
        assert any(getattr(row, flag) for row in ROWS), flag


def test_values_are_the_same_at_each_call_and_for_each_batch() -> None:
    for row in ROWS:
        for one, two in zip(row.inputs(1), row.inputs(MOST), strict=True):
            np.testing.assert_array_equal(one, two[:1])


def dual_projection(cone: Cone, v: np.ndarray) -> np.ndarray:
    return v + cone.project(-v)


def slopes(programs: ConeProgram, v: np.ndarray) -> np.ndarray:
    """The derivative of the projection on K* at v (m,), by central differences."""
    out, step = np.zeros((len(v), len(v))), 1e-6
    for cone, first, count in programs.structure.blocks:
        for start in range(first, first + count * cone.rows, cone.rows):
            rows = slice(start, start + cone.rows)
            moves = step * np.eye(cone.rows)
            up, down = (dual_projection(cone, v[rows] + s * moves) for s in (1, -1))
            out[rows, rows] = (up - down).T / (2 * step)
    return out


def kkt_matrix(programs: ConeProgram, z: Point, i: int) -> np.ndarray:
    """The derivative of (Px + q + A'y, Ax + s - b) by (x, v), with v = y - s, y = Π_K*(v)."""
    structure, w = programs.structure, programs.data
    P = structure.P.matrix(w.P[i % len(w.P)]).toarray()
    A = structure.A.matrix(w.A[i % len(w.A)]).toarray()
    D = slopes(programs, z.y[i] - z.s[i])
    return np.block([[P, A.T @ D], [A, D - np.eye(structure.m)]])


@pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.name)
def test_smooth_rows_are_regular(row: Row) -> None:
    programs = program(row, row.inputs(MOST))
    solution = solve(Clarabel(), programs)
    assert solution.ok.all()
    for i in range(programs.batch):
        smallest = np.linalg.svd(kkt_matrix(programs, solution.point, i), compute_uv=False)[-1]
        assert smallest > 1e-3
