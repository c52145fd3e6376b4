"""Regularized Gauss-Newton images of impedance data: what networks start from and improve on.

    minimize  ½|F(x) - y|² + ½ alpha |z|²,   x = 1 + Bz

where BB' is the covariance exp(-|c_s - c_t|²/(2 LENGTH²)) of a smooth random image, with c the
triangles' centres. With J = F'(x)B, a step is

    z <- (J'J + alpha I)⁻¹ J'(y - F(x) + Jz).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from examples.unrolled.eit_data import BATCH, COARSE, FLOOR, impedance
from examples.unrolled.mesh import disk

STEPS = 4  # a further one changes the error by less than a hundredth
LENGTH = 0.15  # the smallest radius of an inclusion
ALPHAS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
KEPT = 0.999  # of the variance of an image: the rest of its modes is left out


@dataclass(frozen=True)
class GaussNewton:
    """The image of relative voltages (count, 208), by a few steps from the homogeneous disk."""

    alpha: float

    def __call__(self, data: torch.Tensor) -> torch.Tensor:
        modes = smooth_modes()
        return torch.cat([self._image(batch, modes) for batch in data.split(BATCH)])

    def _image(self, data: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
        operator = impedance(COARSE)
        homogeneous = operator(operator.ones())[:, None]
        z = data.new_zeros(len(data), modes.shape[1], 1)
        ridge = self.alpha * torch.eye(modes.shape[1], dtype=data.dtype)
        for _ in range(STEPS):
            image = 1 + (modes @ z)[..., 0]
            voltages, jacobian = operator.jacobian(image.clamp(min=FLOOR))
            J = (jacobian / homogeneous) @ modes
            residual = data[..., None] - voltages[..., None] / homogeneous
            z = torch.linalg.solve(J.mT @ J + ridge, J.mT @ (residual + J @ z))
        return (1 + (modes @ z)[..., 0]).clamp(min=FLOOR)


@cache
def smooth_modes() -> torch.Tensor:
    """B: the principal components of a smooth image, (triangles, modes)."""
    mesh = disk(*COARSE)
    centres = mesh.p[:, mesh.t].mean(axis=1)
    squares = ((centres[:, :, None] - centres[:, None]) ** 2).sum(axis=0)
    values, vectors = np.linalg.eigh(np.exp(-squares / (2 * LENGTH**2)))
    values, vectors = values[::-1], vectors[:, ::-1]
    count = int(np.searchsorted(np.cumsum(values), KEPT * values.sum())) + 1
    return torch.as_tensor(vectors[:, :count] * np.sqrt(values[:count]))


def choose(truth: torch.Tensor, data: torch.Tensor) -> GaussNewton:
    """The regularization with the smallest mean squared error on training samples."""

    def error(method: GaussNewton) -> float:
        return float((method(data) - truth).square().mean())

    return min(map(GaussNewton, ALPHAS), key=error)
