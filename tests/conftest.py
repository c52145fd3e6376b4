"""What a run leaves out is said above it; what a test draws at random is its own."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import zoo
from tests.zoo.row import WHY

# The tests are of what is installed without the extra `numba`, but for those of the kernels.
os.environ.setdefault("CVXLPGD_NUMBA", "0")

# Tests of one process: what they share, a site or worker processes, takes longer than they do.
TOGETHER = ("tests/site/", "tests/solvers/test_executors.py")


class Scheduling(LoadScopeScheduling):
    """Tests that belong together go to one process, each of the others to whichever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return next((part for part in TOGETHER if nodeid.startswith(part)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_report_header() -> list[str]:
    return [f"{row.name} is left out of the zoo: {WHY}" for row in zoo.LEFT_OUT]


@pytest.fixture(autouse=True)
def seed_draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's `rng` begins anew with each test: other tests draw from it in other processes."""
    if isinstance(getattr(request.module, "rng", None), np.random.Generator):
        monkeypatch.setattr(request.module, "rng", np.random.default_rng(0))
