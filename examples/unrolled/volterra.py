"""Nonlinear deconvolution: the forward operator, and signals that are the same for everybody.

    y_i = a z_i'W2 z_i + w1'z_i,        z_i the i-th window of x: 9 wide, at stride 4
    row i of J(x) = a (W2 + W2')z_i + w1 on that window

a second-order Volterra filter of n = 53 unknowns to m = 12 data. W2 is upper triangular.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

Tensor = torch.Tensor

N, WIDTH, STRIDE = 53, 9, 4
M = (N - WIDTH) // STRIDE + 1
SCALE = 0.5  # of the increments' Laplace distribution
NOISE = 0.01  # standard deviation, relative to that of the data
TRAIN, VALIDATION, TEST = 400, 200, 500
MOST = 20_000  # signals for training, by `more`
SEED = 2024


@dataclass(frozen=True)
class Reference:
    """Kernels, signals and the noise of their data, in units of the data's deviation.

    Signals are rows: those for training, for validation, for the test.
    """

    w1: np.ndarray  # (WIDTH,)
    W2: np.ndarray  # (WIDTH, WIDTH)
    signals: np.ndarray  # (TRAIN + VALIDATION + TEST, N)
    noise: np.ndarray  # (TRAIN + VALIDATION + TEST, M)


def reference() -> Reference:
    """The arrays of every experiment, bit by bit the same: NumPy's generator from one seed.

    w1 is |N(0, 1)| and W2 upper triangular from U(0, 1), both with sum 1. A signal is a random
    walk with Laplace increments, reflected at 0 so that it stays positive; then it is shifted and
    scaled to fill [-1, 1].
    """
    rng = np.random.default_rng(SEED)
    w1 = np.abs(rng.standard_normal(WIDTH))
    W2 = np.triu(rng.random((WIDTH, WIDTH)))
    count = TRAIN + VALIDATION + TEST
    signals = _signals(rng, count)
    return Reference(w1 / w1.sum(), W2 / W2.sum(), signals, rng.standard_normal((count, M)))


def more(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals for training beyond those of the reference, and their noise: the first ones of more
    are the same.
    """
    walks, noises = (np.random.default_rng((SEED, k)) for k in (1, 2))
    return _signals(walks, count), noises.standard_normal((count, M))


def _signals(rng: np.random.Generator, count: int) -> np.ndarray:
    increments = rng.laplace(scale=SCALE, size=(count, N))
    walks = np.empty((count, N))
    at = np.zeros(count)
    for i in range(N):
        at = np.abs(at + increments[:, i])
        walks[:, i] = at
    low, high = walks.min(axis=1, keepdims=True), walks.max(axis=1, keepdims=True)
    return np.asarray(2 * (walks - low) / (high - low) - 1)


class Volterra(torch.nn.Module):
    """x (batch, N) -> y (batch, M), of the nonlinearity a."""

    w1: Tensor
    W2: Tensor

    def __init__(self, a: float, w1: np.ndarray, W2: np.ndarray) -> None:
        super().__init__()
        self.a = a
        self.register_buffer("w1", torch.tensor(w1, dtype=torch.get_default_dtype()))
        self.register_buffer("W2", torch.tensor(W2, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        z = x.unfold(1, WIDTH, STRIDE)  # (batch, M, WIDTH)
        return self.a * ((z @ self.W2) * z).sum(2) + z @ self.w1
