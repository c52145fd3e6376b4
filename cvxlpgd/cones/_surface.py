"""The derivative of projections onto a smooth surface g(p) = 0, three-dimensional, many at once."""

import numpy as np


def surface_derivative(normal: np.ndarray, h: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """dp/dv for p + mu ∇g(p) = v, g(p) = 0, where mu ∇²g(p) = weight hh': arrays (k, 3), (k,).

    With n = ∇g / |∇g| and t = h - nn'h it is I - nn' - (weight / (1 + weight |t|²)) tt'.
    """
    n = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    t = h - n * np.sum(n * h, axis=1, keepdims=True)
    length = np.linalg.norm(t, axis=1)
    t = t / np.where(length > 0, length, 1.0)[:, None]
    share = 1 / (1 + 1 / (weight * length**2))
    return np.asarray(
        np.eye(3)
        - n[:, :, None] * n[:, None, :]
        - share[:, None, None] * t[:, :, None] * t[:, None, :]
    )
