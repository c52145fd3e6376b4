"""Layers in other processes: forked, spawned, loaded from a file, in data loaders, in parallel."""

from __future__ import annotations

import multiprocessing
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from cvxlpgd import LPGD
from cvxlpgd.solvers.run import each as _each
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors

QUADRATIC = "quadratic_constrained"
FORK = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
# torch, JAX and this process have threads by now; that the child does well is what is tested
THREADS = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*fork:DeprecationWarning", "ignore:os.fork.. was called:RuntimeWarning"
)
WAYS = [
    *(pytest.param("fork", s, marks=[FORK, THREADS]) for s in (None, "SCS", "CLARABEL")),
    ("spawn", None),
]


def solved(layer, values):
    """A forward and a backward pass, as plain lists."""
    outputs, grads = layer(*values), gradients(layer, values)
    return [v.tolist() for v in outputs], [v.tolist() for v in grads]


def _answer(connection, layer, values):
    torch.set_num_threads(1)
    connection.send((solved(layer, values), layer.info.status.tolist()))
    connection.close()


@pytest.mark.parametrize(("method", "solver"), WAYS)
def test_in_a_child_process_after_use_in_the_parent(method, solver, monkeypatch):
    for name, value in (("WORTH", -1.0), ("WORTH_EACH", -1.0), ("workers", lambda: 2)):
        monkeypatch.setattr(_each, name, value)  # threads, which a forked child does not have
    layer, values = layer_of(QUADRATIC, solver=solver), tensors(QUADRATIC, 4)
    expected = solved(layer, values)
    context = multiprocessing.get_context(method)
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(its, layer, values))
    child.start()
    its.close()
    assert mine.poll(60)
    assert mine.recv() == (expected, ["solved"] * 4)
    child.join(60)
    assert child.exitcode == 0
    assert solved(layer, values) == expected


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_a_file_that_another_process_loads(tmp_path, used):
    layer, values = layer_of(QUADRATIC, derivative=LPGD(tau=0.01)), tensors(QUADRATIC, 3)
    if used:
        loss(layer(*copies(values), warm_start=True)).backward()
    torch.save((layer, values), tmp_path / "layer.pt")
    code = (
        "import sys, torch\n"
        "from tests.helpers.layers import gradients\n"
        "layer, values = torch.load(sys.argv[1], weights_only=False)\n"
        "found = [*layer(*values), *gradients(layer, values)]\n"
        "torch.save((found, layer.info), sys.argv[2])\n"
    )
    files = [str(tmp_path / "layer.pt"), str(tmp_path / "found.pt")]
    root = str(Path(__file__).parent.parent.parent)
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{root!r}]\n{code}", *files],
        check=True,
        timeout=120,
    )
    found, info = torch.load(files[1], weights_only=False)
    assert same(found, [*layer(*values), *gradients(layer, values)])
    assert info.status.tolist() == ["solved"] * 3
    assert (info.tau == 0.01).all()


class Solutions(Dataset):
    """Each item is solved where it is asked for."""

    def __init__(self, layer, values):
        self.layer, self.values = layer, values

    def __len__(self):
        return len(self.values[0])

    def __getitem__(self, i):
        one = [v[i] for v in self.values]
        return (*(x.detach() for x in self.layer(*one)), *gradients(self.layer, one))


class Batches(Solutions):
    """Items are solved together, when they are collated."""

    def __getitem__(self, i):
        return [v[i] for v in self.values]

    def collate(self, items):
        values = [torch.stack(column) for column in zip(*items, strict=True)]
        return [x.detach() for x in self.layer(*values)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker:UserWarning")
@THREADS
@FORK
def test_data_loaders():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 4)
    expected = [*(x.detach() for x in layer(*values)), *gradients(layer, values)]
    items, batches = Solutions(layer, values), Batches(layer, values)
    options = {"batch_size": 2, "num_workers": 2, "multiprocessing_context": "fork", "timeout": 60}
    apart = list(DataLoader(items, **options))
    together = list(DataLoader(batches, collate_fn=batches.collate, **options))
    assert same([torch.cat(column) for column in zip(*apart, strict=True)], expected)
    assert same([torch.cat(column) for column in zip(*together, strict=True)], expected[:3])


class Net(torch.nn.Module):
    """Features -> a cost -> the projection on a simplex."""

    def __init__(self):
        super().__init__()
        self.linear, self.layer = torch.nn.Linear(3, 5), layer_of("simplex_projection")

    def forward(self, features):
        return self.layer(self.linear(features))[0]


def _net_and_features():
    torch.manual_seed(0)
    return Net().double(), torch.randn(8, 3, dtype=torch.double)


def _rank(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/together", rank=rank, world_size=2
    )
    net, features = _net_and_features()
    parallel = DistributedDataParallel(net)
    parallel(features[rank::2]).square().mean().backward()
    torch.save(net.linear.weight.grad, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel(tmp_path, monkeypatch):
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", loopback)
    net, features = _net_and_features()
    net(features).square().mean().backward()
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found, net.linear.weight.grad, rtol=1e-6, atol=1e-9)
