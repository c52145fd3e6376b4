"""Hundreds of steps leave nothing behind; what leaves something behind is noticed."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import cvxpy as cp
import numpy as np
import pytest
import torch

from campaigns.soak import __main__ as soaking
from campaigns.soak.families import FAMILIES
from cvxlpgd.errors import SolveFailed
from cvxlpgd.solvers import SCS, Processes
from cvxlpgd.solvers.run import each
from cvxlpgd.torch import CvxpyLayer

STEPS = 200


@pytest.fixture(autouse=True, scope="module")
def no_pools_of_other_tests():
    """The thread that manages a pool may fail while all of Python's objects are listed."""
    for count in range(1, 5):
        Processes(count).close()


FEWER = {"LP by a name of CVXPY's": 30, "new layers": 60}  # a step takes ten times as long


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_left(name):
    """Memory within 2 %, Python objects within 50, threads and descriptors exactly."""
    found = soaking.soak(name, FAMILIES[name], FEWER.get(name, STEPS), quiet=True)
    assert found.faults() == []


def open_files(kept):
    kept.append(open(__file__))  # noqa: SIM115


def start_threads(kept):
    kept.append(ThreadPoolExecutor(1))
    kept[-1].submit(int).result()


LEAKS = {
    "memory": lambda kept: kept.append(np.ones(2**17)),  # a megabyte
    "objects": lambda kept: kept.append([]),
    "threads": start_threads,
    "descriptors": open_files,
}


@pytest.mark.parametrize("word", LEAKS)
def test_leaks_are_noticed(word):
    kept = []
    found = soaking.soak("leaking", lambda: lambda rng: LEAKS[word](kept), 60, quiet=True)
    for one in kept:
        if isinstance(one, ThreadPoolExecutor):
            one.shutdown()
        elif not isinstance(one, np.ndarray | list):
            one.close()
    assert any(word in fault.lower() for fault in found.faults()), found
    assert bool(found.started) == (word == "threads")


def test_the_command_says_what_is_left(monkeypatch, tmp_path, capsys):
    kept = []
    monkeypatch.setattr(soaking, "_apart", lambda name, steps: soaking.soak(
        name, lambda: lambda rng: kept.append([]), steps, quiet=True))  # fmt: skip
    file = tmp_path / "soak.json"
    arguments = ["soak", "--steps", "100", "--family", "warm starts", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert soaking.main() == 1
    assert "Python objects are left" in capsys.readouterr().out
    assert json.loads(file.read_text())["rows"][0]["steps"] == 100


def test_failing_batches_leave_no_thread(monkeypatch):
    """Neither in the pool, which is made once, nor in the caller's executor."""
    monkeypatch.setattr(each, "workers", lambda: 2)
    monkeypatch.setattr(each, "WORTH", 0.0)
    monkeypatch.setattr(each, "WORTH_EACH", 0.0)
    low, x = cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= 1])
    values = torch.tensor([0.5, 2.0] * 4, dtype=torch.float64)

    def fail(times: int, **options) -> None:
        layer = CvxpyLayer(problem, [low], [x], solver=SCS(), **options)
        for _ in range(times):
            with pytest.raises(SolveFailed, match="infeasible"):
                layer(values)

    fail(3)
    before = threading.active_count()
    fail(20)
    assert threading.active_count() == before
    with ThreadPoolExecutor(2) as executor, warnings.catch_warnings():
        fail(3, executor=executor)
        before = threading.active_count()
        fail(20, executor=executor)
        assert threading.active_count() == before
