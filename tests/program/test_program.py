"""The nouns' arithmetic, against the same formulas written out sample by sample."""

from __future__ import annotations

import numpy as np
import pytest

from cvxlpgd.cones import SOC, NonNeg, Zero
from cvxlpgd.derivatives.ends import is_noise
from cvxlpgd.derivatives.perturbation import solve_ends
from cvxlpgd.program import Data, Point, Residuals, norm, outer
from cvxlpgd.program.pattern import Pattern
from cvxlpgd.solvers import Clarabel
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense

BATCH, N, CONES = 3, 4, (Zero(2), NonNeg(2), SOC(3))
M = sum(cone.rows for cone in CONES)
rng = np.random.default_rng(0)


def program_and_point(shared: bool = False):
    """Random programs, and points that are far from solving them."""
    length = 1 if shared else BATCH
    root = rng.normal(size=(length, N, N))
    P = root @ np.swapaxes(root, 1, 2)
    A, q = rng.normal(size=(length, M, N)), rng.normal(size=(BATCH, N))
    b = rng.normal(size=(BATCH, M))
    point = Point(*(3 * rng.normal(size=(BATCH, size)) for size in (N, M, M)))
    return dense(q, A, b, CONES, P), point, (P, q, A, b)


def each(matrices, i):
    return [v[i if len(v) > 1 else 0] for v in matrices]


def outside(v) -> float:
    """The largest distance of an entry of v from its place in the nonnegative and the SOC rows."""
    nonneg, (t, *u) = v[2:4], v[4:]
    length = np.linalg.norm(u := np.array(u))
    if length <= t:
        nearest = np.append(t, u)
    elif length <= -t:
        nearest = np.zeros(3)
    else:
        nearest = (t + length) / 2 * np.append(1.0, u / length)
    return max(np.abs(np.minimum(nonneg, 0)).max(), np.abs(nearest - v[4:]).max())


@pytest.mark.parametrize("shared", [False, True])
def test_residuals_are_those_of_the_formulas(shared):
    program, z, matrices = program_and_point(shared)
    found = program.residuals(z)
    for i in range(BATCH):
        (P, q, A, b), x, y, s = each(matrices, i), z.x[i], z.y[i], z.s[i]
        objective = x @ P @ x / 2 + q @ x
        primal = max(np.abs(A @ x + s - b).max(), outside(s), np.abs(s[:2]).max())
        dual = max(np.abs(P @ x + q + A.T @ y).max(), outside(y))
        gap = abs(x @ P @ x + q @ x + b @ y)
        assert found.primal[i] == pytest.approx(primal / (1 + np.abs(b).max()))
        assert found.dual[i] == pytest.approx(dual / (1 + np.abs(q).max()))
        assert found.gap[i] == pytest.approx(gap / (1 + abs(objective)))
        worst = max(found.primal[i], found.dual[i], found.gap[i])
        assert found.largest[i] == worst
        assert program.objective(z.x)[i] == pytest.approx(objective)


def test_the_largest_residual_is_any_of_them():
    parts = np.array([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0]]).T
    assert Residuals(*parts, np.zeros(3)).largest.tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("shared", [False, True])
def test_the_gradient_of_the_lagrangian_is_its_slope(shared):
    """L is linear in w: its gradient times a change of w is its change, at chosen entries."""
    program, z, _ = program_and_point(shared)
    structure, w = program.structure, program.data
    entries = Data(
        np.array([0, 5, 3]), np.array([1, 3]), np.array([2, 7, 8, 20]), np.array([0, 6, 3])
    )
    found = program.lagrangian_gradient(z, entries)
    for name, which in entries.items():
        rows = {"P": structure.P, "A": structure.A}.get(name)
        for k, entry in enumerate(which):
            if name == "P":
                right = z.x[:, rows.rows[entry]] * z.x[:, rows.cols[entry]] / 2
            elif name == "A":
                right = z.y[:, rows.rows[entry]] * z.x[:, rows.cols[entry]]
            else:
                right = z.x[:, entry] if name == "q" else -z.y[:, entry]
            np.testing.assert_allclose(getattr(found, name)[:, k], right)
    whole = Data(*(np.arange(getattr(w, name).shape[1]) for name in ("P", "q", "A", "b")))
    full = program.lagrangian_gradient(z, whole)  # dense columns take another way
    for name, which in entries.items():
        np.testing.assert_array_equal(getattr(full, name)[:, which], getattr(found, name))


