"""What a run of the tests leaves out is said above it."""

from __future__ import annotations

import os

from tests import zoo
from tests.zoo.row import WHY

# The tests are of what is installed without the extra `numba`, but for those of the kernels.
os.environ.setdefault("CVXLPGD_NUMBA", "0")


def pytest_report_header() -> list[str]:
    return [f"{row.name} is left out of the zoo: {WHY}" for row in zoo.LEFT_OUT]
