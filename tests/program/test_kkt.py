"""Optimality systems: solved to rounding, motions that they do not see, inverses that are kept."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.errors import IrregularGradientWarning
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.program.kkt import Systems
from cvxlpgd.program.pairs import Pairs, weights
from cvxlpgd.solvers import Clarabel
from cvxlpgd.solvers.run.solve import solve
from tests import zoo

SMOOTH = [row for row in zoo.SMOOTH if not zoo.canonical(row).structure.mixed_integer]
IDS = [row.name for row in SMOOTH]


@pytest.fixture(autouse=True)
def quiet():
    """As where paths are followed."""
    with np.errstate(all="ignore"):
        yield


def systems_of(program: ConeProgram) -> Systems:
    """The systems at the programs' solutions."""
    z = solve(Clarabel(), program).point
    return Systems(program, Pairs.of(program.structure, z, weights(program, z)))


def columns(systems: Systems, number: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Right-hand sides (f, g) that the systems reach."""
    rng, structure = np.random.default_rng(1), systems.program.structure
    batch = len(systems.held)
    both = rng.standard_normal((batch, number, structure.n + structure.m)) * systems.scale
    both[..., structure.n :] *= systems.held[:, None]
    right = systems.matrices.product(both)
    return right[..., : structure.n], right[..., structure.n :]


@pytest.mark.parametrize("row", SMOOTH, ids=IDS)
@pytest.mark.parametrize("proof", [True, False])
def test_solutions_are_solved_to_rounding(row: zoo.Row, proof: bool) -> None:
    program = zoo.program(row, row.values(np.random.default_rng(0), 3))
    systems = systems_of(program)
    f, g = columns(systems)
    motions = systems.solve(f, g, proof=proof)
    left = np.concatenate([f, g], axis=-1) - systems.matrices.product(motions.both)
    n, size = program.structure.n, motions.size + motions.length
    assert (systems.size(left[..., :n], left[..., n:]) <= 1e-12 * size).all()
    assert (motions.residual <= 1e-6 * motions.size).all()


@pytest.mark.parametrize("row", SMOOTH, ids=IDS)
def test_systems_do_not_see_what_they_map_to_zero(row: zoo.Row) -> None:
    program = zoo.program(row, row.values(np.random.default_rng(0), 3))
    systems = systems_of(program)
    unseen, n = systems.unseen, program.structure.n
    assert not unseen[systems.factors.regular].any()
    nothing = systems.matrices.product(unseen)
    assert (systems.size(nothing[..., :n], nothing[..., n:]) <= 1e-8).all()


def test_equal_rows_hide_the_difference_of_their_multipliers() -> None:
    """It moves the gradient for the rows' right-hand sides, not that for the costs."""
    x, b, q = cp.Variable(2), cp.Parameter(2), cp.Parameter(2)
    rows = [x[0] == b[0], x[0] == b[1]]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + q @ x), rows)
    layer = CvxpyLayer(problem, [b, q], [x])
    values, bar = (np.ones(2), np.ones(2)), np.array([1.0, 1.0])
    _, pullback = layer.vjp(*values)
    with pytest.warns(IrregularGradientWarning):
        slope = pullback(bar)
    assert layer.info.regular.item() is False
    np.testing.assert_allclose(slope[0], [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(slope[1], [0.0, -0.5], atol=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_kept_inverses_fit_the_matrices(shared: bool) -> None:
    """Of matrices that change and come back, each call's gradients are those of a fresh layer."""
    x, q, G = cp.Variable(4), cp.Parameter(4), cp.Parameter((3, 4))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) + q @ x), [G @ x <= 0.1])
    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((2, 3, 4))
    costs, bar = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    layer = CvxpyLayer(problem, [q, G], [x])
    for matrix in (one, other, other, one):
        value = matrix if shared else np.stack([matrix] * 5)
        gradients = [
            made.vjp(costs, value)[1](bar) for made in (layer, CvxpyLayer(problem, [q, G], [x]))
        ]
        for kept, fresh in zip(*gradients, strict=True):
            assert np.array_equal(kept, fresh)


def test_matrices_that_are_changed_in_place_are_inverted_again() -> None:
    row = zoo.row_named("least_squares")
    program = zoo.program(row, row.values(np.random.default_rng(0), 2))
    own = replace(program.data, P=program.data.P.copy())
    program, z = replace(program, data=own), solve(Clarabel(), program).point
    results = []
    for factor in (1.0, 2.0):
        program.data.P[:] *= factor
        at = Point(z.x, z.y, z.s)
        systems = Systems(program, Pairs.of(program.structure, at, weights(program, at)))
        f, g = columns(systems)
        motions = systems.solve(f, g)
        results.append(motions.residual / motions.size)
    assert np.max(results) < 1e-12
