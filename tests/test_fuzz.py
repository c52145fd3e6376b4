"""Random problems, against CVXPY's own solutions and finite differences.

`python -m tests.fuzz` examines more of them.
"""

import pytest
from fuzz.choices import Drawn
from fuzz.examine import MOST_REFUSED, Finding, counted, examine, share_refused
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SEEDS = range(10)
EACH = 15


@pytest.mark.parametrize("number", SEEDS)
def test_random_problems(number):
    """No answer is wrong without a word; few are refused."""
    found: list[Finding] = []

    @seed(number)
    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def examined(data):
        finding = examine(Drawn(data.draw))
        found.append(finding)
        assert not finding.mismatches, f"{finding.mismatches}\n{finding.case!r}"

    examined()
    assert len(found) >= EACH
    assert share_refused(found) <= max(MOST_REFUSED, 1.5 / EACH), counted(found)