@pytest.mark.parametrize("shared", [False, True])
def test_a_proximal_term_is_a_square_around_the_center(shared):
    """The same up to a constant, (rho/2) |center|²; rho = 0 changes nothing."""
    program, z, _ = program_and_point(shared)
    center, rho = rng.normal(size=(BATCH, N)), 0.7
    near = program.proximal(rho, center)
    constant = rho / 2 * (center**2).sum(axis=1)
    expected = program.objective(z.x) + rho / 2 * ((z.x - center) ** 2).sum(axis=1)
    np.testing.assert_allclose(near.objective(z.x) + constant, expected)
    assert program.proximal(0.0, center) is program


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_optimal_values_at_the_ends_of_a_perturbation(rho):
    """Without rows: x(t) = (c rho - q - t x_bar) / (1 + rho), each sample with its own constant."""
    q, bar = rng.normal(size=(2, BATCH, N))
    program = dense(q, np.zeros((1, 0, N)), np.zeros((1, 0)), (), np.eye(N)[None])
    solution = solve(Clarabel(), program)
    empty = np.zeros((BATCH, 0))
    tau, ends = np.array([0.1, 0.5, 2.0]), (1.0, 0.0, -1.0)
    found = solve_ends(program, solution, Point(bar, empty, empty), tau, ends, rho, Clarabel())
    values, center = found.at(found.optimal(solution.point, rho)), -q
    for end in ends:
        cost = q + end * tau[:, None] * bar
        x = (rho * center - cost) / (1 + rho)
        value = (x**2 / 2 + cost * x + rho / 2 * (x - center) ** 2).sum(axis=1)
        np.testing.assert_allclose(found.points()[end].x, x, atol=1e-6)
        np.testing.assert_allclose(values[end], value, atol=1e-6)


def test_vectors_add_and_are_taken():
    one, other = (Point(*rng.normal(size=(3, BATCH, 2))) for _ in range(2))
    np.testing.assert_array_equal((one + other).y, one.y + other.y)
    np.testing.assert_array_equal((one - other).s, one.s - other.s)
    np.testing.assert_array_equal((2.0 * one).x, one.x * 2.0)
    index = np.array([2, 0])
    np.testing.assert_array_equal(one.take(index).x, one.x[index])
    single = one.pick(np.array([1]))
    assert single.take(np.array([0, 0])).x.shape == (1, 2)  # shared stays as it is
    np.testing.assert_array_equal(single.pick(np.array([0, 0])).x, one.x[[1, 1]])
    zero = one * 0.0
    for name in ("x", "y", "s"):
        values = {k: np.array(getattr(zero, k)) for k in ("x", "y", "s")}
        values[name][1, 1] = 1e-300
        assert Point(**values).any().tolist() == [False, True, False]


def test_norms_of_vectors_and_of_nothing():
    assert norm(np.array([[1.0, -3.0], [-0.0, 0.0]])).tolist() == [3.0, 0.0]
    assert norm(np.zeros((2, 3, 0))).shape == (2, 3)


@pytest.mark.parametrize("lengths", [(1, 1, 1, 1), (1, 3, 1, 1), (1, 1, 1, 3), (1, 0, 1, 1)])
def test_the_batch_is_the_length_that_is_not_shared(lengths):
    P, q, A, b = lengths
    sizes = (np.zeros((P, N, N)), np.zeros((q, N)), np.zeros((A, M, N)), np.zeros((b, M)))
    program = dense(sizes[1], sizes[2], sizes[3], CONES, sizes[0])
    assert program.batch == (0 if 0 in lengths else max(lengths))


def test_the_gradient_of_a_block_beside_a_diagonal() -> None:
    """Entries whose rows repeat as a dense block's do, in columns that do not."""
    pattern = Pattern.of((2, 4), [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 3])
    left, right = np.array([[2.0, 3.0]]), np.array([[1.0, 10.0, 100.0, 1000.0]])
    entries = outer(left, right, pattern, np.arange(6))
    np.testing.assert_array_equal(entries, [[2.0, 3.0, 20.0, 30.0, 200.0, 3000.0]])


def test_noise_is_relative_to_the_entries_compared() -> None:
    def data(q: float) -> Data:
        return Data(np.zeros((1, 0)), np.array([[q]]), np.zeros((1, 0)), np.zeros((1, 0)))

    for size, much in ((1e6, 1.0), (1e-6, 1e-12), (1.0, 1e-6)):  # 100 times 1e-8, times the size
        assert is_noise(data(size + 0.5 * much), data(size), 1e-9).tolist() == [True]
        assert is_noise(data(size + 2.0 * much), data(size), 1e-9).tolist() == [False]
