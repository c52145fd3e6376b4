"""Data-parallel training, as examples/distributed.py does it: the result is that of one process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cvxlpgd.errors import FailedSampleWarning
from examples import distributed

ROOT = Path(__file__).parent.parent.parent

gloo = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch is built without torch.distributed"
)


@pytest.fixture
def doubles():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def train_alone() -> dict[str, torch.Tensor]:
    """The planner's weights by whole batches in this process, with the mean over solved days."""
    torch.manual_seed(0)
    planner = distributed.Planner()
    optimizer = torch.optim.SGD(planner.parameters(), lr=0.5)
    records, hours, done = distributed.draw()
    failed = 0
    for epoch in range(distributed.EPOCHS):
        order = torch.randperm(distributed.DAYS, generator=torch.Generator().manual_seed(epoch))
        for days in order.split(distributed.BATCH):
            care = planner(records[days], hours[days])
            ok = torch.as_tensor(planner.layer.info.ok)
            failed += int((~ok).sum())
            optimizer.zero_grad()
            (care[ok] - done[days][ok]).square().sum(1).mean().backward()
            optimizer.step()
    assert failed == distributed.EPOCHS  # one day in each epoch
    return planner.state_dict()


@gloo
@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.FailedSampleWarning")
def test_two_processes_train_as_one(tmp_path, doubles):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", "examples.distributed"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=240
    )
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    lines = re.findall(r"rank \d: weights (.*)", run.stdout)
    assert len(lines) == 2
    assert len(set(lines)) == 1  # to twelve digits
    together = torch.load(tmp_path / "planner.pt", weights_only=True)
    alone = train_alone()
    assert together.keys() == alone.keys() == {"score.weight", "score.bias"}
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, rtol=0, atol=1e-10)
    torch.manual_seed(0)
    begun = distributed.Planner().state_dict()["score.weight"]
    assert (together["score.weight"] - begun).abs().max() > 0.1  # it has learned


def test_a_batch_whose_samples_all_fail_has_gradients_of_zero(doubles):
    """No parameter counts as unused, so that no process waits for another."""
    planner = distributed.Planner()
    with pytest.warns(FailedSampleWarning):
        care = planner(torch.ones(2, 10, 4), torch.full((2,), 11.0))
    ok = torch.as_tensor(planner.layer.info.ok)
    assert not ok.any()
    care[ok].square().sum().backward()
    assert all((weight.grad == 0).all() for weight in planner.parameters())


def test_a_process_without_samples_has_gradients_of_zero(doubles):
    planner = distributed.Planner()
    planner(torch.ones(0, 10, 4), torch.ones(0)).square().sum().backward()
    assert all((weight.grad == 0).all() for weight in planner.parameters())
