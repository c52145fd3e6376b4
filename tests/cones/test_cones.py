"""Cones: projections are projections, at every scale and on every boundary."""

import numpy as np
import pytest

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero, distance, dual_distance
from cvxlpgd.cones.psd import triangle
from cvxlpgd.cones.registry import KINDS, position
from cvxlpgd.errors import UnsuitableSolver

CONES = tuple(cone for kind in KINDS for cone in kind.examples)
every_cone = pytest.mark.parametrize("cone", CONES, ids=str)
ROUNDING = 2e-12  # relative to the largest entry


def points(cone: Cone, count: int = 2000) -> np.ndarray:
    """Points of sizes 1e-4 to 1e4, some with zeros, some on boundaries, some in the polar cone."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(count, cone.rows)) * 10 ** rng.uniform(-4, 4, size=(count, 1))
    zeros = rng.uniform(size=v.shape) < 0.3
    v[: count // 4][zeros[: count // 4]] = 0.0
    sizes = 10 ** rng.uniform(-4, 4, (count // 4, cone.rows))
    mixed = rng.normal(size=sizes.shape) * sizes
    boundary = cone.project(v)
    polar = v - boundary
    return np.concatenate([v, mixed, boundary, polar, np.zeros((1, cone.rows))])


def size(v: np.ndarray) -> np.ndarray:
    return np.abs(v).max(axis=-1)


def assert_small(difference: np.ndarray, scale: np.ndarray) -> None:
    """Each difference is rounding only, relative to its scale."""
    relative = np.abs(difference) / np.where(scale > 0, scale, 1.0)
    assert relative.max() <= ROUNDING


@every_cone
def test_projections_are_idempotent(cone: Cone) -> None:
    v = points(cone)
    p = cone.project(v)
    assert np.isfinite(p).all()
    assert_small(size(cone.project(p) - p), size(v))
    assert_small(distance(cone, p), size(v))


@every_cone
def test_what_is_left_is_polar_and_orthogonal(cone: Cone) -> None:
    v = points(cone)
    p = cone.project(v)
    rest = v - p
    # -rest is in the dual cone: Moreau's decomposition characterizes the projection
    assert_small(dual_distance(cone, -rest), size(v))
    assert_small((p * rest).sum(axis=-1), size(v) ** 2)


@every_cone
def test_projections_are_of_degree_one(cone: Cone) -> None:
    v = points(cone, 200)
    for factor in (1e-3, 7.0):
        difference = cone.project(factor * v) - factor * cone.project(v)
        assert_small(size(difference), size(factor * v))


@every_cone
def test_any_leading_axes(cone: Cone) -> None:
    v = points(cone, 24)[:24].reshape(2, 3, 4, cone.rows)
    p = cone.project(v)
    assert p.shape == v.shape
    np.testing.assert_allclose(p[1, 2, 3], cone.project(v[1, 2, 3]), rtol=1e-12, atol=1e-12)
    assert distance(cone, v).shape == (2, 3, 4)
    assert dual_distance(cone, v).shape == (2, 3, 4)
    assert cone.project(v[:0]).shape == (0, 3, 4, cone.rows)


@every_cone
def test_nothing_is_written_to_and_nan_stays_nan(cone: Cone) -> None:
    v = points(cone, 24)
    v.flags.writeable = False
    cone.project(v)
    broken = v.copy()
    broken[3] = np.nan
    with np.errstate(all="ignore"):
        p = cone.project(broken)
    assert np.isnan(p[3]).any()
    np.testing.assert_array_equal(np.delete(p, 3, axis=0), np.delete(cone.project(v), 3, axis=0))


@every_cone
def test_torch_tensors(cone: Cone) -> None:
    torch = pytest.importorskip("torch")
    v = points(cone, 50)
    tensor = torch.from_numpy(v)
    p = cone.project(tensor)
    assert isinstance(p, torch.Tensor)
    assert p.dtype == torch.float64
    bound = ROUNDING * size(v)[:, None]
    assert (np.abs(p.numpy() - cone.project(v)) <= bound).all()
    np.testing.assert_allclose(
        distance(cone, tensor).numpy(), distance(cone, v), rtol=1e-9, atol=ROUNDING * size(v).max()
    )


def in_psd(cone: PSD, v: np.ndarray, slack: np.ndarray) -> np.ndarray:
    rows, cols = triangle(cone.order)
    matrix = np.zeros((len(v), cone.order, cone.order))
    matrix[:, rows, cols] = v * np.where(rows == cols, 1.0, np.sqrt(0.5))
    return np.linalg.eigvalsh(matrix, UPLO="L")[:, 0] >= -slack


def in_exp(cone: Exp, v: np.ndarray, slack: np.ndarray) -> np.ndarray:
    x, y, z = v.T
    with np.errstate(all="ignore"):
        curved = (y > 0) & (y * np.exp(x / y) <= z + slack)
    return curved | ((np.abs(y) <= slack) & (x <= slack) & (z >= -slack))


def in_pow(cone: Pow, v: np.ndarray, slack: np.ndarray) -> np.ndarray:
    x, y, z = v.T
    power = (np.maximum(x, 0) + slack) ** cone.alpha * (np.maximum(y, 0) + slack) ** (
        1 - cone.alpha
    )
    return (np.minimum(x, y) >= -slack) & (np.abs(z) <= power + slack)


DEFINITIONS = {
    Zero: lambda cone, v, slack: size(v) <= slack,
    NonNeg: lambda cone, v, slack: v.min(axis=-1) >= -slack,
    SOC: lambda cone, v, slack: np.linalg.norm(v[:, 1:], axis=-1) <= v[:, 0] + slack,
    PSD: in_psd,
    Exp: in_exp,
    Pow: in_pow,
}


@pytest.mark.parametrize("cone", [c for c in CONES if type(c) in DEFINITIONS], ids=str)
def test_projections_meet_the_definition(cone: Cone) -> None:
    p = cone.project(points(cone))
    assert DEFINITIONS[type(cone)](cone, p, 1e-9 * size(p)).all()


def test_what_problems_lead_to_has_a_definition() -> None:
    assert {kind.cone for kind in KINDS if kind.constraint is not None} <= DEFINITIONS.keys()


def test_rows_stand_in_the_registrys_order_and_unknown_ones_nowhere() -> None:
    assert [position(kind.cone) for kind in KINDS] == list(range(len(KINDS)))
    assert all(type(cone) is kind.cone for kind in KINDS for cone in kind.examples)
    with pytest.raises(UnsuitableSolver, match="Unknown"):
        position(type("Unknown", (), {}))


@every_cone
def test_the_interior_is_inside_of_both_cones(cone: Cone) -> None:
    if cone.interior is None:
        return
    inner = np.asarray(cone.interior)
    around = inner + 0.3 * np.random.default_rng(6).uniform(-1, 1, (200, cone.rows)) / cone.rows
    assert distance(cone, around).max() <= ROUNDING
    assert dual_distance(cone, around).max() <= ROUNDING


def test_a_matrix_and_its_vector_have_the_same_norm() -> None:
    rows, cols = triangle(3)
    matrix = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    v = matrix[rows, cols] * np.where(rows == cols, 1.0, np.sqrt(2.0))
    assert list(matrix[rows, cols]) == [1, 2, 3, 4, 5, 6]  # the lower triangle, column by column
    assert np.linalg.norm(v) == pytest.approx(np.linalg.norm(matrix))


@every_cone
def test_derivatives_are_those_of_the_projection(cone: Cone) -> None:
    rng = np.random.default_rng(3)
    v, along = rng.normal(size=(2, 500, cone.rows))
    D, h = cone.derivative(v), 1e-6
    slope = (cone.project(v + h * along) - cone.project(v - h * along)) / (2 * h)
    found = np.einsum("kij,kj->ki", D, along) if D.ndim == 3 else D * along
    errors = size(found - slope) / (1 + size(slope))
    assert np.quantile(errors, 0.97) <= 1e-6  # the others cross an edge within h
    if D.ndim == 3:
        assert_small(D - D.swapaxes(1, 2), np.ones(1))
        eigenvalues = np.linalg.eigvalsh(D)
        assert eigenvalues.min() >= -1e-9
        assert eigenvalues.max() <= 1 + 1e-9


@every_cone
def test_derivatives_do_not_depend_on_the_batch_and_are_of_degree_zero(cone: Cone) -> None:
    v = np.random.default_rng(4).normal(size=(6, cone.rows))
    whole = cone.derivative(v)
    for one, alone in zip(v, whole, strict=True):
        np.testing.assert_array_equal(cone.derivative(one[None])[0], alone)
    np.testing.assert_allclose(cone.derivative(1e3 * v), whole, atol=1e-9)
    np.testing.assert_array_equal(
        cone.derivative(v.reshape(2, 3, -1)), whole.reshape(2, 3, *whole.shape[1:])
    )


def test_bounds_of_exponential_distances_are_bounds() -> None:
    """Where they are used in place of the distance they are next to nothing, and never less."""
    cone, v = Exp(), points(Exp())
    s, y = cone.project(v), cone.project(v) - v  # in the cone, and in its dual, up to rounding
    for bound, where, exact in (
        (cone.excess, s, lambda p: size(p - cone.project(p))),
        (cone.dual_excess, y, lambda p: size(cone.project(-p))),
    ):
        for point in (where, v, where + 1e-9 * size(where)[:, None]):
            found = bound(point)
            assert (found >= exact(point) - ROUNDING * size(point)).all()
    noisy = s + 1e-3 * np.random.default_rng(5).normal(size=s.shape) * size(s)[:, None]
    np.testing.assert_allclose(
        distance(cone, noisy), size(noisy - cone.project(noisy)), atol=1e-12 * size(noisy).max()
    )
    np.testing.assert_allclose(
        dual_distance(cone, noisy), size(cone.project(-noisy)), atol=1e-12 * size(noisy).max()
    )
    nothing = np.full((1, 3), np.nan)
    assert np.isnan(distance(cone, nothing)).all()
    assert np.isnan(dual_distance(cone, nothing)).all()


def pairs(cone: Cone, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Complementary pairs (y, s) of about unit size, inside, outside and on both boundaries."""
    v = np.random.default_rng(2).normal(size=(count, cone.rows))
    s = cone.project(-v)
    return v + s, s


