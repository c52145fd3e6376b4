"""What a run leaves out is said above it; what a test draws at random is its own."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests import zoo
from tests.zoo.row import WHY

# The tests are of what is installed without the extra `numba`, but for those of the kernels.
os.environ.setdefault("CVXLPGD_NUMBA", "0")


def pytest_report_header() -> list[str]:
    return [f"{row.name} is left out of the zoo: {WHY}" for row in zoo.LEFT_OUT]


@pytest.fixture(autouse=True)
def seed_draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's `rng` begins anew with each test: other tests draw from it in other processes."""
    if isinstance(getattr(request.module, "rng", None), np.random.Generator):
        monkeypatch.setattr(request.module, "rng", np.random.default_rng(0))
