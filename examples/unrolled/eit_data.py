"""Disks with inclusions, their noisy impedance data, and the Gauss-Newton images of them.

A disk has conductivity 1 and two inclusions (2 and 0.5, radii 0.2 to 0.3) or four (2, 1.5, 0.5 and
0.3, radii 0.15 to 0.25), which neither overlap nor touch the edge. Voltages are relative to those
of the homogeneous disk on the same mesh, as an instrument is calibrated:

    y = V_fine(σ) / V_fine(1) (1 + noise),   F(x) = V_coarse(max(x, 0.05)) / V_coarse(1)

The data come from 2944 triangles, the images have 704 that are no union of those, and the noise is
normal with standard deviation 0.01 on voltages, so that no model is inverted by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from skfem import MeshTri

from examples.unrolled.impedance import Impedance
from examples.unrolled.mesh import disk

COARSE, FINE = (11, 64), (23, 128)  # rings, and nodes on the boundary
NOISE = 0.01
SETS = ("train", "validation", "test")
FLOOR = 0.05  # a learned step does not know that conductivities are positive
DRAWS = 4096  # of inclusions at once, as one in some hundred is kept
BATCH = 16  # disks that are computed at once: as large as stays in the processor's cache


@dataclass(frozen=True)
class Inclusions:
    """How disks differ from 1."""

    conductivities: tuple[float, ...]
    radii: tuple[float, float]
    margin: float = 0.05  # between inclusions, and to the edge


KINDS = {
    2: Inclusions((2.0, 0.5), (0.2, 0.3)),
    4: Inclusions((2.0, 1.5, 0.5, 0.3), (0.15, 0.25)),
}


@cache
def impedance(mesh: tuple[int, int], dtype: torch.dtype = torch.float64) -> Impedance:
    """V on a mesh of `disk`."""
    return Impedance(disk(*mesh), dtype)


class Forward:
    """F: conductivities (..., 704) to relative voltages (..., 208)."""

    def __init__(self, mesh: tuple[int, int] = COARSE, dtype: torch.dtype = torch.float32) -> None:
        self.voltages = impedance(mesh, dtype)
        exact = impedance(mesh)
        self.homogeneous = exact(exact.ones()).to(dtype)

    def __call__(self, conductivity: torch.Tensor) -> torch.Tensor:
        return self.voltages(conductivity.clamp(min=FLOOR)) / self.homogeneous


def inclusions(kind: Inclusions, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """Centres and radii (count, inclusions, 3); the first ones do not depend on `count`.

    All inclusions of a disk are drawn at once, and kept where none meets another one or the edge.
    """
    rng = np.random.default_rng(seed)
    many = len(kind.conductivities)
    pairs = np.triu_indices(many, 1)
    disks = np.empty((0, many, 3))
    while len(disks) < count:
        draws = rng.uniform(-1, 1, (DRAWS, many, 3))
        draws[..., 2] = rng.uniform(*kind.radii, (DRAWS, many))
        centres, radii = draws[..., :2], draws[..., 2]
        inside = np.linalg.norm(centres, axis=2) + radii <= 1 - kind.margin
        gaps = np.linalg.norm(centres[:, :, None] - centres[:, None], axis=3)
        gaps -= radii[:, :, None] + radii[:, None]
        apart = (gaps[:, *pairs] >= kind.margin).all(axis=1)
        disks = np.concatenate([disks, draws[inside.all(axis=1) & apart]])
    return disks[:count]


def conductivities(mesh: MeshTri, kind: Inclusions, circles: np.ndarray, cuts: int) -> np.ndarray:
    """Each triangle's mean conductivity (count, triangles), from the middles of its cuts² parts."""
    points = np.einsum("pc,kct->kpt", _middles(cuts), mesh.p[:, mesh.t])  # (2, parts, triangles)
    means = np.ones((len(circles), mesh.nelements))
    for mean, disk_circles in zip(means, circles, strict=True):
        for value, (x, y, radius) in zip(kind.conductivities, disk_circles, strict=True):
            inside = (points[0] - x) ** 2 + (points[1] - y) ** 2 <= radius**2
            mean += (value - 1) * inside.mean(axis=0)
    return means


def _middles(cuts: int) -> np.ndarray:
    """Barycentric coordinates of the middles of a triangle's cuts² equal parts."""
    upright = [(i + 1 / 3, j + 1 / 3) for i in range(cuts) for j in range(cuts - i)]
    turned = [(i + 2 / 3, j + 2 / 3) for i in range(cuts - 1) for j in range(cuts - 1 - i)]
    first, second = np.array(upright + turned).T / cuts
    return np.stack([first, second, 1 - first - second], axis=1)


def measured(count: int, inclusion_count: int, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth and noisy data of the first disks of a set; sets are disjoint, seeds are fixed."""
    kind = KINDS[inclusion_count]
    seed = (inclusion_count, SETS.index(part))
    circles = inclusions(kind, count, seed)
    truth = torch.as_tensor(conductivities(disk(*COARSE), kind, circles, cuts=8))
    fine = torch.as_tensor(conductivities(disk(*FINE), kind, circles, cuts=4))
    exact = Forward(FINE, torch.float64)
    with torch.no_grad():
        data = torch.cat([exact(batch) for batch in fine.split(BATCH)])
    noise = np.random.default_rng((*seed, 1)).normal(scale=NOISE, size=data.shape)
    return truth, data * (1 + torch.as_tensor(noise))
