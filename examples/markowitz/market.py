"""Log-normal returns of twelve assets, from real prices or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

ASSETS, MONTH = 12, 21  # trading days


@dataclass(frozen=True)
class Market:
    """Monthly returns exp(N(mu, cov)), independent of each other.

    Parameters
    ----------
    mu : array (ASSETS,)
    cov : array (ASSETS, ASSETS)
    """

    mu: np.ndarray
    cov: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The mean ratio of prices, about 1.01: what an investment of 1 is worth later."""
        return np.exp(self.mu + np.diag(self.cov) / 2)

    @property
    def root(self) -> np.ndarray:
        """The symmetric root of the covariance of the ratios."""
        ratios = np.outer(self.mean, self.mean) * np.expm1(self.cov)
        return _root(ratios)

    def returns(self, rollouts: int, months: int, seed: int) -> np.ndarray:
        """Ratios of prices (months, rollouts, ASSETS)."""
        normal = np.random.default_rng(seed).normal(size=(months, rollouts, len(self.mu)))
        return np.exp(self.mu + normal @ _root(self.cov))


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def real_prices() -> Market:
    """Months of twelve stocks of the S&P 500, 1990 to 2022, packaged in skfolio."""
    from skfolio.datasets import load_sp500_dataset

    prices = load_sp500_dataset().to_numpy()[::MONTH, :ASSETS]
    logs = np.diff(np.log(prices), axis=0)
    return Market(logs.mean(axis=0), np.cov(logs.T))


def from_files(folder: Path) -> Market:
    """mu.npy and cov.npy of log returns.

    Raises
    ------
    ValueError
        For files that are missing, of other shapes, not finite, or no covariance.
    """
    arrays = {}
    for name, shape in (("mu", (ASSETS,)), ("cov", (ASSETS, ASSETS))):
        file = folder / f"{name}.npy"
        if not file.is_file():
            raise ValueError(f"{file} does not exist")
        array = np.load(file, allow_pickle=False)
        if array.shape != shape or array.dtype.kind not in "fi" or not np.isfinite(array).all():
            raise ValueError(f"{file} must hold {shape} finite numbers, not {array.shape}")
        arrays[name] = array.astype(float)
    cov = arrays["cov"]
    if not np.allclose(cov, cov.T) or np.linalg.eigvalsh(cov)[0] < -1e-10 * abs(cov).max():
        raise ValueError(f"{folder / 'cov.npy'} is not symmetric and positive semidefinite")
    return Market(**arrays)
