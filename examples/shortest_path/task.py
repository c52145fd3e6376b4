"""What all methods share: the grid, the data, the network, the order of the batches, the regret.

It loads neither CVXPY nor PyEPO's solvers, so that each side can use it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
import torch

SIDE, FEATURES, DEGREE, NOISE = 5, 5, 4, 0.5
TRAIN, TEST, BATCH, RATE = 1000, 1000, 32, 1e-2


def arcs() -> list[tuple[int, int]]:
    """From node to node, right or down, in PyEPO's order."""
    found = []
    for i in range(SIDE):
        found += [(i * SIDE + j, i * SIDE + j + 1) for j in range(SIDE - 1)]
        if i < SIDE - 1:
            found += [(i * SIDE + j, (i + 1) * SIDE + j) for j in range(SIDE)]
    return found


def flow() -> tuple[np.ndarray, np.ndarray]:
    """(A, b) with Ax = b for a unit flow from the first to the last node."""
    A, b = np.zeros((SIDE * SIDE, len(arcs()))), np.zeros(SIDE * SIDE)
    for k, (start, end) in enumerate(arcs()):
        A[start, k], A[end, k] = -1.0, 1.0
    b[0], b[-1] = -1.0, 1.0
    return A, b


def data(seed: int, train: int = TRAIN, test: int = TEST) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and costs, (train + test, ...), by PyEPO's generator after Elmachtoub and Grigas."""
    from pyepo.data.shortestpath import genData

    features, costs = genData(
        train + test, FEATURES, (SIDE, SIDE), deg=DEGREE, noise_width=NOISE, seed=seed
    )
    return torch.tensor(features, dtype=torch.float32), torch.tensor(costs)


def normalized_regret(solved: Any, costs: torch.Tensor, best: torch.Tensor) -> float:
    """Σ c'(x - x*) / Σ c'x*, x decided by predicted costs."""
    return float((costs * (solved - best)).sum() / (costs * best).sum())


def training(
    seed: int,
    epochs: int,
    tensors: list[torch.Tensor],
    loss: Callable[..., torch.Tensor],
    test: Callable[[torch.nn.Module], float],
) -> Iterator[dict[str, Any]]:
    """Train a linear predictor with Adam; the same initial weights and batches for every method.

    Parameters
    ----------
    tensors : features, then what `loss` takes beside the prediction
    loss : (predicted costs, *rest of the batch) -> mean loss
    test : network -> normalized regret
    """
    torch.manual_seed(seed)
    network = torch.nn.Linear(FEATURES, len(arcs()))
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(seed)
    seconds, count = 0.0, len(tensors[0])
    yield {"epoch": 0, "seconds": 0.0, "test_regret": test(network)}
    for epoch in range(1, epochs + 1):
        total, begin = 0.0, perf_counter()
        for index in torch.randperm(count, generator=order).split(BATCH):
            features, *rest = (tensor[index] for tensor in tensors)
            value = loss(network(features), *rest)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.item() * len(index) / count
        seconds += perf_counter() - begin
        yield {
            "epoch": epoch, "seconds": seconds, "train_loss": total,
            "test_regret": test(network),
        }  # fmt: skip
