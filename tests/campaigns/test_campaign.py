"""The campaign of gradients, one draw of every family."""

from __future__ import annotations

import pytest

from campaigns.gradients import check, families
from campaigns.gradients.case import FAMILIES
from campaigns.gradients.judge import judged
from cvxlpgd import LPGD, Exact


def test_there_are_families_of_every_kind():
    assert len(families.FILES) == 9
    assert len(FAMILIES) >= 60


@pytest.mark.parametrize("name", FAMILIES)
def test_no_gradient_is_wrong_in_silence(name):
    verdicts = judged(name, 0, 0, {"LPGD()": LPGD(), "Exact()": Exact()})
    assert verdicts
    for verdict in verdicts:
        assert not verdict.crashed
        assert not verdict.silent, verdict


@pytest.mark.parametrize("name", ["softmax", "box", "ball_projection", "spectraplex", "power_prox"])
def test_a_reference_is_the_problems_own(name):
    """Its solution is CVXPY's, and its gradient that of differences of itself."""
    assert check.checked(name, 0, 0).ok
