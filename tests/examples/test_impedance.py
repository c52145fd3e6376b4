"""The disk's mesh and impedance data: closed forms, symmetries, derivatives, what is refused."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
skfem = pytest.importorskip("skfem")

from examples.unrolled.impedance import DRIVES, MEASURES, Impedance  # noqa: E402
from examples.unrolled.mesh import areas, check_disk, disk, electrode_edges  # noqa: E402

COARSE, FINE = (11, 64), (23, 128)


@cache
def impedance(mesh=COARSE, dtype=torch.float64) -> Impedance:
    return Impedance(disk(*mesh), dtype)


def random_conductivities(count: int, seed: int = 0, mesh=COARSE) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.uniform(0.3, 2.0, (count, disk(*mesh).nelements)))


def homogeneous_disk() -> np.ndarray:
    """V of conductivity 1 in closed form.

    A mode cos(nθ) of the current density has the potential cos(nθ)/n on the circle. A load of 1 on
    an arc of width w has the coefficients sin(nw/2)/(nw/2)/π, and the mean over another arc takes
    the same factor:

        R(θ) = Σ_n (sin(nw/2)/(nw/2))² cos(nθ) / (nπ)

    is the mean potential of an electrode that is θ away from the current's.
    """
    n = np.arange(1, 200_001)
    half = np.pi / 32
    weights = (np.sin(n * half) / (n * half)) ** 2 / (n * np.pi)
    R = np.array([weights @ np.cos(n * 2 * np.pi * j / 16) for j in range(16)])
    apart = MEASURES - DRIVES
    return 2 * R[apart % 16] - R[(apart + 1) % 16] - R[(apart - 1) % 16]


def test_the_homogeneous_disk_converges_to_its_closed_form():
    exact = homogeneous_disk()
    errors = []
    for mesh in (COARSE, (22, 128), (44, 256)):
        operator = impedance(mesh)
        errors.append(np.abs(operator(operator.ones()).numpy() / exact - 1).max())
    assert errors[0] < 0.05
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (orders > 1.8).all()  # of second order in the size of the triangles
    assert errors[-1] < 3e-3


def test_concentric_rings_converge_to_their_closed_form():
    """σ = s within radius r: mode n is multiplied by (1 - μr²ⁿ)/(1 + μr²ⁿ), μ = (s - 1)/(s + 1)."""
    s, rings = 3.0, 5  # of 10: radius ½
    n = np.arange(1, 200_001)
    inner = (s - 1) / (s + 1) * 0.5 ** (2 * np.minimum(n, 400))
    weights = (np.sin(n * np.pi / 32) / (n * np.pi / 32)) ** 2 / (n * np.pi)
    R = np.array([
        weights * (1 - inner) / (1 + inner) @ np.cos(n * 2 * np.pi * j / 16) for j in range(16)
    ])  # fmt: skip
    apart = MEASURES - DRIVES
    exact = 2 * R[apart % 16] - R[(apart + 1) % 16] - R[(apart - 1) % 16]
    errors = []
    for fold in (1, 2, 4):
        mesh = disk(2 * rings * fold, 64 * fold)
        inside = np.linalg.norm(mesh.p[:, mesh.t].mean(axis=1), axis=0) < 0.5
        values = Impedance(mesh)(torch.as_tensor(np.where(inside, s, 1.0)))
        errors.append(np.abs(values.numpy() / exact - 1).max())
    assert errors[0] < 0.1
    assert errors[2] < errors[0] / 6


def test_the_derivative_is_that_of_differences():
    operator = impedance()
    rng = np.random.default_rng(1)
    sigma = random_conductivities(3).requires_grad_()
    y = operator(sigma)
    cotangent, tangent = (torch.as_tensor(rng.normal(size=v.shape)) for v in (y, sigma))
    (gradient,) = torch.autograd.grad(y, sigma, cotangent)
    # Richardson's extrapolation of central differences
    slopes = [
        ((operator(sigma + h * tangent) - operator(sigma - h * tangent)) * cotangent).sum(1)
        / (2 * h)
        for h in (2e-4, 1e-4)
    ]
    expected = ((4 * slopes[1] - slopes[0]) / 3).detach().numpy()
    assert (gradient * tangent).sum(1).numpy() == pytest.approx(expected, rel=1e-8)


def test_the_jacobian_and_the_second_derivative_agree_with_autograd():
    operator = impedance()
    sigma = random_conductivities(2)
    voltages, jacobian = operator.jacobian(sigma)
    assert torch.equal(voltages, operator(sigma))
    each = torch.stack([torch.autograd.functional.jacobian(operator, s) for s in sigma])
    assert torch.allclose(jacobian, each, rtol=1e-10, atol=1e-14)

    def curved(sigma):
        return operator(sigma).square().sum() * 10

    assert torch.autograd.gradgradcheck(
        curved, sigma[:1].clone().requires_grad_(), rtol=1e-4, atol=1e-7, fast_mode=True
    )


def test_driving_and_measuring_pairs_change_places():
    y = impedance()(random_conductivities(2)).numpy()
    table = np.zeros((2, 16, 16))
    table[:, DRIVES, MEASURES] = y
    assert len(DRIVES) == 208
    assert table == pytest.approx(table.swapaxes(1, 2), rel=1e-11)
    _, jacobian = impedance().jacobian(random_conductivities(1))
    pair = np.zeros((16, 16), dtype=int)
    pair[DRIVES, MEASURES] = np.arange(208)
    assert torch.equal(jacobian[0, pair[2, 9]], jacobian[0, pair[9, 2]])


def test_voltages_are_inverse_to_a_common_factor():
    sigma = random_conductivities(2)
    assert impedance()(7.5 * sigma) == pytest.approx(impedance()(sigma) / 7.5, rel=1e-11)


def test_quarter_turns_of_the_disk_turn_the_electrodes():
    mesh = disk(*COARSE)
    centres = mesh.p[:, mesh.t].mean(axis=1)
    turned = np.stack([-centres[1], centres[0]])
    distances = np.linalg.norm(centres[:, :, None] - turned[:, None], axis=0)
    image = distances.argmin(axis=0)  # of each triangle
    assert distances.min(axis=0).max() < 1e-11
    sigma = random_conductivities(1)[0]
    moved = torch.empty_like(sigma)
    moved[image] = sigma
    table, after = np.zeros((2, 16, 16))
    table[DRIVES, MEASURES] = impedance()(sigma)
    after[DRIVES, MEASURES] = impedance()(moved)
    assert after == pytest.approx(np.roll(table, (4, 4), axis=(0, 1)), rel=1e-10)


def test_single_precision_is_good_enough_for_the_noise():
    sigma = random_conductivities(4)
    single = impedance(COARSE, torch.float32)(sigma.float()).double()
    assert ((single / impedance()(sigma) - 1).abs() < 5e-4).all()


def test_leading_axes_stay_and_nan_stays_in_its_sample():
    sigma = random_conductivities(6)
    y = impedance()(sigma)
    assert torch.equal(impedance()(sigma.reshape(2, 3, -1)), y.reshape(2, 3, -1))
    assert impedance()(sigma[0]) == pytest.approx(y[0], rel=1e-12)
    assert impedance()(sigma[:0]).shape == (0, 208)
    sigma[1, 5] = np.nan
    spoiled = impedance()(sigma)
    assert spoiled[1].isnan().all()
    assert torch.equal(spoiled[2:], y[2:])


def test_a_mesh_has_the_same_bits_everywhere():
    digests = {
        mesh: hashlib.sha256(made.p.tobytes() + made.t.astype("<i8").tobytes()).hexdigest()[:16]
        for mesh in (COARSE, FINE)
        for made in [disk(*mesh)]
    }
    assert digests == {COARSE: "c42a9d44f3f3195a", FINE: "249bccfb05187070"}


def test_triangles_are_as_many_as_said_and_neighbours_in_their_order():
    coarse, fine = disk(*COARSE), disk(*FINE)
    assert (coarse.nelements, fine.nelements) == (704, 2944)
    inside = [set(mesh.p.round(9).T[np.setdiff1d(range(mesh.nvertices), mesh.boundary_nodes())]
                  .view("c16").ravel()) for mesh in (coarse, fine)]  # fmt: skip
    assert inside[0] & inside[1] == {0}  # no node but the centre is in both
    shared = [len(np.intersect1d(a, b)) for a, b in zip(coarse.t.T, coarse.t.T[1:], strict=False)]
    assert shared.count(2) == 704 - 11
    corners = coarse.p[:, coarse.t]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=0)
    assert (areas(coarse) > 0.2 * (sides**2).max(axis=0)).all()  # equilateral ones have 0.43
    assert [len(edges) for edges in electrode_edges(fine)] == [4] * 16


def square():
    return skfem.MeshTri().refined(3)


def ring():
    """The disk without its centre, which has two boundary curves."""
    mesh = disk(*COARSE)
    return mesh.remove_elements(np.flatnonzero((mesh.t == 0).any(axis=0)))


def with_node(place):
    mesh = disk(*COARSE)
    nodes = mesh.p.copy()
    nodes[:, 1] = place
    return skfem.MeshTri(nodes, mesh.t)


@pytest.mark.parametrize(
    ("mesh", "error", "message"),
    [
        (square, ValueError, "boundary node .* away from the origin instead of 1"),
        (ring, ValueError, "boundary node .* away from the origin"),
        (lambda: disk(*COARSE).scaled(2.0), ValueError, "is 2 away from the origin"),
        (lambda: disk(*COARSE).translated((0.1, 0)), ValueError, "away from the origin"),
        (lambda: with_node((np.nan, 0)), ValueError, "not finite"),
        (lambda: with_node((0, 0)), ValueError, "triangle 0 has no area"),
        (lambda: disk(6, 36), ValueError, "there must be a multiple of 32"),
        (lambda: disk(3, 16), ValueError, "there must be a multiple of 32"),
        (lambda: skfem.MeshQuad(), TypeError, "a mesh of triangles is needed"),
    ],
)
def test_a_mesh_that_is_not_the_disks_is_refused(mesh, error, message):
    with pytest.raises(error, match=message):
        Impedance(mesh())


def test_two_disks_are_not_one():
    mesh = disk(3, 32)
    both = skfem.MeshTri(np.hstack([mesh.p, mesh.p]), np.hstack([mesh.t, mesh.t + mesh.nvertices]))
    with pytest.raises(ValueError, match="in pieces or has holes"):
        check_disk(both)


@pytest.mark.parametrize(("rings", "boundary"), [(1, 64), (4, 63), (4, 4)])
def test_a_disk_of_too_little_is_refused(rings, boundary):
    with pytest.raises(ValueError, match=f"not {rings} rings and {boundary} nodes"):
        disk(rings, boundary)


@pytest.mark.parametrize(
    ("conductivity", "message"),
    [
        (torch.ones(703, dtype=torch.float64), r"\(\.\.\., 704\).*not \(703,\)"),
        (torch.ones(704), "must be torch.float64, not torch.float32"),
        (torch.zeros(704, dtype=torch.float64), "must be positive"),
    ],
)
def test_conductivities_that_cannot_be_are_refused(conductivity, message):
    with pytest.raises(ValueError, match=message):
        impedance()(conductivity)
