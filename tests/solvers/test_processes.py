"""Solvers that crash or hang in worker processes: those are replaced, and none is left."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np
import pytest

from campaigns.faults import Faulty, complaints, layer_of, values_of
from cvxlpgd.errors import FailedSampleWarning, InvalidOption, SolveFailed, SolverNotInstalled
from cvxlpgd.solvers import DAQP, Clarabel, Processes

KEYS = [3.0, 4.0, 5.0]
ROOT = Path(__file__).parent.parent.parent

WORKERS = Processes(2, grace=2.0)


@pytest.fixture(scope="module")
def workers():
    yield WORKERS
    WORKERS.close()
    assert _children() == []


def _children() -> list[int]:
    """The living processes that this one started."""
    return [p.pid for p in active_children()]


@pytest.mark.parametrize(
    ("fault", "when"),
    [("exits", "forward"), ("is killed", "forward"), ("crashes", "forward"), ("exits", "backward")],
)
def test_a_crash_is_its_samples_own(fault, when, workers):
    assert complaints(DAQP(), {4.0: (fault, when)}, KEYS, executor=workers) == []


def test_a_hang_is_its_samples_own(workers):
    solver = Faulty(DAQP(), ((4.0, "hangs", "forward"),))
    layer = layer_of(solver, executor=workers, time_limit=0.2, on_failure="nan")
    with pytest.warns(FailedSampleWarning, match=r"1 of 3 .* sample 1: failed .hung: twice"):
        (x,) = layer(*values_of(KEYS))
    assert layer.info.status.tolist() == ["solved", "failed", "solved"]
    assert np.array_equal(x[[0, 2]], layer_of(DAQP())(*values_of([3.0, 5.0]))[0])


def test_ordinary_faults_in_processes(workers):
    faults = {3.0: ("raises OSError", "forward"), 5.0: ("NaN", "backward")}
    for whole in (False, True):
        assert complaints(Clarabel(), faults, KEYS, executor=workers, whole=whole) == []


def test_a_lost_worker_is_named(workers):
    layer = layer_of(Faulty(DAQP(), ((4.0, "exits", "forward"),)), executor=workers)
    with pytest.raises(SolveFailed, match=r"sample 1: failed .crashed: .* exit code 3") as caught:
        layer(*values_of(KEYS))
    assert caught.value.samples == (1,)


@dataclass(frozen=True)
class OnceFatal(Faulty):
    """The first process that solves a sample is lost with it, and later ones are not."""

    trace: str = ""

    def solve(self, program, start=None):
        try:
            Path(self.trace).touch(exist_ok=False)
        except FileExistsError:
            return self.inner.solve(program, start)
        os._exit(1)


def test_a_sample_is_tried_once_more(workers, tmp_path):
    layer = layer_of(OnceFatal(DAQP(), trace=str(tmp_path / "done")), executor=workers)
    (x,) = layer(*values_of(KEYS))
    assert layer.info.status.tolist() == ["solved"] * 3
    assert np.array_equal(x, layer_of(DAQP())(*values_of(KEYS))[0])


def test_the_callers_own_processes_may_break():
    """Its executor is not ours to replace: the samples have failed, and it is said why."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        solver = Faulty(DAQP(), ((4.0, "exits", "forward"),))
        layer = layer_of(solver, executor=executor, on_failure="nan")
        with pytest.warns(FailedSampleWarning, match=r"BrokenProcessPool.*Processes\(\)"):
            layer(*values_of(KEYS))
        assert layer.info.status.tolist() == ["failed"] * 3
        with pytest.warns(FailedSampleWarning, match="BrokenProcessPool"):
            layer(*values_of([7.0]))
    with ThreadPoolExecutor(1) as closed:
        pass
    with pytest.raises(RuntimeError, match="shutdown"):
        layer_of(DAQP(), executor=closed)(*values_of(KEYS))


def test_processes_are_a_value(workers):
    layer = layer_of(DAQP(), executor=workers)
    copied = pickle.loads(pickle.dumps(layer))
    assert copied._layer.solver == layer._layer.solver
    assert np.array_equal(copied(*values_of(KEYS))[0], layer_of(DAQP())(*values_of(KEYS))[0])
    for bad in ({"workers": 0}, {"workers": 1.5}, {"grace": 0}, {"grace": "1 s"}):
        with pytest.raises(InvalidOption, match=next(iter(bad))):
            Processes(**bad)


def test_processes_without_pebble(monkeypatch):
    monkeypatch.setattr("cvxlpgd.solvers.run.processes.find_spec", lambda name: None)
    with pytest.raises(SolverNotInstalled, match="pip install pebble"):
        Processes()


# a script's background jobs are started with Ctrl-C ignored: it is what is tested here
SCRIPT = """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from multiprocessing import active_children
from campaigns.faults import DAQP, Faulty, Processes, layer_of, values_of

def solve(key):
    solver = Faulty(DAQP(), ((3.0, "hangs", "forward"),))
    layer_of(solver, executor=Processes(2))(*values_of([key, key + 10]))

if __name__ == "__main__":
    solve(1.0)
    print("solved", len(active_children()), flush=True)
    """
INTERRUPTED = "threading.Timer(1, os.kill, (os.getpid(), 2)).start(); solve(3.0)"
ENDINGS = {
    "normally": "pass",
    "by Ctrl-C while a solver hangs": INTERRUPTED,
    "killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_process_is_left(ending, tmp_path):
    script, mark = tmp_path / "script.py", f"MARK_OF={tmp_path}"
    script.write_text(SCRIPT + ENDINGS[ending])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MARK_OF": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, timeout=60, env=environment
    )
    assert ran.stdout.split() == [b"solved", b"2"]
    until = time.monotonic() + 10
    while (alive := marked(mark.encode())) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive == []


def marked(mark: bytes) -> list[str]:
    """The processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(path.parent.name)
        except OSError:  # another user's, or gone by now
            continue
    return found
