"""What Newton's method asks of cones: nearest pairs and stiffness, on boundaries and off them."""

import numpy as np
import pytest

from cvxlpgd.cones import PSD, SOC, Cone, Exp, Pow, distance, dual_distance
from cvxlpgd.cones.refining import nearest_pair, stiffness

CURVED = (SOC(1), SOC(2), SOC(5), PSD(1), PSD(3), Exp(), Pow(0.3))
every_curved_cone = pytest.mark.parametrize("cone", CURVED, ids=str)
R = np.array([-300.0, -30.0, -2.0, -1e-3, 0.0, 1.0, 5.0, 30.0, 300.0])


def pairs(cone: Cone, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Complementary pairs on boundaries, inside, in the polar cone and at the apex."""
    v = np.random.default_rng(2).normal(size=(count, cone.rows))
    s = cone.project(-v)
    s[:3] = v[:3] = 0.0
    return v + s, s


def exponential(r: np.ndarray, p: float = 1.0, d: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The pairs s = p (r, 1, e^r), y = d (-1, r - 1, e^-r), each scaled to a size of p or d."""
    up, down = np.exp(np.minimum(-r, 0.0)), np.exp(np.minimum(r, 0.0))
    high, low = np.exp(np.minimum(r, 0.0)), np.exp(np.minimum(-r, 0.0))
    s = p * np.stack([r * up, up, high], axis=1)
    return d * np.stack([-down, (r - 1) * down, low], axis=1), s


@every_curved_cone
def test_nearest_pairs_are_complementary_and_near(cone: Cone) -> None:
    y, s = pairs(cone)
    rng = np.random.default_rng(3)
    for noise in (0.0, 1e-8, 1e-3, 1.0, 30.0):
        y_off, s_off = (v + noise * rng.normal(size=v.shape) for v in (y, s))
        y_new, s_new = nearest_pair(cone, y_off, s_off)
        size = 1 + noise
        assert dual_distance(cone, y_new).max() <= 1e-11 * size
        assert distance(cone, s_new).max() <= 1e-11 * size
        assert np.abs((y_new * s_new).sum(axis=-1)).max() <= 1e-11 * size**2
        if noise < 1:
            assert np.abs(s_new - s).max() <= 100 * noise + 1e-12
            assert np.abs(y_new - y).max() <= 100 * noise + 1e-12


@every_curved_cone
def test_a_pair_does_not_depend_on_its_neighbours(cone: Cone) -> None:
    y, s = (v + 1e-3 * np.random.default_rng(4).normal(size=v.shape) for v in pairs(cone, 40))
    together = nearest_pair(cone, y[:, None], s[:, None])
    for i in range(len(y)):
        alone = nearest_pair(cone, y[i : i + 1, None], s[i : i + 1, None])
        for one, several in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], several[i])


@every_curved_cone
def test_a_broken_pair_breaks_no_other(cone: Cone) -> None:
    y, s = pairs(cone, 20)
    y_broken = y.copy()
    y_broken[7] = np.nan
    with np.errstate(all="ignore"):
        broken = nearest_pair(cone, y_broken, s)
    for one, other in zip(broken, nearest_pair(cone, y, s), strict=True):
        assert np.isnan(one[7]).any()
        np.testing.assert_array_equal(np.delete(one, 7, axis=0), np.delete(other, 7, axis=0))


@pytest.mark.parametrize(("p", "d"), [(1.0, 1.0), (1e-6, 1.0), (1.0, 1e-6), (1e6, 1e6)])
def test_exponential_pairs_stay_where_they_are(p: float, d: float) -> None:
    """Also at r = ± 300, where e^r and its inverse are 260 digits apart."""
    y, s = exponential(R, p, d)
    with np.errstate(all="raise", under="ignore"):
        y_new, s_new = nearest_pair(Exp(), y, s)
    np.testing.assert_allclose(y_new, y, rtol=1e-12, atol=0)
    np.testing.assert_allclose(s_new, s, rtol=1e-12, atol=0)


def test_exponential_pairs_at_the_apex_and_on_the_face_are_projected() -> None:
    """Where p or d is 0 there are no coordinates."""
    y, s = exponential(np.array([0.5, -1.0]))
    zero = 0 * y[:1]
    inner = np.array([[0.0, 1.0, 2.0]])  # inside: y is noise, and s stays
    face_y, face_s = np.array([[0.0, 3.0, 0.0]]), np.array([[-2.0, 0.0, 1.0]])
    several_y = np.concatenate([zero, y[:1], zero, 1e-12 * y[1:], face_y])
    several_s = np.concatenate([zero, zero, s[:1], inner, face_s])
    y_new, s_new = nearest_pair(Exp(), several_y, several_s)
    np.testing.assert_allclose(s_new, several_s, rtol=1e-12, atol=2e-12)
    np.testing.assert_allclose(y_new, several_y, rtol=1e-12, atol=2e-12)
    assert y_new[3].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("turn", [-20.0, -3.0, 3.0, 20.0])
def test_a_pair_that_turns_far_stays_on_both_boundaries(turn: float) -> None:
    """By r_dot along the boundaries: r follows, by log(1 + |r_dot|), though z becomes negative."""
    r = np.array([-12.0, -2.0, 0.0, 3.0, 12.0])
    up, one, zero = np.exp(r), np.ones_like(r), np.zeros_like(r)
    s, y = np.stack([r, one, up], axis=1), np.stack([-one, r - 1, 1 / up], axis=1)
    s_dot, y_dot = np.stack([one, zero, up], axis=1), np.stack([zero, one, -1 / up], axis=1)
    y_new, s_new = nearest_pair(Exp(), y + turn * y_dot, s + turn * s_dot)
    np.testing.assert_allclose(s_new[:, 1], 1.0, rtol=1e-12)
    np.testing.assert_allclose(y_new[:, 0], -1.0, rtol=1e-12)
    turned = np.sign(turn) * np.log1p(abs(turn))
    np.testing.assert_allclose(s_new[:, 0], r + turned, atol=1e-12)


@every_curved_cone
def test_stiffness_is_that_of_the_linearization(cone: Cone) -> None:
    y, s = pairs(cone)
    for e in (1e-5, 1e-2):
        pair = cone.linearize(y, s)
        B, weight = pair.directions, 1 / (pair.compliance + e)
        wanted = np.einsum("kia,ki,kib->kab", B, weight, B)
        found = stiffness(cone, y, s, np.full(len(y), e))
        assert np.abs(found - wanted).max() <= 1e-9 / e
        np.testing.assert_allclose(found, np.swapaxes(found, 1, 2), atol=1e-9 / e)