@every_cone
def test_a_linearized_pair_moves_as_the_projections_derivative_says(cone: Cone) -> None:
    """y_dot = B'u, -B s_dot = C u solve y_dot = D v_dot, D = 1 - DΠ_K(s - y), for every v_dot."""
    y, s = pairs(cone)
    pair = cone.linearize(y, s)
    D_K = cone.derivative(s - y)
    if D_K.ndim == 2:
        np.testing.assert_array_equal(pair.compliance == 0, D_K == 0)
        return
    for k in range(len(y)):
        held = np.isfinite(pair.compliance[k])
        B, C = pair.directions[k][held], np.diag(pair.compliance[k][held])
        D = B.T @ np.linalg.solve(B @ B.T + C, B) if held.any() else 0 * D_K[k]
        rigid = (pair.compliance[k][held] < 1e-9).sum()  # the projection's derivative loses these
        if not rigid or rigid == (pair.compliance[k] == 0).sum():
            np.testing.assert_allclose(D, np.eye(cone.rows) - D_K[k], atol=1e-7)


@every_cone
def test_a_linearized_pair_is_complementary_and_near(cone: Cone) -> None:
    y, s = pairs(cone)
    rng = np.random.default_rng(3)
    noisy = [v + 1e-9 * rng.normal(size=v.shape) for v in (y, s)]
    pair = cone.linearize(*noisy)
    assert np.abs(pair.y - y).max() < 1e-6
    assert np.abs(pair.s - s).max() < 1e-6
    assert np.abs((pair.y * pair.s).sum(axis=-1)).max() < 1e-13


