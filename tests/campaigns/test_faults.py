"""Solvers that fail, lie, crash or hang: other samples and the next call are as ever."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from campaigns.faults import FAULTS, Faulty, complaints, layer_of, values_of
from cvxlpgd.errors import (
    FailedSampleWarning,
    InaccurateSolutionWarning,
    InvalidOption,
    SolveFailed,
)
from cvxlpgd.solution import Status
from cvxlpgd.solvers import DAQP, Answer, Clarabel, solve_prepared

KEYS = [3.0, 4.0, 5.0]
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("whole", [False, True], ids=["each", "whole"])
@pytest.mark.parametrize("when", ["forward", "backward"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_its_samples_own(fault, when, whole):
    assert complaints(DAQP(), {4.0: (fault, when)}, KEYS, whole=whole) == []


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_all_samples_may_be_faulty_and_a_sample_may_be_alone(when):
    faults = {3.0: ("raises", when), 4.0: ("NaN", when), 5.0: ("a scalar", when)}
    for keys in (KEYS, KEYS[:1]):
        assert complaints(Clarabel(), {k: faults[k] for k in keys}, keys, whole=True) == []


@pytest.mark.parametrize("whole", [False, True], ids=["each", "whole"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raises", "RuntimeError: out of luck"),
        ("NaN dual", "NaN or infinite"),
        ("too short", r"x of shape \((1, )?2,\), not|x of shape \(1, 2\), not"),
        ("unknown status", "status 'optimal'"),
        ("wrong status", "sample 1: failed .called infeasible, which no certificate confirms"),
    ],
)
def test_it_is_said_what_was_wrong(fault, words, whole):
    layer = layer_of(Faulty(DAQP(), ((4.0, fault, "forward"),), whole))
    with pytest.raises(SolveFailed, match=words) as caught:
        layer(*values_of(KEYS))
    assert caught.value.samples == (1,)


def test_wrong_options_are_of_the_call_and_not_of_a_sample():
    class Refusing(Faulty):
        def solve(self, program, start=None):
            raise InvalidOption("no such thing")

    with pytest.raises(InvalidOption, match="no such thing"):
        layer_of(Refusing(DAQP()))(*values_of(KEYS))


@dataclass(frozen=True)
class Lying(Faulty):
    """Its points are off, and all that it says is "solved"."""

    off: float = 0.0

    def solve(self, program, start=None):
        honest = self.inner.solve(program, start)
        return replace(
            honest, point=replace(honest.point, x=honest.point.x + self.off * np.eye(3)[0])
        )


@pytest.mark.parametrize(
    ("off", "status"), [(0.1, "inaccurate"), (1e-5, "inaccurate"), (1e-7, "solved")]
)
def test_a_lying_solver_is_judged_by_its_residuals(off, status):
    """Whether a point is "solved" follows from its residuals: up to 1e-6 at the usual accuracy."""
    layer = layer_of(Lying(DAQP(), off=off))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer(*values_of(KEYS))
    info = layer.info
    assert info.status.tolist() == [status] * 3
    worst = np.max([info.primal_residual, info.dual_residual, info.gap], axis=0)
    assert ((worst > 1e-6) == (info.status == "inaccurate")).all()
    assert info.primal_residual == pytest.approx(off / (1 + np.array(KEYS)), rel=1e-4)
    kinds = [w.category for w in caught]
    assert kinds == [InaccurateSolutionWarning] * (status == "inaccurate")


@dataclass(frozen=True, eq=False)
class Remembering:
    """Prepared objects, numbered as they are made: who solved which sample, and who failed."""

    fails: dict[float, Answer] = field(default_factory=dict)
    seen: list[tuple[int, float]] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    honest: dict[bytes, list[np.ndarray]] = field(default_factory=dict)
    name, requires, cones = "REMEMBERING", ("numpy",), DAQP.cones
    quadratic, integer, arrays, accuracy = True, False, "numpy", 1e-9

    def with_options(self, options):
        return self

    def solve(self, program, start=None):
        z, w = DAQP().solve(program).point, program.data
        for i, (q, b) in enumerate(zip(w.q, w.b, strict=True)):
            self.honest[q.tobytes() + b.tobytes()] = [z.x[i], z.y[i], z.s[i]]

        def prepare(P, A):
            self.made.append(len(self.made))
            own = self.made[-1]

            def solve(q, b, begin):
                self.seen.append((own, b[0]))
                if begin is not None:
                    assert begin.state == "kept", begin
                point = self.honest[q.tobytes() + b.tobytes()]
                good = Answer(Status.SOLVED, *point, state="kept")
                return self.fails.get(b[0], good)

            return SimpleNamespace(solve=solve)

        return solve_prepared(self, program, start, prepare, parallel=False)


NONE = np.full(3, np.nan)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Status.FAILED, state="bad"),
        Answer(Status.INFEASIBLE, np.zeros(3), np.zeros(4), np.zeros(4), state="bad"),
        Answer(Status.SOLVED, NONE, np.zeros(4), np.zeros(4), state="bad"),
        Answer(Status.SOLVED, np.zeros(3), np.zeros(4), np.full(4, np.inf), state="bad"),
        Answer(Status.SOLVED, np.zeros(2), state="bad"),
    ],
    ids=["no point", "infeasible", "NaN", "infinite slack", "too short"],
)
def test_what_failed_is_not_used_again(answer):
    """Neither the object nor the state: by other samples, the backward pass and later calls."""
    solver = Remembering({4.0: answer})
    layer = layer_of(solver, on_failure="nan")
    with pytest.warns(FailedSampleWarning, match="sample 1"):
        call = layer._layer.forward(values_of(KEYS), warm_start=True)
    call.vjp([np.eye(3)], [True, True])
    bad = next(own for own, key in solver.seen if key == 4.0)
    assert solver.made == [0, 1]  # one more, in its place
    assert [slot.state for slot in layer.info.solution.workspace] == ["kept", None, "kept"]
    solver.fails.clear()
    layer(*values_of(KEYS), warm_start=True)
    assert layer.info.ok.all()
    assert [key for own, key in solver.seen if own == bad][-1] == 4.0


def test_random_faults():
    """The command, for a moment."""
    command = [sys.executable, "-m", "campaigns.faults", "--count", "25", "--seed", "7"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1].split()[-2:] == ["25", "0"]
