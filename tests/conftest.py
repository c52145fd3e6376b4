"""What a run of the tests leaves out is said above it."""

from __future__ import annotations

from tests import zoo
from tests.zoo.row import WHY


def pytest_report_header() -> list[str]:
    return [f"{row.name} is left out of the zoo: {WHY}" for row in zoo.LEFT_OUT]