def test_exponential_pairs_are_read_by_their_coordinates_where_projections_lose_them() -> None:
    """P = 1e-13 beside 1: the curvature d/p is right to the digits of p and d."""
    r, p, d = 30.0, 1e-13, 0.03
    s, y = p * np.array([r, 1, np.exp(r)]), d * np.array([-1, r - 1, np.exp(-r)])
    pair = Exp().linearize(y, s)
    active, curved, free = pair.compliance
    assert (active, free) == (0.0, np.inf)
    width = np.linalg.norm([0, 1, -np.exp(-r)])
    np.testing.assert_allclose(curved, p / d / width**2, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_a_power_cones_derivative_across_its_flat_face(alpha: float) -> None:
    cone, v = Pow(alpha), np.array([[-1.0, 2.0, 0.0], [3.0, -0.5, 0.0]])
    h = np.array([0.0, 0.0, 1e-9])
    slope = (cone.project(v + h) - cone.project(v - h))[:, 2] / 2e-9
    np.testing.assert_allclose(cone.derivative(v)[:, 2, 2], slope, atol=1e-2)


@every_cone
def test_reach_scales_with_the_pair_and_against_its_speed(cone: Cone) -> None:
    y, s = pairs(cone, 50)
    y_dot, s_dot = np.random.default_rng(4).normal(size=(2, *y.shape))
    reach = cone.reach(y, s, y_dot, s_dot)
    np.testing.assert_allclose(cone.reach(4 * y, 4 * s, 4 * y_dot, 4 * s_dot), reach, rtol=1e-6)
    np.testing.assert_allclose(cone.reach(y, s, 2 * y_dot, 2 * s_dot), reach / 2, rtol=1e-6)
