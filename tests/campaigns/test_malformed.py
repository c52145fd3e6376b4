"""Malformed inputs at every place: each is an error of ours that names the argument.

`python -m campaigns.fuzz.malformed` counts them.
"""

import pytest

from campaigns.fuzz.malformed.judge import complaint, everything

LEAST = 500
PARTS = 8


def test_there_are_many():
    assert len(everything()) >= LEAST


@pytest.mark.parametrize("part", range(PARTS))
def test_malformed_inputs(part):
    wrong = {c.name: text for c in everything()[part::PARTS] if (text := complaint(c))}
    assert not wrong
