"""Random problems, against CVXPY's own solutions and finite differences.

`python -m campaigns.fuzz` examines more of them.
"""

import cvxpy as cp
import pytest
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from campaigns.fuzz.atoms import ATOMS, argument_of
from campaigns.fuzz.choices import Drawn, Seeded
from campaigns.fuzz.examine import MOST_REFUSED, Finding, counted, examine, share_refused
from campaigns.fuzz.frozen import frozen
from campaigns.fuzz.leaves import add_variable, affine
from campaigns.fuzz.problems import problem
from campaigns.fuzz.world import World

SEEDS = range(2)
EACH = 75  # of fewer, two that are alike would be more than the share allowed


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
    assert share_refused(found) <= MOST_REFUSED, counted(found)


@pytest.mark.parametrize("number", range(4))
def test_parameters_that_are_not_listed_are_their_values(number):
    for k in range(15):
        case = problem(Seeded(number, k, 91))
        assert not frozen(case), f"{number}, {k}: {case!r}"


ELSEWHERE = {
    cp.quantum_rel_entr: "CVXPY evaluates it wrongly: test_witness.py holds it against its formula"
}


def test_all_atoms_are_tried():
    """Every atom that CVXPY has a way to write with cones for."""
    met = set()
    for number in range(40):
        for atom in ATOMS:
            world = World.new(Seeded(number, 0), unit=True)
            add_variable(world)
            add_variable(world)
            met |= set(_kinds(atom.build(world, argument_of(world, atom, affine(world)))))
    missing = set(CANON_METHODS) - met - set(ELSEWHERE)
    assert not missing, sorted(kind.__name__ for kind in missing)


def _kinds(expression):
    yield type(expression)
    for argument in getattr(expression, "args", ()):
        yield from _kinds(argument)
