"""Train a layer on several processes: each takes its share of every batch.

Run it as

    torchrun --nproc-per-node 2 -m examples.distributed

What one learns: how to weigh the loss so that the result is that of one process with the whole
batch, also where shares are uneven or a sample fails; what each process must be told about cores.

Ten patients, and enough time for some of them: the layer divides it by the need that a network
predicts. On one day more is asked for than there can be, and its sample fails.
"""

import os
import warnings

import cvxpy as cp
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cvxlpgd.errors import FailedSampleWarning
from cvxlpgd.torch import CvxpyLayer

DAYS, BATCH, EPOCHS = 45, 10, 3  # the last batch is smaller


class Planner(nn.Module):
    """Records (days, 10, 4) and the hours of each day -> care (days, 10), the layer's solution."""

    def __init__(self) -> None:
        super().__init__()
        care, need, hours = cp.Variable(10), cp.Parameter(10), cp.Parameter()
        value = need @ care - 4 * cp.sum_squares(care)
        problem = cp.Problem(cp.Maximize(value), [cp.sum(care) == hours, care >= 0, care <= 1])
        self.score = nn.Linear(4, 1)
        self.layer = CvxpyLayer(problem, [need, hours], [care], single=True, on_failure="nan")

    def forward(self, records: torch.Tensor, hours: torch.Tensor) -> torch.Tensor:
        """The care for each patient; NaN on a day that has no solution."""
        return self.layer(self.score(records).squeeze(-1), hours)


def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Records, hours and what was done, the same on every process."""
    generator = torch.Generator().manual_seed(0)
    records = torch.randn(DAYS, 10, 4, generator=generator)
    hours = 2 + 3 * torch.rand(DAYS, generator=generator)
    done = torch.softmax(records @ torch.tensor([1.0, -1.0, 0.5, 0.0]), dim=1) * hours[:, None]
    hours[7] = 11.0  # ten patients cannot have that
    return records, hours, done


def take_cores() -> None:
    """Keep to this process's share of the machine's cores: solvers use what they may."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        rank, processes = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        os.sched_setaffinity(0, cores[rank::processes] or {cores[rank % len(cores)]})


def train() -> Planner:
    """The planner after some epochs, the same on every process."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    planner = Planner()
    network = DistributedDataParallel(planner)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    records, hours, done = draw()
    for epoch in range(EPOCHS):
        order = torch.randperm(DAYS, generator=torch.Generator().manual_seed(epoch))
        for days in order.split(BATCH):
            mine = days[rank::processes]  # fewer than another's, or none at all
            care = network(records[mine], hours[mine])
            ok = torch.as_tensor(planner.layer.info.ok)
            solved = ok.sum()
            dist.all_reduce(solved)  # of the whole batch
            # DDP averages over processes, so this is the mean over the batch's solved days
            loss = (care[ok] - done[mine][ok]).square().sum() * processes / solved.clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return planner


if __name__ == "__main__":
    take_cores()
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("ignore", FailedSampleWarning)
    dist.init_process_group("gloo")
    trained = train()
    weights = " ".join(f"{weight:.12f}" for weight in trained.score.weight[0].tolist())
    print(f"rank {dist.get_rank()}: weights {weights}")
    if dist.get_rank() == 0:
        torch.save(trained.state_dict(), "planner.pt")  # the layer has no weights in it
    dist.barrier()  # before another process reads the file
    dist.destroy_process_group()
